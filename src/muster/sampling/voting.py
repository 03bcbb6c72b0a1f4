"""Many answers to one query: the majority of K, and the first of K that an imperfect verifier accepts.

`majority_vote`: a share α (`easy_share`) of the queries is answered rightly with probability p₁ (`easy`) > ½, the rest
with p₂ (`hard`) < ½, each call by itself; L. Chen et al., Are more LLM calls all you need? (2024, arXiv 2403.02419).
The tallies of exchangeable queries are a Markov chain: of N queries with s right answers among k, a binomial number
gets a further one, with the class's probability p, or, where difficulties are Beta around it with parameters
p/`dispersion` and q/`dispersion` (Pólya's urn), with (p + dispersion·s)/(1 + dispersion·k). Hence `width` queries cost
no more than one. Probes over `draws` tasks:
- `accuracy` (layer = K odd): the share of queries whose majority of K is right;
- `best_calls`: the K at which it is highest;
- `regret`: the highest accuracy less that at the K which `calibration` queries with `answers` calls each predict: two
  classes are fitted to their counts by expectation–maximization, and the fitted accuracy is maximized.

`verified_sampling`: calls go on until a verifier accepts, always a right answer, a wrong one with probability f
(`false_positive`); B. Stroebl, S. Kapoor and A. Narayanan, Inference scaling fLaws (2024). The accepting call is
geometric with a = p + (1 − p) f, its answer right with probability p/a. p is of two classes as above, or, without
`easy_share`, Beta(½, 1). An accepted wrong answer costs `price`. Without f or price a task draws its own, log-uniform
in FALSE_POSITIVES and PRICES. Probes: `accuracy` (layer = K): right answers accepted within K calls; `best_calls`: the
K of the highest accuracy less price × accepted wrong answers; `below_ten`: whether that is below ten.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws
from muster.sampling.random_network import generator
from muster.sampling.tables import Row, outcome, probe_rows

Array = NDArray[np.float64]
FALSE_POSITIVES, PRICES = (0.01, 0.3), (0.1, 4.0)
TEN = 10
UPDATES = 300  # of the expectation–maximization


class CallsCell(Cell):
    """A task of `width` queries of two difficulties."""

    easy_share: float | None = Field(None, gt=0, lt=1, description="α, share of the easy queries")
    easy: float = Field(0.85, gt=0, lt=1, description="p₁, probability that a call answers an easy query rightly")
    hard: float = Field(0.4, gt=0, lt=1, description="p₂, the same for the others")
    most_calls: int = Field(63, ge=3, le=10_000, description="Largest number of calls K")
    draws: int = Field(16, ge=2, le=10**5, description="Independent tasks")


class MajorityVoteCell(CallsCell):
    """Majority of odd numbers of calls."""

    dispersion: float = Field(0.0, ge=0, le=100, description="Of Beta difficulties in each class; 0: all alike")
    calibration: int = Field(200, ge=2, le=10**6, description="Queries from which the best K is predicted")
    answers: int = Field(10, ge=3, le=1000, description="Calls for each of them")

    @model_validator(mode="after")
    def _of_two_kinds(self) -> Self:
        if self.easy_share is None or not self.hard < 0.5 < self.easy:
            raise ValueError("majority_vote needs easy_share, and hard < 1/2 < easy")
        return self


class VerifiedSamplingCell(CallsCell):
    """The first answer that a verifier accepts."""

    false_positive: float | None = Field(None, ge=0, lt=1, description="f, probability to accept a wrong answer")
    price: float | None = Field(None, ge=0, description="Price of an accepted wrong answer, in right ones")


def accuracy(calls: NDArray[np.int64], probability: Array) -> Array:
    """P(more than half of K calls are right) for odd K: [..., K] from probabilities [...]."""
    from scipy.stats import binom

    return np.asarray(binom.sf(calls // 2, calls, probability[..., None]), float)


def voted(cell: MajorityVoteCell, rng: np.random.Generator) -> Array:
    """Share of right majorities of 1, 3, 5 … calls, [draws, K]."""
    right = 0
    easy = round((cell.easy_share or 0) * cell.width)
    for count, p in ((easy, cell.easy), (cell.width - easy, cell.hard)):
        tallies = np.zeros((cell.draws, cell.most_calls + 1), np.int64)
        tallies[:, 0] = count
        s, shares = np.arange(cell.most_calls + 1), []
        for k in range(cell.most_calls):
            gained = rng.binomial(tallies, np.minimum((p + cell.dispersion * s) / (1 + cell.dispersion * k), 1.0))
            tallies = tallies - gained
            tallies[:, 1:] += gained[:, :-1]
            if k % 2 == 0:
                shares.append(tallies[:, k // 2 + 1 :].sum(axis=1))
        right = right + np.stack(shares, axis=1)  # type: ignore[assignment]
    return np.asarray(right / cell.width, float)


def calibration_counts(cell: MajorityVoteCell, rng: np.random.Generator) -> NDArray[np.int64]:
    """Queries with 0, 1, … `answers` right answers, [draws, answers + 1]."""
    shape = (cell.draws, cell.calibration)
    p = np.where(rng.random(shape) < (cell.easy_share or 0), cell.easy, cell.hard)
    if cell.dispersion:
        p = rng.beta(p / cell.dispersion, (1 - p) / cell.dispersion)
    right = rng.binomial(cell.answers, p)
    return (right[..., None] == np.arange(cell.answers + 1)).sum(axis=1)


def two_classes(counts: NDArray[np.int64]) -> tuple[Array, Array]:
    """Shares and probabilities [draws, 2] of two binomial classes, by expectation–maximization (Dempster, Laird & Rubin
    1977) from counts [draws, answers + 1]."""
    from scipy.stats import binom

    answers = counts.shape[1] - 1
    right = np.arange(answers + 1)
    shares, p = np.full((len(counts), 2), 0.5), np.tile([0.75, 0.25], (len(counts), 1))
    for _ in range(UPDATES):
        joint = shares[..., None] * binom.pmf(right, answers, p[..., None])
        weights = counts[:, None] * joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)
        members = np.maximum(weights.sum(axis=2), 1e-12)
        shares, p = members / counts.sum(axis=1, keepdims=True), (weights @ right) / (answers * members)
    return shares, np.clip(p, 1e-9, 1 - 1e-9)


def run_majority_vote(cell: MajorityVoteCell, context: Context) -> Outcome:
    """Vote on every task, and predict its best K from calibration queries of its own."""
    rng = generator(cell)
    shares_DxK = voted(cell, rng)
    calls = np.arange(1, cell.most_calls + 1, 2)
    weights, p = two_classes(calibration_counts(cell, rng))
    predicted = (weights[..., None] * accuracy(calls, p)).sum(axis=1).argmax(axis=1)
    rows: list[Row] = [
        (0, "accuracy", int(k), *mean_over_draws(share)) for k, share in zip(calls, shares_DxK.T, strict=True)
    ]
    rows += probe_rows("best_calls", [mean_over_draws(calls[shares_DxK.argmax(axis=1)].astype(float))])
    lost = shares_DxK.max(axis=1) - shares_DxK[np.arange(cell.draws), predicted]
    return outcome(rows + probe_rows("regret", [mean_over_draws(lost)]), flops=cost_majority_vote(cell).flops)


def given_or_drawn(given: float | None, ends: tuple[float, float], draws: int, rng: np.random.Generator) -> Array:
    """The given number for every task, or one of its own between the ends, log-uniform: [draws]."""
    return np.exp(rng.uniform(*np.log(ends), draws)) if given is None else np.full(draws, given)  # type: ignore[call-overload]


def accepted(cell: VerifiedSamplingCell, rng: np.random.Generator) -> tuple[Array, Array]:
    """Shares of right and of wrong answers that call 1, 2, … accepts, both [draws, most_calls]."""
    parts = []
    for false_positive in given_or_drawn(cell.false_positive, FALSE_POSITIVES, cell.draws, rng):
        if cell.easy_share is None:
            p = rng.beta(0.5, 1.0, cell.width)
        else:
            p = np.where(np.arange(cell.width) < round(cell.easy_share * cell.width), cell.easy, cell.hard)
        accepting = np.maximum(p + (1 - p) * false_positive, 1e-12)
        call = np.minimum(rng.geometric(accepting), cell.most_calls + 1)
        right = rng.random(cell.width) < p / accepting
        parts.append([np.bincount(call[kind], minlength=cell.most_calls + 2)[1:-1] for kind in (right, ~right)])
    shares = np.array(parts) / cell.width
    return shares[:, 0], shares[:, 1]


def run_verified_sampling(cell: VerifiedSamplingCell, context: Context) -> Outcome:
    """Accept answers of every task."""
    rng = generator(cell)
    right, wrong = accepted(cell, rng)
    price = given_or_drawn(cell.price, PRICES, cell.draws, rng)
    best = 1.0 + np.cumsum(right - price[:, None] * wrong, axis=1).argmax(axis=1)
    found = np.cumsum(right, axis=1)
    layers = [2**k for k in range(cell.most_calls.bit_length())]
    rows: list[Row] = [(0, "accuracy", k, *mean_over_draws(found[:, k - 1])) for k in layers]
    rows += probe_rows("best_calls", [mean_over_draws(best)])
    rows += probe_rows("below_ten", [mean_over_draws((best < TEN).astype(float))])
    return outcome(rows, flops=cost_verified_sampling(cell).flops)


def cost_majority_vote(cell: MajorityVoteCell) -> Cost:
    """A binomial number for each tally and call, and the expectation–maximization."""
    numbers = cell.draws * (2.0 * cell.most_calls**2 + 4.0 * UPDATES * cell.answers + cell.calibration * cell.answers)
    return Cost(numbers, 0.1 + 5e-8 * numbers, 2e8)


def cost_verified_sampling(cell: VerifiedSamplingCell) -> Cost:
    """A geometric and a uniform number a query."""
    numbers = float(cell.draws * cell.width)
    return Cost(numbers, 6e-8 * numbers, 2e8)


EXPERIMENTS.register("majority_vote")(
    Experiment(
        summary="Accuracy of the majority of K calls on queries of two difficulties, and the best K",
        stage="sample",
        cell=MajorityVoteCell,
        cost=cost_majority_vote,
        run=run_majority_vote,
        example=probe_example(
            "best_calls",
            {"width": 100_000, "easy": 0.85, "hard": 0.4},
            {"easy_share": [0.4, 0.6, 0.8]},
            along="easy_share",
        ),
    )
)
EXPERIMENTS.register("verified_sampling")(
    Experiment(
        summary="Accuracy of the first answer that an imperfect verifier accepts, and the best number of calls",
        stage="sample",
        cell=VerifiedSamplingCell,
        cost=cost_verified_sampling,
        run=run_verified_sampling,
        example=probe_example(
            "best_calls",
            {"width": 10_000, "easy_share": 0.5, "price": 1.0, "easy": 0.3, "hard": 0.02},
            {"false_positive": [0.05, 0.1, 0.2]},
            along="false_positive",
        ),
    )
)
