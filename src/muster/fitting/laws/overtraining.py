"""Over-training law: loss at any ratio of tokens to parameters, with one exponent for both."""

import numpy as np

from muster.fitting.base import ESTIMATORS
from muster.fitting.laws.base import LAWS, Array, Law
from muster.fitting.laws.estimate import law_estimator
from muster.fitting.laws.starts import project
from muster.fitting.laws.terms import log_sum


def _log_squares(x: Array) -> Array:
    """ln 6N² and ln 6D²: with C = 6ND and M = D/N they are ln(C/M) and ln(C M)."""
    return np.log(6.0) + 2.0 * np.log(x)


def _log_value(theta: Array, x: Array) -> tuple[Array, Array]:
    log_eta, e, a, b = (theta[:, [i]] for i in range(4))
    size, data = _log_squares(x)
    eta = np.exp(log_eta)
    value, (share_e, share_n, share_d) = log_sum(e, a - eta * size, b - eta * data)
    return value, np.stack([-eta * (share_n * size + share_d * data), share_e, share_n, share_d], axis=-1)


def _starts(x: Array, y: Array) -> Array:
    size, data = _log_squares(x)
    etas = np.geomspace(0.02, 0.6, 12)
    designs = [np.exp(-eta * np.stack([np.zeros_like(y), size, data], axis=1)) for eta in etas]
    return np.log([[eta, *project(design, y)] for eta, design in zip(etas, designs, strict=True)])


OVERTRAINING = LAWS.register("overtraining")(
    Law(
        name="overtraining",
        formula="L = E + (a M^η + b M^−η) C^−η with C = 6ND and M = D/N",
        variables=("parameters", "tokens"),
        parameters=("eta", "e", "a", "b"),
        log_value=_log_value,
        to_natural=np.exp,
        from_natural=np.log,
        starts=_starts,
        # For a given compute a M^η + b M^−η is least at this M.
        derived={"tokens_per_parameter": lambda p: (p[:, 3] / p[:, 2]) ** (0.5 / p[:, 0])},
        bounds={"eta": (1e-3, 5.0), "e": (1e-8, np.inf), "a": (1e-12, np.inf), "b": (1e-12, np.inf)},
    )
)

ESTIMATORS.register("overtraining")(
    law_estimator(
        "overtraining",
        source="Gadre et al. (2024), Language models scale reliably with over-training and on downstream tasks; "
        "the same curve as in their scaling/laws.py, whose exponent b is −2η",
        assumes="one exponent for size and data (α = β = 2η), so that lines of equal M are parallel; at least two "
        "ratios of tokens to parameters, one of them at several sizes",
        fails="a constant ratio of tokens to parameters leaves a and b inseparable; few points (the paper uses "
        "five for four parameters) leave one degree of freedom, and e then moves with the choice of residuals",
    )
)
