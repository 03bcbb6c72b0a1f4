"""The vertex of a fitted parabola, a ratio of two normal coefficients, with its error."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def fieller(beta: Array, cov: Array, quantile: float) -> tuple[float, float]:
    """Fieller's (1954) interval for −β₁/(2β₂): all u with (β₁ + 2β₂u)² ≤ quantile² · Var(β₁ + 2β₂u).

    Unbounded (±inf) when β₂ does not differ from 0 at that quantile.
    """
    q2 = quantile**2
    a = 4 * (beta[2] ** 2 - q2 * cov[2, 2])
    b = 4 * (beta[1] * beta[2] - q2 * cov[1, 2])
    c = beta[1] ** 2 - q2 * cov[1, 1]
    if a <= 0:
        return -np.inf, np.inf
    root = np.sqrt(max(b**2 - 4 * a * c, 0.0))
    return float((-b - root) / (2 * a)), float((-b + root) / (2 * a))


def vertex_se(beta: Array, cov: Array) -> float:
    """Delta-method standard error of −β₁/(2β₂)."""
    vertex = -beta[1] / (2 * beta[2])
    variance = (cov[1, 1] + 4 * vertex * cov[1, 2] + 4 * vertex**2 * cov[2, 2]) / (4 * beta[2] ** 2)
    return float(np.sqrt(max(variance, 0.0)))
