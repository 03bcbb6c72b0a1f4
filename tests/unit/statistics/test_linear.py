"""Slopes and means against hand-computed, brute-force and published numbers."""

import numpy as np
import pytest
from scipy import optimize, stats

from muster.statistics.linear import (
    Estimate,
    curvature_p,
    mean_reml_kh,
    mean_t,
    meta_regression,
    restricted_loglik,
    slope_hc3,
    slope_ols,
    slope_reml_kh,
    slopes,
)

# 13 BCG vaccine trials: positive and negative cases, treated then control; absolute latitude; year.
# Published fits: Viechtbauer 2010, J. Stat. Softw. 36(3), Section 3.
BCG = np.array(
    [
        [4, 119, 11, 128, 44, 1948],
        [6, 300, 29, 274, 55, 1949],
        [3, 228, 11, 209, 42, 1960],
        [62, 13536, 248, 12619, 52, 1977],
        [33, 5036, 47, 5761, 13, 1973],
        [180, 1361, 372, 1079, 44, 1953],
        [8, 2537, 10, 619, 19, 1973],
        [505, 87886, 499, 87892, 13, 1980],
        [29, 7470, 45, 7232, 27, 1968],
        [17, 1699, 65, 1600, 42, 1961],
        [186, 50448, 141, 27197, 18, 1974],
        [5, 2493, 3, 2338, 33, 1969],
        [27, 16886, 29, 17825, 33, 1976],
    ],
    float,
)


def bcg_effects():
    treated, control = BCG[:, 0] + BCG[:, 1], BCG[:, 2] + BCG[:, 3]
    effect = np.log((BCG[:, 0] / treated) / (BCG[:, 2] / control))
    return effect, 1 / BCG[:, 0] - 1 / treated + 1 / BCG[:, 2] - 1 / control


def test_random_effects_mean_reproduces_the_published_bcg_fit():
    effect, variance = bcg_effects()
    fit = meta_regression(effect, variance, np.ones((13, 1)))
    assert fit.beta[0] == pytest.approx(-0.7145, abs=5e-5)
    assert fit.tau2 == pytest.approx(0.3132, abs=5e-5)


def test_meta_regression_reproduces_the_published_bcg_moderators():
    effect, variance = bcg_effects()
    fit = meta_regression(effect, variance, np.column_stack([np.ones(13), BCG[:, 4:]]))
    assert fit.tau2 == pytest.approx(0.1108, abs=5e-5)
    np.testing.assert_allclose(fit.beta[1:], [-0.0280, 0.0019], atol=5e-5)
    assert fit.beta[0] == pytest.approx(-3.5455, abs=2e-4)
    assert fit.dof == 10


def dense_reml(y, variance, design):
    """REML from its definition with dense covariance matrices: −½(ln|V| + ln|XᵀV⁻¹X| + yᵀPy)."""

    def projection(tau2):
        inverse = np.linalg.inv(np.diag(variance + tau2))
        information = design.T @ inverse @ design
        return inverse, information, inverse - inverse @ design @ np.linalg.inv(information) @ design.T @ inverse

    def objective(tau2):
        inverse, information, p = projection(tau2)
        return 0.5 * (-np.linalg.slogdet(inverse)[1] + np.linalg.slogdet(information)[1] + y @ p @ y)

    tau2 = optimize.minimize_scalar(objective, bounds=(0, 1), method="bounded", options={"xatol": 1e-13}).x
    inverse, information, p = projection(tau2)
    beta = np.linalg.solve(information, design.T @ inverse @ y)
    cov = np.linalg.inv(information) * (y @ p @ y) / (len(y) - design.shape[1])
    return tau2, beta, cov, np.trace(p) - y @ p @ p @ y


def test_knapp_hartung_matches_a_dense_reference_and_solves_the_score_equation():
    x = np.log([64, 128, 256, 512, 1024])
    y = np.array([-4.1, -4.45, -5.3, -5.5, -6.4])
    variance = np.array([0.01, 0.04, 0.02, 0.01, 0.09])
    design = np.column_stack([np.ones(5), x])
    tau2, beta, cov, score = dense_reml(y, variance, design)
    fit = meta_regression(y, variance, design)
    assert tau2 > 1e-3, "the reference must exercise τ² > 0"
    assert abs(score) < 1e-3
    assert fit.tau2 == pytest.approx(tau2, rel=1e-5)
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-6)
    np.testing.assert_allclose(fit.cov, cov, rtol=1e-5)
    estimate = slope_reml_kh(x, y, np.sqrt(variance))
    assert estimate.estimate == pytest.approx(beta[1], rel=1e-6)
    assert estimate.se == pytest.approx(np.sqrt(cov[1, 1]), rel=1e-5)
    assert estimate.dof == 3


def test_knapp_hartung_by_hand_when_tau_is_zero():
    # Two values with large known errors: τ² = 0, weights 1 and ¼, mean (0 + ¼·1)/1.25 = 0.2,
    # q = 1·0.2² + ¼·0.8² = 0.2, variance of the mean = q/(n−1)/Σw = 0.2/1.25 = 0.16.
    estimate = mean_reml_kh([0.0, 1.0], [1.0, 2.0])
    assert estimate.estimate == pytest.approx(0.2, rel=1e-12)
    assert estimate.se == pytest.approx(0.4, rel=1e-12)
    assert estimate.dof == 1


def test_restricted_likelihood_is_maximal_at_the_estimate():
    effect, variance = bcg_effects()
    design = np.ones((13, 1))
    tau2 = meta_regression(effect, variance, design).tau2
    at = restricted_loglik(tau2, effect, variance, design)
    assert all(restricted_loglik(tau2 * factor, effect, variance, design) < at for factor in (0, 0.9, 1.1, 4))


def test_equal_errors_make_random_effects_equal_least_squares():
    x = np.log([64, 128, 256, 512])
    y = np.array([-1.0, -1.3, -2.2, -2.4])
    ols, kh = slope_ols(x, y), slope_reml_kh(x, y, np.full(4, 0.05))
    assert kh.estimate == pytest.approx(ols.estimate, rel=1e-10)
    assert kh.se == pytest.approx(ols.se, rel=1e-8)


def test_least_squares_against_the_textbook_formula():
    x, y = np.array([0.0, 1, 2, 3, 4]), np.array([1.0, 0.5, 0.7, -0.4, -0.3])
    expected = stats.linregress(x, y)
    found = slope_ols(x, y)
    assert found.estimate == pytest.approx(expected.slope, rel=1e-12)
    assert found.se == pytest.approx(expected.stderr, rel=1e-12)
    assert found.intercept == pytest.approx(expected.intercept, rel=1e-12)
    half = stats.t.ppf(0.975, 3) * expected.stderr
    assert found.interval() == pytest.approx((expected.slope - half, expected.slope + half), rel=1e-12)


def test_hc3_against_its_definition():
    x, y = np.array([0.0, 1, 2, 3, 5]), np.array([1.0, 0.5, 0.7, -0.4, -0.3])
    design = np.column_stack([np.ones(5), x])
    bread = np.linalg.inv(design.T @ design)
    residual = y - design @ (bread @ design.T @ y)
    leverage = np.einsum("ij,jk,ik->i", design, bread, design)
    meat = design.T * (residual / (1 - leverage)) ** 2 @ design
    assert slope_hc3(x, y).se == pytest.approx(np.sqrt((bread @ meat @ bread)[1, 1]), rel=1e-12)


def test_exact_line_gives_the_slope_without_error():
    x = np.log([64, 128, 256, 512])
    for variant, found in slopes(x, 0.3 - 0.75 * x, np.zeros(4)).items():
        assert found.estimate == pytest.approx(-0.75, abs=1e-12), variant
        assert found.se < 1e-12, variant


def test_without_errors_there_is_no_random_effects_slope():
    assert np.isnan(slope_reml_kh([1, 2, 3], [1, 2, 4], [0.1, np.nan, 0.1]).se)


def test_mean_with_t_interval():
    found = mean_t([1.0, 2.0, 4.0])
    assert (found.estimate, found.dof) == (pytest.approx(7 / 3), 2)
    assert found.se == pytest.approx(np.sqrt(7 / 3) / np.sqrt(3))
    assert np.isnan(mean_t([1.0]).se)


def test_interval_is_empty_without_degrees_of_freedom():
    assert np.isnan(Estimate(1.0, 0.1, 0).interval()).all()


def test_curvature_is_seen_and_needs_four_points():
    x = np.arange(6.0)
    wiggle = 0.01 * np.array([1, -1, 1, -1, 1, -1])
    assert curvature_p(x, x**2 + wiggle) < 1e-6
    assert curvature_p(x, x + wiggle) > 0.05
    assert np.isnan(curvature_p(x[:3], x[:3] ** 2))


def test_effects_on_a_line_vary_no_more_than_it_says():
    x = np.arange(6.0)
    fit = meta_regression(np.zeros(6), np.full(6, 0.1), np.column_stack([np.ones(6), x]))
    assert fit.tau2 == 0
    assert fit.beta == pytest.approx([0, 0])
