"""Parallel-scaling laws: P parallel streams of one model act like more parameters."""

from collections.abc import Callable

import numpy as np

from muster.fitting.base import ESTIMATORS
from muster.fitting.laws.base import LAWS, Array, Law
from muster.fitting.laws.estimate import law_estimator
from muster.fitting.laws.starts import grid, project
from muster.fitting.laws.terms import log_sum

_ALPHAS = (0.1, 0.2, 0.4, 0.8)
_RATES = (0.05, 0.2, 0.4, 1.0)
_SHAPES = (-1.0, 0.0, 0.5)
_SERIES = 1e-2  # below this, the difference in the formula would lose digits that its series keeps

# (ln P [R], own coordinates [B, G]) → ln of the gain in parameters [B, R], its gradient [B, R, G].
Gain = Callable[[Array, Array], tuple[Array, Array]]


def box_cox(log_p: Array, shape: Array) -> tuple[Array, Array]:
    """(P^s − 1)/s, which is ln P at s = 0 and 1 − 1/P at s = −1, and its derivative by s (Box & Cox 1964)."""
    z = shape * log_p
    near = np.abs(z) < _SERIES
    s = np.where(near, 1.0, shape)
    grown = np.expm1(z)
    value, slope = grown / s, (z * (grown + 1.0) - grown) / s**2
    log_p, z = np.broadcast_to(log_p, z.shape)[near], z[near]
    value[near] = log_p * (1 + z * (1 / 2 + z * (1 / 6 + z * (1 / 24 + z / 120))))
    slope[near] = log_p**2 * (1 / 2 + z * (1 / 3 + z * (1 / 8 + z * (1 / 30 + z / 144))))
    return value, slope


def _shaped(log_p: Array, own: Array) -> tuple[Array, Array]:
    """ln(1 + k (P^s − 1)/s) of (s, ln k)."""
    k = np.exp(own[:, [1]])
    value, slope = box_cox(log_p, own[:, [0]])
    gain = 1.0 + k * value
    return np.log(gain), np.stack([k * slope / gain, k * value / gain], axis=-1)


def _logarithmic(log_p: Array, own: Array) -> tuple[Array, Array]:
    grown = np.exp(own) * log_p
    return np.log1p(grown), (grown / (1.0 + grown))[..., None]


def _power(log_p: Array, own: Array) -> tuple[Array, Array]:
    value = np.exp(own) * log_p
    return value, value[..., None]


def _law(name: str, gain: Gain, formula: str, linear: tuple[str, ...] = ()) -> Law:
    """A law E + (A / (N · gain))^α. linear: those of the gain's own parameters that are not fitted as logarithms."""
    own = (*linear, "k")
    as_log = np.arange(len(own) + 3) >= len(linear)

    def log_value(theta: Array, x: Array) -> tuple[Array, Array]:
        log_alpha, e, a = (theta[:, [i]] for i in range(len(own), len(own) + 3))
        alpha = np.exp(log_alpha)
        n, p = np.log(x)
        log_gain, by_own = gain(p, theta[:, : len(own)])
        ratio = a - n - log_gain
        value, (share_e, share) = log_sum(e, alpha * ratio)
        slope = (alpha * share)[..., None]
        rest = np.stack([alpha * share * ratio, share_e, alpha * share], axis=-1)
        return value, np.concatenate([-slope * by_own, rest], axis=-1)

    def to_natural(theta: Array) -> Array:
        return np.where(as_log, np.exp(np.where(as_log, theta, 0.0)), theta)

    def from_natural(natural: Array) -> Array:
        return np.where(as_log, np.log(np.where(as_log, natural, 1.0)), natural)

    def starts(x: Array, y: Array) -> Array:
        n, p = np.log(x)
        found = []
        for *shape, k, alpha in grid(*([_SHAPES] * len(linear)), _RATES, _ALPHAS):
            log_gain = gain(p, np.array([[*shape, np.log(k)]]))[0][0]
            design = np.stack([np.ones_like(y), np.exp(-alpha * (n + log_gain))], axis=1)
            e, coefficient = project(design, y)
            found.append([*shape, np.log(k), np.log(alpha), np.log(e), np.log(coefficient) / alpha])
        return np.array(found)

    return LAWS.register(name)(
        Law(
            name=name,
            formula=formula,
            variables=("parameters", "streams"),
            parameters=(*own, "alpha", "e", "a"),
            log_value=log_value,
            to_natural=to_natural,
            from_natural=from_natural,
            starts=starts,
            bounds={
                **{parameter: (-5.0, 5.0) for parameter in linear},
                "k": (1e-4, 1e2),
                "alpha": (1e-3, 10.0),
                "e": (1e-8, np.inf),
            },
        )
    )


_law("parallel", _logarithmic, "L = E + (A / (N (1 + k ln P)))^α")
_law("parallel_power", _power, "L = E + (A / (N P^k))^α")
_law("parallel_shape", _shaped, "L = E + (A / (N (1 + k (P^s − 1)/s)))^α", linear=("shape",))

for _name in ("parallel", "parallel_power", "parallel_shape"):
    ESTIMATORS.register(_name)(
        law_estimator(
            _name,
            source="Chen et al. (2025), Parallel Scaling Law for Language Models, and their parametric_fit.py "
            "(`parallel`: 1 + k ln P). P^k is a rival; `parallel_shape` contains the logarithm (shape 0) and a gain "
            "that saturates (shape −1), so that its interval says which of them the runs allow",
            assumes="one training set and schedule at all sizes and numbers of streams; parameters counted at each P",
            fails="k is not identified when streams do not vary, and tends to 0 when they do not help; with P ≤ 8 "
            "the gains differ by little, so that their form is weaker evidence than k > 0",
        )
    )
