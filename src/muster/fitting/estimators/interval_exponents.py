"""Exponents of a quantity of which every run tells only two bounds, such as a learning rate located by bisection."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, Fitted, NoOptions, Optima, no_estimates
from muster.fitting.estimators.regression import judge_design
from muster.fitting.frames import levels, natural_log, require_columns
from muster.fitting.per_group import per_group
from muster.statistics.censored import interval_plane, plane_given_sigma
from muster.statistics.linear import Estimate, jackknife, meta_regression, wider

Array = NDArray[np.float64]

VARIANTS = ("interval_censored", "midpoints")
DIFFERENCE = "difference"
LN2 = float(np.log(2))


class IntervalOptions(NoOptions):
    """Options of `interval_exponents`."""

    upper: str = Field(description="Column of the upper bound; the response is the lower one, both log2 of the value")
    variables: list[str] = Field(
        default_factory=list, description="Variables, one exponent each; `along` alone if absent"
    )


def shapes_of(design: Array) -> NDArray[np.intp]:
    """Number [R] of the shape of each run: runs that share all variables are one."""
    return np.asarray(np.unique(design, axis=0, return_inverse=True)[1]).ravel()


def estimates(design: Array, low: Array, high: Array, contrast: Array) -> dict[str, Estimate]:
    """Both variants of contrast · β for ln y between low and high [R] on the design [R, p]; t(G − p) for G shapes with
    a bounded run, because seeds of one shape share its deviation from the plane.

    `interval_censored`: maximum likelihood over runs, NaN where a plane runs through all intervals; its error is the
    jackknife's, which leaves out one shape at a time (Miller 1974) with σ held at its estimate: a plane often runs
    through all intervals of the shapes that are left, whose own likelihood then has no maximum. `midpoints`: least
    squares, or random-effects regression where its interval is wider, through the shapes' mean midpoints of bounded
    intervals, each with the error of a uniform variable between its bounds.
    """
    found, shape = no_estimates(VARIANTS), shapes_of(design)
    bounded = np.isfinite(low) & np.isfinite(high)
    count, columns = len(np.unique(shape[bounded])), design.shape[1]
    if count <= columns:
        return found
    plane = interval_plane(design, low, high)
    if plane is not None:

        def without(left_out: int) -> float:
            kept = shape != left_out
            if np.linalg.matrix_rank(design[kept & bounded]) < columns:
                return np.nan
            return float(contrast @ plane_given_sigma(design[kept], low[kept], high[kept], plane.sigma))

        se = jackknife(np.array([without(each) for each in range(int(shape.max()) + 1)]))
        found["interval_censored"] = Estimate(float(contrast @ plane.beta), se, count - columns, float(plane.beta[0]))
    frame = pd.DataFrame(
        {
            "shape": shape[bounded],
            "middle": (low[bounded] + high[bounded]) / 2,
            "square": np.square(high[bounded] - low[bounded]) / 12,
        }
    ).groupby("shape")
    inside = design[[int(np.flatnonzero((shape == each) & bounded)[0]) for each in frame.groups]]
    if np.linalg.matrix_rank(inside) == columns:
        middle, known = frame["middle"].mean().to_numpy(), (frame["square"].sum() / frame.size() ** 2).to_numpy()
        random, plain = (
            Estimate(
                float(contrast @ fit.beta), float(np.sqrt(contrast @ fit.cov @ contrast)), fit.dof, float(fit.beta[0])
            )
            for fit in (meta_regression(middle, known, inside), meta_regression(middle, np.ones_like(middle), inside))
        )
        found["midpoints"] = wider(random, plain)
    return found


def contrasts(on: list[str]) -> dict[str, Array]:
    """Number that is reported → its weights on (intercept, exponent of each variable): `exponent` of one variable, or
    all by name, and the difference of two."""
    slopes = np.eye(len(on) + 1)[1:]
    if len(on) == 1:
        return {"exponent": slopes[0]}
    return dict(zip(on, slopes, strict=True)) | ({DIFFERENCE: slopes[0] - slopes[1]} if len(on) == 2 else {})


def interval_exponents(rows: pd.DataFrame, fit: FitConfig, options: IntervalOptions) -> Iterator[Fitted | Optima]:
    """Exponents ∂ ln y / ∂ ln x of a quantity y known between 2^response and 2^upper, one run a row; the intercept is
    ln y where all variables are 1.

    With two variables also `difference`, the first exponent minus the second: 0 if y depends on their product alone.
    With one, the optima hold, for each of its values, the mean of the bounded midpoints over runs with its t interval,
    the bracket itself where a value has one run. Errors as `regression` raises them.
    """
    require_columns(rows, [options.upper], "options.upper")
    on = options.variables or [fit.along]
    if len(set(on)) < len(on):
        raise MusterError("options.variables", f"{', '.join(on)}", "Name each variable once")
    design = np.column_stack([np.ones(len(rows)), *(natural_log(rows, name, "options.variables") for name in on)])
    low, high = (rows[name].to_numpy(float) * LN2 for name in (fit.response, options.upper))
    told = np.isfinite(low) | np.isfinite(high)
    design, low, high = design[told], low[told], high[told]
    status, note = judge_design(design, on)
    open_ended, untold = int((~np.isfinite(high - low)).sum()), int((~told).sum())
    notes = [
        note,
        f"{open_ended} of {len(rows)} runs bounded on one side only" if open_ended else "",
        f"{untold} of {len(rows)} runs without any bound" if untold else "",
    ]
    for name, contrast in contrasts(on).items():
        yield Fitted(
            estimates(design, low, high, contrast) if status == "ok" else {},
            parameter=name,
            status=status,
            note=", ".join(filter(None, notes)),
            x=rows[fit.along].to_numpy(float),
        )
    if len(on) == 1:
        yield Optima([_level(fit, options, value, own) for value, own in levels(rows, fit.along)])


def _level(fit: FitConfig, options: IntervalOptions, value: float, rows: pd.DataFrame) -> dict[str, Any]:
    """The runs of one value of the axis as a row of optima.parquet, in log2."""
    from scipy.special import stdtrit

    low, high = rows[fit.response].to_numpy(float), rows[options.upper].to_numpy(float)
    bounded = np.isfinite(low) & np.isfinite(high)
    middle, n = (low[bounded] + high[bounded]) / 2, int(bounded.sum())
    centre = float(middle.mean()) if n else np.nan
    # Error of a uniform variable within the brackets, and the scatter of runs where there are several.
    within = float(np.sqrt(np.square(high[bounded] - low[bounded]).sum() / 12) / n) if n else np.nan
    se = max(within, float(middle.std(ddof=1) / np.sqrt(n))) if n > 1 else within
    half = float(stdtrit(n - 1, 0.975)) * se if n > 1 else np.nan
    ends = (centre - half, centre + half) if n > 1 else (float(low.min()), float(high.max()))
    return {
        "group": {},
        "along": fit.along,
        "x": value,
        "log2_lr_opt": centre,
        "se": se,
        "ci_low": ends[0],
        "ci_high": ends[1],
        "status": "interior" if n else "edge",
        **dict.fromkeys(("loss_at_opt", "basin_low", "basin_high"), np.nan),
        "grid_best": float(np.min(np.where(np.isfinite(low), low, high))),
        "n_points": n,
        "n_runs": len(rows),
    }


ESTIMATORS.register("interval_exponents")(
    per_group(
        "Exponents of a quantity known between two bounds in one or several variables: ∂ ln y / ∂ ln x",
        interval_exponents,
        VARIANTS,
        min_points=3,
        needs=(),
        options=IntervalOptions,
        more=lambda fit: list(contrasts(fit.options.get("variables") or [fit.along])),
        source="Interval regression: Tobin 1958, Stewart 1983, Olsen 1978; midpoints: Knapp & Hartung 2003; jackknife "
        "over shapes: Miller 1974",
        assumes="ln y linear in the logarithms with normal scatter of one size; shapes are independent",
        fails="Where a plane runs through all intervals, wider than the scatter, the likelihood has no maximum",
    )
)
