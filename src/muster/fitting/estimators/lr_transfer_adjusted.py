"""Exponent of the optimal learning rate where other hyperparameters varied at once: a response surface a shape."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, Fitted, NoOptions, Optima
from muster.fitting.estimators.lr_transfer import (
    MEMBER,
    VARIANTS,
    locate,
    optimum_rows,
    shapes_note,
    transfer_slopes,
)
from muster.fitting.frames import levels, require_columns
from muster.fitting.optimum.quadratic import BASIN, CURVATURE_T, Optimum
from muster.fitting.per_group import per_group
from muster.statistics.fieller import fieller, vertex_se

Array = NDArray[np.float64]

WIDE = 4.0  # ratio from which a positive hyperparameter is taken in logarithms
SPARE = 3  # degrees of freedom that a surface must leave
REACH = 3.0  # octaves of x on each side of the best region that enter


class AdjustedOptions(NoOptions):
    """Options of `lr_transfer_adjusted`."""

    adjust: list[str] = Field(min_length=1, description="Columns of the other hyperparameters, numbers")
    min_side: int = Field(2, ge=1, description="Runs required on each side of the optimum, else `edge`")


def others_of(rows: pd.DataFrame, adjust: Sequence[str]) -> Array:
    """The other hyperparameters [R, K], centred on their medians and scaled to unit standard deviation.

    One that is positive and spans a factor of four or more is taken in logarithms, as it is usually drawn.
    """
    columns = []
    for name in adjust:
        values = rows[name].to_numpy(float)
        if not np.isfinite(values).all():
            raise MusterError("options.adjust", f"{name} holds no number in some rows", "Select rows that have it")
        if (values > 0).all() and values.max() >= WIDE * values.min():
            values = np.log(values)
        spread = values.std()
        if spread == 0:
            raise MusterError("options.adjust", f"{name} takes one value", "Leave out what does not vary")
        columns.append((values - np.median(values)) / spread)
    return np.column_stack(columns)


def surface_design(u: Array, others: Array) -> Array:
    """1, u, u², then for each other hyperparameter z: z, z², u·z [R, 3 + 3K].

    Second order in each and with x (Box & Wilson 1951), without products of the others, which move no optimum of x.
    """
    more = [column for z in others.T for column in (z, z**2, u * z)]
    return np.column_stack([np.ones_like(u), u, u**2, *more])


def adjusted_optimum(x: float, log2_lr: Array, others: Array, log_loss: Array, min_side: int) -> Optimum:
    """The best x of one shape where all others are at their medians (z = 0): there u* = −β₁/(2β₂).

    Two rounds: a surface over all runs finds the region, one over the runs within `REACH` octaves of its vertex locates
    the optimum. Interval: Fieller, with t of the surface's own residual degrees of freedom.
    """
    from scipy import stats
    from statsmodels.regression.linear_model import OLS

    best = float(log2_lr[log_loss.argmin()])
    needed = 3 + 3 * others.shape[1] + SPARE
    flat = Optimum(x, "flat", grid_best=best, n_points=len(log2_lr), n_runs=len(log2_lr))
    near = np.abs(log2_lr - best) <= REACH
    for _ in range(2):
        if near.sum() < needed:
            near = np.argsort(np.argsort(np.abs(log2_lr - best))) < needed
        if near.sum() < needed or np.linalg.matrix_rank(surface_design(log2_lr[near], others[near])) < needed - SPARE:
            return flat
        u = log2_lr[near] - best
        fit = OLS(log_loss[near], surface_design(u, others[near])).fit()
        beta, cov = np.asarray(fit.params)[:3], np.asarray(fit.cov_params())[:3, :3]
        if not beta[2] > CURVATURE_T * np.sqrt(cov[2, 2]):
            return flat
        vertex = float(-beta[1] / (2 * beta[2]))
        moved = float(np.clip(best + vertex, log2_lr.min(), log2_lr.max()))
        again = np.abs(log2_lr - moved) <= REACH
        if (again == near).all() or again.sum() < needed:
            break
        near, best = again, moved
    below, above = (u < vertex).sum(), (u > vertex).sum()
    if min(below, above) < min_side:
        low = -np.inf if below < min_side else best + float(u.min())
        high = np.inf if above < min_side else best + float(u.max())
        return Optimum(x, "edge", ci_low=low, ci_high=high, grid_best=flat.grid_best, n_points=int(near.sum()),
                       n_runs=int(near.sum()))  # fmt: skip
    quantile = float(stats.t.ppf(0.975, fit.df_resid))
    low, high = fieller(beta, cov, quantile)
    half = float(np.sqrt(BASIN / beta[2]))
    return Optimum(
        x,
        "interior",
        log2_lr=best + vertex,
        se=vertex_se(beta, cov),
        ci_low=best + low,
        ci_high=best + high,
        loss=float(np.exp(beta @ [1.0, vertex, vertex**2])),
        basin_low=best + max(vertex - half, float(u.min())),
        basin_high=best + min(vertex + half, float(u.max())),
        grid_best=flat.grid_best,
        n_points=int(near.sum()),
        n_runs=int(near.sum()),
    )


def lr_transfer_adjusted(rows: pd.DataFrame, fit: FitConfig, options: AdjustedOptions) -> Iterator[Fitted | Optima]:
    """Exponent d ln lr* / d ln x, lr* at the group's median of every other hyperparameter.

    Runs that diverged are left out: on a random search they lie beyond a cliff, and no mean over seeds hides them.
    """
    require_columns(rows, [MEMBER, fit.response, *options.adjust], "table")
    others = others_of(rows, options.adjust)
    found = []
    index = pd.Series(range(len(rows)), index=rows.index)
    for x, level in levels(rows, fit.along):
        loss = level[fit.response].to_numpy(float)
        good = np.isfinite(loss) & ~level["diverged"].to_numpy(bool)
        if not good.any():
            found.append(Optimum(x, "diverged"))
            continue
        chosen = index[level.index].to_numpy()[good]
        log2_lr = level[MEMBER].to_numpy(float)[good]
        found.append(adjusted_optimum(x, log2_lr, others[chosen], np.log(loss[good]), options.min_side))
    yield from transfer_slopes(fit, locate(found), rows, [shapes_note(found, fit.along)], len(found))
    yield Optima(optimum_rows(fit.along, found))


ESTIMATORS.register("lr_transfer_adjusted")(
    per_group(
        "Exponent of the optimal learning rate, other hyperparameters that varied at once held at their medians",
        lr_transfer_adjusted,
        VARIANTS,
        min_points=3,
        needs=("seed", MEMBER),
        options=AdjustedOptions,
        make_optima=True,
        source="Response surfaces of second order: Box & Wilson 1951; Fieller 1954",
        assumes="ln loss is a quadratic in log2 lr and in each other hyperparameter within three octaves of the best; "
        "what is optimal is asked at the medians of the others over the group, the same for every shape",
        fails="A cliff, or an effect that is no quadratic, bends the surface; columns that go with the rate cannot be "
        "told from it",
    )
)
