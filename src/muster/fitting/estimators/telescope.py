"""Telescoping: a coarse sweep of learning rates at the narrowest width, ever finer ones at each doubling."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from pydantic import Field

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS, Fitted, Optima, no_estimates
from muster.fitting.estimators.lr_transfer import (
    MEMBER,
    WindowOptions,
    optimum_rows,
    shape_optima,
    shape_sweeps,
    shapes_note,
)
from muster.fitting.optimum.cost import OutsideGrid, cost_of_rate, sideways_error
from muster.fitting.optimum.quadratic import Sweep
from muster.fitting.per_group import per_group
from muster.statistics.components import largest
from muster.statistics.pairing import column_means, paired_rows

VARIANTS = ("worst",)


class TelescopeOptions(WindowOptions):
    """Options of `telescope`."""

    spacing: float = Field(1.0, gt=0, description="Octaves between rates of the sweep at the narrowest width")


def levels(sweeps: Sequence[Sweep]) -> list[Sweep]:
    """The shapes nearest to 1, 2, 4, … times the smallest, up to the largest, each once."""
    wanted = sweeps[0].x * 2.0 ** np.arange(np.log2(sweeps[-1].x / sweeps[0].x) + 0.5)
    near = [min(sweeps, key=lambda sweep: abs(np.log(sweep.x / x))) for x in wanted]
    return [sweep for k, sweep in enumerate(near) if k == 0 or sweep is not near[k - 1]]


def telescoped(sweeps: Sequence[Sweep], spacing: float, start: int) -> tuple[float, int]:
    """log2 of the rate that telescoping ends with, and the number of rates it tried; NaN where none of these trained.

    The sweep at the first shape has every rate of its grid that lies whole spacings from that of number `start`. At
    each further shape the spacing is halved, down to that of the grid, and the last best rate and its neighbours are
    tried.
    """
    first = sweeps[0].log2_lr
    steps = (first - first[start]) / spacing
    tried = first[np.isclose(steps, np.round(steps))]
    best, count = np.nan, 0
    for sweep in sweeps:
        usable = sweep.usable()
        means = column_means(paired_rows(sweep.log_loss[:, usable]))
        among = np.isclose(sweep.log2_lr[usable][:, None], tried).any(axis=1)
        count += int(np.isclose(sweep.log2_lr[:, None], tried).any(axis=1).sum())
        if not among.any():
            return np.nan, count
        best = float(sweep.log2_lr[usable][among][np.argmin(means[among])])
        spacing = max(spacing / 2, float(np.diff(sweep.log2_lr).min()))
        tried = best + spacing * np.arange(-1, 2)
    return best, count


def telescope(rows: pd.DataFrame, fit: FitConfig, options: TelescopeOptions) -> Iterator[Fitted | Optima]:
    """Relative loss on the largest shape, ln(loss at the telescoped rate / loss at the optimum of its full grid).

    Telescoping (Essential AI 2025) is read off the full grid: which of its runs would have been made. Where the coarse
    sweep may begin at several rates, each is tried, and the worst counts. The loss at a rate and its error are those
    of `regret`, the rate being given. Diagnostics: the rates chosen, and how many runs they took.
    """
    found = shape_optima(rows, fit, options)
    yield Optima(optimum_rows(fit.along, found))
    yield _compare(rows, fit, options)._replace(x=[optimum.x for optimum in found])


def _compare(rows: pd.DataFrame, fit: FitConfig, options: TelescopeOptions) -> Fitted:
    found, sweeps = shape_optima(rows, fit, options), shape_sweeps(rows, fit)
    none = no_estimates(VARIANTS)
    if len(found) < 2:
        return Fitted(none, status="too_few", note=f"{len(found)} values of {fit.along}, 2 are needed")
    if any(optimum.status != "interior" for optimum in found):
        first = next(optimum.status for optimum in found if optimum.status != "interior")
        note = f"every shape needs an interior optimum: {shapes_note(found, fit.along)}"
        return Fitted(none, status=first, note=note)
    climbed, grid = levels(sweeps), sweeps[0].log2_lr
    starts = int(np.clip(round(options.spacing / float(np.diff(grid).min())), 1, len(grid)))
    ends = [telescoped(climbed, options.spacing, start) for start in range(starts)]
    scatter, dof = sideways_error(found)
    try:
        parts = [cost_of_rate((rate, 0.0), found[-1], sweeps[-1], scatter, dof) for rate, _ in ends]
    except OutsideGrid:
        return Fitted(none, status="diverged", note="a telescoped rate diverges, or is off the grid, at the largest")
    runs = ", ".join(f"2^{rate:g} after {count} runs" for rate, count in ends)
    whole = sum(len(sweep.log2_lr) for sweep in sweeps)
    return Fitted(
        {"worst": largest(parts)},
        note=f"{runs} of {whole}, at {fit.along} {', '.join(f'{sweep.x:g}' for sweep in climbed)}",
        diagnostics={"components": [each._asdict() for each in parts], "of": "worst"},
    )


ESTIMATORS.register("telescope")(
    per_group(
        "Relative loss on the largest shape of the learning rate that telescoping finds",
        telescope,
        VARIANTS,
        min_points=2,
        parameters=("regret",),
        attainable={"regret": (0.0, float("inf"))},
        needs=("seed", MEMBER),
        options=TelescopeOptions,
        make_optima=True,
        source="Essential AI 2025, Algorithm of telescoping; loss and error as `regret`",
        assumes="What `regret` does; the runs of the full grid are those that telescoping would make",
        fails="A grid no finer than the first sweep's spacing leaves nothing to halve; the last sweep chooses by the "
        "losses that judge it, for telescoping",
    )
)
