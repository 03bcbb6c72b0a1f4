"""The batched minimizer under every law: damped Newton steps on Huber's loss of log residuals, all problems at once."""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from muster.fitting.laws.base import Array, Law

ITERATIONS = 600
_TARGET = 1e-9  # below the tolerance of a certificate, so that the tolerance does not decide the last digit
_CHUNK_FLOATS = 150_000  # numbers in the Jacobian of one chunk: it stays in the second-level cache
_SETTLED, _SHRINK = 1e-3, 3.0
_FAST_STEPS = 16  # Gauss–Newton steps from a good start before the full curvature is worth its price
_DIFFERENCE = 1e-6
_LARGEST_CHANGE = 1.0
_LENGTHS = (0.1, 0.3, 3.0, 10.0, 30.0, 100.0)
_ROUNDING = 1e-12
_HOPELESS = 1e12


class Solution(NamedTuple):
    """Minimizers θ [B, P], their objectives [B] and scaled gradients [B] (infinite where the search broke off)."""

    theta: Array
    objective: Array
    gradient: Array


class Box(NamedTuple):
    """Where θ may be: low [P], high [P], and free [P], the coordinates that may move."""

    low: Array
    high: Array
    free: np.ndarray


def huber(residual: Array, delta: Array | float) -> Array:
    """Huber's (1964) loss: r²/2 up to δ, δ(|r| − δ/2) beyond; δ = ∞ is least squares."""
    inner = np.clip(residual, -np.asarray(delta), delta)
    return inner * (residual - 0.5 * inner)


def minimize(
    law: Law,
    x: Array,
    log_y: Array,
    weights: Array,
    theta: Array,
    delta: float,
    box: Box,
    warm: bool = False,
    iterations: int = ITERATIONS,
) -> Solution:
    """Minimize Σ_r w_r Huber(ln y_r − ln f(x_r; θ); δ) from every start θ [B, P]; log_y, weights [R] or [B, R]; δ ≤ ∞.

    Levenberg–Marquardt steps with the exact curvature of the piecewise quadratic loss (a semi-smooth Newton method, as
    Madsen & Nielsen 1993 have it for linear Huber regression). From a cold start δ begins where nine residuals of ten
    are inside and shrinks as the fit settles, because a small δ far from the minimum leaves no row with curvature.
    warm: the starts lie close to their minima, as the bootstrap's do; δ is not shrunk and steps are Gauss–Newton first.
    """
    rows = max(1, _CHUNK_FLOATS // (log_y.shape[-1] * theta.shape[1]))
    shape = (len(theta), log_y.shape[-1])
    weights, log_y = np.broadcast_to(weights, shape), np.broadcast_to(log_y, shape)
    parts = []
    # A trial far out may overflow; it is then rejected because its objective is not a number.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for begin in range(0, len(theta), rows):
            part = slice(begin, begin + rows)
            parts.append(_minimize_chunk(law, x, log_y[part], weights[part], theta[part], delta, box, warm, iterations))
    return Solution(*(np.concatenate(values) for values in zip(*parts, strict=True)))


@dataclass
class _State:
    """The problems of a chunk that are not finished; every field has the batch as its first axis."""

    index: np.ndarray
    log_y: Array
    weights: Array
    theta: Array
    residual: Array
    jacobian: Array
    width: Array
    damping: Array
    soft: Array
    objective: Array

    def keep(self, mask: np.ndarray) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name)[mask])

    def measure(self) -> None:
        self.objective = (self.weights * huber(self.residual, self.width[:, None])).sum(axis=1)


class _Slope(NamedTuple):
    """Score w ψ(r) [B, R], gradient [B, P], lengths of the Jacobian's columns [B, P], free [B, P], |cosine| [B]."""

    score: Array
    gradient: Array
    length: Array
    free: np.ndarray
    cosine: Array


def _minimize_chunk(
    law: Law, x: Array, log_y: Array, weights: Array, theta: Array, delta: float, box: Box, warm: bool, iterations: int
) -> Solution:
    count = len(theta)
    theta = np.clip(theta, box.low, box.high)
    value, jacobian = law.log_value(theta, x)
    residual = log_y - value
    width = np.full(count, delta)
    if not warm and np.isfinite(delta):
        width = np.maximum(delta, np.quantile(np.abs(residual), 0.9, axis=1))
    flat = np.zeros(count)
    state = _State(
        np.arange(count), log_y, weights, theta, residual, jacobian, width, flat + (1e-5 if warm else 1e-3), flat, flat
    )
    state.measure()
    final = Solution(theta.copy(), state.objective.copy(), np.full(count, np.inf))
    state.keep(np.isfinite(state.objective))
    for iteration in range(iterations):
        slope = _slope(state, box)
        if (settled := (slope.cosine < _SETTLED) & (state.width > delta)).any():
            state.width = np.where(settled, np.maximum(delta, state.width / _SHRINK), state.width)
            state.damping = np.where(settled, np.minimum(state.damping, 1e-3), state.damping)
            state.measure()
            slope = _slope(state, box)
        if (done := ((slope.cosine < _TARGET) & (state.width <= delta)) | (state.damping > _HOPELESS)).any():
            _store(final, state, slope.cosine, delta, done)
            state.keep(~done)
            slope = _Slope(*(each[~done] for each in slope))
        if not len(state.theta):
            return final
        _advance(law, x, state, slope, box, exact=not warm or iteration >= _FAST_STEPS)
    _store(final, state, _slope(state, box).cosine, delta, np.ones(len(state.theta), bool))
    return final


def _store(final: Solution, state: _State, cosine: Array, delta: float, done: np.ndarray) -> None:
    at = state.index[done]
    final.theta[at], final.objective[at] = state.theta[done], state.objective[done]
    final.gradient[at] = np.where(state.width <= delta, cosine, np.inf)[done]


def _slope(state: _State, box: Box) -> _Slope:
    """The gradient; scaled, it is the cosine between score and Jacobian column, as in MINPACK (Moré 1978). A coordinate
    that is held, or is at a bound that the gradient pushes it against, does not count."""
    clipped = np.clip(state.residual, -state.width[:, None], state.width[:, None])
    score = state.weights * clipped
    gradient = -np.einsum("br,brp->bp", score, state.jacobian)
    length = np.sqrt(np.einsum("br,brp->bp", state.weights, state.jacobian**2))
    outward = ((state.theta <= box.low) & (gradient > 0)) | ((state.theta >= box.high) & (gradient < 0))
    free = box.free & ~outward & (length > 0)
    length = np.where(length > 0, length, 1.0)
    size = np.sqrt((score * clipped).sum(axis=1))
    floor = _ROUNDING * np.sqrt(state.weights.sum(axis=1))  # residuals of rounding size have no direction
    cosine = np.where(free, np.abs(gradient) / length, 0.0).max(axis=1) / np.maximum(size, floor)
    return _Slope(score, gradient, length, free, np.where(size > floor, cosine, 0.0))


def _curvature(law: Law, x: Array, state: _State, slope: _Slope, exact: bool) -> Array:
    """Hessian [B, P, P] of the loss. Rows beyond δ have no curvature of their own; where the last step failed (`soft`)
    they get the weight δ/|r| of iteratively reweighted least squares, which never overestimates the gain.

    exact adds −Σ w ψ(r) ∇² ln f, from differences of the analytic gradient, to the Gauss–Newton part.
    """
    far = np.abs(state.residual)
    width = state.width[:, None]
    bend = state.weights * (far <= width)
    if state.soft.any():
        bend += state.weights * state.soft[:, None] * np.where(far > width, width / np.maximum(far, 1e-300), 0.0)
    matrix = np.matmul(state.jacobian.transpose(0, 2, 1), bend[..., None] * state.jacobian)
    if exact and (firm := state.soft == 0).any():
        for p in range(matrix.shape[1]):
            moved = state.theta[firm]
            moved[:, p] += _DIFFERENCE
            change = law.log_value(moved, x)[1] - state.jacobian[firm]
            matrix[firm, :, p] -= np.einsum("br,brp->bp", slope.score[firm], change) / _DIFFERENCE
    return (matrix + matrix.transpose(0, 2, 1)) / 2


def _advance(law: Law, x: Array, state: _State, slope: _Slope, box: Box, exact: bool) -> None:
    """One damped step of every problem: taken where the loss does not rise, else the damping grows."""
    curvature = _curvature(law, x, state, slope, exact)
    step = _step(curvature, slope, state.damping)
    change = np.einsum("brp,bp->br", state.jacobian, step)
    length = _length(state, change) if exact else 1.0
    largest = _LARGEST_CHANGE / np.maximum(np.abs(change).max(axis=1), 1e-300)
    step *= np.minimum(length, largest)[:, None]
    trial = np.clip(state.theta + step, box.low, box.high)
    step = trial - state.theta
    value, jacobian = law.log_value(trial, x)
    residual = state.log_y - value
    reached = (state.weights * huber(residual, state.width[:, None])).sum(axis=1)
    expected = -(slope.gradient * step).sum(axis=1) - 0.5 * np.einsum("bp,bpq,bq->b", step, curvature, step)
    gain = (state.objective - reached) / np.maximum(expected, 1e-300)
    better = reached <= state.objective * (1 + 1e-15)
    state.theta = np.where(better[:, None], trial, state.theta)
    state.residual = np.where(better[:, None], residual, state.residual)
    state.jacobian = np.where(better[:, None, None], jacobian, state.jacobian)
    state.objective = np.where(better, reached, state.objective)
    taken = np.where(gain > 0.7, state.damping / 10, np.where(gain < 0.25, state.damping * 2, state.damping))
    state.damping = np.maximum(np.where(better, taken, np.maximum(state.damping, 1e-10) * 10), 1e-15)
    state.soft = np.where(better, 0.0, 1 - state.soft)


def _length(state: _State, change: Array) -> Array:
    """How far to go along a step that changes ln f by `change` [B, R]: by the loss of the linearized residuals. One,
    unless another length gains half as much again; few rows inside δ say little of how far their curvature reaches."""

    def gain(length: float) -> Array:
        moved = huber(state.residual - length * change, state.width[:, None])
        return state.objective - (state.weights * moved).sum(axis=1)

    lengths = np.array(_LENGTHS)
    gains = np.stack([gain(length) for length in lengths])
    return np.where(gains.max(axis=0) > 1.5 * np.maximum(gain(1.0), 0.0), lengths[gains.argmax(axis=0)], 1.0)


def _step(curvature: Array, slope: _Slope, damping: Array) -> Array:
    """−(|H| + λ)⁻¹ g in coordinates where the Jacobian's columns have unit length; |H| flips negative eigenvalues, so
    that a saddle is left downhill."""
    both = slope.free[:, :, None] & slope.free[:, None, :]
    scaled = curvature / (slope.length[:, :, None] * slope.length[:, None, :])
    values, vectors = np.linalg.eigh(np.where(both, scaled, np.eye(slope.length.shape[1])))
    along = np.einsum("bpk,bp->bk", vectors, np.where(slope.free, slope.gradient / slope.length, 0.0))
    along /= np.abs(values) + damping[:, None]
    return -np.where(slope.free, np.einsum("bpk,bk->bp", vectors, along) / slope.length, 0.0)
