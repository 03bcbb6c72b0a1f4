"""Valleys that lean more and more along an axis: what the interval of a slope takes in, and when. Seeds are fixed."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import approx_fprime

from muster.fitting.estimators.limit_rate import either, fit_approach
from muster.fitting.estimators.lr_transfer import locate
from muster.fitting.optimum.find import find_optima
from muster.fitting.optimum.leaning import Lean, drift_of_lean, leaned_line, leaning_note, take_in
from muster.fitting.optimum.quadratic import Sweep
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
    return plain, take_in(plain, leaned_line(x, found.y, drift_of_lean(x, found.lean, found.lean_se)))


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


def test_the_interval_holds_another():
    line = Estimate(0.3, 0.05, 3)
    found = take_in(Estimate(0.1, 0.02, 3, intercept=1.0), line)
    assert found.interval()[1] == pytest.approx(line.interval()[1])
    assert (found.estimate, found.dof, found.intercept) == (0.1, 3, 1.0)
    assert take_in(line, Estimate(0.3, 0.01, 3)) == line


def test_a_drift_is_shrunk_by_its_error():
    """By hand: slopes of numpy's lines, the error of a sum; the share, and the sum of squares of two half widths."""
    rng = np.random.default_rng(4)
    x, y = np.log(2.0) * np.arange(7), 0.1 * rng.standard_normal(7)
    lean, error = 0.02 * np.arange(7) + 0.01 * rng.standard_normal(7), rng.uniform(0.02, 0.1, 7)
    lean[2] = np.nan
    known = np.arange(7) != 2
    found = drift_of_lean(x, lean, error)
    weights = np.linalg.lstsq(np.vander(x[known], 2), np.eye(6), rcond=None)[0][0]
    assert found[:2] == pytest.approx((weights @ lean[known], np.hypot.reduce(weights * error[known])))
    t = found.drift / found.error
    assert 1 < t < 3
    assert found.share == pytest.approx((t**2 - 1) / t**2)
    line, plain = leaned_line(x, y, found), slope_ols(x[known], y[known])
    slope = plain.estimate + (t - 1 / t) * found.error
    half = np.hypot(stats.t.ppf(0.975, 4) * plain.se, stats.t.ppf(0.975, 18) * found.error * np.sqrt(1 - 1 / t**2))
    assert line.interval() == pytest.approx((slope - half, slope + half))
    assert line.dof == plain.dof
    assert leaning_note(found).startswith(f"cubics lean along the axis (t = {t:.2g}): the interval takes in +")
    assert drift_of_lean(x, lean, error * t * 1.01) is None
    assert drift_of_lean(x[:3], lean[:3], error[:3]) is None
    assert leaning_note(Lean(0.1, 0.0, 1.0, known)).startswith("cubics lean along the axis (exactly)")


def test_a_slope_is_covered_where_valleys_lean_more_and_more():
    """12 sweeps of 9 shapes; the next test has the shares of many."""
    rng = np.random.default_rng(5)
    drawn = [lines(located(0.0018, 0.0058, rng, shapes=9, rates=RATES[2:-2])) for _ in range(12)]
    plain, mended = ([low <= SLOPE <= high for low, high in (each[i].interval() for each in drawn)] for i in (0, 1))
    assert sum(plain) <= 8
    assert sum(mended) >= 11


@pytest.mark.parametrize(
    ("shapes", "drift", "plain", "mended", "wider"),
    [(4, 0, 0.95, 0.97, 1.07), (4, 0.7, 0.77, 0.94, 1.55), (17, 0, 0.95, 0.98, 1.13), (17, 0.7, 0.09, 0.92, 2.83)],
)
def test_coverage_and_width_by_the_number_of_shapes(shapes, drift, plain, mended, wider):
    """120 sweeps of an axis of four octaves. Errors of vertex and lean are those of five and seven rates half an octave
    apart under one noise, in units of the vertex's error; the lean grows by `drift` of it an octave.
    Expected: from 20,000 sweeps."""
    rng = np.random.default_rng(6)
    x, octaves = np.linspace(0, 4 * np.log(2), shapes), np.linspace(0, 4, shapes)
    parabola, cubic = np.array([0, -2, -1, 0, 1, 2, 0]) / 10, np.array([22, -67, -58, 0, 58, 67, -22]) / 252
    unit = np.linalg.norm(parabola)
    covered, widths = [], []
    for _ in range(120):
        noise = rng.standard_normal((shapes, 7))
        lean = noise @ (cubic - parabola) / unit + drift * octaves
        y = noise @ parabola / unit - drift * octaves
        error = np.linalg.norm(cubic - parabola) / unit * np.sqrt(rng.chisquare(3 * shapes) / (3 * shapes))
        line = slope_ols(x, y)
        both = line, take_in(line, leaned_line(x, y, drift_of_lean(x, lean, np.full(shapes, error))))
        covered.append([low <= 0 <= high for low, high in (each.interval() for each in both)])
        widths.append([np.ptp(each.interval()) for each in both])
    assert np.mean(covered, axis=0) == pytest.approx([plain, mended], abs=0.08)
    assert np.divide(*np.mean(widths, axis=0)[::-1]) == pytest.approx(wider, rel=0.1)


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
