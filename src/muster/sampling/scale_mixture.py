"""Random ReLU networks whose readout has one random variance: heavy-tailed outputs.

One hidden layer of n = `width` units, weight variance 2 over fan-in, one input of unit mean square. Given S = (2/n) Σ
relu(z)², z ~ N(0, 1), and the readout's variance v, the output is N(0, v S). With v inverse-gamma(a, a), a = `shape`,
it is given S exactly Student t with 2a degrees of freedom times √S, and t as n → ∞, E S = 1; H. Lee, E. Yun, H. Yang
and J. Lee, Scale mixtures of neural network Gaussian processes (2022). `readout` gaussian is the control: v = 1. Probes
over `draws` networks:
- `ks`: the largest distance of the output's distribution function from that of t with 2a degrees. The conditional law
  given S is averaged, as in output_law; the known E S = 1 takes out the term of first order in S − 1, and its noise;
- `hill`: the tail index by Hill's (1975) estimator from the `tail` share of largest |output|, sampled.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.random_network import chunks, generator
from muster.sampling.tables import Estimate, outcome, probe_rows

Array = NDArray[np.float64]
GRID = np.geomspace(0.02, 20, 90)  # x > 0: the law is symmetric


class ScaleMixtureCell(Cell):
    """One width of a random network."""

    readout: Literal["inverse_gamma", "gaussian"] = Field("inverse_gamma", description="Law of the readout's variance")
    shape: float = Field(1.5, gt=0.5, le=50, description="a; 2a is the tail index")
    draws: int = Field(40_000, ge=1000, le=10**8, description="Random networks whose conditional laws are averaged")
    outputs: int = Field(2_000_000, ge=1000, le=10**9, description="Networks whose output is sampled")
    tail: float = Field(5e-4, gt=0, le=0.1, description="Share of the outputs that the tail index is read from")


def readout_scales(cell: ScaleMixtureCell, count: int, rng: np.random.Generator) -> Array:
    """S of independent networks, [count]: a unit is active with probability ½, hence (2/n) χ²_M, M ~ Binomial(n, ½)."""
    active = rng.binomial(cell.width, 0.5, count)
    return np.asarray(4 / cell.width * rng.standard_gamma(active / 2), float)


def distance(cell: ScaleMixtureCell, scales: Array) -> Estimate:
    """sup |E F(x/√S) − T(x)| with F the law given S, T that of t; se of the mean at the x where it is largest.

    d/dS F(x/√S) at S = 1 is −½ x f(x): adding ½ x f(x) (S − 1), of mean 0, leaves the second order in S − 1.
    """
    from scipy import special, stats

    limit = special.stdtr(2 * cell.shape, GRID)
    if cell.readout == "inverse_gamma":
        slope, law = stats.t.pdf(GRID, 2 * cell.shape), lambda x: special.stdtr(2 * cell.shape, x)
    else:
        slope, law = stats.norm.pdf(GRID), special.ndtr
    control_X = 0.5 * GRID * slope
    total, squares = np.zeros_like(GRID), np.zeros_like(GRID)
    for start in range(0, len(scales), 10_000):
        some = scales[start : start + 10_000]
        with np.errstate(divide="ignore"):  # a dead network's output is 0
            given_XxD = law(GRID[:, None] / np.sqrt(some)) + control_X[:, None] * (some - 1)
        total += given_XxD.sum(axis=1)
        squares += np.square(given_XxD - limit[:, None]).sum(axis=1)
    gap = total / len(scales) - limit
    top = int(np.abs(gap).argmax())
    variance = max(float(squares[top] / len(scales) - gap[top] ** 2), 0.0)
    return Estimate(abs(float(gap[top])), math.sqrt(variance / len(scales)))


def hill(values: Array, tail: float) -> Estimate:
    """1/mean ln(x_i/x_(k)) over the k largest of |values|; relative error 1/√k (Hall 1982)."""
    k = max(2, round(tail * len(values)))
    largest = np.sort(np.abs(values))[-k - 1 :]
    index = 1 / float(np.log(largest[1:] / largest[0]).mean())
    return Estimate(index, index / math.sqrt(k))


def run(cell: ScaleMixtureCell, context: Context) -> Outcome:
    """Sample the networks."""
    rng = generator(cell)
    rows = probe_rows("ks", [distance(cell, readout_scales(cell, cell.draws, rng))])
    outputs = []
    for count in chunks(cell.outputs, 1):
        part = np.sqrt(readout_scales(cell, count, rng)) * rng.standard_normal(count)
        if cell.readout == "inverse_gamma":
            part *= np.sqrt(cell.shape / rng.standard_gamma(cell.shape, count))
        outputs.append(part)
    rows += probe_rows("hill", [hill(np.concatenate(outputs), cell.tail)])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: ScaleMixtureCell) -> Cost:
    """A distribution function for each draw and point, three random numbers an output."""
    points = float(cell.draws) * len(GRID)
    return Cost(points + cell.outputs, 2.5e-7 * points + 1.5e-7 * cell.outputs, 3e8)


EXPERIMENTS.register("scale_mixture")(
    Experiment(
        summary="Outputs of random networks of inverse-gamma readout variance: distance from Student t, tail index",
        stage="sample",
        cell=ScaleMixtureCell,
        cost=cost,
        run=run,
        example=probe_example(
            "ks", {"shape": 1.5, "draws": 20_000}, {"width": [16, 32, 64]}, smoke={"draws": 2000, "outputs": 10_000}
        ),
    )
)
