"""Linear classifiers whose softmax is computed with b significant bits: when does a loss become exactly zero?

A softmax with probabilities and their sum rounded to b = `bits` bits (binary16: 11, binary32: 24, binary64: 53, the
leading one counted) has loss 0, and no gradient by the right class's score, once the others' exp(−margin) vanish
beside 1: L. Prieto, M. Barsbey, P. Mediano and T. Birdal, Grokking at the edge of numerical stability (2025), who call
it softmax collapse. `samples` ≤ `width` inputs, normal and scaled to about unit norm, have random classes, so that they
can all be fitted; all of them are in every step, on the sum of the losses. Derived here: under gradient descent the
losses fall as 1/t, so that collapse takes ∝ 2^b steps, while Adam's margins grow as t, so that it takes ∝ b.

Probes at layer 2^b: `collapse_steps`, steps until half of the losses are zero (a geometric mean over `draws`);
`collapse_margin`, least lead over equal other scores at which a loss is zero, by bisection.
"""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.tables import Row, outcome

Array = NDArray[np.float64]
BETAS, EPSILON = (0.9, 0.99), 1e-30  # the authors' AdamW, without decay
LONGEST = 200  # steps times 2^b, after which a classifier counts as stuck


class CollapseCell(Cell):
    """One precision and method; `width` is the dimension of the inputs."""

    bits: int = Field(ge=3, le=53, description="b, significant bits of the softmax")
    method: Literal["descent", "adam"] = Field("descent", description="Gradient descent, or Adam")
    rate: float = Field(0.5, gt=0, le=10, description="Learning rate, for the sum of the losses")
    samples: int = Field(16, ge=2, le=1000, description="Inputs, at most `width`")
    classes: int = Field(4, ge=2, le=1000, description="C, classes")
    draws: int = Field(8, ge=2, le=10**5, description="Independent sets of inputs")

    @model_validator(mode="after")
    def _separable(self) -> Self:
        if self.samples > self.width:
            raise ValueError(f"{self.samples} samples in {self.width} dimensions need not be separable")
        return self


def rounded(x: Array, bits: int) -> Array:
    """x to the nearest number of so many significant bits, ties to even, exponents without bounds."""
    mantissa, exponent = np.frexp(x)
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits))


def softmax(scores: Array, bits: int) -> tuple[Array, Array]:
    """Probabilities and their sum before it divides them, [..., C] and [..., 1], every result rounded."""
    powers = rounded(np.exp(scores - scores.max(axis=-1, keepdims=True)), bits)
    total = rounded(powers.sum(axis=-1, keepdims=True), bits)
    return rounded(powers / total, bits), total


def collapse_margin(bits: int, classes: int) -> float:
    """Least lead over equal other scores with which the rounded sum is the right class's own 1."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        scores = np.zeros(classes)
        scores[0] = middle
        low, high = (low, middle) if softmax(scores, bits)[1].item() == 1 else (middle, high)
    return high


def collapse_steps(cell: CollapseCell, rng: np.random.Generator) -> Array:
    """Steps until half of the losses are zero, [draws]."""
    x = rng.standard_normal((cell.draws, cell.samples, cell.width)) / np.sqrt(cell.width)
    wanted = np.eye(cell.classes)[rng.integers(cell.classes, size=(cell.draws, cell.samples))]
    weights = np.zeros((cell.draws, cell.width, cell.classes))
    moments, found = [weights, weights], np.full(cell.draws, np.nan)
    for step in range(1, LONGEST * 2**cell.bits):
        p, total = softmax(x @ weights, cell.bits)
        fitted = (total[..., 0] == 1) & ((p * wanted).sum(axis=-1) == 1)
        found[np.isnan(found) & (fitted.mean(axis=1) >= 0.5)] = step
        if np.isfinite(found).all():
            break
        slope = np.swapaxes(x, 1, 2) @ (p - wanted)
        if cell.method == "adam":
            moments = [b * kept + (1 - b) * new for b, kept, new in zip(BETAS, moments, (slope, slope**2), strict=True)]
            first, second = (kept / (1 - b**step) for b, kept in zip(BETAS, moments, strict=True))
            slope = first / (np.sqrt(second) + EPSILON)
        weights = weights - cell.rate * slope
    return found


def run(cell: CollapseCell, context: Context) -> Outcome:
    """Train until the losses vanish."""
    steps = geometric_mean(collapse_steps(cell, generator(cell)))
    rows: list[Row] = [
        (0, "collapse_steps", 2**cell.bits, *steps),
        (0, "collapse_margin", 2**cell.bits, collapse_margin(cell.bits, cell.classes), 0.0),
    ]
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: CollapseCell) -> Cost:
    """As many steps as 2^b, or a few dozen times b under Adam."""
    steps = 2.0**cell.bits / cell.rate if cell.method == "descent" else 40.0 * cell.bits
    numbers = float(cell.draws) * cell.samples * cell.classes
    flops = 4 * steps * numbers * cell.width
    return Cost(flops, steps * 6e-5 + 1e-9 * flops + steps * 8e-8 * numbers, 2e8)


EXPERIMENTS.register("softmax_collapse")(
    Experiment(
        summary="Linear classifiers under a softmax of few significant bits: steps until losses are exactly zero",
        stage="sample",
        cell=CollapseCell,
        cost=cost,
        run=run,
        example=probe_example(
            "collapse_steps", {"width": 24}, {"bits": [5, 6, 7, 8]}, along="layer", predicted=1, smoke={"draws": 2}
        ),
    )
)
