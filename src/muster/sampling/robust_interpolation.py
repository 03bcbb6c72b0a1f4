"""The smallest Lipschitz constant of any function that fits noisy labels in d dimensions.

n = `samples` points, uniform in the unit cube of d = `width` dimensions, have labels ±1 at random (`noise`), or cos πx₁
(`smooth`). A function of Lipschitz constant L through all samples exists if and only if L is the largest slope |y_i −
y_j|/|x_i − x_j| (E. J. McShane, Extension of range of functions, 1934). If a share `missed` of the samples need not be
fitted, those are left out that let L fall furthest: pairs of opposite labels closer than 2/L form a bipartite graph,
and the fewest points that touch all its edges are as many as a largest matching has edges (D. Kőnig 1931). At error 2
of a missed sample the mean squared error is at most 4·`missed`, where that of the mean is 1. Y. Wu, H. Huang and H.
Zhang, A law of robustness beyond isoperimetry (2023).

Probe `lipschitz`: that constant, a geometric mean over `draws`.
"""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.tables import outcome, probe_rows

Array = NDArray[np.float64]


class InterpolationCell(Cell):
    """One number of samples in `width` dimensions."""

    samples: int = Field(ge=8, le=20_000, description="n, points with labels")
    labels: Literal["noise", "smooth"] = Field("noise", description="±1 at random, or cos πx₁")
    missed: float = Field(0.0, ge=0, lt=0.25, description="Share of the samples that need not be fitted")
    draws: int = Field(32, ge=2, le=10**5, description="Independent data sets")

    @model_validator(mode="after")
    def _noise_is_missed(self) -> Self:
        if self.labels == "smooth" and self.missed:
            raise ValueError("smooth labels are all fitted: give missed 0")
        return self


def steepest(x_nxd: Array, y_n: Array) -> float:
    """The largest slope between two samples."""
    from scipy.spatial.distance import pdist

    return float((pdist(y_n[:, None]) / pdist(x_nxd)).max())


def separation(up: Array, down: Array, missed: int) -> float:
    """The largest r at which leaving out `missed` points removes all pairs of [P, d] and [Q, d] closer than r: the
    shortest pair, in the order of length, up to which a largest matching has more edges than that."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from scipy.spatial import KDTree

    trees, shape = (KDTree(up), KDTree(down)), (len(up), len(down))
    if not missed:
        return float(trees[1].query(up)[0].min())

    def matched(count: int) -> int:
        graph = coo_matrix((np.ones(count), (rows[:count], columns[:count])), shape).tocsr()
        return int((maximum_bipartite_matching(graph) >= 0).sum())

    reach = (2 * missed / (len(up) * len(down))) ** (1 / up.shape[1])
    while True:
        near = trees[0].sparse_distance_matrix(trees[1], reach, output_type="coo_matrix")
        order = np.argsort(near.data)
        rows, columns, lengths = near.row[order], near.col[order], near.data[order]
        if matched(len(lengths)) > missed:
            break
        reach *= 1.3
    low, high = missed, len(lengths)  # so many edges can be touched, so many cannot
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if matched(middle) > missed else (middle, high)
    return float(lengths[high - 1])


def smallest_constant(cell: InterpolationCell, rng: np.random.Generator) -> float:
    """L of one data set."""
    x = rng.random((cell.samples, cell.width))
    if cell.labels == "smooth":
        return steepest(x, np.cos(np.pi * x[:, 0]))
    up = rng.permutation(cell.samples) < cell.samples // 2
    return 2 / separation(x[up], x[~up], int(cell.missed * cell.samples))


def run(cell: InterpolationCell, context: Context) -> Outcome:
    """Draw the data sets."""
    rng = generator(cell)
    found = np.array([smallest_constant(cell, rng) for _ in range(cell.draws)])
    return outcome(probe_rows("lipschitz", [geometric_mean(found)]), flops=cost(cell).flops)


def cost(cell: InterpolationCell) -> Cost:
    """A dozen matchings, or all pairs."""
    smooth = cell.labels == "smooth"
    each = 3e-8 * cell.samples**2 if smooth else (1e-5 if cell.missed else 1.5e-6) * cell.samples
    return Cost(1e9 * each * cell.draws, (1e-3 + each) * cell.draws, 2e8 + (8.0 * cell.samples**2 if smooth else 0))


EXPERIMENTS.register("robust_interpolation")(
    Experiment(
        summary="Smallest Lipschitz constant of any function that fits all, or most, of the noisy labels",
        stage="sample",
        cell=InterpolationCell,
        cost=cost,
        run=run,
        example=probe_example(
            "lipschitz", {"width": 2, "draws": 16}, {"samples": [50, 100, 200, 400]}, along="samples", predicted=1
        ),
    )
)
