"""The Hessian of a small trained classifier: how many of its eigenvalues are large.

n = `samples` inputs in `features` dimensions, normal about k = `clusters` means of random directions and length
`separation`, one class a cluster. A network of `width` tanh units and a softmax is trained on cross-entropy with weight
decay DECAY to a minimum (L-BFGS); the Hessian of the cross-entropy alone is exact. Data do not depend on the width. L.
Sagun, U. Evci, V. U. Güney, Y. Dauphin and L. Bottou, Empirical analysis of the Hessian of over-parametrized neural
networks (2017). Probes, geometric means over networks: `eigenvalue` (layer = its rank, absolute values in descending
order); `large`, how many of them are in the upper of two groups; `loss`, the cross-entropy.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import optimize, special

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.tables import Row, outcome

Array = NDArray[np.float64]
DECAY = 1e-2
RANKS = 16
TINY = 1e-300  # of a softmax


class ClusterHessianCell(Cell):
    """One width and one number of clusters."""

    clusters: int = Field(4, ge=2, le=50, description="k, Gaussian clusters, each a class")
    features: int = Field(10, ge=1, le=100, description="Dimension of the inputs")
    separation: float = Field(3.0, gt=0, le=100, description="Distance of a cluster's mean from 0, over its sd")
    samples: int = Field(600, ge=10, le=10**4, description="Training inputs n")
    draws: int = Field(8, ge=2, le=10**4, description="Data sets, and networks trained on them")

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.width * (self.features + 1 + self.clusters) + self.clusters


def data(cell: ClusterHessianCell, rng: np.random.Generator) -> tuple[Array, Array]:
    """Inputs with a last column of ones [n, d + 1] and one-hot classes [n, k], as many of each as can be."""
    means = rng.standard_normal((cell.clusters, cell.features))
    means *= cell.separation / np.linalg.norm(means, axis=1, keepdims=True)
    which = np.arange(cell.samples) % cell.clusters
    x = means[which] + rng.standard_normal((cell.samples, cell.features))
    return np.hstack([x, np.ones((cell.samples, 1))]), np.eye(cell.clusters)[which]


def split(weights: Array, x: Array, classes: int) -> tuple[Array, Array]:
    """W [h, d + 1] and V [k, h + 1] of a vector that holds them one after the other."""
    units = (len(weights) - classes) // (x.shape[1] + classes)
    return weights[: units * x.shape[1]].reshape(units, -1), weights[units * x.shape[1] :].reshape(classes, -1)


def forward(weights: Array, x: Array, classes: int) -> tuple[Array, Array, Array]:
    """V without biases [k, h], hidden units with a last one [n, h + 1], softmax [n, k]."""
    inner, outer = split(weights, x, classes)
    hidden = np.hstack([np.tanh(x @ inner.T), np.ones((len(x), 1))])
    return outer[:, :-1], hidden, special.softmax(hidden @ outer.T, axis=1)


def objective(weights: Array, x: Array, y: Array, decay: float = DECAY) -> tuple[float, Array]:
    """Cross-entropy with weight decay, and its gradient."""
    outer, hidden, p = forward(weights, x, y.shape[1])
    residual = (p - y) / len(x)
    back = residual @ outer * (1 - hidden[:, :-1] ** 2)
    loss = -np.log((p * y).sum(axis=1) + TINY).mean() + decay / 2 * weights @ weights
    return float(loss), np.concatenate([(back.T @ x).ravel(), (residual.T @ hidden).ravel()]) + decay * weights


def hessian(weights: Array, x: Array, y: Array) -> Array:
    """Hessian of the cross-entropy [N, N]: the covariance under the softmax of the gradients J of the logits, and the
    residuals times the second derivatives of the logits."""
    n, k = y.shape
    outer, hidden, p = forward(weights, x, k)
    slope = 1 - hidden[:, :-1] ** 2
    first = np.einsum("ch,ih,id->ichd", outer, slope, x).reshape(n, k, -1)
    second = np.einsum("ce,ih->iceh", np.eye(k), hidden).reshape(n, k, -1)
    gradients = np.concatenate([first, second], axis=2)
    spread = np.sqrt(p)[..., None] * (gradients - np.einsum("ic,icN->iN", p, gradients)[:, None])
    flat = spread.reshape(n * k, -1)
    found = flat.T @ flat / n
    residual = (p - y) / n
    bent = residual @ outer * -2 * hidden[:, :-1] * slope
    units, inputs = outer.shape[1], x.shape[1]
    mixed = np.einsum("ic,ih,id->chd", residual, slope, x)
    for h in range(units):
        own = slice(h * inputs, (h + 1) * inputs)
        found[own, own] += x.T @ (bent[:, h, None] * x)
        readout = units * inputs + h + np.arange(k) * (units + 1)
        found[readout, own] += mixed[:, h]
        found[own, readout] += mixed[:, h].T
    return np.asarray(found)


def large(sizes: Array) -> int:
    """Of descending sizes [N], how many are in the upper of two groups whose own means fit them best.

    2-means in one dimension: the profile likelihood, of a common variance, of M. Zhu and A. Ghodsi, Automatic
    dimensionality selection from the scree plot (2006).
    """
    first = np.arange(1, len(sizes))
    total, upper = sizes.sum(), np.cumsum(sizes)[:-1]
    between = upper**2 / first + (total - upper) ** 2 / (len(sizes) - first)
    return int(first[between.argmax()])


def spectrum(cell: ClusterHessianCell, x: Array, y: Array, rng: np.random.Generator) -> list[float]:
    """Leading absolute eigenvalues, how many are large, and the loss of one trained network."""
    start = rng.standard_normal(cell.parameters) * np.sqrt(
        np.repeat([1 / x.shape[1], 1 / (cell.width + 1)], [cell.width * x.shape[1], cell.clusters * (cell.width + 1)])
    )
    trained = optimize.minimize(objective, start, (x, y), "L-BFGS-B", jac=True, options={"maxiter": 300}).x
    sizes = np.sort(np.abs(np.linalg.eigvalsh(hessian(trained, x, y))))[::-1]
    loss = objective(trained, x, y)[0] - DECAY / 2 * float(trained @ trained)
    return [*sizes[:RANKS].tolist(), float(large(sizes)), loss]


def run(cell: ClusterHessianCell, context: Context) -> Outcome:
    """Train the networks; those of every width have the same data."""
    rng, of_data = generator(cell), np.random.default_rng([cell.seed, cell.clusters, round(1e6 * cell.separation)])
    found = np.array([spectrum(cell, *data(cell, of_data), rng) for _ in range(cell.draws)])
    rows: list[Row] = [(0, "eigenvalue", r + 1, *geometric_mean(found[:, r])) for r in range(RANKS)]
    for column, probe in enumerate(("large", "loss"), start=RANKS):
        rows.append((0, probe, 1, *geometric_mean(found[:, column])))
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: ClusterHessianCell) -> Cost:
    """Training, outer products of all gradients, eigenvalues."""
    n, each = cell.parameters, float(cell.samples * cell.clusters)
    products = 2.0 * each * n**2 + 300 * 6.0 * cell.samples * n
    flops = cell.draws * (products + 1.4 * n**3)
    return Cost(flops, cell.draws * (0.05 + 1e-10 * products + 4e-10 * n**3), 2e8 + 32.0 * each * n + 32.0 * n**2)


EXPERIMENTS.register("cluster_hessian")(
    Experiment(
        summary="Eigenvalues of the Hessian of a small network trained on Gaussian clusters",
        stage="sample",
        cell=ClusterHessianCell,
        cost=cost,
        run=run,
        example=probe_example("large", {"clusters": 3, "draws": 4}, {"width": [4, 8, 16, 32]}),
    )
)
