"""Difference of the means of two groups of runs, paired or of independent draws; and the scatter of single runs."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS, Fitted, NoOptions, PairOptions
from muster.fitting.frames import count, groups, require_columns, require_unique, select
from muster.fitting.per_group import per_group
from muster.fitting.usable import usable_rows
from muster.statistics.linear import Estimate, enclosing, mean_t

Array = NDArray[np.float64]

DIFFERENCE_VARIANTS = ("welch_t", "pooled_t")
SCATTER_VARIANTS = ("chi2",)


class MeanDifferenceOptions(PairOptions):
    """Options of `mean_difference`."""

    paired: list[str] = Field(
        default_factory=list,
        description="Columns that say which run of a belongs to which of b; absent: independent draws",
    )


class ScatterOptions(NoOptions):
    """Options of `scatter`."""

    within: list[str] = Field(
        default_factory=list, description="Columns whose combinations have means of their own; absent: one mean"
    )


def mean_difference(rows: pd.DataFrame, fit: FitConfig, options: MeanDifferenceOptions) -> Iterator[Fitted]:
    """Mean response of a less that of b, in its own units.

    Independent draws: `welch_t`, each group with its own variance and Satterthwaite's degrees of freedom; `pooled_t`,
    one variance. Paired: both are t over the differences of the pairs, of which there must be two.
    """
    require_columns(rows, options.paired, "options.paired")
    used, lost = usable_rows(rows, finite=[fit.response])
    sides = [select(used, chosen, f"options.{side}") for side, chosen in (("a", options.a), ("b", options.b))]
    counts = count(pd.concat(sides))
    a, b = (side[fit.response].to_numpy(float) for side in sides)
    if options.paired:
        for side in sides:
            require_unique(side, options.paired)
        one, other = (side.set_index(options.paired)[fit.response] for side in sides)
        gaps = (one - other).dropna().to_numpy(float)
        note = f"{len(gaps)} pairs"
        estimates = dict.fromkeys(DIFFERENCE_VARIANTS, mean_t(gaps)) if len(gaps) > 1 else {}
    else:
        note = f"{len(a)} and {len(b)} runs"
        estimates = unpaired(a, b) if min(len(a), len(b)) > 1 else {}
    few = "" if estimates else "2 are needed"
    status = "ok" if estimates else "too_few"
    yield Fitted(estimates, status=status, note=", ".join(filter(None, [note, few, lost])), counts=counts)


def unpaired(a: Array, b: Array) -> dict[str, Estimate]:
    """Both variants of mean(a) − mean(b), from two draws of each at least.

    Welch (1947) with Satterthwaite's (1946) degrees of freedom (v_a + v_b)² / (v_a²/ν_a + v_b²/ν_b), v = s²/n; Student
    (1908) with the pooled variance.
    """
    gap = float(a.mean() - b.mean())
    va, vb, na, nb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b), len(a) - 1, len(b) - 1
    parts = va**2 / na + vb**2 / nb
    dof = float((va + vb) ** 2 / parts) if parts > 0 else float(na + nb)
    pooled = (na * a.var(ddof=1) + nb * b.var(ddof=1)) / (na + nb)
    return {
        "welch_t": Estimate(gap, float(np.sqrt(va + vb)), dof),
        "pooled_t": Estimate(gap, float(np.sqrt(pooled * (1 / len(a) + 1 / len(b)))), na + nb),
    }


def scatter(rows: pd.DataFrame, fit: FitConfig, options: ScatterOptions) -> Iterator[Fitted]:
    """Standard deviation of single runs around the means of their groups, pooled; χ² interval, normal errors.

    The row's p is by t from the farther end of that interval. Bartlett's (1937) p for equal variances is in the note.
    """
    from scipy import stats

    require_columns(rows, options.within, "options.within")
    used, lost = usable_rows(rows, finite=[fit.response])
    draws = [part[fit.response].to_numpy(float) for _, part in groups(used, options.within)]
    several = [values for values in draws if len(values) > 1]
    dof = sum(len(values) - 1 for values in several)
    if dof < 2:
        yield Fitted({}, status="too_few", note=", ".join(filter(None, [f"{dof} degrees of freedom", lost])))
        return
    total = float(sum(np.square(values - values.mean()).sum() for values in several))
    low, high = (float(np.sqrt(total / stats.chi2.ppf(level, dof))) for level in (0.975, 0.025))
    equal = f"Bartlett p {stats.bartlett(*several).pvalue:.2g}" if len(several) > 1 else ""
    note = f"{len(several)} groups, {dof} degrees of freedom"
    yield Fitted(
        {"chi2": enclosing(float(np.sqrt(total / dof)), (low, high), dof)},
        note=", ".join(filter(None, [note, equal, lost])),
        counts=count(used),
    )


ESTIMATORS.register("mean_difference")(
    per_group(
        "Difference of the mean responses of two groups (a − b), of independent draws or paired",
        mean_difference,
        DIFFERENCE_VARIANTS,
        min_points=1,
        parameters=("difference",),
        needs=(),
        options=MeanDifferenceOptions,
        source="Welch 1947; Satterthwaite 1946; paired: Student 1908; with the test `equivalence`, Schuirmann 1987",
        assumes="Draws (or differences of pairs) independent, their means nearly normal",
        fails="Checkpoints or sizes that share a run are no independent draws: pair them, or choose one of each run",
    )
)
ESTIMATORS.register("scatter")(
    per_group(
        "Standard deviation of a run around the mean of its group, pooled over groups",
        scatter,
        SCATTER_VARIANTS,
        min_points=1,
        parameters=("sd",),
        needs=(),
        options=ScatterOptions,
        attainable={"sd": (0.0, np.inf)},
        source="Pooled variance; χ² interval of normal errors",
        assumes="Normal errors of one variance in all groups, independent",
        fails="The χ² interval has no robustness: heavy tails make it far too narrow",
    )
)
