"""How many pairs of a group's addition table a network must see before it knows the others.

A network f = V (W [e_a; e_b])² of `width` hidden units without biases learns c = a + b mod M (`modulus`) from n of the
M² pairs, all of them in every step. Its outputs less their mean over the classes, f̃, have the loss ‖f̃ − (e_c − 1/M)‖²
and are trained by Adam (RATE, `weight_decay` added to the gradient) from uniform weights within ±1/√fan-in: Y. Tian,
Provable scaling laws of feature emergence from learning dynamics of grokking (2025), with the loss, activation, start
and sweep of the authors' code (github.com/yuandong-tian/understanding, ssl/real-dataset/cogo). There, n/(M ln M) has a
critical value, `critical_ratio_multiplier`. `table: random` has independent uniform classes in place of sums: no rule.

Probes after a quarter, half and all of `epochs` steps: `heldout_accuracy`, of all pairs that were not trained on, at
layer 100 n/(M ln M); `critical_pairs`, geometric mean over `draws` of the n at which half of them are right
(interpolated; NaN if all sizes of a draw lie on one side of it); `critical_ratio`, that over M ln M. A draw has its own
order of the pairs, of which every size takes the first.
"""

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.adam import adam
from muster.sampling.draws import geometric_mean, mean_over_draws
from muster.sampling.random_network import generator
from muster.sampling.tables import Estimate, Row, outcome

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
RATE = 0.01


class ModularCell(Cell):
    """One modulus; sizes of the training set in even steps of ln n."""

    modulus: int = Field(ge=3, le=200, description="M: M² pairs, M classes")
    table: Literal["addition", "random"] = Field("addition", description="Sums, or a random class for every pair")
    lowest: float = Field(1.6, gt=0, description="Smallest n over M ln M")
    highest: float = Field(4.0, gt=0, description="Largest n over M ln M")
    sizes: int = Field(10, ge=2, le=100, description="Numbers of training pairs")
    epochs: int = Field(2000, ge=4, le=10**6, description="Updates, each of all training pairs")
    weight_decay: float = Field(2e-4, ge=0, le=1, description="λ: λ w is added to the gradient")
    draws: int = Field(4, ge=2, le=10**4, description="Orders of the pairs and starts")

    @model_validator(mode="after")
    def _leaves_some(self) -> "ModularCell":
        if self.lowest >= self.highest or self.highest * self.scale >= self.modulus**2 - 1:
            raise ValueError("highest must exceed lowest, and highest · M ln M leave some of M² pairs to be held out")
        return self

    @property
    def scale(self) -> float:
        """M ln M."""
        return self.modulus * math.log(self.modulus)

    @property
    def pairs(self) -> list[int]:
        """Training sizes n."""
        return [round(c * self.scale) for c in self.ratios]

    @property
    def ratios(self) -> list[float]:
        """n over M ln M, but for rounding."""
        return np.geomspace(self.lowest, self.highest, self.sizes).tolist()


def problem(cell: ModularCell, rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
    """Inputs [D, M², 2M] and classes [D, M²] of all pairs, in each draw's order."""
    m = cell.modulus
    order = rng.permuted(np.tile(np.arange(m * m), (cell.draws, 1)), axis=1)
    a, b = np.divmod(order, m)
    eye = np.eye(m)
    classes = (a + b) % m if cell.table == "addition" else rng.integers(m, size=order.shape)
    return np.concatenate([eye[a], eye[b]], axis=-1), classes


def gradients(w: "Tensor", v: "Tensor", x: "Tensor", target: "Tensor") -> "tuple[Tensor, Tensor]":
    """Derivatives of the mean loss by W [D, 2M, K] and V [D, K, M], from x [D, n, 2M] and e_c − 1/M [D, n, M]."""
    z = x @ w
    h = z.square()
    f = h @ v
    residual = (f - f.mean(-1, keepdim=True) - target).mul_(2 / x.shape[1])
    return x.mT @ (residual @ v.mT).mul_(z).mul_(2), h.mT @ residual


def accuracies(cell: ModularCell, n: int, x: "Tensor", classes: "Tensor", rng: np.random.Generator) -> list[Array]:
    """Held-out accuracy [D] after a quarter, half and all of the updates on the first n pairs."""
    import torch

    def start(fan_in: int, fan_out: int) -> "Tensor":
        draw = rng.uniform(-1, 1, (cell.draws, fan_in, fan_out)) / math.sqrt(fan_in)
        return torch.from_numpy(draw).float()

    w, v = start(2 * cell.modulus, cell.width), start(cell.width, cell.modulus)
    target = torch.nn.functional.one_hot(classes[:, :n], cell.modulus).float() - 1 / cell.modulus
    moments = [[torch.zeros_like(each), torch.zeros_like(each)] for each in (w, v)]
    found = []
    for update in range(1, cell.epochs + 1):
        for each, own, gradient in zip((w, v), moments, gradients(w, v, x[:, :n], target), strict=True):
            adam(each, own, gradient, update, RATE, cell.weight_decay)
        if update in looks(cell.epochs):
            guess = ((x[:, n:] @ w).square() @ v).argmax(-1)
            found.append((guess == classes[:, n:]).double().mean(-1).numpy())
    return found


def looks(epochs: int) -> tuple[int, int, int]:
    """Updates after which is measured."""
    return epochs // 4, epochs // 2, epochs


def crossing(sizes: list[int], accuracy: Array) -> Array:
    """n [D] at which half of the held-out pairs are right, from accuracies [sizes, D]: their highest up to each size,
    linear in ln n between sizes. NaN where it is above ½ at the first one, or not at the last."""
    rising, log_n = np.maximum.accumulate(accuracy, axis=0), np.log(sizes)
    found = np.array([np.interp(0.5, each, log_n, left=np.nan, right=np.nan) for each in rising.T])
    return np.asarray(np.exp(found))


def run(cell: ModularCell, context: Context) -> Outcome:
    """Train on every size."""
    import torch

    rng = generator(cell)
    inputs, order = problem(cell, rng)
    x, classes = torch.from_numpy(inputs).float(), torch.from_numpy(order)
    found = np.array([accuracies(cell, n, x, classes, rng) for n in cell.pairs])  # [sizes, looks, D]
    rows: list[Row] = []
    for look, step in enumerate(looks(cell.epochs)):
        for ratio, accuracy in zip(cell.ratios, found[:, look], strict=True):
            rows.append((step, "heldout_accuracy", round(100 * ratio), *mean_over_draws(accuracy)))
        critical = geometric_mean(crossing(cell.pairs, found[:, look]))
        rows.append((step, "critical_pairs", 1, *critical))
        rows.append((step, "critical_ratio", 1, *Estimate(critical.value / cell.scale, critical.se / cell.scale)))
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: ModularCell) -> Cost:
    """Five products of n × M × width (two of them with twice the inputs) and Adam's passes, in every update."""
    m, k, updates = cell.modulus, cell.width, float(cell.draws) * cell.epochs
    products = 14.0 * m * k * sum(cell.pairs)
    passes = 6.0 * k * sum(cell.pairs) + 45.0 * m * k * cell.sizes
    overhead = 1e-4 * cell.epochs * cell.sizes
    memory = 2e8 + 4.0 * cell.draws * (4 * m**3 + 4 * k * max(cell.pairs) + 12 * m * k)
    return Cost(updates * products, updates * (3e-11 * products + 5e-10 * passes) + overhead, memory)


EXPERIMENTS.register("modular_training")(
    Experiment(
        summary="Pairs of a modular addition table that a network with squared units needs to know the others",
        stage="sample",
        cell=ModularCell,
        cost=cost,
        run=run,
        example=probe_example(
            "critical_ratio",
            {"width": 128, "epochs": 600, "draws": 2},
            {"modulus": [11, 13, 17]},
            along="modulus",
            select={"step": 600},
            smoke={"sizes": 3, "width": 64},
        ),
    )
)
