"""Interpolation of noise by a univariate two-layer ReLU network of least norm: its risk in Lp.

n = `width` points on [0, 1], a grid or uniform and sorted, with values of normal noise about the target 0. The network
whose weights have the least ℓ2 norm minimizes ∫|f''| (Savarese, Evron, Soudry & Srebro 2019); with biases in the norm
it has as few kinks as that allows (Boursier & Flammarion 2023): where the line through the points bends alike at two
neighbours, one kink between them, at the crossing of the outer lines, replaces the two. Of longer runs of like bends
points are paired from the left: that leaves constants to chance, but not the tail of the spikes, whose height is noise
times a ratio of gaps, P(h > x) ~ x^−2. N. Joshi, G. Vardi and N. Srebro, Noisy interpolation learning with shallow
univariate ReLU networks (2023); exponents are derived here. Probe `risk` (layer = p): the median over draws of ∫|f|^p
between the first and last point, from BATCHES parts of the draws.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.tables import Row, outcome

Array = NDArray[np.float64]
POWERS = (1, 2, 3, 4)
BATCHES = 8


class InterpolantCell(Cell):
    """One number of points, n = `width`."""

    points: Literal["uniform", "grid"] = Field("uniform", description="Where the points lie")
    draws: int = Field(400, ge=BATCHES, le=10**6, description="Independent samples of points and noise")


def knots(x: Array, y: Array) -> tuple[Array, Array]:
    """Vertices of the interpolant through points x (ascending), y: the points, and the kinks between pairs of them."""
    slopes = np.diff(y) / np.diff(x)
    bends = np.sign(np.diff(slopes))  # at the points 1 … n − 2
    starts = np.flatnonzero(np.append(True, bends[1:] != bends[:-1]))
    place = np.arange(len(bends)) - np.repeat(starts, np.diff(np.append(starts, len(bends))))
    first = 1 + np.flatnonzero((place[:-1] % 2 == 0) & (bends[1:] == bends[:-1]))
    left, right = slopes[first - 1], slopes[first + 1]
    kink = x[first] + (y[first + 1] - y[first] - right * (x[first + 1] - x[first])) / (left - right)
    height = y[first] + left * (kink - x[first])
    return np.insert(x, first + 1, kink), np.insert(y, first + 1, height)


def integral(x: Array, y: Array, power: int) -> float:
    """∫|f|^p of the line through (x, y): exact on each piece, [|f|^p f/(p + 1)]/Δf."""
    rise = np.diff(y)
    flat = np.abs(rise) < 1e-9 * (np.abs(y[1:]) + np.abs(y[:-1]))
    whole = np.diff(np.abs(y) ** power * y) / ((power + 1) * np.where(flat, 1, rise))
    return float(np.diff(x) @ np.where(flat, np.abs(y[1:]) ** power, whole))


def risks(cell: InterpolantCell, rng: np.random.Generator) -> list[float]:
    """∫|f|^p of one sample for every power."""
    spread = np.sort(rng.random(cell.width)) if cell.points == "uniform" else np.linspace(0, 1, cell.width)
    line = knots(spread, rng.standard_normal(cell.width))
    return [integral(*line, power) for power in POWERS]


def run(cell: InterpolantCell, context: Context) -> Outcome:
    """Sample interpolants."""
    rng = generator(cell)
    found = np.array([risks(cell, rng) for _ in range(cell.draws)])
    medians = np.array([np.median(part, axis=0) for part in np.array_split(found, BATCHES)])
    rows: list[Row] = [(0, "risk", p, *geometric_mean(part)) for p, part in zip(POWERS, medians.T, strict=True)]
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: InterpolantCell) -> Cost:
    """Some operations a point and power."""
    points = float(cell.draws) * cell.width
    return Cost(200 * points, 3e-4 * cell.draws + 8e-7 * points, 2e8)


EXPERIMENTS.register("interpolant")(
    Experiment(
        summary="Noise interpolated by a univariate ReLU network of least norm: its risk in Lp",
        stage="sample",
        cell=InterpolantCell,
        cost=cost,
        run=run,
        example=probe_example("risk", {"draws": 80}, {"width": [32, 64, 128, 256]}, select={"layer": 1}, predicted=0),
    )
)
