"""The Hessian of a network that fits its data: how many of its eigenvalues are not zero?

n = `samples` inputs of d = `features` entries and C = `outputs` targets, all standard normal; a network of h = `width`
tanh units without biases, N = h (d + C) parameters; the loss is half the squared residual, a mean over inputs and a sum
over targets. Gradient descent takes it to EARLY of the targets' own square, Levenberg–Marquardt steps then to EXACT of
it. Its Hessian is (JᵀJ + Σ r ∂²f)/n, J the Jacobian of the nC outputs f and r the residuals: without residuals its rank
is that of J, nC at most. L. Sagun, L. Bottou and Y. LeCun, Eigenvalues of the Hessian in deep learning: singularity and
beyond (2016). Probes, geometric means over `draws`, of the absolute eigenvalues: `nonzero`, how many exceed ZERO of the
largest; `gap`, the nC-th over the next; `eigenvalue` (layer = rank). `early_nonzero`, `early_large`: how many exceed
ZERO and LARGE of the largest at the loss EARLY; `early_eigenvalue`.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.tables import Row, outcome, probe_rows

Array = NDArray[np.float64]
EARLY, EXACT = 1e-3, 1e-24
ZERO, LARGE = 1e-8, 1e-2
TINY = 1e-18  # of the largest eigenvalue: below what a double holds of a sum
RATE, MOMENTUM, STEPS, SOLVES = 0.02, 0.9, 20_000, 200
RANKS = 128


class InterpolationHessianCell(Cell):
    """One size of the network and of the data."""

    samples: int = Field(10, ge=1, le=10**4, description="Training inputs n")
    features: int = Field(10, ge=1, le=10**3, description="Dimension d of the inputs")
    outputs: int = Field(3, ge=1, le=100, description="Targets C of every input")
    draws: int = Field(16, ge=2, le=10**4, description="Data sets, and networks trained on them")

    @property
    def parameters(self) -> int:
        """Weights."""
        return self.width * (self.features + self.outputs)

    @model_validator(mode="after")
    def _fits(self) -> "InterpolationHessianCell":
        if self.parameters <= self.samples * self.outputs:
            raise ValueError(f"{self.parameters} parameters cannot fit {self.samples * self.outputs} targets exactly")
        return self


def layers(weights: Array, x: Array) -> tuple[Array, Array, Array]:
    """Hidden units [D, n, h], their slopes and outputs [D, n, C]; weights [D, h, d + C] hold each unit's together."""
    inner, outer = np.split(weights, [x.shape[2]], axis=2)
    hidden = np.tanh(x @ inner.swapaxes(1, 2))
    return hidden, 1 - hidden**2, hidden @ outer


def jacobian(weights: Array, x: Array) -> Array:
    """J [D, n C, N]: derivatives of all outputs by all weights."""
    draws, n, d = x.shape
    outer = weights[:, :, d:]
    hidden, slope, outputs = layers(weights, x)
    first = np.einsum("Dhc,Dih,Did->Dichd", outer, slope, x)
    second = np.einsum("Dih,ce->Diche", hidden, np.eye(outputs.shape[2]))
    return np.concatenate([first, second], axis=-1).reshape(draws, n * outputs.shape[2], -1)


def hessian(weights: Array, x: Array, residual: Array) -> Array:
    """Hessians [D, N, N]; a unit's output is bent by no other unit's weights."""
    draws, n, d = x.shape
    units, size = weights.shape[1:]
    outer, (hidden, slope, _) = weights[:, :, d:], layers(weights, x)
    own = np.zeros((draws, units, size, size))
    bent = residual @ outer.swapaxes(1, 2) * -2 * hidden * slope
    own[:, :, :d, :d] = np.einsum("Dih,Did,Die->Dhde", bent, x, x)
    own[:, :, :d, d:] = np.einsum("Dic,Dih,Did->Dhdc", residual, slope, x)
    own[:, :, d:, :d] = own[:, :, :d, d:].swapaxes(2, 3)
    j = jacobian(weights, x)
    found = (j.swapaxes(1, 2) @ j).reshape(draws, units, size, units, size)
    each = np.arange(units)
    found[:, each, :, each] += own.swapaxes(0, 1)
    return np.asarray(found.reshape(draws, units * size, -1) / n)


def descend(weights: Array, x: Array, y: Array) -> Array:
    """Weights where gradient descent with momentum first has a loss of EARLY, each draw by itself."""
    velocity, d = np.zeros_like(weights), x.shape[2]
    for _ in range(STEPS):
        hidden, slope, outputs = layers(weights, x)
        residual = (outputs - y) / x.shape[1]
        going = np.square(outputs - y).sum(axis=(1, 2)) > EARLY * np.square(y).sum(axis=(1, 2))
        if not going.any():
            break
        back = residual @ weights[:, :, d:].swapaxes(1, 2) * slope
        gradient = np.concatenate([back.swapaxes(1, 2) @ x, hidden.swapaxes(1, 2) @ residual], axis=2)
        velocity = MOMENTUM * velocity - RATE * gradient
        weights = weights + going[:, None, None] * velocity
    return weights


def solve(weights: Array, x: Array, y: Array) -> Array:
    """Weights of a loss of EXACT at most, by steps −Jᵀ(JJᵀ + μ)⁻¹ r whose μ falls while the loss does."""
    draws, total = len(x), np.square(y).sum(axis=(1, 2))
    damping = np.ones((draws, 1, 1))
    residual = layers(weights, x)[2] - y
    for _ in range(SOLVES):
        loss = np.square(residual).sum(axis=(1, 2))
        if (loss <= EXACT * total).all():
            break
        j = jacobian(weights, x)
        gram = j @ j.swapaxes(1, 2) + damping * np.eye(j.shape[1])
        step = j.swapaxes(1, 2) @ np.linalg.solve(gram, residual.reshape(draws, -1, 1))
        moved = weights - step.reshape(weights.shape)
        after = layers(moved, x)[2] - y
        better = (np.square(after).sum(axis=(1, 2)) < loss)[:, None, None]
        weights, residual = np.where(better, moved, weights), np.where(better, after, residual)
        damping = np.where(better, damping / 10, damping * 4)
    return weights


def run(cell: InterpolationHessianCell, context: Context) -> Outcome:
    """Train the networks and take the eigenvalues of their Hessians twice."""
    rng, d = generator(cell), cell.features
    x = rng.standard_normal((cell.draws, cell.samples, d))
    y = rng.standard_normal((cell.draws, cell.samples, cell.outputs))
    scale = np.repeat([d, cell.width], [d, cell.outputs]) ** -0.5
    early = descend(scale * rng.standard_normal((cell.draws, cell.width, d + cell.outputs)), x, y)
    rows: list[Row] = []
    for prefix, weights in (("early_", early), ("", solve(early, x, y))):
        each = hessian(weights, x, layers(weights, x)[2] - y)
        sizes = np.array([np.sort(np.abs(np.linalg.eigvalsh(h)))[::-1] for h in each])
        sizes = np.maximum(sizes, TINY * sizes[:, :1])
        shares = sizes / sizes[:, :1]
        rows += probe_rows(f"{prefix}eigenvalue", [geometric_mean(column) for column in sizes[:, :RANKS].T])
        rows += probe_rows(f"{prefix}nonzero", [geometric_mean((shares > ZERO).sum(axis=1))])
        if prefix:
            rows += probe_rows(f"{prefix}large", [geometric_mean((shares > LARGE).sum(axis=1))])
        else:
            last = cell.samples * cell.outputs
            rows += probe_rows("gap", [geometric_mean(sizes[:, last - 1] / sizes[:, last])])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: InterpolationHessianCell) -> Cost:
    """Eigenvalues of two Hessians, some tens of solves, a thousand steps of descent."""
    n, targets = float(cell.parameters), float(cell.samples * cell.outputs)
    eigenvalues, solves = 2 * 1.4 * n**3, 30 * 4 * n * targets**2
    steps = 1000 * 6.0 * cell.samples * n
    flops = cell.draws * (eigenvalues + solves + steps)
    seconds = cell.draws * (1.5e-10 * eigenvalues + 3e-10 * solves + 1e-9 * steps + 0.01)
    return Cost(flops, seconds, 2e8 + cell.draws * 32 * n**2)


EXPERIMENTS.register("interpolation_hessian")(
    Experiment(
        summary="Eigenvalues of the Hessian of a small network that fits all its targets",
        stage="sample",
        cell=InterpolationHessianCell,
        cost=cost,
        run=run,
        example=probe_example("nonzero", {"samples": 5, "draws": 4}, {"width": [8, 12, 16, 24]}, smoke={"draws": 2}),
    )
)
