"""Intervals and tests of laws, against ordinary least squares: a power law is linear in its coordinates."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from muster.fitting.laws.base import Law
from muster.fitting.laws.interval import (
    bootstrap,
    drop_scale,
    influence,
    lower_edge,
    profile,
    refit,
    resample_weights,
    sandwich,
    wald,
)
from muster.fitting.laws.joint import JOINT
from muster.fitting.laws.power_offset import POWER_OFFSET
from muster.fitting.laws.predict import held_out, predict_interval, spread
from muster.fitting.laws.published import hold_against
from muster.fitting.laws.solve import fit_law
from tests.unit.fitting.test_laws_solve import offset_table

ROWS = 40


def line_value(theta, x):
    log_x = np.log(x[0])
    gradient = np.stack(np.broadcast_arrays(np.ones((len(theta), 1)), log_x[None]), axis=-1)
    return theta[:, [0]] + theta[:, [1]] * log_x, gradient


LINE = Law(
    name="line",
    formula="ln y = c + s ln x",
    variables=("x",),
    parameters=("c", "s"),
    log_value=line_value,
    to_natural=np.array,
    from_natural=np.array,
    starts=lambda x, y: np.array([[0.0, 0.0], [1.0, -1.0], [-1.0, 1.0]]),
)


@pytest.fixture(scope="module")
def line():
    rng = np.random.default_rng(3)
    x = np.geomspace(1, 100, ROWS)[None]
    families = np.tile(np.arange(8), 5)
    noise = 0.05 * rng.standard_normal(ROWS) + 0.05 * rng.standard_normal(8)[families]
    y = np.exp(0.7 - 0.3 * np.log(x[0]) + noise)
    return x, y, families, sm.OLS(np.log(y), sm.add_constant(np.log(x[0]))).fit()


def test_profile_of_least_squares_is_the_t_interval(line):
    x, y, _, ols = line
    fit = fit_law(LINE, x, y)
    assert fit.theta == pytest.approx(ols.params, rel=1e-9)
    for i, name in enumerate(LINE.parameters):
        assert profile(fit, x, y, name) == pytest.approx(ols.conf_int()[i], rel=1e-6)
        assert profile(fit, x, y, name, level=0.8) == pytest.approx(ols.conf_int(0.2)[i], rel=1e-6)


def test_profile_ends_where_the_objective_has_risen_by_its_limit():
    x, y = offset_table(noise=0.02)
    fit = fit_law(POWER_OFFSET, x, y, delta=0.02)
    scale = drop_scale(fit.residuals, 0.02, 3)
    for end in profile(fit, x, y, "e"):
        held = fit_law(POWER_OFFSET, x, y, delta=0.02, fixed={"e": end})
        assert 2 * (held.objective - fit.objective) / scale == pytest.approx(stats.f.ppf(0.95, 1, fit.dof), rel=1e-3)


def test_drop_scale_is_the_variance_of_normal_errors():
    residuals = np.random.default_rng(0).normal(0, 0.3, 20_000)
    assert drop_scale(residuals, np.inf, 2) == pytest.approx(0.09, rel=0.03)
    assert drop_scale(np.stack([residuals, 2 * residuals]), np.inf, 2)[1] == pytest.approx(0.36, rel=0.03)
    # Over E ψ′ it is the variance of the location estimate, which is 95 % efficient at 1.345 (Holland & Welsch 1977).
    inside = 2 * stats.norm.cdf(1.345) - 1
    assert drop_scale(residuals, 1.345 * 0.3, 2) / inside == pytest.approx(0.09 / 0.95, rel=0.03)


def test_a_flat_profile_ends_at_the_edge():
    x, y = offset_table(rows=12, noise=0.05, e=1.0)
    short = x[:, :6] / x[0, 0]
    fit = fit_law(POWER_OFFSET, short, y[:6])
    assert profile(fit, short, y[:6], "e")[0] == 0
    assert lower_edge(POWER_OFFSET, "e") == lower_edge(POWER_OFFSET, "a") == 0
    assert lower_edge(JOINT, "alpha") == -np.inf


def test_sandwich_is_hc1_and_by_cluster(line):
    x, y, families, ols = line
    fit = fit_law(LINE, x, y)
    assert sandwich(fit, x) == pytest.approx(ols.get_robustcov_results("HC1").cov_params(), rel=1e-6)
    theirs = ols.get_robustcov_results("cluster", groups=families).cov_params()
    # statsmodels also multiplies by (R − 1) / (R − P).
    assert sandwich(fit, x, families) == pytest.approx(theirs * (ROWS - 2) / (ROWS - 1), rel=1e-6)


def test_sandwich_of_a_held_parameter_is_zero_and_of_a_singular_one_infinite(line):
    x, y, *_ = line
    held = sandwich(fit_law(LINE, x, y, fixed={"c": 0.7}), x)
    assert held[0].tolist() == [0, 0]
    assert held[1, 1] > 0
    fit = fit_law(LINE, x, y)
    assert np.isinf(sandwich(fit, np.full_like(x, 3.0))).all()


def test_wald_statistic_is_a_quadratic_form(line):
    x, y, _, ols = line
    fit = fit_law(LINE, x, y)
    statistic, dof, p = wald(fit, ols.cov_params(), {"c": 0.6, "s": -0.25})
    other = ols.wald_test((np.eye(2), [0.6, -0.25]), use_f=True, scalar=True)
    assert (statistic, dof, p) == pytest.approx((2 * other.statistic, 2, other.pvalue), rel=1e-6)
    assert wald(fit, ols.cov_params(), {"c": 0.6, "s": -0.25}, 7)[2] == pytest.approx(stats.f.sf(statistic / 2, 2, 7))
    assert wald(fit, ols.cov_params(), {"s": -0.25})[0] == pytest.approx(((ols.params[1] + 0.25) / ols.bse[1]) ** 2)
    assert np.isnan(wald(fit, np.full((2, 2), np.inf), {"c": 0.6, "s": -0.25})[0])


def test_resamples_keep_clusters_whole():
    families = np.array(["a", "b", "a", "c", "b"])
    weights = resample_weights(5, families, 300, seed=1)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights[:, 0].std() > 0
    assert (resample_weights(5, None, 50, seed=1).sum(axis=1) == 5).all()


def test_bootstrap_spread_is_the_robust_error(line):
    x, y, families, _ = line
    fit = fit_law(LINE, x, y)
    rows = bootstrap(fit, x, y, replicates=2000).std(axis=0)
    assert rows == pytest.approx(np.sqrt(np.diag(sandwich(fit, x))), rel=0.1)
    blocks = bootstrap(fit, x, y, families, replicates=2000).std(axis=0)
    assert blocks == pytest.approx(np.sqrt(np.diag(sandwich(fit, x, families))), rel=0.2)


def test_bootstrap_deviations_have_the_factors_of_the_sandwich(line):
    x, y, families, _ = line
    fit = fit_law(LINE, x, y)
    for clusters, factor in ((None, ROWS / (ROWS - 2)), (families, 8 / 7)):
        again = refit(fit, x, y, resample_weights(ROWS, clusters, 20, 0))
        found = bootstrap(fit, x, y, clusters, replicates=20)
        kept = np.isfinite(found).all(axis=1)
        assert (found - fit.theta)[kept] == pytest.approx(np.sqrt(factor) * (again - fit.theta)[kept], rel=1e-9)


def test_bootstrap_is_fixed_by_its_seed(line):
    x, y, *_ = line
    fit = fit_law(LINE, x, y)
    assert (bootstrap(fit, x, y, replicates=5) == bootstrap(fit, x, y, replicates=5)).all()
    assert (bootstrap(fit, x, y, replicates=5, seed=1) != bootstrap(fit, x, y, replicates=5)).any()


def test_influence_refits_without_each_row(line):
    x, y, _, ols = line
    shift = fit_law(LINE, x, y).theta - influence(fit_law(LINE, x, y), x, y)
    without = [sm.OLS(np.delete(np.log(y), i), np.delete(ols.model.exog, i, axis=0)).fit().params for i in (0, 17)]
    assert ols.params - shift[[0, 17]] == pytest.approx(np.array(without), rel=1e-8)


def test_spread_is_the_analysis_of_variance(line):
    rng = np.random.default_rng(0)
    x = np.repeat(np.geomspace(1, 100, 200), 3)[None]
    noise = np.repeat(0.03 * rng.standard_normal(200), 3) + 0.02 * rng.standard_normal(600)
    fit = fit_law(LINE, x, np.exp(1 - 0.2 * np.log(x[0]) + noise))
    found = spread(fit, x)
    assert found.seed == pytest.approx(0.02, rel=0.06)
    assert found.between == pytest.approx(0.03, rel=0.12)
    single, ols = spread(fit_law(LINE, *line[:2]), line[0]), line[3]
    assert single == pytest.approx((np.sqrt(ols.mse_resid), 0.0))


def test_spread_by_hand_with_one_design_more_than_parameters():
    """Residuals 0.3, −0.6, 0.3 of three designs, four runs each that are off by ±0.1: the designs' square, 4 · 0.54,
    has one degree of freedom, the runs' 0.12 nine, and n₀ is 4."""
    x = np.repeat([[1.0, np.e, np.e**2]], 4, axis=1)
    noise = np.repeat([0.3, -0.6, 0.3], 4) + 0.1 * np.tile([1, 1, -1, -1], 3)
    found = spread(fit_law(LINE, x, np.exp(1 - 0.2 * np.log(x[0]) + noise)), x)
    assert found.seed == pytest.approx(np.sqrt(0.12 / 9), rel=1e-6)
    assert found.between == pytest.approx(np.sqrt((4 * 0.54 / 1 - 0.12 / 9) / 4), rel=1e-6)


def test_prediction_interval_is_that_of_least_squares(line):
    x, y, _, ols = line
    fit = fit_law(LINE, x, y)
    replicates = np.random.default_rng(0).multivariate_normal(ols.params, ols.cov_params(), 20_000)
    new = np.array([[0.5, 10.0, 1e4]])
    sd = np.sqrt(ols.mse_resid)
    found = predict_interval(fit, replicates, new, 0.8 * sd, 0.6 * sd)
    theirs = ols.get_prediction(sm.add_constant(np.log(new[0]))).summary_frame()
    assert np.log(found.centre) == pytest.approx(theirs["mean"].to_numpy(), abs=1e-9)
    assert np.log(found.low) == pytest.approx(theirs["obs_ci_lower"].to_numpy(), abs=2e-3)
    assert np.log(found.high) == pytest.approx(theirs["obs_ci_upper"].to_numpy(), abs=2e-3)


def test_held_out_runs_are_counted_and_measured(line):
    x, y, *_ = line
    fit = fit_law(LINE, x[:, :30], y[:30])
    replicates = bootstrap(fit, x[:, :30], y[:30], replicates=200)
    shifted = y[30:].copy()
    shifted[0] *= 10
    found = held_out(fit, replicates, x[:, :30], x[:, 30:], shifted)
    errors = np.exp(fit.theta[0] + fit.theta[1] * np.log(x[0, 30:])) / shifted - 1
    assert (found["error"], found["bias"]) == pytest.approx((np.abs(errors).mean(), errors.mean()), rel=1e-6)
    assert found["rows"] == 10
    assert 0.5 <= found["coverage"] <= 0.9


class TestPublished:
    """Published vectors against a fit, and why they fail."""

    X, Y = offset_table(noise=0.01)

    def test_a_vector_inside_the_region_is_not_rejected(self):
        fit = fit_law(POWER_OFFSET, self.X, self.Y)
        found = hold_against(fit, self.X, self.Y, sandwich(fit, self.X), {"alpha": 0.5, "e": 1.5, "a": 20.0})
        assert found.record["finding"] == "not rejected"
        assert found.p > 0.05

    def test_a_vector_that_a_descent_leaves_is_the_optimizers(self):
        fit = fit_law(POWER_OFFSET, self.X, self.Y)
        found = hold_against(fit, self.X, self.Y, sandwich(fit, self.X), {"alpha": 0.6, "e": 1.5, "a": 20.0})
        assert found.record["finding"] == "optimizer"
        predicted = 1.5 + 20 * self.X[0] ** -0.6
        excess = 0.5 * (np.log(self.Y / predicted) ** 2).sum() / fit.objective - 1
        assert found.record["objective_excess"] == pytest.approx(excess, rel=1e-9)
        assert found.record["descent_excess"] < 1e-9

    def test_a_part_of_the_parameters_is_tested_with_the_rest_refitted(self):
        fit = fit_law(POWER_OFFSET, self.X, self.Y)
        found = hold_against(fit, self.X, self.Y, sandwich(fit, self.X), {"alpha": 0.6})
        held = fit_law(POWER_OFFSET, self.X, self.Y, fixed={"alpha": 0.6})
        assert found.dof == 1
        assert found.record["objective_excess"] == pytest.approx(held.objective / fit.objective - 1, rel=1e-6)

    def test_a_vector_in_another_minimum_is_not_reproduced(self):
        """ln y = c + s² ln x has its minima at ±s: from −0.4 a descent stays negative, and a bound at −0.45 keeps it
        above the fit at 0.5."""
        valley = Law(
            name="valley",
            formula="ln y = c + s² ln x",
            variables=("x",),
            parameters=("c", "s"),
            log_value=lambda t, x: (
                t[:, [0]] + t[:, [1]] ** 2 * np.log(x[0]),
                np.stack(np.broadcast_arrays(1.0, 2 * t[:, [1]] * np.log(x[0])), axis=-1),
            ),
            to_natural=np.array,
            from_natural=np.array,
            starts=lambda x, y: np.array([[0.0, 0.4], [0.1, 0.6], [0.0, 0.7]]),
            bounds={"s": (-0.45, 2.0)},
        )
        x = np.geomspace(1, 100, 30)[None]
        y = np.exp(0.3 + 0.25 * np.log(x[0]) + 0.01 * np.random.default_rng(0).standard_normal(30))
        fit = fit_law(valley, x, y)
        assert fit.natural["s"] == pytest.approx(0.5, abs=0.01)
        found = hold_against(fit, x, y, sandwich(fit, x), {"s": -0.4})
        assert found.record["finding"] == "not reproduced"
        assert found.record["descent"]["s"] == pytest.approx(-0.45)
