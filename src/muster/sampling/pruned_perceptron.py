"""A perceptron of largest margin, taught the examples that a probe finds hard, easy, or any.

A teacher T labels normal examples x ∈ R^N, N = `width`, by the sign of T·x. Of a pool of `ratio` P examples the P =
`kept` N are kept whose |J·x| is smallest (hard) or largest (easy), J a probe at `angle` degrees from T, and a student
without bias learns them with the largest margin. Its error is ε = arccos(R)/π, R its cosine with T. B. Sorscher, R.
Geirhos, S. Shekhar, S. Ganguli and A. Morcos, Beyond neural scaling laws: beating power law scaling via data pruning
(2022). Only J·x decides what is kept, so that all other components are drawn for kept examples alone. Probes, as
geometric means over `draws`:
- `hard_error`, `easy_error` (layer = ratio): the error, and `easy_over_hard`; at ratio 1 all examples are kept;
- `frontier_error`: the least of the hard errors over ratios, the ratio chosen on the other half of the draws.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.tables import Estimate, Row, outcome, probe_rows

Array = NDArray[np.float64]


class PrunedPerceptronCell(Cell):
    """One number of examples that are kept."""

    kept: float = Field(2.0, gt=0, le=1000, description="Examples that are kept, over the dimension")
    largest_ratio: int = Field(1, ge=1, le=2**14, description="Pools of 1, 2, 4, … this many times the kept examples")
    angle: float = Field(0.0, ge=0, lt=90, description="Degrees between the probe and the teacher")
    draws: int = Field(100, ge=4, le=10**6, description="Independent sets of examples")

    @property
    def examples(self) -> int:
        """Examples that are kept, P."""
        return max(1, round(self.kept * self.width))

    @property
    def ratios(self) -> list[int]:
        """Sizes of the pools, over the examples that are kept."""
        return [2**k for k in range(self.largest_ratio.bit_length())]


def largest_margin(signed: Array) -> Array:
    """The w of least norm with y x·w ≥ h for all rows y x of `signed` [P, N], h their mean size: the direction of the
    largest margin. Raises RuntimeError where NNLS does not end.

    Least-distance programming by non-negative least squares (Lawson & Hanson 1974, chapter 23, algorithm LDP): with u ≥
    0 minimizing ‖Eᵀu − f‖, E = [y x, h], f = (0, …, 0, 1), and r the residual, w = −r_1…N/r_(N+1).
    """
    from scipy.optimize import nnls

    scale = np.abs(signed).mean()
    system = np.column_stack([signed, np.full(len(signed), scale)]).T
    target = np.append(np.zeros(signed.shape[1]), 1.0)
    multipliers, _ = nnls(system, target, maxiter=30 * len(signed))
    residual = system @ multipliers - target
    return np.asarray(-residual[:-1] / residual[-1], float)


def error(cell: PrunedPerceptronCell, ratio: int, rng: np.random.Generator, *, hard: bool) -> float:
    """ε of one student. J is the first axis, T lies in the plane of the first two."""
    pool = np.sort(np.abs(rng.standard_normal(ratio * cell.examples)))
    x = rng.standard_normal((cell.examples, cell.width))
    x[:, 0] = rng.choice([-1, 1], cell.examples) * (pool[: cell.examples] if hard else pool[-cell.examples :])
    teacher = np.zeros(cell.width)
    teacher[:2] = np.cos(np.radians(cell.angle)), np.sin(np.radians(cell.angle))
    student = largest_margin(x * np.sign(x @ teacher)[:, None])
    across = student - (student @ teacher) * teacher
    return float(np.arctan2(np.linalg.norm(across), student @ teacher) / np.pi)


def best_of_other_half(errors: Array) -> Estimate:
    """Geometric mean of the best column of errors [draws, ratios], chosen on the other half of the draws: the least of
    several means would be too low."""
    halves = np.array_split(errors, 2)
    best = [half[:, np.log(other).mean(axis=0).argmin()] for half, other in zip(halves, halves[::-1], strict=True)]
    return geometric_mean(np.concatenate(best))


def run(cell: PrunedPerceptronCell, context: Context) -> Outcome:
    """Teach students the hard and the easy examples of every pool."""
    rng = generator(cell)
    hard, easy = (
        np.array([[error(cell, ratio, rng, hard=hard) for ratio in cell.ratios] for _ in range(cell.draws)])
        for hard in (True, False)
    )
    rows: list[Row] = [
        (0, probe, ratio, *geometric_mean(column))
        for probe, errors in (("hard_error", hard), ("easy_error", easy), ("easy_over_hard", easy / hard))
        for ratio, column in zip(cell.ratios, errors.T, strict=True)
    ]
    rows += probe_rows("frontier_error", [best_of_other_half(hard)])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: PrunedPerceptronCell) -> Cost:
    """Active sets of some N of P examples, and the pools."""
    solving = 2.0 * cell.draws * len(cell.ratios) * cell.examples * cell.width**2
    drawing = 4.0 * cell.draws * cell.ratios[-1] * cell.examples
    return Cost(10 * solving, 1.2e-8 * solving + 1e-7 * drawing, 2e8 + 24.0 * cell.examples * cell.width)


EXPERIMENTS.register("pruned_perceptron")(
    Experiment(
        summary="A perceptron of largest margin taught hard, easy or any examples of a pool: its error",
        stage="sample",
        cell=PrunedPerceptronCell,
        cost=cost,
        run=run,
        example=probe_example(
            "hard_error", {"draws": 8}, {"width": 12, "kept": [4, 8, 16]}, along="kept", predicted=-1
        ),
    )
)
