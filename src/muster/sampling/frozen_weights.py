"""Networks of which a share of the weights keeps its random values: do frozen weights count?

A tanh network without biases and with h hidden units learns a tanh teacher (TEACHER units) of `features` normal inputs
from fresh batches. In both matrices the same share φ (`frozen`) of entries, drawn at random, keeps its start: normal of
variance 1/`features` below, ±1/√h above, so that no unit is lost to a frozen readout near 0. h = n/(1 − φ) units,
n = `width`: every φ then trains as many weights as a dense network of n units, n (`features` + 1), by Adam with a
cosine schedule at the best of `rates` for its size. A. Chatelain et al., Is the number of trainable parameters all
that actually matters? (2021), where language models are doped with frozen random parameters.

Probes over `draws` (geometric means; of one draw all sizes and shares have the same teacher and test inputs):
`test_loss`, the mean squared error over that of 0, at layer h; `best_rate`, log2 of the rate it is taken at.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.adam import adam
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.tables import Estimate, Row, outcome

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
TEACHER, BATCH, TEST = 64, 256, 2048


class FrozenCell(Cell):
    """One number of trained weights and one share of frozen ones."""

    frozen: float = Field(0.0, ge=0, lt=1, description="φ, share of the weights that keep their random start")
    features: int = Field(8, ge=1, le=1000, description="Inputs")
    lowest_rate: float = Field(-6.0, ge=-30, le=10, description="log2 of the lowest learning rate tried")
    rates: int = Field(4, ge=1, le=30, description="Learning rates tried, each twice the one before")
    updates: int = Field(2000, ge=2, le=10**6, description="Updates, each on a fresh batch")
    draws: int = Field(8, ge=2, le=10**4, description="Teachers, each with a start at every rate")

    @property
    def units(self) -> int:
        """h, hidden units of which the share of trained weights is that of `width` units."""
        return round(self.width / (1 - self.frozen))


def masks(cell: FrozenCell, shape: tuple[int, int], trained: int, rng: np.random.Generator) -> Array:
    """1 for `trained` entries of each draw's matrix, drawn at random, and 0 for the frozen ones [D, *shape]."""
    ranks = rng.permuted(np.tile(np.arange(math.prod(shape)), (cell.draws, 1)), axis=1)
    return (ranks < trained).astype(float).reshape(cell.draws, *shape)


def teachers(cell: FrozenCell) -> tuple[Array, Array]:
    """Weights [D, d, TEACHER] and [D, TEACHER, 1]: functions of draw, seed and dimension alone."""
    rng = np.random.default_rng([cell.seed, cell.features])
    inner = rng.standard_normal((cell.draws, cell.features, TEACHER)) * 1.5 / math.sqrt(cell.features)
    return inner, rng.standard_normal((cell.draws, TEACHER, 1)) / math.sqrt(TEACHER)


def gradients(inner: "Tensor", outer: "Tensor", x: "Tensor", y: "Tensor") -> "tuple[Tensor, Tensor]":
    """Derivatives of ½ (f − y)², averaged over the batch, by W [.., d, h] and a [.., h, 1], f = tanh(x W) a."""
    hidden = (x @ inner).tanh()
    residual = (hidden @ outer - y) / x.shape[-2]
    return x.mT @ (residual @ outer.mT * (1 - hidden.square())), hidden.mT @ residual


def losses(cell: FrozenCell, rng: np.random.Generator) -> Array:
    """Test loss over that of 0 [rates, D]."""
    import torch

    def tensor(values: NDArray[np.floating]) -> "Tensor":
        return torch.from_numpy(values).float()

    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
    h, d = cell.units, cell.features
    below = rng.standard_normal((cell.draws, d, h)) / math.sqrt(d)
    above = rng.choice([-1.0, 1.0], (cell.draws, h, 1)) / math.sqrt(h)
    mask = [tensor(masks(cell, (d, h), d * cell.width, rng)), tensor(masks(cell, (h, 1), cell.width, rng))]
    weights = [tensor(each).expand(cell.rates, *each.shape).clone() for each in (below, above)]
    moments = [[torch.zeros_like(each), torch.zeros_like(each)] for each in weights]
    peak = tensor(2 ** (cell.lowest_rate + np.arange(cell.rates))).view(-1, 1, 1, 1)
    first, second = (tensor(each) for each in teachers(cell))
    for update in range(1, cell.updates + 1):
        x = torch.randn(cell.draws, BATCH, d, generator=noise)
        rate = peak * (0.5 + 0.5 * math.cos(math.pi * (update - 1) / cell.updates))
        slopes = gradients(weights[0], weights[1], x, (x @ first).tanh() @ second)
        for each, own, slope, trained in zip(weights, moments, slopes, mask, strict=True):
            adam(each, own, slope.mul_(trained), update, rate)
    test = np.random.default_rng([cell.seed, d, 1]).standard_normal((cell.draws, TEST, d))
    x = tensor(test)
    y = (x @ first).tanh() @ second
    error = ((x @ weights[0]).tanh() @ weights[1] - y).square().mean((-1, -2)) / y.square().mean((-1, -2))
    return np.asarray(error.double().numpy())


def run(cell: FrozenCell, context: Context) -> Outcome:
    """Train at every rate and keep the best one."""
    found = losses(cell, generator(cell))
    best = int(np.log(found).mean(axis=1).argmin())
    rate = Estimate(cell.lowest_rate + best, math.nan)
    rows: list[Row] = [(0, "test_loss", cell.units, *geometric_mean(found[best])), (0, "best_rate", cell.units, *rate)]
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: FrozenCell) -> Cost:
    """Products of the batch with the weights, forwards and backwards, and a hyperbolic tangent a unit."""
    stack = float(cell.rates * cell.draws) * cell.updates
    products, units = 6.0 * BATCH * cell.units * (cell.features + 1), BATCH * float(cell.units)
    seconds = stack * (1e-10 * products + 2e-9 * units) + 3e-4 * cell.updates
    return Cost(stack * products, seconds, 2e8 + 20.0 * cell.rates * cell.draws * units)


EXPERIMENTS.register("frozen_weights")(
    Experiment(
        summary="Loss of networks that train a part of their weights and keep the others random",
        stage="sample",
        cell=FrozenCell,
        cost=cost,
        run=run,
        example=probe_example(
            "test_loss",
            {"updates": 300, "draws": 4},
            {"frozen": [0.0, 0.5], "width": [4, 8, 16]},
            by=["frozen"],
            where={"frozen": 0.0},
            predicted=-1,
            smoke={"updates": 20, "draws": 2},
        ),
    )
)
