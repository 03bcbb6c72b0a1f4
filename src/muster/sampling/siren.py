"""Sine networks with uniform weights at initialization.

V. Sitzmann, J. Martel, A. Bergman, D. Lindell and G. Wetzstein, Implicit neural representations with periodic
activation functions (2020), draw weights from U(−√(6/n), √(6/n)), of variance 2/n, so that inputs with the arcsine
law on [−1, 1] (variance ½) give preactivations of variance 1, and hold that sines and preactivations then keep the
arcsine law and N(0, 1) at every layer. The frequency ω₀ that the authors put into the sine divides their hidden
weights, so that only the first layer's law depends on it.

A sine of a normal number is not quite arcsine: E sin²(√K g) = (1 − e^(−2K))/2. At infinite width the variance of the
preactivations therefore follows K_{ℓ+1} = 1 − e^(−2 K_ℓ) from K_1 = 1, and tends to 0.797.

The first hidden features are independent draws of the arcsine law, as sin(ω₀ x) over a wide input. Probes at layer ℓ,
over the draws: `preactivation_var`; `sine_var`, the mean square of the sines; `ks_normal`, the Kolmogorov–Smirnov
distance of the pooled preactivations from N(0, 1); `ks_arcsine`, that of the sines from the arcsine law. The
distances are taken at the layers 1, 2, 4, 8 …; their se is a delete-a-group jackknife over draws, and a distance
below 1/√(draws × width) is noise.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws
from muster.sampling.random_network import chunks, generator
from muster.sampling.tables import Estimate, outcome, probe_rows

GROUPS = 8  # groups of draws that the jackknife leaves out in turn
SECONDS_PER_WEIGHT = 4e-9
SECONDS_PER_POINT = 1.5e-7


class SirenCell(Cell):
    """One width of a random sine network, with every layer up to `depth`."""

    units: int = Field(
        16384, ge=1024, le=10**7, description="Preactivations sampled per layer: draws = units / width, at least 8"
    )

    @property
    def draws(self) -> int:
        return max(GROUPS, self.units // self.width)


def sample_preactivations(cell: SirenCell, rng: np.random.Generator) -> NDArray[np.float32]:
    """z_ℓ [depth, draws, width] of independent networks."""
    bound, parts = np.float32(np.sqrt(6 / cell.width)), []
    for count in chunks(cell.draws, cell.width**2):
        h = np.sin(np.pi * (rng.random((count, cell.width), dtype=np.float32) - np.float32(0.5)))
        layers = []
        for _ in range(cell.depth):
            weights = rng.random((count, cell.width, cell.width), dtype=np.float32)
            weights -= np.float32(0.5)
            layers.append(2 * bound * np.einsum("dij,dj->di", weights, h))
            h = np.sin(layers[-1])
        parts.append(np.stack(layers))
    return np.concatenate(parts, axis=1)


def normal_cdf(x: NDArray[np.floating]) -> NDArray[np.floating]:
    from scipy.special import ndtr

    return np.asarray(ndtr(x))


def arcsine_cdf(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Law of sin(π u), u ~ U(−½, ½)."""
    return 0.5 + np.arcsin(np.clip(x, -1, 1)) / np.pi


def kolmogorov(points: NDArray[np.floating], cdf: Callable[[NDArray[np.floating]], NDArray[np.floating]]) -> float:
    """Kolmogorov–Smirnov distance of the empirical law of all points from a continuous one."""
    from scipy import stats

    return float(stats.ks_1samp(points.ravel(), cdf, method="asymp").statistic)


def distance(values_DxN: NDArray[np.floating], cdf: Callable[[NDArray[np.floating]], NDArray[np.floating]]) -> Estimate:
    """Distance of the pooled values, se by leaving out one of GROUPS groups of draws at a time."""
    held_out = np.arange(len(values_DxN)) % GROUPS
    partial = np.array([kolmogorov(values_DxN[held_out != group], cdf) for group in range(GROUPS)])
    se = float(np.sqrt((GROUPS - 1) / GROUPS * np.square(partial - partial.mean()).sum()))
    return Estimate(kolmogorov(values_DxN, cdf), se)


def cost(cell: SirenCell) -> Cost:
    """Weights, then the distances, which sort the units."""
    weights = 1.0 * cell.draws * cell.width**2 * cell.depth
    points = 1.0 * cell.draws * cell.width * cell.depth.bit_length() * 2 * (GROUPS + 1)
    return Cost(2 * weights, SECONDS_PER_WEIGHT * weights + SECONDS_PER_POINT * points, 2e8)


def run(cell: SirenCell, context: Context) -> Outcome:
    """Sample the networks."""
    z = sample_preactivations(cell, generator(cell)).astype(np.float64)
    sines = np.sin(z)
    rows = probe_rows("preactivation_var", [mean_over_draws(np.square(layer).mean(axis=1)) for layer in z])
    rows += probe_rows("sine_var", [mean_over_draws(np.square(layer).mean(axis=1)) for layer in sines])
    for layer in (2**k for k in range(cell.depth.bit_length())):
        rows.append((0, "ks_normal", layer, *distance(z[layer - 1], normal_cdf)))
        rows.append((0, "ks_arcsine", layer, *distance(sines[layer - 1], arcsine_cdf)))
    return outcome(rows, flops=cost(cell).flops)


EXPERIMENTS.register("siren")(
    Experiment(
        summary="Preactivations and sines of random SIREN networks, layer by layer",
        stage="sample",
        cell=SirenCell,
        cost=cost,
        run=run,
        example=probe_example(
            "preactivation_var",
            {"depth": 8, "units": 16_384},
            {"width": [16, 32, 64, 128]},
            select={"layer": 8},
            smoke={"units": 2048},
        ),
    )
)
