"""A power law above an irreducible offset: y = E + A x^−α."""

from typing import Literal

import numpy as np
from pydantic import Field

from muster.fitting.base import ESTIMATORS
from muster.fitting.laws.base import LAWS, Array, Law
from muster.fitting.laws.estimate import law_estimator
from muster.fitting.laws.options import LawOptions
from muster.fitting.laws.starts import project

EXPONENTS = np.geomspace(0.03, 3.0, 12)


def log_value(theta: Array, x: Array) -> tuple[Array, Array]:
    """ln(E + A x^−α) [B, R] and its gradient [B, R, 3] in (α, E, ln A), from x [1, R].

    E is its own coordinate, bounded by zero: on a log scale a descent towards E = 0 would never arrive.
    """
    log_x = np.log(x[0])
    alpha, e, a = (theta[:, [i]] for i in range(3))
    power = np.exp(a - alpha * log_x)
    total = e + power
    share = power / total
    return np.log(total), np.stack([-share * log_x, 1 / total, share], axis=-1)


def to_natural(theta: Array) -> Array:
    """(α, E, ln A) → (α, E, A), [B, 3]."""
    return np.concatenate([theta[:, :2], np.exp(theta[:, 2:])], axis=1)


def from_natural(natural: Array) -> Array:
    """(α, E, A) → (α, E, ln A), [B, 3]."""
    return np.concatenate([natural[:, :2], np.log(natural[:, 2:])], axis=1)


def starts(x: Array, y: Array) -> Array:
    """Twelve exponents with E and A projected at each: θ [12, 3]."""
    linear = [project(np.stack([np.ones_like(y), x[0] ** -alpha], 1), y) for alpha in EXPONENTS]
    return from_natural(np.column_stack([EXPONENTS, linear]))


POWER_OFFSET = LAWS.register("power_offset")(
    Law(
        name="power_offset",
        formula="y = E + A x^-alpha",
        variables=("x",),
        parameters=("alpha", "e", "a"),
        log_value=log_value,
        to_natural=to_natural,
        from_natural=from_natural,
        starts=starts,
        bounds={"alpha": (1e-3, 10.0), "e": (0.0, np.inf), "a": (1e-12, np.inf)},
    )
)


class PowerOffsetOptions(LawOptions):
    """Options of `power_offset`."""

    interval: Literal["bootstrap", "profile"] = Field(
        "profile", description="The 95 % interval that is reported: profile of the objective, or bootstrap percentiles"
    )


ESTIMATORS.register("power_offset")(
    law_estimator(
        "power_offset",
        source="Golub & Pereyra 1973 (variable projection), Huber 1964 (loss)",
        assumes="Independent relative errors around one curve; x spans enough to see the bend",
        fails="A range of x that is too short for the bend: E is then not identified and drags the exponent",
        options=PowerOffsetOptions,
    )
)
