"""A published vector of parameters against a fit: distance, price in objective, and where a descent from it ends."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from muster.errors import MusterError
from muster.fitting.laws.base import Array
from muster.fitting.laws.interval import wald
from muster.fitting.laws.solve import AGREEMENT, GRADIENT_TOLERANCE, LawFit, place, solve

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

        reproduced       the Wald test does not reject (p ≥ 0.05)
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
    accepted = "optimizer" if elsewhere else "reproduced"
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
