"""Alignment of a hidden layer's activations, gradients and weights in training.

Networks of two layers of `width` tanh units with a softmax learn scikit-learn's 8 × 8 digits, SAMPLES training images,
by stochastic gradient descent on the cross-entropy with momentum MOMENTUM and weight decay `decay`. Of the matrix W
between the hidden layers, h_b = W h_a, with g the derivatives of an image's loss by h: after the layer the covariances
of h_b and g_b and W Wᵀ, before it those of h_a and g_a and Wᵀ W. L. Ziyin, I. Chuang, T. Galanti and T. Poggio,
Formation of representations in neural networks (2024), expect the three to align on either side. Any two positive
matrices have a positive cosine; what is measured is that of their parts without trace. Probes, means over `draws`:
`alignment` and `first_alignment`, at the end and the start (layer = one of PAIRS from 1); `mean_alignment` and
`first_mean_alignment`, over the pairs in FREE; `least_rise`, the least of all pairs' changes. The others are related at
any weights: cov(h_b) = W cov(h_a) Wᵀ, cov(g_a) = Wᵀ cov(g_b) W.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws
from muster.sampling.matrix_step import backward, forward
from muster.sampling.random_network import generator
from muster.sampling.random_subspace import first_weights, gradient, images, matrices, shapes
from muster.sampling.tables import Row, outcome, probe_rows

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
SAMPLES, MOMENTUM = 1200, 0.9
PAIRS = ("h_b g_b", "g_b w_b", "h_b w_b", "h_a g_a", "g_a w_a", "h_a w_a")
FREE = [0, 1, 3, 5]


class LayerAlignmentCell(Cell):
    """One width, weight decay and batch size."""

    decay: float = Field(1e-3, ge=0, le=1, description="Weight decay, a term of the gradient")
    batch_size: int = Field(16, ge=1, le=SAMPLES, description="Images of a step")
    rate: float = Field(0.05, gt=0, le=10, description="Learning rate")
    steps: int = Field(4000, ge=1, le=10**6, description="Steps of gradient descent")
    draws: int = Field(4, ge=2, le=1000, description="Splits, and networks trained on them")


def traceless(square: "Tensor") -> "Tensor":
    """Matrices [D, n, n] less the multiple of the identity of the same trace, at norm 1."""
    import torch

    n = square.shape[1]
    trace = square.diagonal(dim1=1, dim2=2).mean(dim=1)
    centred = square - trace[:, None, None] * torch.eye(n, dtype=square.dtype)
    return centred / centred.norm(dim=(1, 2), keepdim=True)


def covariance(values: "Tensor") -> "Tensor":
    """Of rows [D, images, n]: [D, n, n]."""
    centred = values - values.mean(dim=1, keepdim=True)
    return centred.mT @ centred / values.shape[1]


def alignments(weights: "list[Tensor]", x: "Tensor", y: "Tensor") -> Array:
    """Cosines [D, 6] of PAIRS for three matrices [D, fan-in, fan-out]."""
    weights, x, y = [w.double() for w in weights], x.double(), y.double()
    h, z = forward(weights, x)
    g_b = backward(weights, h, z[-1].softmax(dim=2) - y)[1]
    w = weights[1]
    sides = {
        "b": {"h": covariance(z[1]), "g": covariance(g_b), "w": w.mT @ w},
        "a": {"h": covariance(h[1]), "g": covariance(g_b @ w.mT), "w": w @ w.mT},
    }
    found = {f"{what}_{side}": traceless(each) for side, three in sides.items() for what, each in three.items()}
    cosines = [(found[one] * found[other]).sum(dim=(1, 2)) for one, other in map(str.split, PAIRS)]
    return np.stack([cosine.numpy() for cosine in cosines], axis=1)


def train(cell: LayerAlignmentCell, theta: "Tensor", x: "Tensor", y: "Tensor", rng: np.random.Generator) -> "Tensor":
    """Weights [D, N] after training; all draws take the images at the same places of their own order."""
    import torch

    sizes, theta = shapes(cell.width, 2), theta.clone()
    sgd = torch.optim.SGD([theta], lr=cell.rate, momentum=MOMENTUM, weight_decay=cell.decay)
    for _ in range(cell.steps):
        batch = torch.tensor(rng.integers(x.shape[1], size=cell.batch_size))
        theta.grad = gradient(theta, sizes, x[:, batch], y[:, batch])
        sgd.step()
    return theta


def run(cell: LayerAlignmentCell, context: Context) -> Outcome:
    """Train the networks, and compare the matrices before and after."""
    rng, sizes = generator(cell), shapes(cell.width, 2)
    x, y = (each[:, :SAMPLES] for each in images(cell.draws, rng))
    start = first_weights(sizes, cell.draws, rng)
    end = train(cell, start, x, y, rng)
    first, last = (alignments(matrices(theta, sizes), x, y) for theta in (start, end))
    rows: list[Row] = []
    for prefix, found in (("first_", first), ("", last)):
        rows += probe_rows(f"{prefix}alignment", [mean_over_draws(column) for column in found.T])
        rows += probe_rows(f"{prefix}mean_alignment", [mean_over_draws(found[:, FREE].mean(axis=1))])
    rows += probe_rows("least_rise", [mean_over_draws((last - first).min(axis=1))])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: LayerAlignmentCell) -> Cost:
    """Steps of gradient descent, each with some overhead."""
    weights = sum(rows * columns for rows, columns in shapes(cell.width, 2))
    flops = float(cell.draws) * cell.steps * 6.0 * cell.batch_size * weights
    return Cost(flops, 1 + 1e-10 * flops + cell.steps * (2e-4 + 2e-9 * cell.draws * weights), 4e8 + 1e6 * cell.draws)


EXPERIMENTS.register("layer_alignment")(
    Experiment(
        summary="Alignment of a layer's activations, gradients and weights before and after training",
        stage="sample",
        cell=LayerAlignmentCell,
        cost=cost,
        run=run,
        example=probe_example(
            "mean_alignment", {"draws": 2, "steps": 2000}, {"width": [16, 24, 32]}, smoke={"steps": 100}
        ),
    )
)
