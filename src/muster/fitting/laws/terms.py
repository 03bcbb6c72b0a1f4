"""Pieces that laws share: sums of terms in logarithms, and terms that are taken away."""

import numpy as np

from muster.fitting.laws.base import Array

_NEAR_ONE = 1.0 - 1e-3
_HUGE_LOG = 50.0


def log_sum(*terms: Array) -> tuple[Array, list[Array]]:
    """ln Σ exp(term), and the share of each term in the sum. Terms of shape [B, R] or [B, 1]; results [B, R].

    Shares times the gradients of the terms are the gradient of the sum.
    """
    stack = np.stack(np.broadcast_arrays(*terms))
    top = stack.max(axis=0)
    parts = np.exp(stack - top)
    total = parts.sum(axis=0)
    return top + np.log(total), list(parts / total)


def log_one_minus(q: Array) -> tuple[Array, Array]:
    """ln(1 − q) and its derivative, for laws in which a term is taken away.

    Beyond q = 0.999, where such a law would turn negative, it goes on along its tangent: parameters that predict a
    negative response are far from any data, and a descent that comes there still knows the way back.
    """
    inside = 1.0 - np.minimum(q, _NEAR_ONE)
    beyond = np.maximum(q - _NEAR_ONE, 0.0)
    return np.log(inside) - beyond / inside, -1.0 / inside


def bounded_exp(logarithm: Array) -> Array:
    """exp of a logarithm, constant from e^50 on: a trial step of a descent may ask for more, no response does."""
    return np.exp(np.minimum(logarithm, _HUGE_LOG))
