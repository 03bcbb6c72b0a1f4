"""The solver of laws: values, gradients, minima against SciPy's, certificates."""

import numpy as np
import pytest
from scipy import optimize, special, stats

from muster.fitting.laws.base import LAWS
from muster.fitting.laws.joint import JOINT
from muster.fitting.laws.newton import huber
from muster.fitting.laws.power_offset import POWER_OFFSET
from muster.fitting.laws.solve import condition_number, fit_law, place, robust_delta, robust_sd, solve
from muster.fitting.laws.starts import grid, project

TRUTH = {"alpha": 0.35, "beta": 0.4, "e": 1.8, "a": 400.0, "b": 4000.0}
RNG_ROWS = 60


def joint_table(seed=4, rows=RNG_ROWS, noise=0.01):
    rng = np.random.default_rng(seed)
    x = 10 ** rng.uniform([[7], [8.5]], [[10], [11.5]], (2, rows))
    y = TRUTH["e"] + TRUTH["a"] * x[0] ** -TRUTH["alpha"] + TRUTH["b"] * x[1] ** -TRUTH["beta"]
    return x, y * np.exp(noise * rng.standard_t(4, rows))


def offset_table(seed=0, rows=30, noise=0.01, e=1.5):
    rng = np.random.default_rng(seed)
    x = np.geomspace(10, 1e4, rows)[None]
    return x, (e + 20 * x[0] ** -0.5) * np.exp(noise * rng.standard_normal(rows))


def test_joint_law_is_its_formula():
    x, _ = joint_table(rows=5)
    expected = 1.8 + 400 / x[0] ** 0.35 + 4000 / x[1] ** 0.4
    assert JOINT.predict(np.array([TRUTH[name] for name in JOINT.parameters]), x) == pytest.approx(expected, rel=1e-13)


def test_power_offset_is_its_formula():
    x, _ = offset_table(rows=5)
    found = POWER_OFFSET.predict(np.array([0.5, 1.5, 20.0]), x)
    assert found == pytest.approx(1.5 + 20 / np.sqrt(x[0]), rel=1e-13)


@pytest.mark.parametrize(
    ("law", "table", "truth"),
    [(JOINT, joint_table, TRUTH), (POWER_OFFSET, offset_table, {"alpha": 0.5, "e": 1.5, "a": 20.0})],
    ids=["joint_law", "power_offset"],
)
def test_a_loss_has_no_unit(law, table, truth):
    """A hundredth of it, without noise: exponents stay, E, A and B are a hundredth."""
    x, y = table(noise=0.0)
    fit = fit_law(law, x, y / 100)
    assert fit.certificate.converged
    assert fit.natural == pytest.approx(
        {name: value / (100 if name in "eab" else 1) for name, value in truth.items()}, rel=1e-5
    )


@pytest.mark.parametrize("name", ["joint_law", "power_offset"])
def test_gradients_are_those_of_the_values(name):
    law = LAWS[name]
    x, y = joint_table(rows=7) if name == "joint_law" else offset_table(rows=7)
    theta = law.starts(x, y)[:4]
    gradient = law.log_value(theta, x)[1]
    for p in range(len(law.parameters)):
        step = np.zeros(len(law.parameters))
        step[p] = 1e-5
        slope = (law.log_value(theta + step, x)[0] - law.log_value(theta - step, x)[0]) / 2e-5
        assert gradient[..., p] == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", ["joint_law", "power_offset"])
def test_natural_values_come_back(name):
    law = LAWS[name]
    natural = np.random.default_rng(0).uniform(0.1, 3, (4, len(law.parameters)))
    assert law.to_natural(law.from_natural(natural)) == pytest.approx(natural, rel=1e-13)


def test_compute_exponent_is_that_of_the_optimal_size():
    """N that minimizes the loss under C = 6 N D grows as C^(β/(α+β)): by brute force at two budgets."""

    def best_size(flops):
        def loss(log_n):
            n = np.exp(log_n)
            return 400 * n**-0.35 + 4000 * (flops / (6 * n)) ** -0.4

        return optimize.minimize_scalar(loss, bounds=(10, 40), method="bounded", options={"xatol": 1e-10}).x

    slope = (best_size(1e24) - best_size(1e20)) / np.log(1e4)
    natural = np.array([[TRUTH[name] for name in JOINT.parameters]])
    assert JOINT.derived["compute_exponent"](natural)[0] == pytest.approx(slope, rel=1e-6)
    assert JOINT.derived["tokens_exponent"](natural)[0] == pytest.approx(1 - slope, rel=1e-6)


def test_huber_is_scipys():
    residuals = np.linspace(-3, 3, 41)
    assert huber(residuals, 0.7) == pytest.approx(special.huber(0.7, residuals), rel=1e-14)
    assert huber(residuals, np.inf) == pytest.approx(residuals**2 / 2)


@pytest.mark.parametrize("delta", [None, 0.008])
def test_minimum_is_that_of_scipys_least_squares_from_the_truth(delta):
    x, y = joint_table()
    found = fit_law(JOINT, x, y, delta=delta)

    def residuals(p):
        return np.log(y) - np.log(
            np.exp(p[2]) + np.exp(p[3] - p[0] * np.log(x[0])) + np.exp(p[4] - p[1] * np.log(x[1]))
        )

    start = [0.35, 0.4, *np.log([1.8, 400, 4000])]
    loss = {"loss": "huber", "f_scale": delta} if delta else {}
    other = optimize.least_squares(residuals, start, xtol=1e-15, ftol=1e-15, gtol=1e-15, x_scale="jac", **loss)
    assert found.certificate.converged
    assert found.objective == pytest.approx(other.cost, rel=1e-10)
    natural = [*other.x[:2], *np.exp(other.x[2:])]
    assert list(found.natural.values()) == pytest.approx(natural, rel=1e-5)


def test_objective_and_residuals_are_those_of_the_estimate():
    x, y = joint_table()
    found = fit_law(JOINT, x, y, delta=0.01)
    predicted = JOINT.predict(np.array(list(found.natural.values())), x)
    assert found.residuals == pytest.approx(np.log(y / predicted), abs=1e-12)
    assert found.objective == pytest.approx(special.huber(0.01, found.residuals).sum(), rel=1e-12)


def test_nearly_absolute_loss_interpolates_as_many_rows_as_it_has_parameters():
    x, y = joint_table(noise=0.02)
    found = fit_law(JOINT, x, y, delta=1e-8)
    assert found.certificate.converged
    assert (np.abs(found.residuals) < 1e-8).sum() == len(JOINT.parameters)
    rng = np.random.default_rng(1)
    around = found.theta + 1e-4 * rng.standard_normal((200, 5)) * np.maximum(np.abs(found.theta), 1)
    assert (np.abs(np.log(y) - JOINT.log_value(around, x)[0]).sum(axis=1) > np.abs(found.residuals).sum()).all()


def test_weights_are_repeated_rows_and_zero_leaves_a_row_out():
    x, y = joint_table()
    weights = np.random.default_rng(0).integers(0, 3, (1, len(y)))
    rows = np.repeat(np.arange(len(y)), weights[0])
    repeated = fit_law(JOINT, x[:, rows], y[rows], delta=0.01)
    weighted = solve(JOINT, x, y, weights, JOINT.starts(x, y)[[5]], 0.01)
    assert weighted.theta[0] == pytest.approx(repeated.theta, rel=1e-7)
    assert weighted.objective[0] == pytest.approx(repeated.objective, rel=1e-12)


def test_problems_of_a_batch_do_not_touch_each_other():
    x, y = joint_table()
    starts = JOINT.starts(x, y)
    together = solve(JOINT, x, y, None, starts, 0.01)
    alone = solve(JOINT, x, y, None, starts[[3]], 0.01)
    assert together.theta[3] == pytest.approx(alone.theta[0], rel=1e-8)


def test_a_batch_may_have_its_own_responses():
    x, first = joint_table()
    second = first * np.exp(0.01 * np.random.default_rng(5).standard_normal(len(first)))
    start = JOINT.starts(x, first)[[5]]
    both = solve(JOINT, x, np.stack([first, second]), None, np.tile(start, (2, 1)), 0.01)
    alone = solve(JOINT, x, second, None, start, 0.01)
    assert both.theta[1] == pytest.approx(alone.theta[0], rel=1e-7)


def test_exact_data_give_their_parameters():
    x, y = joint_table(noise=0.0)
    found = fit_law(JOINT, x, y)
    assert found.certificate.converged
    assert found.natural == pytest.approx(TRUTH, rel=1e-6)
    assert robust_delta(JOINT, x, y) is None


def test_fixed_parameters_stay():
    x, y = joint_table()
    found = fit_law(JOINT, x, y, fixed={"e": 1.7, "beta": 0.41})
    assert (found.natural["e"], found.natural["beta"]) == pytest.approx((1.7, 0.41), rel=1e-14)
    assert found.held == ("beta", "e")
    assert found.dof == len(y) - 3
    assert found.objective > fit_law(JOINT, x, y).objective


def test_a_certificate_needs_three_starts():
    x, y = joint_table()
    best = fit_law(JOINT, x, y)
    assert best.certificate.starts == 16
    assert best.certificate.starts_agreeing == 16
    assert best.certificate.scaled_gradient < 1e-6
    two = fit_law(JOINT, x, y, starts=best.theta + np.array([[0.0], [0.001]]))
    assert two.certificate.scaled_gradient < 1e-6
    assert not two.certificate.converged


def test_a_search_that_breaks_off_has_no_certificate():
    x, y = joint_table()
    theta = np.tile([0.3, 0.3, 1.0, 900.0, 900.0], (3, 1))
    found = solve(JOINT, x, y, None, theta, 0.01)
    assert np.isinf(found.gradient).all()


def test_an_offset_below_zero_hits_its_bound():
    x = np.geomspace(10, 1e4, 30)[None]
    found = fit_law(POWER_OFFSET, x, 20 * x[0] ** -0.5 - 0.1)
    assert found.certificate.bound_hit == ("e",)
    assert found.natural["e"] == 0
    assert found.certificate.vanished == ("e",)
    assert found.certificate.converged


def test_a_coefficient_that_vanishes_takes_its_exponent_with_it():
    x, _ = joint_table(rows=40)
    found = fit_law(JOINT, x, np.exp(np.log(1.8 + 300 * x[0] ** -0.34) + 1e-3 * np.log(x[1])))
    assert found.certificate.bound_hit
    assert found.certificate.vanished == ()
    assert not found.certificate.converged


def test_condition_number_is_free_of_units():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((20, 3))
    assert condition_number(matrix) == pytest.approx(condition_number(matrix * [1, 1e6, 1e-3]), rel=1e-9)
    assert condition_number(np.column_stack([matrix, matrix[:, 0]])) > 1e12
    assert np.isinf(condition_number(matrix[:2]))


def test_delta_follows_the_spread_not_the_outliers():
    x, y = joint_table(rows=200, noise=0.0)
    rng = np.random.default_rng(0)
    noisy = y * np.exp(0.01 * rng.standard_normal(200))
    noisy[:10] *= 1.5
    assert robust_delta(JOINT, x, noisy) == pytest.approx(1.345 * 0.01, rel=0.15)
    assert robust_sd(fit_law(JOINT, x, y)) < 1e-8


def test_the_robust_spread_allows_for_the_estimated_parameters():
    x, y = joint_table(rows=12)
    fit = fit_law(JOINT, x, y, fixed={"alpha": 0.35})
    median = np.median(np.abs(fit.residuals)) / stats.norm.ppf(0.75)
    assert robust_sd(fit) == pytest.approx(median * np.sqrt(12 / 8))


def test_projection_is_exact_where_the_coefficients_are_positive():
    x, _ = offset_table()
    design = np.stack([np.ones(30), x[0] ** -0.5], axis=1)
    assert project(design, design @ [1.5, 20.0]) == pytest.approx([1.5, 20.0], rel=1e-9)
    assert (project(design, design @ [-0.1, 20.0]) > 0).all()
    assert grid((1.0, 2.0), (3.0, 4.0)).tolist() == [[1, 3], [1, 4], [2, 3], [2, 4]]


def test_place_sets_natural_values():
    theta = place(JOINT, np.zeros((2, 5)), {"a": 400.0})
    assert theta[:, 3] == pytest.approx(np.log(400))
    assert (np.delete(theta, 3, axis=1) == 0).all()
