"""One row for a statement on several numbers: p of support and of refutation as by hand, at any bound."""

import math

import numpy as np
import pytest
from scipy import stats

from muster.claims import tests as claim_tests
from muster.statistics.components import LEAST_P, Component, against, interval, largest, undecided
from muster.statistics.linear import Estimate

FOUR = [Component(1, -0.5, 0.1, 2), Component(2, -0.2, 0.2, 2), Component(3, -0.3, 0.01, 9), Component(4, -0.9, 0.9, 2)]


def p_support(found, low, high):
    row = {"estimate": found.estimate, "se": found.se, "dof": found.dof, "test": "interval"}
    if math.isfinite(low) and math.isfinite(high):
        return claim_tests.p_support({**row, "predicted": (low + high) / 2, "margin": (high - low) / 2})
    return claim_tests.p_support({**row, "test": "less", "predicted": high, "margin": 0})


@pytest.mark.parametrize("bound", [0.0, 0.3, 1.0])
def test_support_is_the_largest_p(bound):
    """Which of the four decides depends on the bound: 2, or 4 further out."""
    largest_p = max(stats.t.sf((bound - each.estimate) / each.se, each.dof) for each in FOUR)
    assert p_support(against(FOUR, -math.inf, bound), -math.inf, bound) == pytest.approx(largest_p)


@pytest.mark.parametrize("bound", [-0.4, 0.0, 1.0])
def test_whoever_decides_the_estimate_is_the_largest_and_in_its_interval(bound):
    found = against(FOUR, -math.inf, bound)
    assert found.estimate == -0.2
    assert found.ci[0] < found.estimate < found.ci[1]


def test_refuting_is_bonferroni():
    bound = -0.4
    smallest = min(stats.t.sf((each.estimate - bound) / each.se, each.dof) for each in FOUR)
    found = against(FOUR, -math.inf, bound)
    assert stats.t.sf((found.estimate - bound) / found.se, found.dof) == pytest.approx(4 * smallest)


def test_a_p_beyond_one_half_decides_nothing():
    found = against([Component(at, 0.0, 0.1, 9) for at in range(4)], -math.inf, -0.1)  # 4 × 0.17
    assert stats.t.sf((found.estimate + 0.1) / found.se, found.dof) == pytest.approx(LEAST_P)


def test_interval_of_the_largest_and_of_the_smallest():
    quantiles = [(stats.t.isf(0.025, each.dof), stats.t.isf(0.025 / 4, each.dof)) for each in FOUR]
    low = max(each.estimate - q[1] * each.se for each, q in zip(FOUR, quantiles, strict=True))
    high = max(each.estimate + q[0] * each.se for each, q in zip(FOUR, quantiles, strict=True))
    assert interval(FOUR) == pytest.approx((low, high))
    mirrored = [each._replace(estimate=-each.estimate) for each in FOUR]
    assert interval(mirrored, smallest=True) == pytest.approx((-high, -low))
    assert largest(FOUR).ci == pytest.approx((low, high))


def test_an_interval_that_excludes_the_bound_refutes_at_a_fortieth():
    """Test and interval are of one law, on either side."""
    low, high = interval(FOUR)
    for bound, side in ((low, 1), (high, -1)):
        found = against(FOUR, -math.inf, bound)
        assert stats.t.sf(side * (found.estimate - bound) / found.se, found.dof) == pytest.approx(0.025)


def test_from_above_alike():
    mirrored = [each._replace(estimate=-each.estimate) for each in FOUR]
    for bound in (0.3, -0.4):
        one, other = against(FOUR, -math.inf, bound), against(mirrored, -bound, math.inf)
        assert (one.estimate, one.se, one.dof) == pytest.approx((-other.estimate, other.se, other.dof))


def test_a_square_is_tested_by_its_root():
    each = Component(1, 0.03, 0.02, 8, squared=True)
    found = against([each], -math.inf, 0.01)
    assert found.estimate == pytest.approx(0.0009)
    assert p_support(found, -math.inf, 0.01) == pytest.approx(stats.t.sf((0.1 - 0.03) / 0.02, 8))
    assert each.quantile(-5) == 0


def test_a_profile_is_tested_by_its_signed_root():
    values = np.linspace(-1, 2, 301)
    each = Component(1, 0.2, 0.0, 7, values=values.tolist(), roots=np.expm1(values - 0.2).tolist())
    found = against([each], -0.5, 0.9)
    expected = max(stats.t.sf(np.expm1(0.7), 7), stats.t.sf(-np.expm1(-0.7), 7))
    assert p_support(found, -0.5, 0.9) == pytest.approx(expected, rel=1e-3)
    # An end that the profile does not reach is open.
    assert each.quantile(50) == math.inf


def test_one_number_without_an_error_leaves_none():
    found = against([*FOUR, Component(5, 0.4, math.nan, 2)], -math.inf, 0)
    assert (found.estimate, math.isnan(found.se)) == (0.4, True)


def test_undecided():
    se = undecided(0.3, Estimate(0.4, 0.01, 7))
    assert stats.t.sf(0.3 / se, 7) == pytest.approx(LEAST_P)


@pytest.mark.parametrize(("squared", "value", "error"), [(False, 0.75, 0.02), (True, 0.75**2, 0.03)])
def test_the_error_at_the_value_itself_is_that_of_the_delta_method_and_of_bounds_beside_it(squared, value, error):
    each = Component(1, 0.75, 0.02, 8, squared=squared)
    assert each.error_at(value) == pytest.approx(error)
    assert each.error_at(value + 1e-7) == pytest.approx(error, rel=1e-5)
    assert against([each], -math.inf, value).se == pytest.approx(error)
