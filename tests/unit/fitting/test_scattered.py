"""Minima of polynomials through scattered rates: exact where they must be, and against other formulas for the rest."""

import numpy as np
import pytest
from statsmodels.regression.linear_model import OLS

from muster.fitting.optimum.find import find_optima
from muster.fitting.optimum.quadratic import Sweep, Window, find_parabolas, fit_polynomial
from muster.fitting.optimum.scattered import Local, choose, minimum, misfit_p, stationary_interval
from muster.statistics.fieller import fieller


def drawn(rng, curve, count=40, noise=0.003, x=1.0):
    rates = np.sort(rng.uniform(-6, 6, count))
    return Sweep(x, rates, (curve(rates) + noise * rng.standard_normal(count))[None])


def local(rng, count=12):
    offset = np.sort(rng.uniform(-2, 2, count))
    y = 0.05 * (offset - 0.3) ** 2 + 0.01 * rng.standard_normal(count)
    return Local(Window(0.0, offset, y[None]), np.ones(count))


def test_the_interval_of_a_parabola_is_fieller_s():
    points = local(np.random.default_rng(1))
    fit = points.fit(2)
    ends = stationary_interval(fit, 1e-4, 2.0, fit.vertex(), np.array([-50.0, 50.0]))
    assert ends == pytest.approx(fieller(fit.beta, fit.unscaled_cov * 1e-4, 2.0), abs=1e-9)


def test_a_place_is_in_the_interval_where_the_slope_there_is_not_told_from_zero():
    """The t test of p′(u) = 0 by a regression on powers of distances from u: its linear term."""
    points = local(np.random.default_rng(2))
    fit = points.fit(3)
    scale = fit.rss / fit.dof
    found = stationary_interval(fit, scale, 2.0, minimum(fit, points.window.offset, 0.0), points.window.offset)
    for end in found:
        powers = np.vander(points.window.offset - end, 4, increasing=True)
        assert abs(OLS(points.window.mean, powers).fit().tvalues[1]) == pytest.approx(2.0, rel=1e-6)


def test_an_interval_ends_with_its_window():
    fit = fit_polynomial(Window(0.0, np.linspace(-1, 1, 9), np.linspace(-1, 1, 9)[None] ** 2), np.ones(9), 2)
    assert stationary_interval(fit, 1e3, 2.0, 0.0, np.array([-1.0, 1.0])) == (-1.0, 1.0)


def test_misfit_is_the_f_test_of_two_powers_more():
    points = local(np.random.default_rng(3))
    wide, narrow = (OLS(points.window.mean, np.vander(points.window.offset, 1 + degree)).fit() for degree in (4, 2))
    assert misfit_p([points], 2) == pytest.approx(wide.compare_f_test(narrow)[1])


@pytest.mark.parametrize("cubic", [0.0, 0.004])
def test_a_polynomial_without_noise_is_found(cubic):
    rng = np.random.default_rng(4)
    sweeps = [drawn(rng, lambda u: 0.05 * (u - 0.5) ** 2 + cubic * (u - 0.5) ** 3, noise=0.0) for _ in range(3)]
    for found in find_optima(sweeps):
        assert found.log2_lr == pytest.approx(0.5, abs=1e-6)
        assert found.ci_high - found.ci_low < 1e-6
        assert found.asymmetric == (cubic > 0)
        assert np.exp(0) == pytest.approx(found.loss)


def test_a_grid_keeps_its_parabolas():
    rng = np.random.default_rng(5)
    rates = np.arange(-6.0, 7.0)
    sweeps = [Sweep(x, rates, 0.05 * rates**2 + 0.01 * rng.standard_normal((3, 13))) for x in (1.0, 2.0, 4.0)]
    for one, other in zip(find_optima(sweeps), find_parabolas(sweeps), strict=True):
        assert (one.log2_lr, one.se, one.ci_low, one.ci_high) == (other.log2_lr, other.se, other.ci_low, other.ci_high)


def test_beside_a_cliff_the_window_narrows_and_follows_the_minimum():
    rng = np.random.default_rng(6)
    sweeps = [drawn(rng, lambda u: 0.02 * u**2 + 0.3 * np.exp(2.5 * (u - 1.5)), 160) for _ in range(4)]
    sweeps = [Sweep(each.x, each.log2_lr, np.where(each.log_loss > 1.2, np.nan, each.log_loss)) for each in sweeps]
    chosen = choose(sweeps, find_parabolas(sweeps), 4.0)
    assert chosen is not None
    assert max(np.ptp(each.window.offset) for each in chosen.local.values()) < 2.9
    windows = [(each.window.offset, each.fit(3)) for each in chosen.local.values()]
    assert np.mean([abs(offset[[0, -1]].mean() - minimum(fit, offset, 0.0)) for offset, fit in windows]) < 0.08


def test_few_rates_keep_their_parabolas():
    rng = np.random.default_rng(7)
    sweeps = [drawn(rng, lambda u: 0.05 * u**2, 12) for _ in range(3)]
    parabolas = find_parabolas(sweeps)
    few = [len(each.window.offset) < 7 for each in parabolas]
    assert any(few)
    for one, other, short in zip(find_optima(sweeps), parabolas, few, strict=True):
        assert (one.log2_lr == other.log2_lr) or not short
