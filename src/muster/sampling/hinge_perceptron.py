"""A perceptron learning P examples one by one: how far the noise of its descent carries it, and when it ends.

P = `examples` points x ∈ R^d, d = `width`: |x₁| = u^(1/(1+χ)) with u uniform on [0, 1], of density ∝ |x₁|^χ,
χ = `boundary`, and d − 1 normal components; the label y is the sign of x₁. Descent from w = 0 on the hinge loss max(0,
MARGIN − y w·x) of one example a step, drawn with return, at rate T = `temperature`, until all have no loss. A.
Sclocchi, M. Geiger and M. Wyart, Dissecting the effects of SGD noise in distinct regimes of deep learning (2023). An
example without loss changes nothing: the steps between changes are geometric, drawn at once, and the law is exact.
Probes, as geometric means over `draws`: `informative` = w₁ and `uninformative` = ‖w_⊥‖ at the end; `duration` = the
steps to it times T.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.tables import Row, outcome, probe_rows

Array = NDArray[np.float64]
MARGIN = 1.0


class HingePerceptronCell(Cell):
    """One number of examples and one rate in d = `width` dimensions."""

    examples: int = Field(256, ge=2, le=10**6, description="P")
    temperature: float = Field(30.0, gt=0, le=1e6, description="T, the rate at one example a step")
    boundary: float = Field(1.0, ge=0, le=100, description="χ: the density at the boundary is ∝ distance^χ")
    draws: int = Field(24, ge=2, le=10**6, description="Independent sets of examples")


def learn(signed: Array, temperature: float, rng: np.random.Generator) -> tuple[Array, int]:
    """w [d] and the steps after which no row y x of `signed` [P, d] has a loss. The rows must be separable."""
    count, weights, steps = len(signed), np.zeros(signed.shape[1]), 0
    fields = np.zeros(count)
    while len(unfit := np.flatnonzero(fields < MARGIN)):
        steps += int(rng.geometric(len(unfit) / count))
        step = temperature * signed[unfit[rng.integers(len(unfit))]]
        weights += step
        fields += signed @ step
    return weights, steps


def examples(cell: HingePerceptronCell, rng: np.random.Generator) -> Array:
    """y x [P, d]: the first component is the distance from the boundary; the others are symmetric, so that y does not
    matter to them."""
    signed = rng.standard_normal((cell.examples, cell.width))
    signed[:, 0] = rng.random(cell.examples) ** (1 / (1 + cell.boundary))
    return signed


def run(cell: HingePerceptronCell, context: Context) -> Outcome:
    """Learn every set of examples."""
    rng, ends = generator(cell), []
    for _ in range(cell.draws):
        weights, steps = learn(examples(cell, rng), cell.temperature, rng)
        ends.append((weights[0], np.linalg.norm(weights[1:]), steps * cell.temperature))
    rows: list[Row] = []
    for probe, values in zip(("informative", "uninformative", "duration"), np.array(ends).T, strict=True):
        rows += probe_rows(probe, [geometric_mean(values)])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: HingePerceptronCell) -> Cost:
    """A product with all examples at each change; of these there are some P^(2/(1 + χ))."""
    changes = 40.0 * cell.draws * cell.examples ** (2 / (1 + cell.boundary))
    product = 2.0 * cell.examples * cell.width
    return Cost(changes * product, changes * (1e-5 + 3e-10 * product), 2e8 + 24.0 * cell.examples * cell.width)


EXPERIMENTS.register("hinge_perceptron")(
    Experiment(
        summary="A perceptron learning examples one by one until all are fitted: how far and how long noise drives it",
        stage="sample",
        cell=HingePerceptronCell,
        cost=cost,
        run=run,
        example=probe_example(
            "informative",
            {"width": 8, "draws": 100},
            {"examples": [64, 128, 256]},
            along="examples",
            smoke={"draws": 8},
        ),
    )
)
