"""A published vector of parameters against a fit: distance, price in objective, and where a descent from it ends."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from muster.errors import MusterError
from muster.fitting.laws.base import Array
from muster.fitting.laws.interval import wald
from muster.fitting.laws.newton import Box, minimize
from muster.fitting.laws.printed import read_printed
from muster.fitting.laws.solve import AGREEMENT, GRADIENT_TOLERANCE, LawFit, bounds, place, solve

LEVEL = 0.05


class Verdict(NamedTuple):
    """Wald statistic with q degrees of freedom and its p, and a record with the rest for the diagnostics."""

    statistic: float
    dof: int
    p: float
    record: dict[str, Any]


def hold_against(
    fit: LawFit, x: Array, y: Array, cov: Array, published: Mapping[str, float], residual_dof: int | None = None
) -> Verdict:
    """Test natural values of some or all parameters together, and look for the reason when they fail.

    The parameters that were not published are refitted under the published ones (`restricted`), then all go downhill
    from there. objective_excess: restricted objective over the minimum, less one; descent_excess: the same where the
    descent ends. finding:

        not rejected     the Wald test does not reject (p ≥ 0.05), which a wide region does of many vectors
        optimizer        not rejected, but a descent from there ends in another, higher minimum, where an optimizer that
                         came near it stops; or
                         rejected, and a descent from the published values reaches the fit's own minimum: they are no
                         minimum of this objective on these rows, as when an optimizer stopped early
        not reproduced   rejected, and a descent ends in another minimum, or nowhere
    """
    unknown = [name for name in published if name not in fit.law.parameters]
    if unknown:
        known = ", ".join(fit.law.parameters)
        raise MusterError("options.published", f"unknown parameter {unknown[0]!r}", f"Parameters: {known}")
    tested = {name: value for name, value in published.items() if name not in fit.held}
    statistic, dof, p = wald(fit, cov, tested, residual_dof)
    start = place(fit.law, fit.theta[None], published)
    restricted = solve(fit.law, x, y, None, start, fit.delta, tuple({*fit.held, *published}))
    descent = solve(fit.law, x, y, None, restricted.theta, fit.delta, fit.held, warm=True)
    floor = max(fit.objective, np.finfo(float).tiny)
    same = descent.gradient[0] < GRADIENT_TOLERANCE and descent.objective[0] <= floor * (1 + AGREEMENT)
    rejected = "optimizer" if same else "not reproduced"
    elsewhere = descent.gradient[0] < GRADIENT_TOLERANCE and not same
    accepted = "optimizer" if elsewhere else "not rejected"
    ends = map(float, fit.law.to_natural(descent.theta)[0])
    record = {
        "statistic": statistic,
        "dof": dof,
        "p": p,
        "objective_excess": float(restricted.objective[0] / floor - 1),
        "descent_excess": float(descent.objective[0] / floor - 1),
        "descent": dict(zip(fit.law.parameters, ends, strict=True)),
        "finding": "not tested" if np.isnan(p) else accepted if p >= LEVEL else rejected,
    }
    return Verdict(statistic, dof, p, record)


class Reproduction(NamedTuple):
    """How a published vector fares as the minimum of its own recipe on its own rows.

    excess: the least objective among all vectors that round to the published digits, over the fit's minimum, less one;
    zero when the minimum itself rounds to them. digits: the largest distance of the fit from a published value, in
    halves of its last digit (at most 1 when all digits are met), and the parameter it is of. solved: whether that least
    objective was found, and does not lie below the fit's.
    """

    excess: float
    digits: float
    parameter: str
    solved: bool


def reproduce(fit: LawFit, x: Array, y: Array, published: Mapping[str, float | str]) -> Reproduction:
    """Minimize the fit's objective over the vectors that would have been printed as published; what was not published
    is free, what the fit holds stays."""
    printed = {name: read_printed(text) for name, text in published.items() if name not in fit.held}
    box = bounds(fit.law, fit.held)
    ends = [place(fit.law, fit.theta[None], {n: p[end] for n, p in printed.items()})[0] for end in (1, 2)]
    inside = np.array([name in printed for name in fit.law.parameters])
    low = np.where(inside, np.fmax(np.minimum(*ends), box.low), box.low)
    high = np.where(inside, np.fmin(np.maximum(*ends), box.high), box.high)
    middle = place(fit.law, fit.theta[None], {name: number.value for name, number in printed.items()})[0]
    starts = np.clip(np.stack([fit.theta, middle, low, high]), low, high)
    starts = np.where(np.isfinite(starts), starts, middle)
    found = minimize(fit.law, x, np.log(y), np.ones(len(y)), starts, fit.width, Box(low, high, box.free), warm=True)
    best = int(np.argmin(np.where(np.isfinite(found.objective), found.objective, np.inf)))
    least = float(found.objective[best])
    # A number of sixteen digits leaves no range at all: its last digit is that of a float.
    off = {
        name: abs(fit.natural[name] - p.value) / max((p.high - p.low) / 2, np.spacing(abs(p.value)))
        for name, p in printed.items()
    }
    worst = max(off, key=lambda name: off[name])
    floor = max(fit.objective, np.finfo(float).tiny)
    excess = least / floor - 1
    solved = found.gradient[best] < GRADIENT_TOLERANCE and excess > -AGREEMENT
    return Reproduction(max(excess, 0.0), off[worst], worst, bool(solved))
