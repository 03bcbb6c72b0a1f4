"""Predictions where the fitted rows lie on a ray: tokens in proportion to parameters tell no two exponents apart, but
what comes next at the same ratio."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from muster.fitting.laws.base import Array
from muster.fitting.laws.interval import drop_scale
from muster.fitting.laws.newton import minimize
from muster.fitting.laws.solve import LawFit, bounds, place, solve
from muster.fitting.laws.table import COLLINEAR, logarithms

_SETTLING = 60  # steps of a search whose objective is wanted, not its place: in a valley it ends nowhere
_GUESSES = 4  # places in the valley from which each refit starts
# Distances at which a further run is tried, in those at which it would be rejected if nothing had been estimated.
_TRIED = np.array([1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0])


class Ray(NamedTuple):
    """Where the fitted rows lie in the space of ln x, and the directions in which they do not vary.

    centre, scale [V]: mean and spread of the rows (1 for a variable that does not vary). across [V, K]: the directions,
    of scaled coordinates. tolerance: how far along them a row may lie and still be on the ray.
    """

    variables: tuple[str, ...]
    signed: tuple[str, ...]
    centre: Array
    scale: Array
    constant: np.ndarray
    across: Array
    tolerance: float

    @classmethod
    def of(cls, x: Array, variables: Sequence[str], signed: Sequence[str]) -> "Ray":
        """The ray of rows x [V, R] whose logarithms are collinear, or of which a variable does not vary."""
        logs = logarithms(x, variables, signed)
        centre, spread = logs.mean(axis=1), logs.std(axis=1)
        constant = np.ptp(logs, axis=1) == 0
        scale = np.where(constant, 1.0, spread)
        scaled = (logs - centre[:, None]) / scale[:, None]
        directions, lengths, _ = np.linalg.svd(scaled / np.sqrt(x.shape[1]), full_matrices=False)
        across = directions[:, lengths <= lengths[0] / COLLINEAR]
        # As far as fitted rows may be off it, or are.
        off = float(np.abs(across.T @ scaled).max(initial=0.0))
        tolerance = max(float(lengths[0]) / COLLINEAR, off)
        return cls(tuple(variables), tuple(signed), centre, scale, constant, across, tolerance)

    def refusals(self, x_new: Array) -> list[str]:
        """For each column of x_new [V, M] why nothing is known of it; empty on the ray."""
        logs = logarithms(x_new, self.variables, self.signed)
        away = np.abs(self.across.T @ ((logs - self.centre[:, None]) / self.scale[:, None])).max(axis=0, initial=0.0)
        return [self._why(logs[:, i]) if away[i] > self.tolerance else "" for i in range(logs.shape[1])]

    def _why(self, at: Array) -> str:
        told = []
        for i in np.flatnonzero(self.constant):
            if abs(at[i] - self.centre[i]) > self.tolerance:
                name, kept, new = self.variables[i], self.centre[i], at[i]
                kept, new = (kept, new) if name in self.signed else (np.exp(kept), np.exp(new))
                told.append(f"{name} is {kept:.4g} in every row that was fitted, {new:.4g} here")
        varied = [name for name, same in zip(self.variables, self.constant, strict=True) if not same]
        if not told:
            told = [f"off the line on which {' and '.join(varied)} were fitted"]
        return f"not predicted: {', '.join(told)}, and what each does alone is not identified"


def predict_run(fit: LawFit, x: Array, y: Array, x_new: Array, level: float = 0.95) -> tuple[Array, Array, Array]:
    """Centre [M] and ends [M] of the interval for one new run at each column of x_new [V, M], as ln f of the fit's law.

    By the validation profile (Kreutz, Raue & Timmer 2012): a run of value z is added to the rows, everything is fitted
    anew, and z lies inside as long as the objective's rise, over its scale (`drop_scale`), is below F(1, R − P). So
    every vector of parameters that the rows allow has its say, identified or not. Rows x [V, R], y [R] must be
    independent and equally noisy. ±∞ for an end that the rows leave open.
    """
    from scipy import stats

    law, rows, count = fit.law, len(y), x_new.shape[1]
    held = {name: fit.natural[name] for name in fit.held}
    found = solve(law, x, y, None, place(law, law.starts(x, y), held), fit.delta, fit.held, iterations=_SETTLING)
    thetas = np.concatenate([fit.theta[None], found.theta])
    heights = np.concatenate([[fit.objective], np.where(np.isfinite(found.objective), found.objective, np.inf)])
    best = int(np.argmin(heights))
    centre = law.log_value(thetas[[best]], x_new)[0][0]
    residuals = np.log(y) - law.log_value(thetas[[best]], x)[0][0]
    scale = float(drop_scale(residuals, fit.width, int(fit.free.sum())))
    limit = float(stats.f.ppf(level, 1, fit.dof)) * scale / 2
    near = thetas[np.argsort(heights)[: int((heights <= heights[best] + limit).sum())]]
    guesses = near[np.unique(np.linspace(0, len(near) - 1, _GUESSES).round().astype(int))]
    half = np.sqrt(2 * limit)
    # Problems [M, 2, T]: run, side, distance. Each has all new runs among its rows, with weight for its own alone.
    tried = (centre[:, None, None] + half * np.array([-1.0, 1.0])[:, None] * _TRIED).ravel()
    of = np.repeat(np.arange(count), 2 * len(_TRIED))
    log_y = np.tile(np.concatenate([np.log(y), np.zeros(count)]), (len(tried), 1))
    weights = np.tile(np.concatenate([np.ones(rows), np.zeros(count)]), (len(tried), 1))
    log_y[np.arange(len(tried)), rows + of], weights[np.arange(len(tried)), rows + of] = tried, 1.0
    refits = minimize(
        law,
        np.concatenate([x, x_new], axis=1),
        np.repeat(log_y, len(guesses), axis=0),
        np.repeat(weights, len(guesses), axis=0),
        np.tile(guesses, (len(tried), 1)),
        fit.width,
        bounds(law, fit.held),
        warm=True,
        iterations=_SETTLING,
    )
    rise = refits.objective.reshape(count, 2, len(_TRIED), len(guesses)).min(axis=-1) - heights[best]
    # The root of the rise is linear in the distance where the law is.
    roots = np.maximum.accumulate(np.sqrt(np.maximum(rise, 0.0)), axis=-1)
    far = np.array([[_crossing(side, np.sqrt(limit)) for side in each] for each in roots]).reshape(count, 2)
    return centre, centre - half * far[:, 0], centre + half * far[:, 1]


def _crossing(roots: Array, goal: float) -> float:
    """The distance at which roots [T] first reach the goal; ∞ if they do not."""
    if not roots[-1] >= goal:
        return np.inf
    at = int(np.argmax(roots >= goal))
    before, low = (_TRIED[at - 1], roots[at - 1]) if at else (0.0, 0.0)
    return float(before + (_TRIED[at] - before) * (goal - low) / (roots[at] - low)) if roots[at] > low else _TRIED[at]
