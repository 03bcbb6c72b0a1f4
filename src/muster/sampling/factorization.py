"""Gradient descent on a product of matrices that must equal a target: deep linear networks and matrix sensing.

Loss ½‖W_L … W_1 − M‖²_F with all `draws` side by side. Whitened inputs make a deep linear network exactly this problem,
M being the input–output correlation; a full set of measurements makes matrix sensing this problem with M = XXᵀ (W_1 =
Xᵀ and W_2 = X are one matrix, loss ¼‖XXᵀ − M‖²) or M = XYᵀ. M is diagonal without loss of generality.

`deep_linear`: L = `depth` + 1 matrices; mode i = 1 … `outputs` of the target has singular value s_i = 1/i. From a
decoupled balanced start every mode obeys du/dt = L u^(2−2/L) (s − u), whose solution at L = 2 is u = s/(1 + (s/u₀ − 1)
e^(−2st)); A. M. Saxe, J. L. McClelland and S. Ganguli, Exact solutions to the nonlinear dynamics of learning in deep
linear neural networks (2013). The learning rate is DEEP_RATE/L, ∝ 1/depth as stability asks (the curvature at the
solution is L for s = 1), and times are updates × DEEP_RATE = Lt. Probes:
- `mode_strength` (step = updates, layer = i): u_i/s_i;
- `half_time` (layer = i): the time at which u_i = s_i/2;
- `learning_time`: the time at which ‖W_L … W_1 − M‖² is a quarter of ‖M‖² (of one mode: u = s/2), a geometric mean over
  draws; a draw that is not done after `max_updates` counts as done there, which understates slow starts.

`matrix_sensing`: a target of `rank` ones, `rank` + `excess` columns, Gaussian start of size `init`; Z. Xiong, L. Ding
and S. S. Du, How over-parameterization slows down gradient descent in matrix sensing (2023). Probes (step = updates T):
- `squared_error`: ‖product − M‖²_F;
- `decay_rate`: −Δ ln(error)/Δt from T/2 to T, t = SENSING_RATE·T: constant in T for an exponential, ∝ 1/T for a power;
- `final_decay_rate`: the same at T = `updates` alone, to compare starts at times of their own.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws
from muster.sampling.tables import Estimate, Row, outcome, probe_rows

Matrices = NDArray[np.float64]

DEEP_RATE = 0.01  # of L layers: steps of 1/L of it lag behind the flow by DEEP_RATE/2L an e-fold
SENSING_RATE = 0.1  # times the largest curvature of the target, 2, far from the limit 2 of stability
DONE = 0.25  # squared error relative to the target's at which a network has learned
SETTLED = 0.95  # relative strength up to which a decoupled mode is followed
SECONDS_PER_PRODUCT = 6e-7  # of small matrices, measured on one core, and on top of it
SECONDS_PER_FLOP = 1.5e-10


class DeepLinearCell(Cell):
    """One deep linear network shape: `width` inputs and hidden units, `depth` hidden layers, `outputs` outputs."""

    initialization: Literal["decoupled", "orthogonal", "gaussian"] = Field(
        "decoupled",
        description="decoupled: balanced, aligned with the target; orthogonal; gaussian of variance 1/width",
    )
    outputs: int = Field(4, ge=1, le=1000, description="Rank of the target: modes to learn")
    efolds: float = Field(8.0, gt=0.7, le=100, description="ln(s_i/u_i) of the decoupled start: e-folds still to grow")
    max_updates: int = Field(10_000, ge=1, le=10**7, description="Updates after which a network counts as done")
    draws: int = Field(8, ge=2, le=10**6, description="Networks")

    @model_validator(mode="after")
    def _fits(self) -> "DeepLinearCell":
        if self.outputs > self.width:
            raise ValueError(f"outputs {self.outputs} exceeds width {self.width}: a narrower layer cannot carry them")
        return self


class LowRankCell(Cell):
    """A `width` × `width` target of rank `rank`, and factors with `excess` columns more."""

    rank: int = Field(2, ge=1, le=1000, description="Rank of the target")
    excess: int = Field(2, ge=0, le=1000, description="Columns beyond the rank: over-parameterization")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.rank + self.excess > self.width:
            raise ValueError(f"{self.rank} + {self.excess} columns exceed width {self.width}: give fewer")
        return self


class MatrixSensingCell(LowRankCell):
    """One factorisation of a target, whose singular values are 1, from full measurements."""

    symmetric: bool = Field(True, description="X Xᵀ; false: X Yᵀ with Y started smaller by `imbalance`")
    init: float = Field(0.3, gt=0, le=10, description="Scale of the start: entries have variance init²/width")
    imbalance: float = Field(3.0, ge=1, le=1e3, description="Scale of X over that of Y where not symmetric")
    updates: int = Field(4096, ge=8, le=10**7, description="Updates of gradient descent")
    draws: int = Field(16, ge=2, le=10**6, description="Independent starts")


def gradients(factors: Sequence[Matrices], target: Matrices) -> tuple[Matrices, list[Matrices]]:
    """Error W_L … W_1 − M, [draws, out, in], and the gradient of half its square by each factor, W_1 first.

    ∂/∂W_l = (W_L … W_{l+1})ᵀ (product − M) (W_{l−1} … W_1)ᵀ.
    """
    forward = [factors[0]]
    for factor in factors[1:]:
        forward.append(factor @ forward[-1])
    error = forward[-1] - target
    slopes, back = [], error
    for index in range(len(factors) - 1, 0, -1):
        slopes.append(back @ np.swapaxes(forward[index - 1], -1, -2))
        back = np.swapaxes(factors[index], -1, -2) @ back
    return error, [back, *reversed(slopes)]


def _orthogonal(rng: np.random.Generator, draws: int, size: int) -> Matrices:
    """Haar-distributed orthogonal matrices: QR with the signs of R's diagonal (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((draws, size, size)))
    return q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[:, None, :]


def initial_factors(cell: DeepLinearCell, rng: np.random.Generator) -> list[Matrices]:
    """W_1 … W_L: all `width` × `width` but the last, [draws, outputs, width]."""
    n, count = cell.width, cell.depth + 1
    if cell.initialization == "gaussian":
        square = [rng.standard_normal((cell.draws, n, n)) / math.sqrt(n) for _ in range(count)]
    else:
        square = [_orthogonal(rng, cell.draws, n) for _ in range(count)]
    if cell.initialization == "decoupled":
        # W_l = R_l D R_{l−1}ᵀ with orthogonal R_l, R_0 = R_L = 1 and D^L = diag(u₀): the product is diag(u₀).
        start = np.zeros(n)
        start[: cell.outputs] = math.exp(-cell.efolds) / np.arange(1, cell.outputs + 1)
        bases = [np.eye(n)[None], *square[1:], np.eye(n)[None]]
        gains = start ** (1 / count)
        square = [after * gains @ np.swapaxes(before, -1, -2) for before, after in itertools.pairwise(bases)]
    return [np.broadcast_to(factor, (cell.draws, n, n)) for factor in square[:-1]] + [
        np.broadcast_to(square[-1], (cell.draws, n, n))[:, : cell.outputs]
    ]


def learn(cell: DeepLinearCell, rng: np.random.Generator) -> tuple[Matrices, Matrices]:
    """Mode strengths u_i/s_i [updates, draws, outputs] and relative squared errors [updates, draws], before every
    update.

    Stops when every draw is done, and every mode that started decoupled has settled, or after `max_updates`.
    """
    modes = 1 / np.arange(1, cell.outputs + 1)
    target = np.eye(cell.outputs, cell.width) * modes[:, None]
    factors = initial_factors(cell, rng)
    rate = DEEP_RATE / len(factors)
    settled = SETTLED if cell.initialization == "decoupled" else -math.inf
    strengths, errors = [], []
    for _ in range(cell.max_updates + 1):
        error, slopes = gradients(factors, target)
        strengths.append(np.diagonal(error, axis1=-2, axis2=-1) / modes + 1)
        errors.append(np.square(error).sum(axis=(-1, -2)) / np.square(modes).sum())
        if (errors[-1] <= DONE).all() and (strengths[-1] > settled).all():
            break
        factors = [factor - rate * slope for factor, slope in zip(factors, slopes, strict=True)]
    return np.array(strengths), np.array(errors)


def first_crossing(values: Matrices, level: float) -> Matrices:
    """Where series [updates, …] first reach a level from below, linear between updates; the last update if never."""
    reached = values >= level
    index = np.where(reached.any(axis=0), reached.argmax(axis=0), len(values) - 1)
    after = np.take_along_axis(values, index[None], 0)[0]
    before = np.take_along_axis(values, np.maximum(index - 1, 0)[None], 0)[0]
    step = after - before
    back = np.where(step > 0, np.clip((after - level) / np.where(step > 0, step, 1), 0, 1), 0)
    return index - np.where(reached.any(axis=0), back, 0)


def run_deep_linear(cell: DeepLinearCell, context: Context) -> Outcome:
    """Train the networks. Cells of different shape use independent random numbers."""
    rng = np.random.default_rng([cell.seed, cell.width, cell.depth])
    strengths, errors = learn(cell, rng)
    halves = first_crossing(strengths, 0.5) * DEEP_RATE
    log_done = np.log(np.maximum(first_crossing(-errors, -DONE), 0.5) * DEEP_RATE)
    learning = mean_over_draws(log_done)
    rows: list[Row] = probe_rows("half_time", [mean_over_draws(column) for column in halves.T])
    rows += probe_rows("learning_time", [Estimate(math.exp(learning.value), math.exp(learning.value) * learning.se)])
    stride = round(1 / DEEP_RATE)
    for update in range(stride, len(strengths), stride):
        found = [mean_over_draws(column) for column in strengths[update].T]
        rows += [(update, "mode_strength", mode, *each) for mode, each in enumerate(found, start=1)]
    return outcome(rows, flops=cost_deep_linear(cell).flops)


def cost_deep_linear(cell: DeepLinearCell) -> Cost:
    """Three products a matrix and update; times are those of the closed form, or of pilots for random starts."""
    slow = math.exp(cell.efolds * (1 - 2 / (cell.depth + 1))) if cell.depth > 1 else cell.efolds
    until = {"decoupled": (slow + 5) * cell.outputs, "orthogonal": 8}.get(cell.initialization, 5 + 2 * cell.depth)
    products = 3.0 * (cell.depth + 1) * min(cell.max_updates, until / DEEP_RATE) * cell.draws
    flops = products * 2.0 * cell.width**2 * cell.outputs
    return Cost(flops, products * SECONDS_PER_PRODUCT + flops * SECONDS_PER_FLOP, 2e8)


def checkpoints(updates: int) -> list[int]:
    """Updates at which sensing is measured, four an octave: 1, 2, …, 8, 10, 12, 14, 16, 20 … `updates` and its half."""
    quarters = (quarter * 2**k // 4 for k in range(updates.bit_length()) for quarter in (4, 5, 6, 7))
    return sorted(t for t in {*quarters, updates // 2, updates} if t <= updates)


def sense(cell: MatrixSensingCell, rng: np.random.Generator) -> dict[int, Matrices]:
    """‖product − M‖²_F [draws] at every checkpoint."""
    n, k = cell.width, cell.rank + cell.excess
    scale = cell.init / math.sqrt(n)
    target = np.diag((np.arange(n) < cell.rank).astype(float))
    x = scale * rng.standard_normal((cell.draws, n, k))
    y = x if cell.symmetric else scale / cell.imbalance * rng.standard_normal((cell.draws, n, k))
    wanted, found = set(checkpoints(cell.updates)), {}
    for update in range(cell.updates + 1):
        error, (slope_y, slope_x) = gradients([np.swapaxes(y, -1, -2), x], target)
        if update in wanted:
            found[update] = np.square(error).sum(axis=(-1, -2))
        x = x - SENSING_RATE * slope_x
        y = x if cell.symmetric else y - SENSING_RATE * np.swapaxes(slope_y, -1, -2)
    return found


def _decay_rate(errors: dict[int, Matrices], update: int) -> Estimate:
    before = update // 2
    return mean_over_draws(np.log(errors[before] / errors[update]) / (SENSING_RATE * (update - before)))


def run_matrix_sensing(cell: MatrixSensingCell, context: Context) -> Outcome:
    """Descend from random starts. Cells of different width use independent random numbers."""
    errors = sense(cell, np.random.default_rng([cell.seed, cell.width, cell.rank]))
    rows: list[Row] = [(t, "squared_error", 1, *mean_over_draws(error)) for t, error in errors.items()]
    for t in errors:
        if t % 2 == 0 and t // 2 in errors:
            rows.append((t, "decay_rate", 1, *_decay_rate(errors, t)))
    rows.append((cell.updates, "final_decay_rate", 1, *_decay_rate(errors, cell.updates)))
    return outcome(rows, flops=cost_matrix_sensing(cell).flops)


def cost_matrix_sensing(cell: MatrixSensingCell) -> Cost:
    """Three products an update."""
    products = 3.0 * cell.updates * cell.draws
    flops = products * 2.0 * cell.width**2 * (cell.rank + cell.excess)
    return Cost(flops, products * SECONDS_PER_PRODUCT + flops * SECONDS_PER_FLOP, 2e8)


EXPERIMENTS.register("deep_linear")(
    Experiment(
        summary="Deep linear networks trained by gradient descent: mode strengths, half times, learning times",
        stage="sample",
        cell=DeepLinearCell,
        cost=cost_deep_linear,
        run=run_deep_linear,
        example=probe_example(
            "half_time",
            {"initialization": "decoupled", "width": 16, "depth": 1, "outputs": 4, "draws": 4},
            {"efolds": [2, 4, 6, 8]},
            along="efolds",
            select={"layer": 1},
            smoke={"width": 8, "draws": 2},
            predicted=1,
        ),
    )
)
EXPERIMENTS.register("matrix_sensing")(
    Experiment(
        summary="Gradient descent on a low-rank factorisation with more columns than the rank",
        stage="sample",
        cell=MatrixSensingCell,
        cost=cost_matrix_sensing,
        run=run_matrix_sensing,
        example=probe_example(
            "squared_error",
            {"symmetric": True, "width": 20, "rank": 2, "excess": 2, "init": 1.0, "updates": 4096, "draws": 16},
            {},
            along="step",
            select={"step": [1024, 2048, 4096]},
            smoke={"draws": 2},
            predicted=-4,
        ),
    )
)
