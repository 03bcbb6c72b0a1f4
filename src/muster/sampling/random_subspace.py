"""Training in a random subspace: how many dimensions does a task need?

Networks of `depth` layers of `width` tanh units with a softmax classify scikit-learn's 8 × 8 digits after `samples`
training images. Of their N weights θ = θ₀ + P z, z alone is trained from 0, d entries: by Adam on the cross-entropy, in
`updates` of BATCH images at a rate that falls linearly to 0. P has d random columns of unit norm (`directions` dense),
or picks the first d weights, those of the first pixels (first). C. Li, H. Farkhoor, R. Liu and J. Yosinski, Measuring
the intrinsic dimension of objective landscapes (2018), whose measure is the d with SHARE of the accuracy that training
all weights reaches: here between the sizes START √2^k, ln d linear in accuracy. Accuracy is that on HELD_OUT images, or
with `labels` shuffled that on the training images. Probes: `intrinsic_dimension`, geometric mean over `draws`, NaN if a
draw falls short at MOST; `accuracy` (layer d), means; `full_accuracy`.
"""

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.adversarial_error import digits
from muster.sampling.draws import geometric_mean, mean_over_draws
from muster.sampling.matrix_step import backward, forward
from muster.sampling.random_network import generator
from muster.sampling.tables import Row, outcome

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
SHARE, HELD_OUT, BATCH = 0.9, 597, 128
START, MOST = 16, 4096
RATES = {"dense": 0.1, "first": 0.03, "all": 0.01}


class SubspaceCell(Cell):
    """One shape of the network and kind of subspace."""

    samples: int = Field(1200, ge=10, le=1200, description="Training images")
    directions: Literal["dense", "first"] = Field("dense", description="Random directions, or the first weights alone")
    labels: Literal["true", "shuffled"] = Field("true", description="Labels of the images, or these in random order")
    updates: int = Field(300, ge=1, le=10**6, description="Steps of Adam")
    draws: int = Field(6, ge=2, le=1000, description="Splits, networks and subspaces")

    @property
    def parameters(self) -> int:
        """All weights, N."""
        return sum(rows * columns for rows, columns in shapes(self.width, self.depth))


def shapes(width: int, depth: int) -> list[tuple[int, int]]:
    """Shapes of the matrices; the first holds the biases, for an input of 1."""
    units = [65, *[width] * depth, 10]
    return list(itertools.pairwise(units))


def first_weights(sizes: list[tuple[int, int]], draws: int, rng: np.random.Generator) -> "Tensor":
    """Normal weights of variance 1/fan-in, [D, N]."""
    import torch

    scale = torch.cat([torch.full((rows * columns,), rows**-0.5) for rows, columns in sizes])
    return scale * torch.tensor(rng.standard_normal((draws, len(scale)), dtype=np.float32))


def images(draws: int, rng: np.random.Generator) -> "tuple[Tensor, Tensor]":
    """All images, each draw's in its own order, with a last entry of 1, [D, n, 65], and one-hot labels [D, n, 10]."""
    import torch

    inputs, classes = (torch.tensor(each, dtype=torch.float32) for each in digits())
    order = torch.tensor(np.array([rng.permutation(len(inputs)) for _ in range(draws)]))
    inputs[:, :-1] = (inputs[:, :-1] - inputs[:, :-1].mean()) / inputs[:, :-1].std()
    return inputs[order], classes[order]


class Subspace(NamedTuple):
    """z [D, d] → P z [D, N], and a gradient by θ [D, N] → that by z."""

    dimension: int
    lift: "Callable[[Tensor], Tensor]"
    pull: "Callable[[Tensor], Tensor]"


def subspace(cell: SubspaceCell, dimension: int, rng: np.random.Generator) -> Subspace:
    """A random subspace of each draw."""
    import torch

    count = cell.parameters
    if cell.directions == "first":
        return Subspace(
            dimension,
            lambda z: torch.nn.functional.pad(z, (0, count - dimension)),
            lambda gradient: gradient[:, :dimension],
        )
    basis = torch.tensor(rng.standard_normal((cell.draws, dimension, count), dtype=np.float32))
    basis /= basis.norm(dim=2, keepdim=True)
    return Subspace(
        dimension,
        lambda z: (z[:, None] @ basis)[:, 0],
        lambda gradient: (basis @ gradient[:, :, None])[:, :, 0],
    )


def matrices(theta: "Tensor", sizes: list[tuple[int, int]]) -> "list[Tensor]":
    """Weights [D, N] as the matrices of each layer."""
    parts = theta.split([rows * columns for rows, columns in sizes], dim=1)
    return [part.view(-1, *size) for part, size in zip(parts, sizes, strict=True)]


def gradient(theta: "Tensor", sizes: list[tuple[int, int]], x: "Tensor", y: "Tensor") -> "Tensor":
    """Gradient [D, N] of the mean cross-entropy of images x [D, n, 65] and one-hot labels y [D, n, 10]."""
    import torch

    weights = matrices(theta, sizes)
    h, z = forward(weights, x)
    errors = backward(weights, h, (z[-1].softmax(dim=2) - y) / x.shape[1])
    return torch.cat([(below.mT @ error).flatten(1) for below, error in zip(h, errors, strict=True)], dim=1)


def train(theta: "Tensor", cell: SubspaceCell, space: Subspace, rate: float, x: "Tensor", y: "Tensor") -> "Tensor":
    """θ₀ + P z after training; all draws take the images at the same places of their own order."""
    import torch

    z = torch.zeros(len(theta), space.dimension, requires_grad=True)
    adam, order = torch.optim.Adam([z], lr=rate), np.random.default_rng(cell.seed)
    sizes = shapes(cell.width, cell.depth)
    for update in range(cell.updates):
        adam.param_groups[0]["lr"] = rate * (1 - update / cell.updates)
        batch = torch.tensor(order.permutation(x.shape[1])[:BATCH])
        with torch.no_grad():
            z.grad = space.pull(gradient(theta + space.lift(z), sizes, x[:, batch], y[:, batch]))
        adam.step()
    return theta + space.lift(z.detach())


def accuracies(theta: "Tensor", sizes: list[tuple[int, int]], x: "Tensor", y: "Tensor") -> Array:
    """Share of images [D] whose largest output is that of their label."""
    found = forward(matrices(theta, sizes), x)[1][-1].argmax(dim=2) == y.argmax(dim=2)
    return found.double().mean(dim=1).numpy()


def crossing(dimensions: list[int], found: Array, target: Array) -> Array:
    """d [D] at which accuracies [sizes, D] first reach their target, ln d linear between sizes; NaN if they do not."""
    result = np.full(len(target), math.nan)
    for draw, wanted in enumerate(target):
        reached = np.flatnonzero(found[:, draw] >= wanted)
        if len(reached) and reached[0]:
            k = reached[0]
            low, high = found[k - 1, draw], found[k, draw]
            step = math.log(dimensions[k] / dimensions[k - 1])
            result[draw] = dimensions[k - 1] * math.exp(step * (wanted - low) / (high - low))
    return result


def run(cell: SubspaceCell, context: Context) -> Outcome:
    """Train all weights, then subspaces of growing dimension until every draw has its share."""
    import torch

    rng, sizes = generator(cell), shapes(cell.width, cell.depth)
    x, y = images(cell.draws, rng)
    if cell.labels == "shuffled":
        y = torch.stack([part[torch.tensor(rng.permutation(len(part)))] for part in y])
    learned = slice(cell.samples)
    judged = slice(-HELD_OUT, None) if cell.labels == "true" else learned
    start = first_weights(sizes, cell.draws, rng)

    def reached(space: Subspace, rate: float) -> Array:
        end = train(start, cell, space, rate, x[:, learned], y[:, learned])
        return accuracies(end, sizes, x[:, judged], y[:, judged])

    full = reached(Subspace(cell.parameters, lambda z: z, lambda gradient: gradient), RATES["all"])
    dimensions: list[int] = []
    found: list[Array] = []
    while not (dimensions and (np.max(found, axis=0) >= SHARE * full).all()):
        size = round(START * 2 ** (len(dimensions) / 2))
        if size > min(MOST, cell.parameters):
            break
        dimensions.append(size)
        found.append(reached(subspace(cell, size, rng), RATES[cell.directions]))
    rows: list[Row] = [(0, "accuracy", d, *mean_over_draws(each)) for d, each in zip(dimensions, found, strict=True)]
    rows.append((0, "full_accuracy", 1, *mean_over_draws(full)))
    rows.append((0, "intrinsic_dimension", 1, *geometric_mean(crossing(dimensions, np.array(found), SHARE * full))))
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: SubspaceCell) -> Cost:
    """Eight sizes of a subspace, up to 200 dimensions together 500, which a step reads twice."""
    steps = float(cell.draws) * cell.updates
    basis = steps * 500 * 2 * cell.parameters if cell.directions == "dense" else 0.0
    networks = 9 * steps * 6 * min(BATCH, cell.samples) * cell.parameters
    seconds = 2 + 4e-10 * basis + 1e-10 * networks + 5e-5 * 9 * steps
    return Cost(basis + networks, seconds, 3e8 + 4.0 * cell.draws * cell.parameters * 400)


EXPERIMENTS.register("random_subspace")(
    Experiment(
        summary="Dimension of a random subspace in which a network learns nearly as well as in all its weights",
        stage="sample",
        cell=SubspaceCell,
        cost=cost,
        run=run,
        example=probe_example(
            "intrinsic_dimension",
            {"draws": 4},
            {"width": [8, 16, 32, 64]},
            smoke={"draws": 2, "samples": 200, "updates": 20},
        ),
    )
)
