"""Group-sequential tests of a slope: looks after 5, 9, 17, … shapes, at a level that holds over all of them.

A slope from n_k shapes is tested at look k by T_k = (distance inside the bound) / se_k. Where the truth lies at the
bound, the joint law of T_1 … T_K depends on the places of the shapes alone, not on the slope, the scatter or the level:
T_k is a least-squares slope of pure noise over its own standard error. Its boundaries follow by Monte Carlo.

Sources: error spending, Lan & DeMets 1983; the Pocock-like spending function α ln(1 + (e − 1) t); two one-sided tests,
Schuirmann 1987.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from muster.claims.tests import ALPHA, CLAIM_TESTS

Array = NDArray[np.float64]

FIRST = 5  # shapes of the first look: three degrees of freedom
DRAWS = 400_000
_CHUNK = 50_000


def nested_looks(shapes: Sequence[float], first: int = FIRST) -> list[tuple[float, ...]]:
    """Shapes of each look, log-spaced, each look with those of the one before: 5 of 17, then 9, then all.

    Fewer than `first` + 2 shapes make a single look: an earlier one would save nothing.
    """
    x = sorted(shapes)
    count = len(x)
    looks: list[tuple[float, ...]] = []
    chosen: set[int] = set()
    size = first
    while size + 1 < count:
        targets = np.linspace(math.log(x[0]), math.log(x[-1]), size)
        chosen |= {int(np.argmin(np.abs(np.log(x) - target))) for target in targets}
        if len(chosen) >= first and (not looks or len(chosen) > len(looks[-1])) and len(chosen) < count:
            looks.append(tuple(x[i] for i in sorted(chosen)))
        size = 2 * size - 1
    return [*looks, tuple(x)]


def spent(information: float, level: float) -> float:
    """Share of the level that may be spent when a share of the planned information is in: α ln(1 + (e − 1) t)."""
    return level * math.log1p((math.e - 1) * min(max(information, 0.0), 1.0))


def information(log_x: Sequence[float]) -> float:
    """What a set of shapes says of a slope: Σ (ln x − mean)²."""
    x = np.asarray(log_x, float)
    return float(np.square(x - x.mean()).sum())


@lru_cache(maxsize=64)
def noise_statistics(looks: tuple[tuple[float, ...], ...], draws: int = DRAWS, seed: int = 0) -> Array:
    """T [draws, K] where the true slope lies at the bound: t statistics of slopes of one set of unit normal errors.

    looks: ln x of the shapes of each look. Shapes that two looks share carry the same error.
    """
    everything = sorted({x for look in looks for x in look})
    places = [[everything.index(x) for x in look] for look in looks]
    rng = np.random.default_rng(seed)
    parts = []
    for start in range(0, draws, _CHUNK):
        errors = rng.standard_normal((min(_CHUNK, draws - start), len(everything)))
        parts.append(
            np.column_stack([_t(np.array(look), errors[:, at]) for look, at in zip(looks, places, strict=True)])
        )
    return np.concatenate(parts)


def _t(log_x: Array, errors: Array) -> Array:
    """Slope over standard error of each row of errors [D, W] on ln x [W]."""
    x = log_x - log_x.mean()
    slope = errors @ x / (x @ x)
    residual = errors - errors.mean(axis=1, keepdims=True) - slope[:, None] * x
    variance = np.square(residual).sum(axis=1) / (len(x) - 2) / (x @ x)
    return np.asarray(slope / np.sqrt(variance))


def boundaries(
    looks: Sequence[Sequence[float]], planned: float, level: float, last: bool, draws: int = DRAWS
) -> list[float]:
    """Critical values c_1 … c_K: under a truth at the bound, P(T_k > c_k at some look) is what may be spent by then.

    looks: ln x of the shapes that each look so far really used, at least three each. planned: information of all
    planned shapes. last: the last of these looks spends what is left.
    """
    return list(_boundaries(tuple(tuple(float(x) for x in look) for look in looks), planned, level, last, draws))


@lru_cache(maxsize=256)
def _boundaries(
    looks: tuple[tuple[float, ...], ...], planned: float, level: float, last: bool, draws: int
) -> tuple[float, ...]:
    t = noise_statistics(looks, draws)
    alive = np.ones(len(t), bool)
    used = 0.0
    found: list[float] = []
    for k, look in enumerate(looks):
        share = 1.0 if last and k == len(looks) - 1 else information(look) / planned
        may = max(spent(share, level), used)
        count = round((may - used) * len(t))
        values = t[alive, k]
        if count < 1 or not len(values):
            found.append(math.inf)
            continue
        critical = (
            float(np.partition(values, len(values) - count)[len(values) - count]) if count < len(values) else -math.inf
        )
        alive[alive] = values < critical
        found.append(critical)
        used += count / len(t)
    return tuple(found)


class Look(NamedTuple):
    """What one look found. statistic, boundary: of the support test; against, against_boundary: of the refuting one."""

    estimate: float
    se: float
    statistic: float
    boundary: float
    against: float
    against_boundary: float

    @property
    def decision(self) -> str:
        """supported | refuted | open."""
        if self.statistic >= self.boundary:
            return "supported"
        return "refuted" if self.against >= self.against_boundary else "open"


def look(
    claim: tuple[str, float, float],
    estimate: float,
    se: float,
    looks: Sequence[Sequence[float]],
    planned: float,
    last: bool,
    level: float = ALPHA,
) -> Look:
    """Hold the slope of the last of the looks against a claim (test, predicted, margin).

    Supported when both one-sided tests, the only one of a directional claim, cross their boundary at this look. Refuted
    mirrors it: beyond one of two bounds at half the level, or beyond the only one at the level.
    """
    low, high = CLAIM_TESTS[claim[0]](claim[1], claim[2])
    inside = min(estimate - low, high - estimate)
    sides = 2 if math.isfinite(low) and math.isfinite(high) else 1
    support = boundaries(looks, planned, level, last)[-1]
    refute = boundaries(looks, planned, level / sides, last)[-1]
    statistic = inside / se if se > 0 else math.copysign(math.inf, inside)
    return Look(estimate, se, statistic, support, -statistic, refute)


def as_record(found: Look) -> dict[str, Any]:
    """A look as JSON: infinite boundaries, which spend nothing, as null."""
    numbers = {name: value if math.isfinite(value) else None for name, value in found._asdict().items()}
    return {**numbers, "decision": found.decision}
