"""How far the output of a random Gaussian network is from a Gaussian, by Rao–Blackwellization.

Given the last hidden layer the output is normal with variance S_ℓ (random_network), so that its law is the scale
mixture E Φ(x/√S_ℓ). Averaging that conditional law, instead of counting sampled outputs, leaves an error of the order
of the distance itself over √draws, where counting leaves 1/√draws. The Gaussian of comparison has the sample's mean
variance: the term of first order in S − E S then cancels, and with it nearly all noise.

With v = Var(S)/(E S)², a Taylor expansion in S (or the Edgeworth expansion with excess kurtosis 3v; Feller, An
Introduction to Probability Theory II, XVI.2) gives E Φ(x√(E S)/√S) − Φ(x) = (v/8)(3x − x³) φ(x) + …, hence distances
in proportion to v (fitting.closed_forms_networks). v falls like 1/n at fixed depth: Favaro, Hanin, Marinucci, Nourdin
and Peccati, Quantitative CLTs in deep neural networks (2023).

Channels: two inputs at 60° and the derivative at the first along an orthogonal direction. Probes at layer ℓ = number
of hidden layers below the output: `ks`, `wasserstein` of the first input's output, `ks_derivative`, `ks_joint` (the
Kolmogorov distance of a·(f(x₁), f(x₂)) in the direction a where it is largest: a lower bound of the convex distance),
`norm_var_relative`.
"""

import math
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.random_network import (
    ACTIVATIONS,
    chunks,
    covariance,
    features_and_tangent,
    generator,
    preactivations,
)
from muster.sampling.tables import Estimate, Moments, outcome, probe_rows

WEIGHT_VARIANCE = {"relu": 2.0, "tanh": 1.0}  # critical: C_W = 1/E φ'² at small preactivations
FIRST_COVARIANCE = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
GRID = 0.06 * np.arange(1, 101)  # x in standard deviations: the law is symmetric
ANGLES = np.pi * np.arange(32) / 32
DIRECTIONS = np.stack([np.cos(ANGLES), np.sin(ANGLES)])
SECONDS_PER_UNIT = 6e-8
SECONDS_PER_POINT = 2.5e-8


class OutputLawCell(Cell):
    """One width of a random network, with every depth up to `depth` hidden layers."""

    free_names: ClassVar[tuple[str, ...]] = ("activation",)  # its own two, not those of trained networks

    activation: Literal["relu", "tanh"] = Field("relu", description="relu (weight variance 2/n) or tanh (1/n)")
    draws: int = Field(10_000, ge=100, le=10**5, description="Random networks sampled")


def sample_covariances(cell: OutputLawCell, rng: np.random.Generator) -> NDArray[np.float64]:
    """S_ℓ [depth, draws, 3, 3] of independent networks."""
    activation, weight_variance = ACTIVATIONS[cell.activation], WEIGHT_VARIANCE[cell.activation]
    parts = []
    for count in chunks(cell.draws, 3 * cell.width):
        layers = [np.broadcast_to(FIRST_COVARIANCE, (count, 3, 3))]
        for _ in range(cell.depth):
            z = preactivations(layers[-1], cell.width, rng)
            layers.append(covariance(features_and_tangent(activation, z), weight_variance))
        parts.append(np.stack(layers[1:]))
    return np.concatenate(parts, axis=1)


def distances(variances_D: NDArray[np.float64]) -> tuple[Estimate, Estimate]:
    """Kolmogorov and Wasserstein-1 distance (in standard deviations) of the mixture of N(0, S), S over the draws,
    from the normal law of the same variance.

    The se follow from the influence of a draw s = S/E S: Φ(x/√s) + ½ x φ(x) (s − 1), the second term because E S is
    the draws' own mean. At the maximum the derivative in x vanishes, so that the choice of x adds no error of first
    order.
    """
    from scipy.special import ndtr

    share = variances_D / variances_D.mean()
    with np.errstate(divide="ignore"):  # a dead network's output is 0: its distribution function is 1 at x > 0
        conditional_XxD = ndtr(GRID[:, None] / np.sqrt(share))
    gap_X = conditional_XxD.mean(axis=1) - ndtr(GRID)
    density_X = np.exp(-0.5 * GRID**2) / math.sqrt(2 * math.pi)
    conditional_XxD += (0.5 * GRID * density_X)[:, None] * (share - 1)
    top, step, root = int(np.abs(gap_X).argmax()), GRID[1] - GRID[0], math.sqrt(len(share))
    of_area_D = 2 * step * np.sign(gap_X) @ conditional_XxD
    return (
        Estimate(float(np.abs(gap_X[top])), float(conditional_XxD[top].std(ddof=1) / root)),
        Estimate(float(2 * step * np.abs(gap_X).sum()), float(of_area_D.std(ddof=1) / root)),
    )


def joint_distance(covariances_Dx2x2: NDArray[np.float64]) -> Estimate:
    """Kolmogorov distance of a·f, normal with variance aᵀ S a given S, in the direction a of the largest relative
    variance of aᵀ S a: to first order, the direction of the largest distance."""
    variances_AxD = np.einsum("ia,dij,ja->ad", DIRECTIONS, covariances_Dx2x2, DIRECTIONS)
    relative_A = variances_AxD.var(axis=1) / variances_AxD.mean(axis=1) ** 2
    return distances(variances_AxD[relative_A.argmax()])[0]


def cost(cell: OutputLawCell) -> Cost:
    """Normal numbers, then the mixtures on the grid."""
    units, points = 3 * cell.draws * cell.width * cell.depth, 4 * cell.draws * cell.depth * len(GRID)
    return Cost(10.0 * units + 10.0 * points, SECONDS_PER_UNIT * units / 3 + SECONDS_PER_POINT * points, 3e8)


def run(cell: OutputLawCell, context: Context) -> Outcome:
    """Sample the covariances and hold the outputs' law against the normal one."""
    rng = generator(cell)
    probes: dict[str, list[Estimate]] = {
        name: [] for name in ("ks", "ks_derivative", "ks_joint", "norm_var_relative", "wasserstein")
    }
    for layer in sample_covariances(cell, rng):
        kolmogorov, wasserstein = distances(layer[:, 0, 0])
        moments = Moments()
        moments.add(layer[:, 0, 0])
        probes["ks"].append(kolmogorov)
        probes["wasserstein"].append(wasserstein)
        probes["ks_derivative"].append(distances(layer[:, 2, 2])[0])
        probes["ks_joint"].append(joint_distance(layer[:, :2, :2]))
        probes["norm_var_relative"].append(moments.relative_variance())
    rows = [row for probe, values in probes.items() for row in probe_rows(probe, values)]
    return outcome(rows, flops=cost(cell).flops)


EXPERIMENTS.register("output_law")(
    Experiment(
        summary="Distance of a random network's output from a Gaussian, from its exact conditional law",
        stage="sample",
        cell=OutputLawCell,
        cost=cost,
        run=run,
        example=probe_example(
            "norm_var_relative",
            {"activation": "relu", "depth": 2, "draws": 20_000},
            {"width": [32, 64, 128, 256]},
            select={"layer": 2},
            smoke={"draws": 500},
            predicted=-1,
        ),
    )
)
