"""How far apart curves lie that share a product of two settings, or one of them, or both."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS, Fitted, NoOptions
from muster.fitting.frames import count, natural_log, require_columns, require_unique
from muster.fitting.per_group import per_group
from muster.fitting.usable import usable_rows
from muster.statistics.linear import Estimate, jackknife

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

VARIANTS = ("jackknife",)
PARAMETERS = ("to_seeds", "to_rival", "rival_to_seeds")
EQUAL = 1e-6  # difference of logarithms below which two products are one


class CurveDistanceOptions(NoOptions):
    """Options of `curve_distance`."""

    product: list[str] = Field(
        min_length=2,
        max_length=2,
        description="Columns whose product should fix the curve",
        examples=[["log2_lr", "weight_decay"]],
    )
    rival: str = Field(description="The one of them that might fix the curve alone", examples=["log2_lr"])
    first: int = Field(0, ge=0, description="The step with which the window begins")
    last: int | None = Field(
        None, ge=1, description="The step with which it ends; that of the last evaluation if absent"
    )

    @model_validator(mode="after")
    def _rival_is_a_factor(self) -> "CurveDistanceOptions":
        if self.rival not in self.product:
            raise ValueError(f"rival {self.rival!r} is no factor of the product: choose {' or '.join(self.product)}")
        return self


class Curves(NamedTuple):
    """ln y [C, S, T] of C combinations of settings, S seeds and T steps, and the logs of product and rival [C]."""

    log_y: Array
    product: Array
    rival: Array
    steps: Array


def read_curves(rows: pd.DataFrame, fit: FitConfig, options: CurveDistanceOptions) -> tuple[Curves, str]:
    """The curves of the window, and a note of what was left out: seeds that some curve lacks, for distances are means
    over pairs of seeds."""
    require_columns(rows, [*options.product, "seed", "step"], "options.product")
    inside = rows[(rows["step"] >= options.first) & (rows["step"] <= (options.last or np.inf))]
    used, lost = usable_rows(inside, positive=[fit.response])
    require_unique(used, [*options.product, "seed", "step"])
    table = used.pivot(index=options.product, columns=["seed", "step"], values=fit.response)
    whole = table.notna().all().groupby(level="seed").all()
    kept = whole[whole].index
    table = table.loc[:, table.columns.get_level_values("seed").isin(kept)].sort_index(axis=1)
    settings = table.index.to_frame(index=False)
    logs = {name: natural_log(settings, name, "options.product") for name in options.product}
    steps = table.columns.get_level_values("step").unique().to_numpy(float)
    log_y = np.log(table.to_numpy(float)).reshape(len(table), len(kept), len(steps))
    gone = f"{len(whole) - len(kept)} seeds left out, which some curve lacks" if len(kept) < len(whole) else ""
    found = Curves(log_y, sum(logs.values(), np.zeros(len(table))), logs[options.rival], steps)
    return found, ", ".join(filter(None, [gone, lost]))


def relations(curves: Curves) -> dict[str, Mask]:
    """Which pairs of combinations [C, C] share both settings, the product alone, or the rival alone."""
    same = [np.abs(x[:, None] - x) < EQUAL for x in (curves.product, curves.rival)]
    return {"both": same[0] & same[1], "product": same[0] & ~same[1], "rival": same[1] & ~same[0]}


def distances(curves: Curves, seeds: Sequence[int]) -> dict[str, Array]:
    """Mean |ln y − ln y'| [T] over all pairs of curves of each relation, the two of different seeds.

    So that noise enters all three alike, and curves that differ by noise alone have the ratio 1.
    """
    y = curves.log_y[:, list(seeds)]
    found = {}
    for relation, pairs in relations(curves).items():
        i, j = np.nonzero(pairs)
        parts = [np.abs(y[i, a] - y[j, b]) for a in range(len(seeds)) for b in range(len(seeds)) if a != b]
        found[relation] = np.mean(parts, axis=(0, 1)) if len(i) else np.full(y.shape[2], np.nan)
    return found


def log_ratios(curves: Curves, seeds: Sequence[int]) -> Array:
    """In the order of PARAMETERS: ln of mean distance over mean distance, product to both, product to rival, rival to
    both."""
    mean = {relation: np.log(along.mean()) for relation, along in distances(curves, seeds).items()}
    both, product, rival = mean["both"], mean["product"], mean["rival"]
    return np.array([product - both, product - rival, rival - both])


def curve_distance(rows: pd.DataFrame, fit: FitConfig, options: CurveDistanceOptions) -> Iterator[Fitted]:
    """ln of how far apart curves lie that share a product of settings, relative to seeds of the same settings
    (`to_seeds`) and to curves that share one of its factors (`to_rival`), and of these to seeds (`rival_to_seeds`): 0
    where they lie equally far.

    Distance: mean |Δ ln y| over the window's steps and over all pairs of curves, of different seeds throughout. Means
    over pairs are U-statistics, of which leaving out one seed at a time gives the standard error, t with S − 1 degrees
    of freedom (Arvesen 1969).
    """
    curves, lost = read_curves(rows, fit, options)
    seeds = range(curves.log_y.shape[1])
    short = [name for name, pairs in relations(curves).items() if not pairs.any()]
    few = f"{len(seeds)} seeds, 3 are needed" if len(seeds) < 3 else f"no two curves share {short[0]}" if short else ""
    if few or not len(curves.steps):
        note = ", ".join(filter(None, [few or "no evaluation lies in the window", lost]))
        for parameter in PARAMETERS:
            yield Fitted({}, parameter=parameter, status="too_few", note=note, counts=count(rows))
        return
    whole = log_ratios(curves, seeds)
    parts = np.array([log_ratios(curves, [each for each in seeds if each != out]) for out in seeds])
    along = {name: value.mean() for name, value in distances(curves, seeds).items()}
    told = ", ".join(f"{value:.3g} sharing {name}" for name, value in along.items())
    for k, parameter in enumerate(PARAMETERS):
        yield Fitted(
            {"jackknife": Estimate(float(whole[k]), jackknife(parts[:, k]), len(seeds) - 1)},
            parameter=parameter,
            note=", ".join(filter(None, [f"mean |Δ ln| {told}, {len(curves.steps)} steps", lost])),
            counts=count(rows),
            x=curves.steps,
        )


ESTIMATORS.register("curve_distance")(
    per_group(
        "Distance of curves that share a product of settings, over that of seeds, and of curves that share one factor",
        curve_distance,
        VARIANTS,
        min_points=1,
        parameters=PARAMETERS,
        needs=("seed", "step"),
        options=CurveDistanceOptions,
        source="Mean absolute log difference over pairs of curves; jackknife of U-statistics (Arvesen 1969)",
        assumes="Seeds are independent replicates; every combination of settings was run with every seed",
        fails="Three seeds give a jackknife of three values; a window in which losses have not moved compares noise",
    )
)
