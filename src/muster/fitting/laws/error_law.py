"""Error law: the downstream error rate of a model from its loss."""

import numpy as np

from muster.fitting.base import ESTIMATORS
from muster.fitting.laws.base import LAWS, Array, Law
from muster.fitting.laws.estimate import law_estimator
from muster.fitting.laws.starts import project
from muster.fitting.laws.terms import bounded_exp, log_one_minus


def _log_value(theta: Array, x: Array) -> tuple[Array, Array]:
    log_gamma, k, epsilon = (theta[:, [i]] for i in range(3))
    loss = x[0]
    rate = np.exp(log_gamma) * loss
    gap = bounded_exp(k - epsilon - rate)
    value, slope = log_one_minus(gap)
    by_gap = slope * gap
    return epsilon + value, np.stack([-by_gap * rate, by_gap, 1.0 - by_gap], axis=-1)


def _starts(x: Array, y: Array) -> Array:
    """Rates relative to the spread of the losses; ε and k are solved for at each."""
    loss = x[0]
    starts = []
    for gamma in np.geomspace(0.1, 10.0, 12) / max(float(np.ptp(loss)), 1e-6):
        fall = np.exp(-gamma * (loss - loss.min()))
        epsilon, k = project(np.stack([np.ones_like(y), -fall], axis=1), y)
        starts.append([gamma, k * np.exp(gamma * loss.min()), epsilon])
    return np.log(starts)


ERROR_LAW = LAWS.register("error_law")(
    Law(
        name="error_law",
        formula="Err = ε − k exp(−γ L)",
        variables=("final_eval_loss",),
        parameters=("gamma", "k", "epsilon"),
        log_value=_log_value,
        to_natural=np.exp,
        from_natural=np.log,
        starts=_starts,
        bounds={"gamma": (1e-3, 1e2), "k": (1e-9, 1e12), "epsilon": (1e-9, np.inf)},
    )
)

ESTIMATORS.register("error_law")(
    law_estimator(
        "error_law",
        source="Gadre et al. (2024), Language models scale reliably with over-training and on downstream tasks; "
        "scaling/laws.py",
        assumes="errors averaged over many tasks, so that noise is small and no single task saturates; losses on "
        "one data set",
        fails="over a narrow range of losses the curve is a line: gamma tends to 0 and k and epsilon run away "
        "together; an error rate that predicted losses turn into hides errors of the loss that cancel",
    )
)
