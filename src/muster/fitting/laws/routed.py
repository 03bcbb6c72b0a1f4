"""Routed law: loss of a mixture of experts from the size of its dense base and the number of experts."""

import numpy as np

from muster.fitting.base import ESTIMATORS
from muster.fitting.laws.base import LAWS, Array, Law
from muster.fitting.laws.estimate import law_estimator
from muster.fitting.laws.starts import grid

_LOG_10 = np.log(10.0)
# A lower limit above the upper one leaves no room for experts to act: the formula is then a constant, not an error.
_LEAST_ROOM = 1e-9


def effective_experts(experts: Array, e_start: Array, e_max: Array) -> tuple[Array, Array, Array]:
    """ln Ê with 1/Ê = 1/(E − 1 + 1/(1/E_start − 1/E_max)) + 1/E_max, and its derivatives by ln E_start and ln E_max.

    Ê rises from E_start at one expert towards E_max. experts: E ≥ 1 [R]; limits: [B, 1]. Source: Clark et al. (2022),
    section on bounded scaling, as in their example.ipynb.
    """
    room = 1.0 / e_start - 1.0 / e_max
    limited = np.maximum(room, _LEAST_ROOM)
    shifted = experts - 1.0 + 1.0 / limited
    inverse = 1.0 / shifted + 1.0 / e_max
    # d(1/shifted)/d room, zero where the room is at its floor.
    by_room = np.where(room > _LEAST_ROOM, 1.0 / (shifted * limited) ** 2, 0.0)
    return -np.log(inverse), by_room / (e_start * inverse), (1.0 - by_room) / (e_max * inverse)


def _log_value(theta: Array, x: Array) -> tuple[Array, Array]:
    c, a, b, d, log_start, log_max = (theta[:, [i]] for i in range(6))
    n = np.log(x[0])
    hat, by_start, by_max = effective_experts(x[1], np.exp(log_start), np.exp(log_max))
    by_hat = b + c * n / _LOG_10
    columns = (hat * n / _LOG_10, n, hat, _LOG_10, by_hat * by_start, by_hat * by_max)
    return a * n + by_hat * hat + _LOG_10 * d, np.stack(np.broadcast_arrays(*columns), axis=-1)


def _starts(x: Array, y: Array) -> Array:
    """Limits from a grid; the four coefficients are linear in ln L and solved for at each."""
    starts = []
    n = np.log(x[0])
    for e_start, e_max in grid((1.05, 2.0, 5.0), (50.0, 300.0, 2000.0)):
        hat = effective_experts(x[1], e_start, e_max)[0]
        design = np.stack([hat * n / _LOG_10, n, hat, np.full_like(n, _LOG_10)], axis=1)
        starts.append([*np.linalg.lstsq(design, np.log(y), rcond=None)[0], np.log(e_start), np.log(e_max)])
    return np.array(starts)


def _to_natural(theta: Array) -> Array:
    return np.concatenate([theta[:, :4], np.exp(theta[:, 4:])], axis=1)


def _from_natural(natural: Array) -> Array:
    return np.concatenate([natural[:, :4], np.log(natural[:, 4:])], axis=1)


ROUTED = LAWS.register("routed")(
    Law(
        name="routed",
        formula="log₁₀ L = a log₁₀ N + b log₁₀ Ê + c log₁₀ N log₁₀ Ê + d, 1/Ê = 1/(E − 1 + 1/(1/E_start − "
        "1/E_max)) + 1/E_max",
        variables=("parameters", "experts"),
        parameters=("c", "a", "b", "d", "e_start", "e_max"),
        log_value=_log_value,
        to_natural=_to_natural,
        from_natural=_from_natural,
        starts=_starts,
        # Experts stop helping at the size where the slope along Ê, b + c log₁₀ N, is zero: Clark et al. (2022).
        derived={"log10_size_limit": lambda p: -p[:, 2] / p[:, 0]},
        bounds={"e_start": (0.1, 1e3), "e_max": (1.0, 1e6)},
    )
)

ESTIMATORS.register("routed")(
    law_estimator(
        "routed",
        source="Clark et al. (2022), Unified Scaling Laws for Routed Language Models, equation 1, and their "
        "example.ipynb",
        assumes="one routing method, a fixed number of training tokens, dense runs as experts = 1; decimal logarithms",
        fails="e_start and e_max are not identified unless expert counts reach the curve's two ends; without "
        "experts = 1 e_start and b trade off; c is an interaction and needs sizes × experts, not one size ladder "
        "per count",
    )
)
