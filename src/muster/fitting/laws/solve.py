"""Fit a law from all its starts and certify the minimum."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from muster.fitting.laws.base import Array, Law
from muster.fitting.laws.newton import ITERATIONS, Box, Solution, minimize

GRADIENT_TOLERANCE = 1e-6
AGREEMENT = 1e-6
STARTS_AGREEING = 3
HUBER_EFFICIENCY = 1.345  # in standard deviations: 95 % efficient under normal errors (Holland & Welsch 1977)
_EXACT = 1e-9  # residuals of this size have no spread that a loss could adapt to
ZERO = 1e-8  # a lower bound that stands for zero, for coordinates that are logarithms
_UNFELT = 1e-6  # change of ln f per unit of a coordinate, below which no data tell of it


@dataclass(frozen=True)
class Certificate:
    """Why a minimum may be believed.

    scaled_gradient: the largest |cosine| between the score of the residuals and a column of the Jacobian.
    starts_agreeing: starts whose objective ends within 1e-6 (relative) of the best. bound_hit: parameters that ended
    at a bound. condition_number: of the Jacobian, its columns scaled to unit length. vanished: those of `bound_hit`
    that ended at zero and leave all others as identified as they would be without them, as an offset E = 0 does.
    converged: gradient below 1e-6, three starts agree, no bound hit but by what vanished, finite condition number.
    """

    scaled_gradient: float
    starts: int
    starts_agreeing: int
    bound_hit: tuple[str, ...]
    condition_number: float
    converged: bool
    vanished: tuple[str, ...] = ()

    @property
    def predicts(self) -> bool:
        """Whether the minimum was found: all that a prediction needs, which its parameters' identification is not."""
        return self.scaled_gradient < GRADIENT_TOLERANCE and self.starts_agreeing >= STARTS_AGREEING

    def record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class LawFit:
    """A fitted law: θ [P], the natural parameters, the objective (a sum over rows) and residuals ln y − ln f [R].

    delta: where the loss turns linear; None for least squares. free [P]: the coordinates that were estimated.
    """

    law: Law
    theta: Array
    natural: dict[str, float]
    objective: float
    certificate: Certificate
    residuals: Array
    delta: float | None
    free: np.ndarray

    @property
    def width(self) -> float:
        """δ as a number: ∞ for least squares."""
        return np.inf if self.delta is None else self.delta

    @property
    def held(self) -> tuple[str, ...]:
        """Parameters that were not estimated."""
        return tuple(name for name, free in zip(self.law.parameters, self.free, strict=True) if not free)

    @property
    def dof(self) -> int:
        """Rows less estimated parameters."""
        return len(self.residuals) - int(self.free.sum())


def bounds(law: Law, hold: Sequence[str] = ()) -> Box:
    """The law's bounds in coordinates θ, and which of these may move; a held one may be anywhere."""
    natural = np.array([law.bounds.get(name, (np.nan, np.nan)) for name in law.parameters]).T
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = law.from_natural(natural)
    free = np.array([name not in hold for name in law.parameters])
    low = np.where(np.isnan(low) | ~free, -np.inf, low)
    return Box(low, np.where(np.isnan(high) | ~free, np.inf, high), free)


def place(law: Law, theta: Array, values: Mapping[str, float]) -> Array:
    """θ [B, P] with some parameters at given natural values."""
    if not values:
        return np.asarray(theta, float)
    natural = law.to_natural(np.asarray(theta, float))
    for name, value in values.items():
        natural[:, law.parameters.index(name)] = value
    moved = np.array([name in values for name in law.parameters])
    return np.where(moved, law.from_natural(natural), theta)


def solve(
    law: Law,
    x: Array,
    y: Array,
    weights: Array | None,
    theta0: Array,
    delta: float | None = None,
    hold: Sequence[str] = (),
    warm: bool = False,
    iterations: int = ITERATIONS,
) -> Solution:
    """Minimize Σ_r w_r Huber(ln y_r − ln f(x_r; θ); δ) from every start of θ0 [B, P] at once: θ, objective, gradient.

    x [V, R] is shared; y > 0 is [R] or [B, R], weights likewise or None (all 1). delta None: least squares. Parameters
    in `hold` keep their starts' values. warm: the starts are close to their minima, as a bootstrap's are. iterations:
    where the search breaks off.
    """
    weights = np.ones(y.shape[-1]) if weights is None else np.asarray(weights, float)
    width = np.inf if delta is None else float(delta)
    return minimize(law, x, np.log(y), weights, np.array(theta0, float), width, bounds(law, hold), warm, iterations)


_EXPLORATIONS = 8
_SETTLING = 30  # steps of the other coordinates while one is held: they are let go from there anyway
_NEAR = 2.0  # a wall higher than this many times the minimum has nothing behind it that a practitioner would miss
_MOVES = np.array([-1.5, -0.75, -0.3, 0.3, 0.75, 1.5])  # of a coordinate, for most a logarithm


def fit_law(
    law: Law,
    x: Array,
    y: Array,
    *,
    delta: float | None = None,
    weights: Array | None = None,
    starts: Array | None = None,
    fixed: Mapping[str, float] = {},
    thorough: bool = False,
) -> LawFit:
    """Fit a law to x [V, R], y [R] > 0 from all its starts (or from θ [S, P]); the best minimum, certified.

    Parameters in `fixed` stay at the natural values given. thorough: also look around the best minimum for a better one
    (`explore`), which costs as much again; what it meets counts among the starts. The certificate is that of
    Σ-objectives: nothing is divided by the number of rows, because an absolute tolerance then stops an optimizer at its
    start.
    """
    theta0 = place(law, law.starts(x, y) if starts is None else np.atleast_2d(starts), fixed)
    found = solve(law, x, y, weights, theta0, delta, tuple(fixed))
    if thorough:
        found = explore(law, x, y, weights, found, delta, tuple(fixed))
    best = int(np.argmin(np.where(np.isfinite(found.gradient), found.objective, np.inf)))
    theta, objective, gradient = found.theta[best], float(found.objective[best]), float(found.gradient[best])
    value, jacobian = law.log_value(theta[None], x)
    box = bounds(law, tuple(fixed))
    at_bound = box.free & ((theta <= box.low) | (theta >= box.high))
    hit = tuple(name for name, at in zip(law.parameters, at_bound, strict=True) if at)
    floor = len(y) * _EXACT**2
    reached = (found.objective <= objective * (1 + AGREEMENT) + floor) & (found.gradient < GRADIENT_TOLERANCE)
    agreeing, condition = int(reached.sum()), condition_number(jacobian[0][:, box.free])
    vanished = _vanished(law, hit, jacobian[0], box.free)
    certificate = Certificate(gradient, len(found.theta), agreeing, hit, condition, False, vanished)
    converged = certificate.predicts and hit == vanished and np.isfinite(condition)
    certificate = replace(certificate, converged=bool(converged))
    natural = dict(zip(law.parameters, map(float, law.to_natural(theta[None])[0]), strict=True))
    return LawFit(law, theta, natural, objective, certificate, np.log(y) - value[0], delta, box.free)


def _vanished(law: Law, hit: Sequence[str], jacobian: Array, free: np.ndarray) -> tuple[str, ...]:
    """Parameters at a bound of zero, if ln f still feels every other free coordinate; else none: where a coefficient
    vanishes, its exponent goes with it."""
    gone = tuple(name for name in hit if law.bounds[name][0] <= ZERO)
    others = np.array([name not in gone for name in law.parameters]) & free
    felt = np.sqrt((jacobian[:, others] ** 2).mean(axis=0)) > _UNFELT
    return gone if felt.all() else ()


def explore(
    law: Law, x: Array, y: Array, weights: Array | None, found: Solution, delta: float | None, hold: Sequence[str]
) -> Solution:
    """Look for a better minimum around the best one found, until there is none: `found` with what the search met.

    Each coordinate in turn is moved and held while the others settle, as a profile does it, then let go. Cold starts
    alone can agree on a minimum that is not the best: while δ shrinks they all follow the path of least squares.
    """
    free = [name for name in law.parameters if name not in hold]
    for _ in range(_EXPLORATIONS):
        objective = np.where(np.isfinite(found.gradient), found.objective, np.inf)
        best, least = found.theta[int(np.argmin(objective))], float(objective.min())
        held = []
        for name in free:
            moved = np.repeat(best[None], len(_MOVES), axis=0)
            moved[:, law.parameters.index(name)] += _MOVES
            part = solve(law, x, y, weights, moved, delta, (*hold, name), warm=True, iterations=_SETTLING)
            held.append(part.theta[part.objective <= _NEAR * least])
        if not len(near := np.concatenate(held)):
            break
        around = solve(law, x, y, weights, near, delta, hold, warm=True)
        reached = np.isfinite(around.gradient)
        found = Solution(*(np.concatenate([old, new[reached]]) for old, new in zip(found, around, strict=True)))
        if not reached.any() or around.objective[reached].min() >= least * (1 - AGREEMENT):
            break
    return found


def condition_number(jacobian: Array) -> float:
    """Ratio of the extreme singular values of a Jacobian [R, P] whose columns are scaled to unit length."""
    length = np.linalg.norm(jacobian, axis=0)
    if len(jacobian) < jacobian.shape[1] or not (length > 0).all():
        return np.inf
    return float(np.linalg.cond(jacobian / length))


def robust_sd(fit: LawFit) -> float:
    """Standard deviation of the log residuals by the median absolute one, corrected for the estimated parameters."""
    if fit.dof <= 0:
        return 0.0
    spread = float(np.median(np.abs(fit.residuals))) / 0.6744897501960817
    return spread * float(np.sqrt(len(fit.residuals) / fit.dof))


def robust_delta(law: Law, x: Array, y: Array, fixed: Mapping[str, float] = {}) -> float | None:
    """Huber's δ: 1.345 standard deviations of the log residuals, found in three rounds; None without spread."""
    fit = fit_law(law, x, y, fixed=fixed)
    for _ in range(2):
        if (sd := robust_sd(fit)) < _EXACT:
            return None
        delta = HUBER_EFFICIENCY * sd
        fit = fit_law(law, x, y, delta=delta, starts=fit.theta, fixed=fixed)
    return HUBER_EFFICIENCY * robust_sd(fit)
