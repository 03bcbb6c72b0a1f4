"""Every law's formula and gradient against the formula of its paper, written out row by row in torch."""

import numpy as np
import pytest
import torch
from scipy import optimize

from muster.fitting.base import ESTIMATORS
from muster.fitting.laws.base import LAWS
from muster.fitting.laws.data_constrained import worth
from muster.fitting.laws.linear_scale import linear_scale
from muster.fitting.laws.parallel import box_cox
from muster.fitting.laws.solve import fit_law
from muster.fitting.laws.terms import log_one_minus
from muster.statistics.schedules import annealing_areas


def data_constrained(p, n, d, u):
    """Muennighoff et al. (2023); U_N by way of compute, as in their notebook: tokens → compute → optimal size."""
    ratio = (p["alpha"] * p["a"] / (p["beta"] * p["b"])) ** (1 / (p["alpha"] + p["beta"]))
    compute = 6 * (ratio * u) ** ((p["alpha"] + p["beta"]) / p["alpha"])
    useful = torch.minimum(n, ratio * (compute / 6) ** (p["beta"] / (p["alpha"] + p["beta"])))
    d_eff = u + u * p["r_d"] * (1 - torch.exp(-(d / u - 1) / p["r_d"]))
    n_eff = useful + useful * p["r_n"] * (1 - torch.exp(-(n / useful - 1) / p["r_n"]))
    return p["e"] + p["a"] / n_eff ** p["alpha"] + p["b"] / d_eff ** p["beta"]


def overtraining(p, n, d):
    """Gadre et al. (2024), in compute and tokens per parameter."""
    c, m = 6 * n * d, d / n
    return p["e"] + (p["a"] * m ** p["eta"] + p["b"] * m ** -p["eta"]) * c ** -p["eta"]


def error_law(p, loss):
    """Gadre et al. (2024)."""
    return p["epsilon"] - p["k"] * torch.exp(-p["gamma"] * loss)


def parallel(p, n, streams):
    """Chen et al. (2025)."""
    return p["e"] + (p["a"] / (n * (p["k"] * torch.log(streams) + 1))) ** p["alpha"]


def parallel_power(p, n, streams):
    return p["e"] + (p["a"] / (n * streams ** p["k"])) ** p["alpha"]


def parallel_shape(p, n, streams):
    return p["e"] + (p["a"] / (n * (1 + p["k"] * (streams ** p["shape"] - 1) / p["shape"]))) ** p["alpha"]


def routed(p, n, experts):
    """Clark et al. (2022), equation 1 and the saturating Ê; logarithms are decimal."""
    inverse = 1 / (experts - 1 + 1 / (1 / p["e_start"] - 1 / p["e_max"])) + 1 / p["e_max"]
    hat = torch.log10(1 / inverse)
    return 10 ** (p["a"] * torch.log10(n) + p["b"] * hat + p["c"] * torch.log10(n) * hat + p["d"])


def annealing(p, forward, annealed):
    """Tissue, Wang & Wang (2024)."""
    return p["l0"] + p["a"] * forward ** -p["alpha"] - p["c"] * annealed


BASE = {"e": 1.87, "a": 521.0, "b": 1488.0, "alpha": 0.353, "beta": 0.353}
CASES = {
    # Rows: nothing repeated nor in excess; both; only parameters in excess; a table that claims U_D above D.
    "data_constrained": (
        data_constrained,
        {**BASE, "r_d": 15.4, "r_n": 5.3},
        [[1e8, 1e9, 1e9], [8e9, 4e10, 4e8], [9e9, 1e9, 1e9], [2e8, 5e10, 1e9], [2.8e9, 5.5e10, 4e9]],
    ),
    "data_constrained/untied": (
        data_constrained,
        {**BASE, "beta": 0.29, "b": 400.0, "r_d": 60.0, "r_n": 0.9},
        [[1e8, 1e9, 1e9], [8e9, 4e10, 4e8], [9e9, 1e9, 1e9], [2e8, 5e10, 1e9], [2.8e9, 5.5e10, 4e9]],
    ),
    "overtraining": (
        overtraining,
        {"e": 1.51, "a": 141.0, "b": 190.0, "eta": 0.121},
        [[1e7, 2e8], [1e7, 4e9], [4e8, 8e9], [7e9, 1.4e11]],
    ),
    "error_law": (error_law, {"epsilon": 0.857, "k": 2.2, "gamma": 0.71}, [[5.0], [3.2], [2.4], [1.4]]),
    "parallel": (
        parallel,
        {"e": 0.69, "a": 1.13e7, "alpha": 0.189, "k": 0.39},
        [[5e8, 1.0], [5e8, 2.0], [4e9, 8.0], [2e9, 4.0]],
    ),
    "parallel_power": (
        parallel_power,
        {"e": 1.2, "a": 1e8, "alpha": 0.2, "k": 0.3},
        [[5e8, 1.0], [5e8, 2.0], [4e9, 8.0]],
    ),
    "parallel_shape": (
        parallel_shape,
        {"e": 1.2, "a": 1e8, "alpha": 0.2, "k": 1.1, "shape": -0.4},
        [[5e8, 1.0], [5e8, 2.0], [4e9, 8.0]],
    ),
    "routed": (
        routed,
        {"a": -0.082, "b": -0.108, "c": 0.009, "d": 1.104, "e_start": 1.85, "e_max": 314.0},
        [[1.5e7, 1.0], [1.5e7, 8.0], [1.3e9, 64.0], [3.7e8, 512.0]],
    ),
    "annealing": (
        annealing,
        {"l0": 2.6, "a": 0.43, "alpha": 0.51, "c": 0.41},
        [[0.3, 0.0], [2.0, -0.02], [8.0, 0.3], [9.0, 1.2]],
    ),
}


def case(name):
    formula, natural, rows = CASES[name]
    law = LAWS[name.split("/")[0]]
    x = np.array(rows, float).T
    values = np.array([[natural[p] for p in law.parameters]])
    return law, formula, natural, x, values


def reference(formula, natural, parameters, x):
    """ln f [R] and its gradient by the natural parameters [R, P], one scalar torch computation per row."""
    values, gradients = [], []
    for row in x.T:
        leaves = {name: torch.tensor(natural[name], dtype=torch.float64, requires_grad=True) for name in parameters}
        value = torch.log(formula(leaves, *(torch.tensor(v, dtype=torch.float64) for v in row)))
        grads = torch.autograd.grad(value, [leaves[name] for name in parameters], allow_unused=True)
        values.append(value.item())
        gradients.append([0.0 if g is None else g.item() for g in grads])
    return np.array(values), np.array(gradients)


@pytest.mark.parametrize("name", CASES)
def test_values_are_the_formula_of_the_paper(name):
    law, formula, natural, x, values = case(name)
    expected, _ = reference(formula, natural, law.parameters, x)
    np.testing.assert_allclose(law.log_value(law.from_natural(values), x)[0][0], expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(law.predict(values[0], x), np.exp(expected), rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_that_of_autograd(name):
    law, formula, natural, x, values = case(name)
    theta = law.from_natural(values)
    _, by_natural = reference(formula, natural, law.parameters, x)
    step = 1e-6
    # Each coordinate is a function of one natural parameter: the chain rule needs its derivative alone.
    slopes = np.array(
        [
            (law.to_natural(theta + step * unit) - law.to_natural(theta - step * unit))[0] @ unit / (2 * step)
            for unit in np.eye(theta.shape[1])
        ]
    )
    np.testing.assert_allclose(law.log_value(theta, x)[1][0], by_natural * slopes, rtol=2e-9, atol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_that_of_finite_differences_for_a_whole_batch(name):
    law, _, _, x, values = case(name)
    rng = np.random.default_rng(1)
    theta = law.from_natural(values) + 0.05 * rng.standard_normal((6, values.shape[1]))
    gradient = law.log_value(theta, x)[1]
    assert gradient.shape == (6, x.shape[1], values.shape[1])
    for j, unit in enumerate(np.eye(values.shape[1])):
        step = 1e-5 * unit
        difference = (law.log_value(theta + step, x)[0] - law.log_value(theta - step, x)[0]) / 2e-5
        np.testing.assert_allclose(gradient[:, :, j], difference, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_coordinates_are_inverse_and_one_for_each_parameter(name):
    law, _, _, _, values = case(name)
    theta = law.from_natural(values)
    np.testing.assert_allclose(law.to_natural(theta), values, rtol=1e-13)
    moved = law.to_natural(theta + 0.1)
    for j, unit in enumerate(np.eye(values.shape[1])):
        one = law.to_natural(theta + 0.1 * unit)
        assert one[0, j] == pytest.approx(moved[0, j], rel=1e-13)
        assert (np.delete(one[0], j) == np.delete(law.to_natural(theta)[0], j)).all()
        assert one[0, j] > values[0, j]


@pytest.mark.parametrize("name", CASES)
def test_starts_are_many_finite_and_inside_the_bounds(name):
    law, _, _, x, values = case(name)
    x = np.concatenate([x, 1.3 * x], axis=1)
    starts = law.starts(x, law.predict(values[0], x))
    assert starts.shape == (max(9, len(starts)), len(law.parameters))
    predicted, gradient = law.log_value(starts, x)
    assert np.isfinite(predicted).all()
    assert np.isfinite(gradient).all()
    natural = dict(zip(law.parameters, law.to_natural(starts).T, strict=True))
    for parameter, (low, high) in law.bounds.items():
        assert (natural[parameter] >= low).all()
        assert (natural[parameter] <= high).all()


def test_shapes_of_the_gain_meet_where_the_formula_has_a_hole():
    log_p = np.log([1.0, 2.0, 8.0, 64.0])
    np.testing.assert_allclose(box_cox(log_p, np.zeros((1, 1)))[0][0], log_p, rtol=1e-15)
    np.testing.assert_allclose(box_cox(log_p, -np.ones((1, 1)))[0][0], 1 - np.exp(-log_p), rtol=1e-14)
    for edge in 1e-2 / log_p[1:]:
        below, above = (box_cox(log_p, np.array([[edge * factor]])) for factor in (1 - 1e-9, 1 + 1e-9))
        np.testing.assert_allclose(below[0], above[0], rtol=1e-10)
        np.testing.assert_allclose(below[1], above[1], rtol=1e-8)


def test_a_logarithmic_gain_is_the_shape_zero():
    values = {"e": 1.2, "a": 1e8, "alpha": 0.2, "k": 1.1, "shape": 0.0}
    x = np.array([[5e8, 5e8, 4e9], [1.0, 2.0, 8.0]])
    one, other = (
        LAWS[name].predict(np.array([values[p] for p in LAWS[name].parameters]), x)
        for name in ("parallel", "parallel_shape")
    )
    np.testing.assert_allclose(one, other, rtol=1e-14)


def test_a_repetition_is_worth_a_new_token_when_the_constant_is_large_and_nothing_when_it_is_small():
    repeats = np.array([0.0, 1.0, 9.0, 43.0])
    np.testing.assert_allclose(worth(repeats, np.array(1e9))[0], np.log1p(repeats), atol=1e-7)
    np.testing.assert_allclose(worth(repeats, np.array(1e-9))[0], 0.0, atol=1e-8)


def test_more_unique_tokens_than_tokens_count_as_no_repetition():
    law = LAWS["data_constrained"]
    values = np.array([{**BASE, "r_d": 15.4, "r_n": 5.3}[p] for p in law.parameters])
    one = law.predict(values, np.array([[1e9], [2e10], [2e10]]))
    more = law.predict(values, np.array([[1e9], [2e10], [9e10]]))
    assert one[0] == more[0]


def test_an_error_rate_below_zero_is_far_from_any_data_but_finite():
    law = LAWS["error_law"]
    theta = law.from_natural(np.array([[0.7, 50.0, 0.8], [60.0, 1e-6, 0.8], [1e-4, 1e12, 1e-6]]))
    # The last is a trial step that overshot: exp of its ln k overflows.
    theta = np.concatenate([theta, [[0.0, 900.0, 0.0]]])
    value, gradient = law.log_value(theta, np.array([[2.0, 3.0, 4.0]]))
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    assert (value[0] < -1e3).all()


def test_tangent_beyond_the_end_of_the_logarithm_joins_without_a_kink():
    near = np.array([0.999 - 1e-9, 0.999 + 1e-9])
    value, slope = log_one_minus(near)
    assert abs(value[1] - value[0]) < 3e-6
    assert slope[1] == pytest.approx(slope[0], rel=1e-5)
    assert log_one_minus(np.array([0.5]))[0][0] == pytest.approx(np.log(0.5))
    assert log_one_minus(np.array([-2.0]))[0][0] == pytest.approx(np.log(3.0))
    assert log_one_minus(np.array([1.5]))[0][0] == pytest.approx(np.log(1e-3) - (1.5 - 0.999) / 1e-3)


def test_annealing_areas_are_the_double_sum_of_the_paper():
    rates = np.concatenate([np.full(5, 1e-3), np.linspace(1e-3, 1e-4, 12), [3e-4, 3e-4, 1e-5]])
    decay = 0.9
    forward, annealed = annealing_areas(rates, decay)
    for s in range(len(rates)):
        double = sum((rates[k - 1] - rates[k]) * decay ** (i - k) for i in range(1, s + 1) for k in range(1, i + 1))
        assert annealed[s] == pytest.approx(double, rel=1e-10, abs=1e-18)
        assert forward[s] == pytest.approx(sum(rates[: s + 1]), rel=1e-12)


def test_a_constant_schedule_never_anneals():
    assert not annealing_areas(np.full(100, 3e-4), 0.999)[1].any()


def derived(law, name, **values):
    return LAWS[law].derived[name](np.array([[values.get(p, np.nan) for p in LAWS[law].parameters]]))[0]


def test_four_epochs_are_worth_between_one_and_four():
    assert derived("data_constrained", "four_epochs", r_d=1e9) == pytest.approx(1.0)
    assert derived("data_constrained", "four_epochs", r_d=1e-9) == pytest.approx(0.25)
    assert derived("data_constrained", "four_epochs", r_d=15.4) == pytest.approx(
        (1 + 15.4 * (1 - np.exp(-3 / 15.4))) / 4
    )


def test_tokens_per_parameter_is_where_the_loss_of_a_given_compute_is_least():
    values = CASES["overtraining"][1]
    best = derived("overtraining", "tokens_per_parameter", **values)
    ratios = best * np.geomspace(0.5, 2.0, 201)
    sizes = np.sqrt(1e20 / (6 * ratios))
    law = LAWS["overtraining"]
    losses = law.predict(np.array([values[p] for p in law.parameters]), np.array([sizes, ratios * sizes]))
    assert np.argmin(losses) == 100


def test_routing_stops_to_help_at_the_size_limit():
    _, values, _ = CASES["routed"]
    size = 10 ** derived("routed", "log10_size_limit", **values)
    law = LAWS["routed"]
    few, many = law.predict(np.array([values[p] for p in law.parameters]), np.array([[size, size], [2.0, 256.0]]))
    assert few == pytest.approx(many, rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_on_the_linear_scale_the_residuals_are_those_of_the_response(name):
    law, _, _, x, values = case(name)
    theta = law.from_natural(values)
    value, gradient = linear_scale(law).log_value(theta, x)
    response = law.predict(values[0], x)
    np.testing.assert_array_equal(
        linear_scale(law).starts(x, np.exp(response)), law.starts(x, np.log(np.exp(response)))
    )
    np.testing.assert_allclose(value[0], law.predict(values[0], x), rtol=1e-14)
    for j, unit in enumerate(np.eye(values.shape[1])):
        step = 1e-5 * unit
        both = (law.predict(law.to_natural(theta + sign * step)[0], x) for sign in (1, -1))
        np.testing.assert_allclose(gradient[0, :, j], -np.subtract(*reversed(list(both))) / 2e-5, rtol=1e-5, atol=1e-8)


def test_a_fit_on_the_linear_scale_is_that_of_scipy():
    loss = np.linspace(2.0, 5.0, 9)
    errors = 0.85 - 2.0 * np.exp(-0.7 * loss) + 0.01 * np.cos(7 * loss)
    law = LAWS["error_law"]
    fit = fit_law(linear_scale(law), loss[None], np.exp(errors))
    expected, _ = optimize.curve_fit(lambda l, g, k, e: e - k * np.exp(-g * l), loss, errors, p0=(0.7, 2.0, 0.85))
    np.testing.assert_allclose([fit.natural[p] for p in ("gamma", "k", "epsilon")], expected, rtol=1e-5)
    assert fit.objective == pytest.approx(((law.predict(expected, loss[None]) - errors) ** 2).sum() / 2, rel=1e-9)


SIZES = 10 ** np.random.default_rng(0).uniform([[7], [8.5]], [[9], [10.5]], (2, 25))
ON_THE_GRID = {
    "joint_law": (SIZES, {"alpha": 0.3, "beta": 0.3, "e": 1.0, "a": 300.0, "b": 600.0}),
    "power_offset": (SIZES[:1] / 1e7, {"alpha": np.geomspace(0.03, 3, 12)[6], "e": 1.0, "a": 2.0}),
    "overtraining": (SIZES, {"eta": np.geomspace(0.02, 0.6, 12)[7], "e": 1.0, "a": 300.0, "b": 600.0}),
    "error_law": (np.linspace(1.5, 5, 25)[None], {"gamma": np.geomspace(0.1, 10, 12)[5] / 3.5, "k": 0.8, "epsilon": 1}),
    "routed": (
        np.stack([SIZES[0], np.tile([1.0, 8.0, 64.0, 256.0, 512.0], 5)]),
        {"c": 0.009, "a": -0.082, "b": -0.108, "d": 1.104, "e_start": 2.0, "e_max": 300.0},
    ),
    "annealing": (
        np.stack([np.linspace(0.3, 9, 25), np.tile([0.0, 0.3, 0.6, 0.9, 1.2], 5)]),
        {"alpha": np.geomspace(0.1, 2, 12)[6], "l0": 2.0, "a": 1.0, "c": 0.8},
    ),
}


@pytest.mark.parametrize("name", ON_THE_GRID)
def test_a_start_is_the_solution_where_the_grid_holds_what_is_searched(name):
    """Without noise: what a law is linear in is solved for."""
    x, natural = ON_THE_GRID[name]
    law = LAWS[name]
    theta = law.from_natural(np.array([[natural[p] for p in law.parameters]], float))
    starts = law.starts(x, np.exp(law.log_value(theta, x)[0][0]))
    assert np.abs(starts - theta).max(axis=1).min() < 1e-6


def test_every_law_has_an_estimator_of_its_name():
    assert set(LAWS) <= set(ESTIMATORS)
