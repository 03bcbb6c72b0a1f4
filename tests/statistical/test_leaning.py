"""Valleys that lean more and more along an axis: what the interval of a slope takes in, and when. Seeds are fixed."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from muster.fitting.estimators.limit_rate import either, fit_approach
from muster.fitting.estimators.lr_transfer import locate
from muster.fitting.optimum.leaning import cubic_line, leaning_note, take_in
from muster.fitting.optimum.quadratic import Sweep, find_optima
from muster.statistics.linear import Estimate, slope_ols

RATES = np.arange(-3.5, 3.6, 0.5)
SLOPE = 0.1


def located(drift, noise=0.0, rng=None, shapes=5, rates=RATES):
    """The optima of shapes that lie on a line of slope 0.1 and whose cubic term grows by `drift` from each to the next,
    in octaves."""
    rng = rng or np.random.default_rng(0)
    phase, sweeps = rng.uniform(-0.25, 0.25), []
    for shape in range(shapes):
        u = rates - phase - SLOPE * (shape - shapes // 2)
        y = 0.05 * u**2 + drift * shape * u**3 + noise * rng.standard_normal(len(u))
        sweeps.append(Sweep(2.0**shape, rates, y[None]))
    return locate(find_optima(sweeps))


def lines(found):
    """The least-squares line through the vertices, and the same with what the cubics show."""
    x = np.log(found.x)
    plain = slope_ols(x, found.y)
    return plain, take_in(plain, cubic_line(x, found.y, found.lean, found.lean_se))


def test_a_lean_without_noise_is_that_of_the_curve():
    found = located(0.003)
    # The minimum of each curve is where the line says: a cubic finds it, a parabola does not.
    np.testing.assert_allclose(np.diff(found.y + found.lean), SLOPE * np.log(2), atol=1e-9)
    assert np.abs(found.lean[-1]) > 0.04
    assert np.abs(found.lean[0]) < 1e-9


def test_symmetric_valleys_and_few_rates_change_nothing():
    for found in (located(0.0), located(0.003, rates=RATES[4:-5])):
        plain, mended = lines(found)
        assert mended == plain


def test_the_error_of_a_lean_is_the_delta_method_s():
    rng = np.random.default_rng(3)
    rates = np.arange(-1.5, 1.6, 0.5)
    y = 0.05 * (rates - 0.1) ** 2 + 0.002 * rates**3 + 0.002 * rng.standard_normal(7)

    def lean(y):
        inner = np.polynomial.Polynomial.fit(rates[1:-1], y[1:-1], 2).deriv().roots()[0]
        turns = np.polynomial.Polynomial.fit(rates, y, 3).deriv().roots()
        return turns[np.abs(turns - inner).argmin()] - inner

    (found,) = find_optima([Sweep(1.0, rates, y[None])])
    left = y - np.polynomial.Polynomial.fit(rates, y, 3)(rates)
    error = np.sqrt(left @ left / 3) * np.linalg.norm(approx_fprime(y, lean, 1e-7))
    assert (found.lean, found.lean_se) == pytest.approx((lean(y), error), rel=1e-4)


def test_the_interval_holds_that_of_the_cubics():
    line = Estimate(0.3, 0.05, 3)
    found = take_in(Estimate(0.1, 0.02, 3, intercept=1.0), line)
    assert found.interval()[1] == pytest.approx(line.interval()[1])
    assert (found.estimate, found.dof, found.intercept) == (0.1, 3, 1.0)
    assert leaning_note(line) == "valleys lean more and more: slope 0.3 through minima of cubics"
    assert take_in(line, Estimate(0.3, 0.01, 3)) == line


def test_a_slope_is_covered_where_valleys_lean_more_and_more():
    rng = np.random.default_rng(5)
    drawn = [lines(located(0.0018, 0.0058, rng, shapes=9, rates=RATES[2:-2])) for _ in range(40)]
    plain, mended = ([low <= SLOPE <= high for low, high in (each[i].interval() for each in drawn)] for i in (0, 1))
    assert np.mean(plain) < 0.75
    assert np.mean(mended) > 0.87


def test_alike_valleys_widen_few_intervals():
    rng = np.random.default_rng(6)
    drawn = [lines(located(0.0, 0.0058, rng)) for _ in range(40)]
    widths = [[np.ptp(line.interval()) for line in each] for each in drawn]
    assert np.mean([mended > plain for plain, mended in widths]) < 0.25
    assert np.mean([mended for _, mended in widths]) < 1.15 * np.mean([plain for plain, _ in widths])


def test_a_drift_that_either_approach_allows_is_not_excluded():
    x, rng = 2.0 ** np.arange(6), np.random.default_rng(7)
    y = 0.02 * rng.standard_normal(6)
    one, other = fit_approach(x, y, 0.5), fit_approach(x, y + 0.05 * np.arange(6), 0.5)
    both = either(one, other)
    first, second = (np.interp(both.values, each.values, each.roots) for each in (one, other))
    alike = np.sign(first) == np.sign(second)
    assert both.drift == one.drift
    np.testing.assert_array_equal(
        np.abs(both.roots[alike]), np.maximum(np.minimum(np.abs(first), np.abs(second))[alike], 1e-6)
    )
    assert (np.abs(both.roots[~alike]) <= 1e-6).all()
    assert (~alike).sum() > 3
    # No value but the estimate has a root of 0, which would be read as known without error.
    assert both.values[both.roots == 0].tolist() == [one.drift]
