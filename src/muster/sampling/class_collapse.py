"""Features trained on some classes, and how far other classes collapse in them.

A class is a normal mixture component: SIGNAL coordinates with a mean of its own, N(0, 1) each, and standard deviation
WITHIN, and NUISANCE coordinates of mean 0 and standard deviation 1, which say nothing of any class. A ReLU network with
two hidden layers of `width` units is trained on EXAMPLES examples of `classes` source classes, all of them in every one
of `steps` steps of Adam on the cross-entropy; its features are the last hidden layer. Of NEW new classes, with V_ij =
(Var_i + Var_j)/(2 ‖μ_i − μ_j‖²), the class-distance normalized variance of their features: T. Galanti, A. György and M.
Hutter, On the role of neural collapse in transfer learning (2022), who bound the error of the nearest class mean by a
constant times (C − 1)(1 + 1/n) times the mean of V, for C classes of n examples each.

Probes, means over `draws` of everything: `variance`, geometric mean of the mean V over pairs; `relative_variance`, that
over its value before training; `error`, of the nearest mean of SHOTS examples among all new classes; `error_change`,
that less its value before training; `rank_correlation`, of the error between two classes with their V, over pairs
(Spearman's); `bound_ratio`, error/((C − 1)(1 + 1/n) mean V); `train_accuracy`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean, mean_over_draws
from muster.sampling.random_network import generator
from muster.sampling.relu_network import Adam, forward, gradients, initial
from muster.sampling.tables import Row, outcome, probe_rows

Array = NDArray[Any]
SIGNAL, NUISANCE, WITHIN = 8, 24, 0.3
EXAMPLES, RATE = 960, 3e-3
NEW, QUERIES, SHOTS, EPISODES = 20, 200, 5, 20


class ClassCollapseCell(Cell):
    """One number of source classes."""

    width: int = Field(64, ge=1, description="Units of a hidden layer")
    classes: int = Field(ge=2, le=EXAMPLES // 10, description="Source classes, with as many examples in all")
    steps: int = Field(300, ge=1, le=10**6, description="Updates")
    draws: int = Field(4, ge=2, le=10**4, description="Independent classes and networks")


def examples(means: Array, count: int, rng: np.random.Generator) -> Array:
    """`count` examples of every class with these means [C, SIGNAL]: [C, count, SIGNAL + NUISANCE]."""
    x = rng.standard_normal((len(means), count, SIGNAL + NUISANCE))
    x[..., :SIGNAL] = means[:, None] + WITHIN * x[..., :SIGNAL]
    return x


def normalized_variances(features: Array) -> Array:
    """V_ij [C, C] of the features [C, examples, units] of every class, infinite on the diagonal."""
    means = features.mean(axis=1)
    spread = np.square(features - means[:, None]).sum(axis=2).mean(axis=1)
    apart = np.square(means[:, None] - means).sum(axis=2)
    np.fill_diagonal(apart, 1)
    found = (spread[:, None] + spread) / (2 * apart)
    np.fill_diagonal(found, np.inf)
    return found


def nearest_mean_errors(queries: Array, shots: Array) -> tuple[float, Array]:
    """Error of the nearest mean among all classes, and between any two, [C, C], queries [C, Q, units] being compared
    with the means of shots [episodes, C, n, units]."""
    every, pairs = 0.0, np.zeros((len(queries), len(queries)))
    for centres in shots.mean(axis=2):
        distance = np.square(centres).sum(axis=1) - 2 * queries @ centres.T  # up to the query's own square
        own = np.diagonal(distance, axis1=0, axis2=2).T[..., None]
        pairs += (distance < own).mean(axis=1)
        every += float((distance.min(axis=2) < own[..., 0]).mean())
    return every / len(shots), (pairs + pairs.T) / (2 * len(shots))


def trained(cell: ClassCollapseCell, weights: list[Array], rng: np.random.Generator) -> float:
    """Train the weights in place on source classes: accuracy on their examples."""
    x = examples(rng.standard_normal((cell.classes, SIGNAL)), EXAMPLES // cell.classes, rng)
    hot = np.repeat(np.eye(cell.classes), x.shape[1], axis=0)
    x = x.reshape(len(hot), -1)
    adam = Adam(weights, RATE)
    for _ in range(cell.steps):
        layers = forward(weights, x)
        p = np.exp(layers[-1] - layers[-1].max(axis=1, keepdims=True))
        adam.step(gradients(weights, layers, (p / p.sum(axis=1, keepdims=True) - hot) / len(hot)))
    return float((layers[-1].argmax(axis=1) == hot.argmax(axis=1)).mean())


def measured(weights: list[Array], queries: Array, shots: Array) -> tuple[float, float, float]:
    """Mean V over pairs of new classes, their error, and the rank correlation of the two over pairs."""
    from scipy.stats import spearmanr

    features, seen = (forward(weights, x)[-2] for x in (queries, shots))
    variances, (error, pairs) = normalized_variances(features), nearest_mean_errors(features, seen)
    upper = np.triu_indices(NEW, 1)
    return float(variances[upper].mean()), error, float(spearmanr(variances[upper], pairs[upper]).statistic)


def probes_of(cell: ClassCollapseCell, rng: np.random.Generator) -> dict[str, float]:
    """All probes of one draw."""
    means = rng.standard_normal((NEW, SIGNAL))
    queries = examples(means, QUERIES, rng)
    shots = np.stack([examples(means, SHOTS, rng) for _ in range(EPISODES)])
    weights = initial([SIGNAL + NUISANCE, cell.width, cell.width, cell.classes], rng)
    before, error_before, _ = measured(weights, queries, shots)
    accuracy = trained(cell, weights, rng)
    after, error, correlation = measured(weights, queries, shots)
    return {
        "variance": after,
        "relative_variance": after / before,
        "error": error,
        "error_change": error - error_before,
        "rank_correlation": correlation,
        "bound_ratio": error / ((NEW - 1) * (1 + 1 / SHOTS) * after),
        "train_accuracy": accuracy,
    }


def run(cell: ClassCollapseCell, context: Context) -> Outcome:
    """Train on every draw of source classes, and look at new ones."""
    rng, rows = generator(cell), list[Row]()
    found = [probes_of(cell, rng) for _ in range(cell.draws)]
    for probe in found[0]:
        mean = geometric_mean if probe.endswith("variance") else mean_over_draws
        rows += probe_rows(probe, [mean(np.array([each[probe] for each in found]))])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: ClassCollapseCell) -> Cost:
    """Passes of the source examples, and those of the new ones twice."""
    weights = cell.width * (SIGNAL + NUISANCE + cell.width + cell.classes)
    flops = cell.draws * (6.0 * cell.steps * EXAMPLES + 8.0 * NEW * (QUERIES + SHOTS * EPISODES)) * weights
    return Cost(flops, cell.draws * (0.15 + 5e-4 * cell.steps) + 1e-10 * flops, 3e8)


EXPERIMENTS.register("class_collapse")(
    Experiment(
        summary="Features trained on source classes: variance within new classes over their distance, few-shot errors",
        stage="sample",
        cell=ClassCollapseCell,
        cost=cost,
        run=run,
        example=probe_example(
            "variance", {"width": 32}, {"classes": [4, 8, 16]}, along="classes", smoke={"draws": 2, "steps": 50}
        ),
    )
)
