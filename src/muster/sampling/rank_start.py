"""How much a network's tangent kernel changes in training, against the rank of its first weights.

f(x) = a·φ(W x) of n = `width` hidden units, less its output at the start, learns y = β·x, |β| = `strength`, from
`samples` normal inputs of d = `features` entries, by gradient descent on the mean squared error in both layers until
that is STOP of the start's: kernels are compared at equal loss, not at equal time. W₀ has r = `rank` equal singular
values s, the others are 0, and random singular vectors; `aligned`, one right singular vector is β/|β|. `norm` says what
rank leaves alone: the Frobenius norm |W₀| = ½√n (frobenius), or s, at its value for r = d (spectral). |a₀| = ½, a₀
random. Y. H. Liu, A. Baratin, J. Cornford, S. Mihalas, E. Shea-Brown and G. Lajoie, How connectivity structure shapes
rich and lazy learning in neural circuits (2023). Probes, geometric means over `draws`, of the tangent kernel K on the
training inputs: `kernel_angle`, 1 − cos(K₀, K); `kernel_change`, |K − K₀|/|K₀| (Frobenius).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import ACTIVATIONS, Activation, generator
from muster.sampling.sketching import orthonormal
from muster.sampling.tables import outcome, probe_rows

Array = NDArray[np.floating]
SIZE, READOUT, STOP = 0.5, 0.5, 0.02
RATE, STEPS = 0.02, 20_000
KINDS = {**ACTIVATIONS, "identity": Activation(lambda z: z, np.ones_like)}


class RankStartCell(Cell):
    """One rank and kind of first weights."""

    rank: int = Field(ge=1, le=1000, description="r, singular values of the first weights that are not 0")
    aligned: bool = Field(False, description="Whether one right singular vector is the target's direction")
    norm: Literal["frobenius", "spectral"] = Field("frobenius", description="What of the weights rank leaves alone")
    activation: Literal["identity", "relu", "tanh"] = Field("identity", description="φ")
    strength: float = Field(4.0, gt=0, le=100, description="|β|, standard deviation of the targets")
    features: int = Field(16, ge=1, le=1000, description="Dimension d of the inputs")
    samples: int = Field(48, ge=2, le=10**4, description="Training inputs")
    draws: int = Field(32, ge=2, le=10**5, description="Independent data and networks")

    @model_validator(mode="after")
    def _rank_exists(self) -> "RankStartCell":
        if self.rank > min(self.features, self.width):
            raise ValueError(f"rank {self.rank} of a matrix of {self.width} by {self.features}")
        return self


def first_weights(cell: RankStartCell, target: Array, rng: np.random.Generator) -> Array:
    """W₀ [D, n, d] for targets β [D, d]."""
    left = orthonormal(rng, cell.draws, cell.rank, cell.width)
    vectors = rng.standard_normal((cell.draws, cell.features, cell.rank))
    if cell.aligned:
        vectors[:, :, 0] = target  # the first column that QR makes orthonormal
    right = np.linalg.qr(vectors)[0]
    size = SIZE * (cell.width / (cell.rank if cell.norm == "frobenius" else cell.features)) ** 0.5
    return np.asarray(size * left.swapaxes(1, 2) @ right.swapaxes(1, 2))


def tangent_kernel(weights: Array, readout: Array, x: Array, activation: Activation) -> Array:
    """K [D, P, P]: inner products of the outputs' derivatives by all weights W [D, n, d], a [D, n]."""
    z = x @ weights.swapaxes(1, 2)
    hidden, back = activation.value(z), activation.slope(z) * readout[:, None]
    return np.asarray(hidden @ hidden.swapaxes(1, 2) + (back @ back.swapaxes(1, 2)) * (x @ x.swapaxes(1, 2)))


def train(weights: Array, readout: Array, x: Array, y: Array, activation: Activation) -> tuple[Array, Array]:
    """W and a when the loss is STOP of the first, each draw by itself."""
    count = x.shape[1]
    start = activation.value(x @ weights.swapaxes(1, 2)) @ readout[:, :, None]
    for _ in range(STEPS):
        z = x @ weights.swapaxes(1, 2)
        hidden = activation.value(z)
        residual = (hidden @ readout[:, :, None] - start)[:, :, 0] - y
        going = np.square(residual).sum(axis=1) > STOP * np.square(y).sum(axis=1)
        if not going.any():
            break
        pull = RATE / count * np.where(going[:, None], residual, 0)
        back = activation.slope(z) * readout[:, None] * pull[:, :, None]
        readout = readout - (pull[:, None] @ hidden)[:, 0]
        weights = weights - back.swapaxes(1, 2) @ x
    return weights, readout


def run(cell: RankStartCell, context: Context) -> Outcome:
    """Train the networks and compare their kernels."""
    rng, activation = generator(cell), KINDS[cell.activation]
    x = rng.standard_normal((cell.draws, cell.samples, cell.features))
    target = rng.standard_normal((cell.draws, cell.features))
    target *= cell.strength / np.linalg.norm(target, axis=1, keepdims=True)
    readout = rng.standard_normal((cell.draws, cell.width))
    readout *= READOUT / np.linalg.norm(readout, axis=1, keepdims=True)
    weights, y = first_weights(cell, target, rng), (x @ target[:, :, None])[:, :, 0]
    before = tangent_kernel(weights, readout, x, activation)
    after = tangent_kernel(*train(weights, readout, x, y, activation), x, activation)
    norms = [np.sqrt(np.square(kernel).sum(axis=(1, 2))) for kernel in (before, after, after - before)]
    cosine = (before * after).sum(axis=(1, 2)) / (norms[0] * norms[1])
    rows = probe_rows("kernel_angle", [geometric_mean(1 - cosine)])
    rows += probe_rows("kernel_change", [geometric_mean(norms[2] / norms[0])])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: RankStartCell) -> Cost:
    """Some hundred steps of gradient descent."""
    numbers = float(cell.draws) * cell.samples * cell.width
    flops = 400 * 6 * numbers * cell.features
    return Cost(flops, 3e-10 * flops + 400 * (1e-4 + 1e-9 * numbers), 2e8 + 64 * numbers)


EXPERIMENTS.register("rank_start")(
    Experiment(
        summary="Change of the tangent kernel in training against the rank of the first weights",
        stage="sample",
        cell=RankStartCell,
        cost=cost,
        run=run,
        example=probe_example(
            "kernel_angle",
            {"width": 32, "features": 8, "samples": 24, "draws": 8},
            {"rank": [1, 2, 4, 8]},
            along="rank",
            smoke={"draws": 2},
        ),
    )
)
