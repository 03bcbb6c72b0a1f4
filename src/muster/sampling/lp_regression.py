"""Linear regression with ℓp loss by a linear network of several layers: does depth speed gradient descent up?

The weight vector w = a_2 … a_N w_1 of d = `width` features has N = `layers` factors, one unit in each hidden layer,
as many as the output has: nothing more can be expressed. Loss Σ|x·w − y|^p/(p n) with p = `power` over n = `samples`;
feature i has standard deviation 10^(−(i − 1)/(d − 1)), labels are those of a random unit vector. All factors start with
one norm (balanced) and w with norm `init` in a random direction, the same law at every N. To first order in the rate
such a network moves by −η|w|^(2 − 2/N) (g + (N − 1) w (w·g)/|w|²), g the gradient by w; S. Arora, N. Cohen and E.
Hazan, On the optimization of deep networks: implicit acceleration by overparameterization (2018). `method: adagrad`
divides the gradient of one layer by the root of its summed squares (J. Duchi, E. Hazan and Y. Singer 2011).

Probe `updates`: updates until the loss is DONE of that of w = 0 at the best of the rates of a grid in every draw, the
median over `draws`: where the loss is one feature's, a lucky rate is done in an update or two, which a mean of
logarithms would follow.
"""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.random_network import generator
from muster.sampling.tables import Estimate, outcome, probe_rows

Array = NDArray[np.float64]
DONE = 1e-4
BOOTSTRAPS = 200
RATES = np.geomspace(0.1, 1e3, 42)  # a factor 1.25 apart


class LpRegressionCell(Cell):
    """One loss, number of layers and size of the start."""

    power: int = Field(4, ge=2, le=8, multiple_of=2, description="p of the loss |x·w − y|^p/p")
    layers: int = Field(1, ge=1, le=10, description="N, factors of the weight vector")
    init: float = Field(0.05, gt=0, le=1, description="Norm of the weight vector at the start; the teacher's is 1")
    method: Literal["gd", "adagrad"] = Field("gd", description="adagrad: of one layer only")
    samples: int = Field(60, ge=2, le=10**5, description="Samples of every regression")
    max_updates: int = Field(30_000, ge=10, le=10**6, description="Updates after which a draw is given up")
    draws: int = Field(32, ge=2, le=10**5, description="Independent regressions")

    @model_validator(mode="after")
    def _adagrad_is_shallow(self) -> Self:
        if self.method == "adagrad" and self.layers > 1:
            raise ValueError("adagrad is compared as a scheme of one layer: give layers 1")
        return self


def gradient(power: int, w_RxDxd: Array, x_Dxnxd: Array, y_Dxn: Array) -> tuple[Array, Array]:
    """Loss [R, D] and its gradient by w [R, D, d]."""
    error = np.matmul(x_Dxnxd, w_RxDxd[..., None])[..., 0] - y_Dxn
    slope = error ** (power - 1)
    return (slope * error).mean(axis=-1) / power, np.matmul(slope[..., None, :], x_Dxnxd)[..., 0, :] / y_Dxn.shape[-1]


def descend(first: Array, others: Array, rates: Array, g: Array) -> tuple[Array, Array]:
    """One update of the factors w_1 [R, D, d] and a_2 … a_N [N − 1, R, D], from the gradient g by their product.

    ∂/∂w_1 = (Π a) g and ∂/∂a_j = (Π_{k≠j} a_k) w_1·g; rates [R, 1].
    """
    along = (first * g).sum(axis=-1)
    rest = [np.prod(np.delete(others, j, axis=0), axis=0) for j in range(len(others))]
    moved = [a - rates * r * along for a, r in zip(others, rest, strict=True)]
    return first - (rates * others.prod(axis=0))[..., None] * g, np.array(moved).reshape(others.shape)


def fewest_updates(cell: LpRegressionCell, rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
    """Updates of the fastest rate and its index, [draws] each; a draw that no rate finishes has infinitely many."""
    d, count = cell.width, cell.draws
    x = rng.standard_normal((count, cell.samples, d)) * np.geomspace(1, 0.1, d)
    teacher, start = (each / np.linalg.norm(each, axis=1)[:, None] for each in rng.standard_normal((2, count, d)))
    y = np.einsum("dni,di->dn", x, teacher)
    size = cell.init ** (1 / cell.layers)
    first = np.broadcast_to(size * start, (len(RATES), count, d))
    others = np.full((cell.layers - 1, len(RATES), count), size)
    summed, goal = np.zeros(first.shape), DONE * (y**cell.power).mean(axis=-1) / cell.power
    updates, best, left = np.full(count, np.inf), np.zeros(count, np.intp), np.arange(count)
    with np.errstate(over="ignore", invalid="ignore"):  # rates that diverge
        for update in range(cell.max_updates + 1):
            loss, g = gradient(cell.power, others.prod(axis=0)[..., None] * first, x, y)
            new = (loss <= goal).any(axis=0)
            if new.any():
                updates[left[new]] = update
                best[left[new]] = np.where(loss <= goal, loss, np.inf).argmin(axis=0)[new]
                x, y, goal, left = (each[~new] for each in (x, y, goal, left))
                first, g, summed = (each[:, ~new] for each in (first, g, summed))
                others = others[:, :, ~new]
                if not len(left):
                    break
            if cell.method == "adagrad":
                summed = summed + g**2
                g = np.divide(g, np.sqrt(summed), out=np.zeros_like(g), where=summed > 0)
            first, others = descend(first, others, RATES[:, None], g)
    return updates, best


def run(cell: LpRegressionCell, context: Context) -> Outcome:
    """Fit the regressions. Raises MusterError where a draw is not done, or its best rate lies at an end of the grid."""
    rng = generator(cell)
    updates, best = fewest_updates(cell, rng)
    if not np.isfinite(updates).all():
        raise MusterError("max_updates", f"{np.isinf(updates).sum()} regressions are not done", "Raise max_updates")
    if np.isin(best, (0, len(RATES) - 1)).any():
        raise MusterError("init", "the best rate lies at an end of the grid", "Choose an init between 1e-3 and 1")
    medians = np.median(rng.choice(updates, (BOOTSTRAPS, cell.draws)), axis=1)
    found = Estimate(float(np.median(updates)), float(medians.std(ddof=1)))
    return outcome(probe_rows("updates", [found]), flops=cost(cell).flops)


def cost(cell: LpRegressionCell) -> Cost:
    """Two products of the data and every rate's weights an update; updates of pilots."""
    flops = 4.0 * (700 if cell.power > 2 else 200) * len(RATES) * cell.draws * cell.samples * cell.width
    return Cost(flops, 1e-9 * flops, 2e8)


EXPERIMENTS.register("lp_regression")(
    Experiment(
        summary="Updates that linear networks of several layers need for regression with ℓp loss, at their best rates",
        stage="sample",
        cell=LpRegressionCell,
        cost=cost,
        run=run,
        example=probe_example(
            "updates",
            {"width": 8, "power": 4, "draws": 8},
            {"layers": [1, 2, 3]},
            along="layers",
            smoke={"draws": 2},
        ),
    )
)
