"""Interval regression and the mixed model: exact limits, brute-force likelihoods, and every way to have no answer."""

import numpy as np
import pytest
from scipy import optimize, stats

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS
from muster.fitting.estimators.lr_transfer import locate, subtract
from muster.fitting.optimum.find import find_optima
from muster.fitting.optimum.mixed import seed_optima, slope_mixed
from muster.fitting.optimum.quadratic import Optimum, Sweep, parabola_optimum
from muster.statistics.censored import _interval_probability, interval_regression, slope_interval_censored
from muster.statistics.linear import slope_ols
from tests.unit.fitting.test_estimators import sweep

X = np.log([64, 128, 256, 512, 1024])


def points(rng, slope=-0.3, sd=0.1):
    return slope * X - 2 + sd * rng.standard_normal(len(X))


def negative_log_likelihood(theta, x, low, high):
    """From the definition, in α, β, ln σ, with SciPy's distribution functions."""
    mean, sigma = theta[0] + theta[1] * x, np.exp(theta[2])
    exact = low == high
    z = [((side - mean) / sigma)[~exact] for side in (low, high)]
    density = stats.norm.logpdf(low[exact], mean[exact], sigma)
    return -density.sum() - np.log(stats.norm.cdf(z[1]) - stats.norm.cdf(z[0])).sum()


def numeric_hessian(f, theta, h=1e-3):
    steps = h * np.eye(len(theta))
    return np.array(
        [[(f(theta + a + b) - f(theta + a - b) - f(theta - a + b) + f(theta - a - b)) / (4 * h**2) for b in steps]
         for a in steps]
    )  # fmt: skip


class TestIntervalRegression:
    def test_without_censoring_it_is_least_squares(self):
        y = points(np.random.default_rng(1))
        found, ols = slope_interval_censored(X, y, y), slope_ols(X, y)
        assert found[:4] == pytest.approx(ols[:4], rel=1e-8)

    @pytest.mark.parametrize(
        "censor",
        [
            {4: (-np.inf, 0.1)},
            {0: (-0.4, np.inf)},
            {4: (-0.2, 0.3)},
            {0: (-0.1, np.inf), 4: (-np.inf, -0.2)},
        ],
        ids=["left", "right", "bracket", "both ends"],
    )
    def test_it_maximizes_the_likelihood_and_its_error_is_the_observed_information(self, censor):
        y = points(np.random.default_rng(2))
        low, high = y.copy(), y.copy()
        for index, (below, above) in censor.items():
            low[index], high[index] = y[index] + below, y[index] + above
        found = interval_regression(X, low, high)
        args = (X - X.mean(), low, high)
        best = optimize.minimize(
            negative_log_likelihood, [y.mean(), -0.3, -2.0], args, "Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 10000, "maxfev": 10000},
        )  # fmt: skip
        assert best.success
        assert [found.slope[0], np.log(found.sigma[0])] == pytest.approx(best.x[1:], abs=1e-6)
        assert found.intercept[0] + found.slope[0] * X.mean() == pytest.approx(best.x[0], abs=1e-6)
        covariance = np.linalg.inv(numeric_hessian(lambda theta: negative_log_likelihood(theta, *args), best.x))
        n = len(X) - len(censor)
        assert found.dof[0] == n - 2
        assert found.se[0] == pytest.approx(np.sqrt(covariance[1, 1] * n / (n - 2)), rel=1e-3)

    def test_a_batch_equals_its_single_fits(self):
        rng = np.random.default_rng(3)
        y = np.array([points(rng) for _ in range(6)])
        low, high = y.copy(), y.copy()
        low[2:4, 4], high[4, 0] = -np.inf, np.inf
        low[5, 1] = high[5, 1] = np.nan
        batch = interval_regression(X, low, high)
        for index in range(5):
            alone = slope_interval_censored(X, low[index], high[index])
            assert (batch.slope[index], batch.se[index]) == pytest.approx(alone[:2], rel=1e-7)
        rest = [0, 2, 3, 4]
        assert batch.slope[5] == pytest.approx(slope_ols(X[rest], y[5, rest]).estimate, rel=1e-8)

    def test_a_bracket_that_shrinks_to_a_point_tends_to_least_squares(self):
        y = points(np.random.default_rng(4))
        half = np.array([0, 0, 0, 0, 1e-4])
        assert slope_interval_censored(X, y - half, y + half).estimate == pytest.approx(
            slope_ols(X, y).estimate, abs=1e-5
        )

    def test_noise_free_points_keep_their_line_unless_a_bound_contradicts_it(self):
        y = -X
        low, high = y.copy(), y.copy()
        low[4], high[4] = -np.inf, y[4] + 0.3
        agreeing = slope_interval_censored(X, low, high)
        assert agreeing.estimate == pytest.approx(-1, abs=1e-9)
        assert agreeing.se < 1e-5
        high[4] = y[4] - 0.3
        against = slope_interval_censored(X, low, high)
        assert -1.3 < against.estimate < -1.05
        assert against.se > 0.02

    def test_a_mirror_image_has_the_mirrored_slope(self):
        y = -X + 0.01 * np.random.default_rng(7).standard_normal(5)
        low, high = y.copy(), y.copy()
        low[4], high[4] = y[4] + 2, y[4] + 2.5  # two hundred standard deviations above the others' line
        one, other = slope_interval_censored(X, low, high), slope_interval_censored(X, -high, -low)
        assert other[:2] == pytest.approx((-one.estimate, one.se), rel=1e-6)
        assert one.estimate > -0.8

    @pytest.mark.parametrize("unit", [1e-7, 1e7])
    @pytest.mark.parametrize("noise", [0.0, 0.1])
    def test_units_and_origins_do_not_matter(self, unit, noise):
        y = points(np.random.default_rng(8), sd=noise)
        low, high = np.array([y, y]), np.array([y, y])
        low[0, 4], high[0, 4], high[1, 0] = y[4] - 0.2, y[4] + 0.3, np.inf
        here = interval_regression(X, low, high)
        there = interval_regression(10 * (X - 3), unit * (low + 3), unit * (high + 3))
        np.testing.assert_allclose(10 * there.slope / unit, here.slope, rtol=1e-6)
        np.testing.assert_allclose(there.intercept / unit - 3, here.intercept + 3 * here.slope, rtol=1e-6)
        np.testing.assert_allclose(there.sigma / unit, here.sigma, rtol=1e-3)
        np.testing.assert_allclose(10 * there.se / unit, here.se, rtol=1e-3)

    @pytest.mark.parametrize("level", [0.0, 2.0])
    def test_known_points_of_one_value_are_a_flat_line(self, level):
        y = np.full(5, level)
        found = slope_interval_censored(X, y, np.where(X[-1] == X, level + 1, y))
        assert (found.estimate, found.intercept) == pytest.approx((0.0, level), abs=1e-5)
        assert 0 < found.se < 1e-5

    def test_probabilities_keep_their_digits_in_both_tails(self):
        # ln(Φ(41) − Φ(40)) = ln(Φ(−40) − Φ(−41)).
        low, high = np.array([[40.0, -41.0, 40.0, -np.inf]]), np.array([[41.0, -40.0, np.inf, -40.0]])
        log_p, at_low, at_high = _interval_probability(low, high, np.ones((1, 4), bool))
        tail = stats.norm.logsf(40)
        inside = tail + np.log1p(-np.exp(stats.norm.logsf(41) - tail))
        np.testing.assert_allclose(log_p[0], [inside, inside, tail, tail], rtol=1e-13)
        np.testing.assert_allclose(at_low[0, [0, 2]], np.exp(stats.norm.logpdf(40) - [inside, tail]), rtol=1e-12)
        np.testing.assert_allclose(at_high[0, [1, 3]], at_low[0, [0, 2]], rtol=1e-12)

    def test_two_known_points_decide_nothing(self):
        y = points(np.random.default_rng(5))
        low = np.where(np.arange(5) < 2, y, y - 0.2)
        high = np.where(np.arange(5) < 2, y, y + 0.2)
        assert np.isnan(slope_interval_censored(X, low, high).estimate)


class TestInLrTransfer:
    def fits(self, table, **fields):
        fit = FitConfig(estimator="lr_transfer", response="final_train_loss", **fields)
        return ESTIMATORS["lr_transfer"].function(table, fit).fits.set_index("variant")

    def test_edge_shapes_enter_as_intervals_and_are_counted(self):
        table = sweep({"sp": -1.0}, widths=(64, 128, 256, 512, 1024), noise=1e-3)
        fits = self.fits(table)
        assert fits.loc["ols_t", ["n_cells", "x_max"]].tolist() == [8, 512]
        assert fits.loc["interval_censored", ["n_cells", "x_max"]].tolist() == [10, 1024]
        assert fits.loc["interval_censored", "estimate"] == pytest.approx(-1, abs=0.05)
        assert fits["primary"].tolist() == [True, False, False, False, False]

    def test_without_edges_it_equals_least_squares(self):
        fits = self.fits(sweep(noise=0.003))
        names = ["estimate", "se", "ci_low", "ci_high", "intercept"]
        np.testing.assert_allclose(
            fits.loc["interval_censored", names].astype(float), fits.loc["ols_t", names].astype(float), rtol=1e-7
        )

    def test_best_rates_that_lie_exactly_on_a_line_have_no_error(self):
        fits = self.fits(sweep({"mup": 0.0}, noise=1e-4), options={"locate": "grid"})
        assert set(fits["status"]) == {"no_se"}
        assert fits.loc["ols_t", "estimate"] == pytest.approx(0, abs=1e-12)

    def test_parabola_and_grid_locate_what_they_say(self):
        exact = self.fits(sweep({"sp": -0.5}), options={"locate": "parabola"}).loc["ols_t"]
        assert exact["estimate"] == pytest.approx(-0.5, abs=1e-9)
        coarse = self.fits(sweep({"sp": -0.7}), options={"locate": "grid"}).loc["ols_t"]
        # Vertices −5.6, −6.3, −7, −7.7 in octaves; their nearest rates −5.5, −6.5, −7, −7.5: slope −0.65.
        assert coarse["estimate"] == pytest.approx(-0.65, abs=1e-9)


def test_the_parabola_goes_through_the_best_rate_and_its_neighbours():
    rates = np.arange(-10.0, -3.0, 0.5)
    curve = 0.02 * (rates + 6.6) ** 2 + 0.01 * (rates + 6.6) ** 3 + 0.004 * (rates + 6.6) ** 4
    found = parabola_optimum(Sweep(64.0, rates, curve[None]), 5, 2)
    left, best, right = curve[6:9]  # −7, −6.5, −6
    assert found.log2_lr == pytest.approx(-6.5 + 0.25 * (left - right) / (left - 2 * best + right), rel=1e-10)
    assert (found.status, found.grid_best) == ("interior", -6.5)
    assert np.isnan(found.se)
    rounding = np.where(np.arange(len(rates)) < 5, 1e-14, 0.0)
    assert parabola_optimum(Sweep(64.0, rates, rounding[None]), 5, 2).status == "flat"


def optimum(x, status, at=np.nan, low=np.nan, high=np.nan):
    return Optimum(x, status, log2_lr=at, se=0.1, ci_low=low, ci_high=high)


def test_bounds_of_a_difference_are_those_of_its_sides():
    a = [optimum(1, "interior", -6), optimum(2, "edge", low=-np.inf, high=-8), optimum(4, "edge", low=-9, high=-8)]
    b = [optimum(1, "interior", -5), optimum(2, "interior", -5), optimum(4, "edge", low=-6, high=-5.5)]
    both = subtract([*a, optimum(8, "flat")], [*b, optimum(8, "interior", -5)])
    assert both.x.tolist() == [1]
    assert both.y == pytest.approx([-np.log(2)])
    assert both.bound_x.tolist() == [2, 4]
    assert both.low == pytest.approx([-np.inf, -3.5 * np.log(2)])
    assert both.high == pytest.approx([-3 * np.log(2), -2 * np.log(2)])


def test_flat_and_diverged_shapes_bound_nothing():
    found = locate([optimum(1, "flat"), optimum(2, "diverged"), optimum(4, "edge", low=-9, high=np.inf)])
    assert (found.x.tolist(), found.bound_x.tolist(), found.high.tolist()) == ([], [4], [np.inf])


class TestMixed:
    def draw(self, seed, tau=0.2, widths=6, seeds=4):
        rng = np.random.default_rng(seed)
        x = np.log(2.0) * np.arange(widths)
        return x, -0.2 * x[:, None] + tau * rng.standard_normal((widths, 1)) + 0.05 * rng.standard_normal(
            (widths, seeds)
        )

    def test_balanced_seeds_give_the_line_through_the_means(self):
        # REML of a balanced random intercept has the residual mean square of the means as its between variance.
        x, y = self.draw(1)
        found, note = slope_mixed(x, list(y))
        ols = slope_ols(x, y.mean(axis=1))
        assert note == ""
        assert (found.estimate, found.intercept, found.dof) == pytest.approx(
            (ols.estimate, ols.intercept, ols.dof), rel=1e-6
        )
        assert found.se == pytest.approx(ols.se, rel=1e-3)

    def test_unequal_numbers_of_seeds_weigh_shapes_as_generalized_least_squares_does(self):
        x, y = self.draw(2, tau=0.08)
        ragged = [y[0], *(each[:3] for each in y[1:])]
        found, _ = slope_mixed(x, ragged)

        def gls(tau2, noise2):
            variance = np.array([tau2 + noise2 / len(each) for each in ragged])
            means = np.array([each.mean() for each in ragged])
            design = np.column_stack([np.ones_like(x), x])
            information = design.T / variance @ design
            beta = np.linalg.solve(information, design.T / variance @ means)
            within = sum(np.square(each - each.mean()).sum() for each in ragged)
            freedom = sum(len(each) - 1 for each in ragged)
            fit = -0.5 * (np.log(variance).sum() + np.linalg.slogdet(information)[1])
            fit += -0.5 * (np.square(means - design @ beta) / variance).sum()
            return fit - 0.5 * (freedom * np.log(noise2) + within / noise2), beta, information

        best = optimize.minimize(lambda p: -gls(*np.exp(p))[0], [-5, -6], method="Nelder-Mead", tol=1e-12)
        _, beta, information = gls(*np.exp(best.x))
        assert found.estimate == pytest.approx(beta[1], abs=1e-5)
        assert found.se == pytest.approx(np.sqrt(np.linalg.inv(information)[1, 1]), rel=2e-3)

    @pytest.mark.parametrize(("widths", "seeds"), [(4, 4), (6, 2)])
    def test_it_needs_five_shapes_of_three_seeds(self, widths, seeds):
        x, y = self.draw(3, widths=widths, seeds=seeds)
        found, note = slope_mixed(x, list(y))
        assert np.isnan(found.estimate)
        assert note == "mixed needs 5 shapes with 3 seeds each"

    def test_no_scatter_between_shapes_leaves_no_error(self):
        rng = np.random.default_rng(4)
        y = 0.1 * rng.standard_normal((5, 4))
        y -= 0.8 * y.mean(axis=1, keepdims=True)  # closer together than chance
        y -= 0.3 * X[:, None]
        found, note = slope_mixed(X, list(y))
        assert found.estimate == pytest.approx(slope_ols(X, y.mean(axis=1)).estimate, rel=1e-6)
        assert np.isnan(found.se)
        assert note == "mixed is singular: no scatter between shapes"

    @pytest.mark.parametrize("sd", [0.0, 0.1])
    def test_equal_seeds_are_singular_without_a_warning(self, sd):
        y = sd * np.random.default_rng(5).standard_normal(5)
        found, note = slope_mixed(X, [np.full(3, value) for value in y])
        assert np.isnan(found.se)
        assert note.startswith("mixed")

    def test_seed_optima_are_the_seeds_own_vertices(self):
        rates = np.arange(-10.0, -3.0, 0.5)
        vertices = np.array([[-6.4], [-6.2], [-6.5]])
        (found,) = find_optima([Sweep(64.0, rates, 0.05 * (rates - vertices) ** 2)])
        assert seed_optima(found) == pytest.approx(vertices.ravel(), abs=1e-9)

    def test_a_seed_without_a_minimum_is_left_out_and_so_are_pairs(self):
        rates = np.arange(-10.0, -3.0, 0.5)
        curves = 0.05 * (rates - np.array([[-6.4], [-6.2], [-6.5]])) ** 2
        (pair,) = find_optima([Sweep(64.0, rates, curves[:2])])
        assert len(seed_optima(pair)) == 0
        curves[1] = -0.02 * (rates + 6.4) ** 2  # a maximum inside the window
        (found,) = find_optima([Sweep(64.0, rates, curves)])
        assert len(seed_optima(found)) == 2
