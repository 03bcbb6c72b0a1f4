"""Signal and gradient propagation in random Gaussian networks: kernel, tangent kernel and neural tangent kernel.

With C_W the weight variance and the network fed one input of variance S_0 (`input_variance`; preactivations z_1 ~
N(0, S_0)), D. Roberts, S. Yaida and B. Hanin, The Principles of Deep Learning Theory (2021), chapters 3, 5 and 8,
study

- the kernel K_ℓ = E S_ℓ: at infinite width K_ℓ = C_W E φ(√K_{ℓ−1} g)²;
- the kernel of a derivative along an orthogonal direction, which grows by χ⊥(K) = C_W E φ'(√K g)² a layer;
- the neural tangent kernel Θ of an output, here with the derivatives by weights of unit variance (NTK
  parameterization): Θ = Σ_k S_{k−1} ‖∂f/∂z_k‖², k from 1 to the output's own layer, with S_k as in random_network.

The NTK needs the backward pass, and still no matrix: given the forward pass, W_k maps h_{k−1} to z_k and is free
otherwise, so that W_kᵀ δ = h_{k−1} (z_k·δ)/‖h_{k−1}‖² + √(C_W/n) ‖δ‖ P g, with P the projection orthogonal to h_{k−1}
and g standard normal. This holds at every width, as δ depends on W_k through z_k alone (E. Bolthausen, An iterative
construction of solutions of the TAP equations, 2014).

Probes, `quantity: kernel`, at layer ℓ: `kernel`, `kernel_factor` (K_ℓ/K_{ℓ−1}), `tangent_kernel`, `tangent_factor`
(χ⊥ of that layer). `quantity: ntk`, at the layers 2, 3, 4, 6 … up to depth + 1, each taken as the output of a network
with that many weight matrices: `ntk_mean` and `ntk_log_var`, the variance of ln Θ over the draws that are not dead:
for ReLU, Θ is nearly log-normal with a variance that grows with ℓ/n, and the sample variance of Θ itself would miss
the rare draws that carry it.
"""

import itertools
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws, ratio_of_means, variance_over_draws
from muster.sampling.random_network import (
    ACTIVATIONS,
    Array,
    chunks,
    covariance,
    features_and_tangent,
    generator,
    preactivations,
)
from muster.sampling.tables import Row, outcome, probe_rows

SECONDS_PER_UNIT = 3e-8


class SignalCell(Cell):
    """One width, depth and weight variance of a random network."""

    free_names: ClassVar[tuple[str, ...]] = ("activation",)  # its own two, not those of trained networks

    activation: Literal["relu", "tanh"] = Field("tanh", description="Nonlinearity of every hidden layer")
    weight_variance: float = Field(1.0, gt=0, le=100, description="C_W: fan-in times the variance of a weight")
    input_variance: float = Field(1.0, gt=0, le=1e6, description="S_0: variance of the first preactivations")
    quantity: Literal["kernel", "ntk"] = Field("kernel", description="Forward kernels at every layer, or the NTK")
    draws: int = Field(1000, ge=100, le=10**6, description="Random networks sampled")


def sample_kernels(cell: SignalCell, rng: np.random.Generator) -> NDArray[np.float64]:
    """S_ℓ of the input and of the derivative, ℓ = 0 … depth: [2, depth + 1, draws]."""
    activation, parts = ACTIVATIONS[cell.activation], []
    for count in chunks(cell.draws, 2 * cell.width):
        layers = [np.broadcast_to(np.diag([cell.input_variance, 1.0]), (count, 2, 2))]
        for _ in range(cell.depth):
            z = preactivations(layers[-1], cell.width, rng)
            layers.append(covariance(features_and_tangent(activation, z), cell.weight_variance))
        parts.append(np.stack([[layer[:, i, i] for layer in layers] for i in range(2)]))
    return np.concatenate(parts, axis=2)


def _forward(
    cell: SignalCell, count: int, rng: np.random.Generator
) -> tuple[list[Array], list[Array], NDArray[np.float64]]:
    """z_k and h_k [count, n] of every hidden layer, and S_0 … S_depth [depth + 1, count]."""
    activation, norms = ACTIVATIONS[cell.activation], [np.full(count, cell.input_variance)]
    zs, hs = [], []
    for _ in range(cell.depth):
        zs.append(preactivations(norms[-1][:, None, None], cell.width, rng)[:, 0])
        hs.append(activation.value(zs[-1]))
        norms.append(covariance(hs[-1][:, None], cell.weight_variance)[:, 0, 0])
    return zs, hs, np.array(norms)


def output_layers(depth: int) -> list[int]:
    """The layers 2, 3, 4, 6, 8, 11 … up to depth + 1: each is the output of a network with one hidden layer less."""
    half_octaves = (round(2 ** (k / 2)) for k in itertools.count(2))
    return list(itertools.takewhile(lambda layer: layer <= depth + 1, half_octaves))


def sample_ntk(cell: SignalCell, rng: np.random.Generator) -> NDArray[np.float64]:
    """Θ of one output at each of the `output_layers`: [layers, draws]. They share the forward pass."""
    parts = []
    for count in chunks(cell.draws, 2 * cell.width * cell.depth):
        zs, hs, norms = _forward(cell, count, rng)
        parts.append([_ntk(cell, zs[: top - 1], hs[: top - 1], norms[:top], rng) for top in output_layers(cell.depth)])
    return np.concatenate([np.array(part) for part in parts], axis=1)


def _ntk(
    cell: SignalCell, zs: list[Array], hs: list[Array], norms: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Θ of one output above the given hidden layers: [draws]."""
    slope, spread = ACTIVATIONS[cell.activation].slope, cell.weight_variance / cell.width
    z_above = preactivations(norms[-1][:, None, None], 1, rng)[:, 0]
    delta = np.ones_like(z_above)
    ntk = norms[-1].copy()
    for z, h, norm in zip(zs[::-1], hs[::-1], norms[-2::-1], strict=True):
        fresh = rng.standard_normal(h.shape, dtype=np.float32)
        length = np.maximum(np.square(h).sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        fresh -= h * ((h * fresh).sum(axis=1, keepdims=True) / length)
        fresh *= np.sqrt(spread * np.square(delta).sum(axis=1, keepdims=True))
        back = h * ((z_above * delta).sum(axis=1, keepdims=True) / length) + fresh
        z_above, delta = z, slope(z) * back
        ntk += norm * np.square(delta).sum(axis=1)
    return ntk


def _kernel_rows(cell: SignalCell, rng: np.random.Generator) -> list[Row]:
    rows: list[Row] = []
    for name, norms in zip(("kernel", "tangent"), sample_kernels(cell, rng), strict=True):
        factors = [ratio_of_means(after, before) for before, after in itertools.pairwise(norms)]
        level = "kernel" if name == "kernel" else "tangent_kernel"
        rows += probe_rows(level, [mean_over_draws(norm) for norm in norms[1:]]) + probe_rows(f"{name}_factor", factors)
    return rows


def _ntk_rows(cell: SignalCell, rng: np.random.Generator) -> list[Row]:
    rows: list[Row] = []
    for layer, ntk in zip(output_layers(cell.depth), sample_ntk(cell, rng), strict=True):
        rows.append((0, "ntk_mean", layer, *mean_over_draws(ntk)))
        rows.append((0, "ntk_log_var", layer, *variance_over_draws(np.log(ntk[ntk > 0]))))
    return rows


QUANTITIES = {"kernel": _kernel_rows, "ntk": _ntk_rows}


def cost(cell: SignalCell) -> Cost:
    """Two channels a layer, or a forward pass and backward passes over about 3.4 times the depth."""
    units = {"kernel": 2.0, "ntk": 4.4}[cell.quantity] * cell.draws * cell.width * cell.depth
    return Cost(10.0 * units, SECONDS_PER_UNIT * units, 2e8)


def run(cell: SignalCell, context: Context) -> Outcome:
    """Sample the networks."""
    rows = QUANTITIES[cell.quantity](cell, generator(cell))
    return outcome(rows, flops=cost(cell).flops)


EXPERIMENTS.register("signal_propagation")(
    Experiment(
        summary="Kernels and neural tangent kernels of random Gaussian networks, sampled without matrices",
        stage="sample",
        cell=SignalCell,
        cost=cost,
        run=run,
        example=probe_example(
            "kernel",
            {"activation": "tanh", "weight_variance": 1.0, "quantity": "kernel", "depth": 64, "draws": 1000},
            {"width": 256},
            along="layer",
            select={"layer": [16, 32, 64]},
            smoke={"draws": 100},
            predicted=-1,
        ),
    )
)
