"""Wild cluster bootstrap: an interval for one coefficient when observations come in few clusters."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from muster.statistics.linear import Estimate, enclosing

Array = NDArray[np.float64]

REPLICATES = 9999
WEBB = np.array([-np.sqrt(1.5), -1.0, -np.sqrt(0.5), np.sqrt(0.5), 1.0, np.sqrt(1.5)])
LEVEL = 0.95
DOUBLINGS = 40
BISECTIONS = 50


class Replicates(NamedTuple):
    """What the bootstrap t statistic of each replicate [B] is made of, at every hypothetical coefficient β₀:
    t* = (n0 − β₀ n1) / √(q00 − 2 β₀ q01 + β₀² q11)."""

    n0: Array
    n1: Array
    q00: Array
    q01: Array
    q11: Array

    def t(self, value: float) -> Array:
        square = self.q00 - 2 * value * self.q01 + value**2 * self.q11
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.abs(self.n0 - value * self.n1) / np.sqrt(np.maximum(square, 0.0))


def webb_weights(replicates: int, clusters: int, seed: int = 0) -> Array:
    """Webb's (2014) six-point weights [B, G]: mean 0, variance 1. Two-point weights have only 2^(G−1) distinct t
    statistics, too few to resolve a tail when clusters are few."""
    return np.random.default_rng(seed).choice(WEBB, size=(replicates, clusters))


def replicate(y: Array, design: Array, clusters: NDArray[np.intp], column: int, weights: Array) -> Replicates:
    """The bootstrap with the null hypothesis imposed (Cameron, Gelbach & Miller 2008), for all hypotheses at once.

    y [n], design [n, p], clusters [n] numbered from 0, weights [B, G]. Under β_column = β₀ the restricted residuals are
    ũ = r₀ − β₀ r₁ with r₀, r₁ the residuals of y and of the column on the other columns; y* = ŷ₀ + v_g ũ. Whatever the
    refitted model yields is linear in ũ, so in β₀.
    """
    others = np.delete(design, column, axis=1)
    bread = np.linalg.inv(design.T @ design)
    direction = design @ bread[column]  # β̂_column = direction · y
    count = weights.shape[1]
    parts = []
    for part in (y, design[:, column]):
        residual = part - others @ np.linalg.lstsq(others, part, rcond=None)[0]
        score = np.bincount(clusters, direction * residual, count)
        moments = np.array([np.bincount(clusters, x * residual, count) for x in design.T])
        leverage = np.array([np.bincount(clusters, direction * x, count) for x in design.T])
        moved = weights @ moments.T @ bread  # β* − β₀, all coefficients [B, p]
        parts.append((weights @ score, weights * score - moved @ leverage))
    (n0, s0), (n1, s1) = parts
    factor = small_sample_factor(len(y), design.shape[1], count)
    q00, q01, q11 = (factor * (a * b).sum(axis=1) for a, b in ((s0, s0), (s0, s1), (s1, s1)))
    return Replicates(n0, n1, q00, q01, q11)


def small_sample_factor(rows: int, columns: int, clusters: int) -> float:
    """G/(G−1) · (n−1)/(n−p), by which the cluster-robust covariance is multiplied (as in Stata and statsmodels)."""
    return clusters / (clusters - 1) * (rows - 1) / (rows - columns)


def wild_cluster(y: Array, design: Array, clusters: NDArray[np.intp], column: int, clustered: Estimate) -> Estimate:
    """The coefficient of a column with the interval of all β₀ that the bootstrap does not reject at 5 %.

    clustered: its cluster-robust estimate, whose t is bootstrapped. The standard error returned reaches the farther end
    (`enclosing`), so that a row's p and interval are of one law; an interval without an end leaves none.
    """
    draws = replicate(y, design, clusters, column, webb_weights(REPLICATES, int(clusters.max()) + 1))
    found = enclosing(clustered.estimate, interval_ends(draws, clustered), clustered.dof)
    return found._replace(intercept=clustered.intercept)


def interval_ends(draws: Replicates, clustered: Estimate) -> tuple[float, float]:
    """Where p falls to 5 % less two of its Monte-Carlo errors, on both sides of the estimate."""
    return _end(draws, clustered, -1), _end(draws, clustered, 1)


def p_value(draws: Replicates, clustered: Estimate, value: float) -> float:
    """Share of replicates whose |t*| reaches |t| of the hypothesis; a tie, up to rounding, counts."""
    observed = abs(clustered.estimate - value) / clustered.se
    return float(np.mean(~(draws.t(value) < observed * (1 - 1e-9))))


def _end(draws: Replicates, clustered: Estimate, side: int) -> float:
    """Where p falls to 5 % on one side of the estimate: doubling steps, then bisection; ±inf when it never does.

    Two Monte-Carlo errors of p are in it, so that no margin is met by the luck of the draws.
    """
    level = 1 - LEVEL - 2 * float(np.sqrt(LEVEL * (1 - LEVEL) / len(draws.n0)))

    def rejected(distance: float) -> bool:
        return p_value(draws, clustered, clustered.estimate + side * distance) < level

    inside, outside = 0.0, clustered.se
    for _ in range(DOUBLINGS):
        if rejected(outside):
            break
        inside, outside = outside, 2 * outside
    else:
        return side * np.inf
    for _ in range(BISECTIONS):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if rejected(middle) else (middle, outside)
    return float(clustered.estimate + side * outside)
