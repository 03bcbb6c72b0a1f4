"""How often the comparison of forms supports the wrong one: claims `greater than 0` on differences paired by curve."""

import numpy as np
import pytest

from muster.fitting.estimators.forms import criteria
from muster.statistics.linear import mean_t

LOG_X = np.log(np.geomspace(1, 100, 12))
CURVES, REPEATS = 5, 50
LINEAR = ["power", "exponential", "broken_power"]  # the forms without an iterative fit: hundreds of them are cheap


def gains(rng, truth, hypothesis, rivals, noise=0.02):
    """Differences in favour of the hypothesis, [repeats, curves] per criterion."""
    found = {"aicc": [], "bic": [], "extrapolation": []}
    for _ in range(REPEATS):
        each = [
            criteria(LOG_X, truth(LOG_X) + noise * rng.standard_normal(len(LOG_X)), 1, [hypothesis, *rivals])
            for _ in range(CURVES)
        ]
        for name, values in found.items():
            values.append([min(c[name][r] for r in rivals) - c[name][hypothesis] for c in each])
    return {name: np.array(values) for name, values in found.items()}


def supported(values):
    """Share of repeats whose lower 90 % limit is above 0, as the claim test `greater` has it."""
    return np.mean([mean_t(row).interval(0.9)[0] > 0 for row in values])


@pytest.mark.parametrize("truth", ["broken_power", "exponential"])
def test_a_wrong_power_law_is_not_supported(truth):
    shapes = {
        "broken_power": lambda x: -0.2 * x - 0.3 * np.maximum(0, x - 2.3),
        "exponential": lambda x: -0.01 * np.exp(x),
    }
    found = gains(np.random.default_rng(61), shapes[truth], "power", [truth])
    assert all(supported(values) <= 0.05 for values in found.values())


def test_a_true_power_law_is_supported_by_aicc():
    found = gains(np.random.default_rng(62), lambda x: -0.3 * x, "power", ["exponential", "broken_power"])
    assert supported(found["aicc"]) > 0.8
    # A rival that can only imitate extrapolates worse.
    assert found["extrapolation"].mean() > 0
