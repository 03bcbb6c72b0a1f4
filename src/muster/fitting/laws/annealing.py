"""Annealing law: a whole loss curve from its learning-rate schedule."""

import numpy as np

from muster.fitting.base import ESTIMATORS
from muster.fitting.laws.base import LAWS, Array, Law
from muster.fitting.laws.estimate import law_estimator
from muster.fitting.laws.starts import project
from muster.fitting.laws.terms import log_one_minus, log_sum


def _log_value(theta: Array, x: Array) -> tuple[Array, Array]:
    log_alpha, l0, a, c = (theta[:, [i]] for i in range(4))
    alpha = np.exp(log_alpha)
    forward, annealed = np.log(x[0]), x[1]
    base, (share_0, share_a) = log_sum(l0, a - alpha * forward)
    per_c = annealed * np.exp(-base)
    taken = c * per_c
    value, slope = log_one_minus(taken)
    rest = 1.0 - slope * taken
    columns = (-alpha * forward * share_a * rest, share_0 * rest, share_a * rest, slope * per_c)
    return base + value, np.stack(columns, axis=-1)


def _starts(x: Array, y: Array) -> Array:
    starts = []
    for alpha in np.geomspace(0.1, 2.0, 12):
        design = np.stack([np.ones_like(y), x[0] ** -alpha, -x[1]], axis=1)
        l0, a, c = project(design, y)
        starts.append([np.log(alpha), np.log(l0), np.log(a), c if x[1].any() else 0.0])
    return np.array(starts)


def _to_natural(theta: Array) -> Array:
    return np.concatenate([np.exp(theta[:, :3]), theta[:, 3:]], axis=1)


def _from_natural(natural: Array) -> Array:
    return np.concatenate([np.log(natural[:, :3]), natural[:, 3:]], axis=1)


ANNEALING = LAWS.register("annealing")(
    Law(
        name="annealing",
        formula="L(s) = L0 + A S1(s)^−α − C S2(s)",
        variables=("forward_area", "annealing_area"),
        parameters=("alpha", "l0", "a", "c"),
        log_value=_log_value,
        to_natural=_to_natural,
        from_natural=_from_natural,
        starts=_starts,
        signed=("annealing_area",),
        bounds={"alpha": (1e-3, 10.0), "l0": (1e-8, np.inf), "a": (1e-12, np.inf)},
    )
)

ESTIMATORS.register("annealing")(
    law_estimator(
        "annealing",
        source="Tissue, Wang & Wang (2024), Scaling Law with Learning Rate Annealing. `annealing_areas` makes the "
        "two columns from a schedule; its λ is declared, not estimated",
        assumes="losses of whole curves after warm-up, smoothed or of low noise; schedules with different annealing",
        fails="points of one curve are not independent: give `clusters` (the run), or intervals are far too "
        "narrow; c is not identified on constant schedules; a large c makes the law negative on long annealing",
    )
)
