"""Adversarial error of small classifiers against the size of the perturbation.

Inputs are scikit-learn's 8 × 8 digits, or Gaussian clusters (`clusters` of cluster_hessian, 10 in 64 dimensions), in
units of their overall sd; n = `samples` of them train a softmax, `linear` or on `width` tanh units (`network`;
`shuffled`: with all labels in random order), on cross-entropy with weight decay. Points are moved by `perturbation`
against the class that is predicted for them, along the signs of the loss's gradient (fast gradient sign method). E. D.
Cubuk, B. Zoph, S. S. Schoenholz and Q. V. Le, Intriguing properties of adversarial examples (2017). Probes, means over
`draws` of splits and models: `changed`, the share of `points` whose predicted class changes; `adversarial_error`, the
same among those that were classified as labelled.
"""

from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import optimize, special

from muster.data.digits import DigitsOptions, build
from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.cluster_hessian import ClusterHessianCell, data, forward, objective, split
from muster.sampling.draws import mean_over_draws
from muster.sampling.random_network import generator
from muster.sampling.tables import outcome, probe_rows

Array = NDArray[np.float64]
Classifier = Callable[[Array], tuple[Array, Callable[[Array], Array]]]
"""Inputs [n, d + 1] → softmax [n, k], and the gradient [n, d] of the loss to labels [n, k]."""
CLASSES, SIDE, CLUSTER_DISTANCE = 10, 8, 4.0
DECAY = 1e-5


class AdversarialErrorCell(Cell):
    """One model, data set and size of the perturbation."""

    perturbation: float = Field(0.05, gt=0, le=10, description="Change of every input, over the inputs' sd")
    model: Literal["linear", "network", "shuffled"] = Field("network", description="What is trained, on which labels")
    inputs: Literal["digits", "clusters"] = Field("digits", description="Data set")
    points: Literal["held_out", "learned"] = Field("held_out", description="Examples that are attacked")
    samples: int = Field(600, ge=20, le=1200, description="Training examples n")
    draws: int = Field(8, ge=2, le=10**4, description="Splits, and models trained on them")


@cache
def digits() -> tuple[Array, Array]:
    """All images with a last column of ones, and one-hot classes."""
    raw = build(DigitsOptions()).arrays  # type: ignore[call-arg]
    images, classes = np.vstack([raw.train_x, raw.heldout_x]), np.append(raw.train_y, raw.heldout_y)
    return np.hstack([images.astype(float), np.ones((len(images), 1))]), np.eye(CLASSES)[classes]


def examples(cell: AdversarialErrorCell, rng: np.random.Generator) -> tuple[Array, Array]:
    """Inputs with a last column of ones [m, d + 1] and one-hot labels [m, k]; the first n are for training."""
    if cell.inputs == "clusters":
        size = ClusterHessianCell(  # type: ignore[call-arg]
            width=1,
            clusters=CLASSES,
            features=SIDE**2,
            separation=CLUSTER_DISTANCE,
            samples=2 * cell.samples,
            seed=cell.seed,
        )
        x, y = data(size, rng)
    else:
        x, y = digits()
    order = rng.permutation(len(x))
    x = x[order]
    x[:, :-1] = (x[:, :-1] - x[:, :-1].mean()) / x[:, :-1].std()
    return x, y[order]


def linear_loss(weights: Array, x: Array, y: Array) -> tuple[float, Array]:
    """Cross-entropy of a linear softmax with weight decay, and its gradient."""
    matrix = weights.reshape(y.shape[1], -1)
    log_p = special.log_softmax(x @ matrix.T, axis=1)
    loss = -(log_p * y).sum() / len(x) + DECAY / 2 * weights @ weights
    return float(loss), ((np.exp(log_p) - y).T @ x / len(x)).ravel() + DECAY * weights


def trained(cell: AdversarialErrorCell, x: Array, y: Array, rng: np.random.Generator) -> Classifier:
    """A classifier of examples [n, d + 1]."""
    inputs = x.shape[1]
    if cell.model == "linear":
        found = optimize.minimize(linear_loss, np.zeros(CLASSES * inputs), (x, y), "L-BFGS-B", jac=True)
        matrix = found.x.reshape(CLASSES, -1)

        def linear(at: Array) -> tuple[Array, Callable[[Array], Array]]:
            p = special.softmax(at @ matrix.T, axis=1)
            return p, lambda labels: (p - labels) @ matrix[:, :-1]

        return linear
    scale = np.repeat([1 / inputs, 1 / cell.width], [cell.width * inputs, CLASSES * (cell.width + 1)]) ** 0.5
    start = scale * rng.standard_normal(len(scale))
    weights = optimize.minimize(objective, start, (x, y, DECAY), "L-BFGS-B", jac=True, options={"maxiter": 300}).x
    inner = split(weights, x, CLASSES)[0]

    def network(at: Array) -> tuple[Array, Callable[[Array], Array]]:
        outer, hidden, p = forward(weights, at, CLASSES)
        return p, lambda labels: (p - labels) @ outer * (1 - hidden[:, :-1] ** 2) @ inner[:, :-1]

    return network


def fooled(classifier: Classifier, x: Array, y: Array, perturbation: float) -> tuple[float, float]:
    """Share of points whose predicted class changes: among those where it is the label, and among all."""
    p, gradient = classifier(x)
    before = p.argmax(axis=1)
    moved = x.copy()
    moved[:, :-1] += perturbation * np.sign(gradient(np.eye(p.shape[1])[before]))
    changed = classifier(moved)[0].argmax(axis=1) != before
    return float(changed[before == y.argmax(axis=1)].mean()), float(changed.mean())


def attacked(cell: AdversarialErrorCell, rng: np.random.Generator) -> tuple[float, float]:
    """`fooled` of one classifier."""
    x, y = examples(cell, rng)
    if cell.model == "shuffled":
        y = rng.permutation(y)
    learned, new = slice(cell.samples), slice(cell.samples, None)
    classifier = trained(cell, x[learned], y[learned], rng)
    points = learned if cell.points == "learned" else new
    return fooled(classifier, x[points], y[points], cell.perturbation)


def run(cell: AdversarialErrorCell, context: Context) -> Outcome:
    """Train and attack the classifiers."""
    rng = generator(cell)
    shares = np.array([attacked(cell, rng) for _ in range(cell.draws)])
    rows = [
        row
        for probe, each in zip(("adversarial_error", "changed"), shares.T, strict=True)
        for row in probe_rows(probe, [mean_over_draws(each)])
    ]
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: AdversarialErrorCell) -> Cost:
    """Products of training; labels that must be learned by heart take longer."""
    units = CLASSES if cell.model == "linear" else cell.width
    flops = cell.draws * 300 * 6.0 * cell.samples * (SIDE**2 + CLASSES) * units
    return Cost(flops, 0.1 + cell.draws * 0.005 + flops * (8e-11 if cell.model == "shuffled" else 2.5e-11), 3e8)


EXPERIMENTS.register("adversarial_error")(
    Experiment(
        summary="Adversarial error of small classifiers of digits and clusters against the size of the perturbation",
        stage="sample",
        cell=AdversarialErrorCell,
        cost=cost,
        run=run,
        example=probe_example(
            "adversarial_error",
            {"model": "linear", "width": 16, "draws": 8},
            {"perturbation": [0.05, 0.1, 0.2]},
            along="perturbation",
            predicted=1,
        ),
    )
)
