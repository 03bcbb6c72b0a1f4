"""Stochastic gradient descent at a stationary point whose curvature is random: which points attract it.

Near the point θ = 0, SGD multiplies θ by 1 − η h with an independent curvature h in every step. L. Ziyin, B. Li, T.
Galanti and M. Ueda, The probabilistic stability of stochastic gradient descent (2023): SGD converges to the point in
probability if and only if the Lyapunov exponent Λ = E ln|1 − η h| is negative, which is not the condition E(1 − η h)²
< 1 of stability in mean square.

Here h is the mean of `batch_size` labels with mean 1 and standard deviation σ (`noise`), normal: h ~ N(1, σ²/B).

- `minimum`: θ ← (1 − η h) θ.
- `saddle`: the rank-one regression ½ (u w − y)² on labels y, whose saddle u = w = 0 is its lowest-rank solution: u ←
  u − η w (u w − h), w likewise. Near 0 the sum u + w is multiplied by 1 + η h and the difference by 1 − η h, so that
  the first decides. E(1 + η h)² > 1 always: in mean square the saddle repels at every noise.

Whether the point attracts is decided as in a fair game: runs start at size exp(−reach), and win by falling to exp(−2
reach) before they rise to 1. With Λ = 0 the logarithm of the size is a walk without drift, and half of the runs win.
No formula enters: a coarse scan finds the noise at which half win, and a logistic regression over a fine one locates
it.

Probes (layer 1): `noise_threshold`, that σ with the regression's error (`quantity: threshold`); `lyapunov_factor`,
exp of the mean ln|1 ∓ η h| at the cell's `noise` (`quantity: lyapunov`).
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.tables import Estimate, outcome, probe_rows

SIGN = {"minimum": -1.0, "saddle": 1.0}  # of η h in the factor that decides
SCAN, COARSE, COARSE_RUNS = (0.5, 500.0), 41, 40  # noise over √B, values of it, runs at each
WINDOW, FINE = 1.25, 11  # the fine scan reaches this factor to either side
SECONDS_PER_UPDATE, SECONDS_PER_STEP = 4e-8, 3e-5

HINT = "A saddle attracts below η = 0.28 only; elsewhere choose a rate whose threshold lies in the scan"


class MultiplicativeCell(Cell):
    """One learning rate and batch size; `width` has no meaning here and is 1."""

    landscape: Literal["minimum", "saddle"] = Field("saddle", description="Which stationary point the runs start at")
    quantity: Literal["threshold", "lyapunov"] = Field("threshold", description="Noise threshold, or Λ at `noise`")
    learning_rate: float = Field(0.1, gt=0, le=10, description="η")
    batch_size: int = Field(1, ge=1, le=10**6, description="B: labels averaged in every step")
    noise: float = Field(1.0, gt=0, le=1e6, description="σ: standard deviation of a label (quantity lyapunov)")
    reach: float = Field(15.0, ge=2, le=100, description="Natural logarithms between the start and either end")
    max_steps: int = Field(100_000, ge=100, le=10**8, description="Updates after which an undecided run counts by half")
    draws: int = Field(400, ge=20, le=10**7, description="Runs at each noise, or factors for Λ")


def labels(cell: MultiplicativeCell, noise: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """One batch mean h for every run, whose label noise is `noise` [R]."""
    return 1 + noise / math.sqrt(cell.batch_size) * rng.standard_normal(len(noise))


def _minimum(state_2xR: NDArray[np.float64], h_R: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    return state_2xR * (1 - rate * h_R)


def _saddle(state_2xR: NDArray[np.float64], h_R: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    return np.asarray(state_2xR - rate * state_2xR[::-1] * (state_2xR[0] * state_2xR[1] - h_R))


LANDSCAPES = {"minimum": _minimum, "saddle": _saddle}


def attracted(cell: MultiplicativeCell, noise_R: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """1 for every run that falls by `reach` before it rises by it, 0 for one that rises first, ½ for an undecided
    one.

    Decided runs leave the arrays, so that the cost falls with their number.
    """
    update, outcome_R = LANDSCAPES[cell.landscape], np.full(len(noise_R), 0.5)
    index, noise = np.arange(len(noise_R)), noise_R
    state = rng.standard_normal((2, len(noise_R)))
    state *= np.exp(-cell.reach) / np.sqrt(np.square(state).sum(axis=0))
    for _ in range(cell.max_steps):
        state = update(state, labels(cell, noise, rng), cell.learning_rate)
        square = np.square(state).sum(axis=0)
        fallen, risen = square < np.exp(-4 * cell.reach), square > 1
        if fallen.any() or risen.any():
            outcome_R[index[fallen]], outcome_R[index[risen]] = 1.0, 0.0
            keep = ~(fallen | risen)
            index, noise, state = index[keep], noise[keep], state[:, keep]
            if not len(index):
                break
    return outcome_R


def noise_threshold(cell: MultiplicativeCell, rng: np.random.Generator) -> Estimate:
    """The smallest label noise at which half of the runs are attracted: a coarse scan over three decades, then a fine
    one.

    Raises a MusterError when no noise of the scan changes the majority.
    """
    from muster.statistics.threshold import find_threshold

    scan = math.sqrt(cell.batch_size) * np.geomspace(*SCAN, COARSE)
    share = attracted(cell, np.repeat(scan, COARSE_RUNS), rng).reshape(COARSE, COARSE_RUNS).mean(axis=1)
    crossings = np.flatnonzero(np.diff(share > 0.5))
    if not len(crossings):
        undecided = f"at {cell.learning_rate:g} no noise decides whether the {cell.landscape} attracts"
        raise MusterError("learning_rate", undecided, HINT)
    middle = math.sqrt(scan[crossings[0]] * scan[crossings[0] + 1])
    fine = np.repeat(middle * np.geomspace(1 / WINDOW, WINDOW, FINE), cell.draws)
    wins = attracted(cell, fine, rng)
    decided = wins != 0.5
    found = find_threshold(np.log(fine[decided]), wins[decided])
    return Estimate(math.exp(found.location), math.exp(found.location) * found.se)


def cost(cell: MultiplicativeCell) -> Cost:
    """Updates until a walk with the threshold's variance per step, about 2 η, has gone `reach`; overhead a step."""
    if cell.quantity == "lyapunov":
        return Cost(10.0 * cell.draws, SECONDS_PER_UPDATE * cell.draws, 1e8)
    steps = min(cell.max_steps, cell.reach**2 / min(cell.learning_rate, 1.0))
    updates = steps * (FINE * cell.draws + COARSE * COARSE_RUNS)
    return Cost(10 * updates, SECONDS_PER_UPDATE * updates + SECONDS_PER_STEP * steps, 1e8)


def run(cell: MultiplicativeCell, context: Context) -> Outcome:
    """Sample one learning rate and batch size."""
    rng = generator(cell)
    if cell.quantity == "threshold":
        rows = probe_rows("noise_threshold", [noise_threshold(cell, rng)])
    else:
        h = labels(cell, np.full(cell.draws, cell.noise), rng)
        factor = np.abs(1 + SIGN[cell.landscape] * cell.learning_rate * h)
        rows = probe_rows("lyapunov_factor", [geometric_mean(factor)])
    return outcome(rows, flops=cost(cell).flops)


EXPERIMENTS.register("multiplicative_sgd")(
    Experiment(
        summary="Which stationary points attract SGD with random curvature: Lyapunov exponents and noise thresholds",
        stage="sample",
        cell=MultiplicativeCell,
        cost=cost,
        run=run,
        example=probe_example(
            "noise_threshold",
            {"landscape": "saddle", "quantity": "threshold", "batch_size": 1, "width": 1, "draws": 400},
            {"learning_rate": [0.05, 0.1, 0.2]},
            along="learning_rate",
            smoke={"draws": 20},
            predicted=-0.5,
        ),
    )
)
