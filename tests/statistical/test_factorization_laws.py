"""Gradient descent on matrix products against differential equations, and wrong exponents against it."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate

from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.sampling.factorization import DEEP_RATE, SENSING_RATE
from tests.statistical.test_regression_laws import decide, formula, probes


def mode(layers, efolds, strength, times):
    """u/s of du/dt = L u^(2−2/L)(s − u), u(0) = s e^(−efolds), by an adaptive Runge–Kutta method."""
    power = 2 - 2 / layers
    found = integrate.solve_ivp(
        lambda t, u: layers * u**power * (strength - u),
        (0, times[-1]),
        [strength * np.exp(-efolds)],
        t_eval=times,
        rtol=1e-10,
        atol=1e-14,
    )
    return found.y[0] / strength


@pytest.mark.parametrize("layer", [1, 3])
def test_the_curve_solves_its_differential_equation(layer):
    steps = np.array([100, 500, 1000, 2000])
    own = formula("deep_linear_strength", step=steps, layer=[layer] * 4, efolds=[6] * 4)
    np.testing.assert_allclose(own, mode(2, 6, 1 / layer, steps * DEEP_RATE / 2), rtol=1e-6)


@pytest.mark.parametrize("depth", [1, 2, 9, 127])
def test_the_learning_time_solves_its_differential_equation(depth):
    layers, (time,) = depth + 1, formula("deep_linear_time", depth=[depth], efolds=[3])
    np.testing.assert_allclose(mode(layers, 3, 1.0, [0.9 * time / layers, time / layers])[1], 0.5, rtol=1e-6)


def test_the_learning_time_at_depth_1_and_infinity():
    two, deep = formula("deep_linear_time", depth=[1, 10**9], efolds=[5, 5])
    assert two == pytest.approx(np.log(np.expm1(5)))
    u = np.exp(-5)
    assert deep == pytest.approx(1 / u - 2 + np.log((1 - u) / u))


def test_real_networks_follow_the_curve_of_every_mode():
    rows = probes("deep_linear", width=6, outputs=3, efolds=4, draws=2)
    curves = rows[rows["probe"] == "mode_strength"]
    expected = CLOSED_FORMS["deep_linear_strength"](curves)
    assert len(curves) > 12
    np.testing.assert_allclose(curves["value"], expected, rtol=0.03)
    halves = rows[rows["probe"] == "half_time"]
    np.testing.assert_allclose(halves["value"], halves["layer"] * np.log(np.expm1(4)), rtol=0.01)
    assert decide(halves, "layer", 1) == "supported"
    assert decide(halves, "layer", 0.5) == "refuted"


@pytest.mark.parametrize("depth", [1, 4, 20])
def test_real_networks_learn_in_the_predicted_time(depth):
    rows = probes("deep_linear", width=4, depth=depth, outputs=1, efolds=1.5, draws=2)
    learning = rows[rows["probe"] == "learning_time"]
    assert learning["value"].item() == pytest.approx(CLOSED_FORMS["deep_linear_time"](learning).item(), rel=0.02)


def test_plateaus_grow_like_the_logarithm_of_the_start():
    rows = pd.concat([probes("deep_linear", width=4, outputs=1, efolds=k, draws=2) for k in (4, 8, 16)])
    rows = rows[rows["probe"] == "half_time"]
    assert decide(rows, "efolds", 1) == "supported"
    assert decide(rows, "efolds", 2) == "refuted"


def test_a_network_that_does_not_learn_counts_as_done_at_the_last_update():
    rows = probes("deep_linear", width=4, depth=3, outputs=2, initialization="gaussian", max_updates=5, draws=3)
    assert rows.set_index("probe").loc["learning_time", "value"] == pytest.approx(5 * DEEP_RATE)


def sensing_flow(x, target, times):
    """‖XXᵀ − M‖² of dX/dt = −(XXᵀ − M)X."""
    shape = x.shape

    def slope(t, flat):
        own = flat.reshape(shape)
        return (-(own @ own.T - target) @ own).ravel()

    found = integrate.solve_ivp(slope, (0, times[-1]), x.ravel(), t_eval=times, rtol=1e-10, atol=1e-13)
    return [np.square(each.reshape(shape) @ each.reshape(shape).T - target).sum() for each in found.y.T]


def test_the_flow_of_a_matrix_ends_on_the_predicted_tail():
    start = np.random.default_rng(0).standard_normal((6, 4)) / np.sqrt(6)
    times = np.array([200.0, 800.0])
    found = sensing_flow(start, np.diag([1.0, 1, 0, 0, 0, 0]), times)
    expected = formula("sensing_tail", step=times / SENSING_RATE, excess=[2, 2])
    np.testing.assert_allclose(found, expected, rtol=0.05)


def test_spare_columns_turn_the_exponential_into_a_power():
    rows = probes("matrix_sensing", width=8, rank=2, excess=1, init=1.0, updates=4096, draws=8)
    late = rows[(rows["probe"] == "squared_error") & (rows["step"] >= 1024)]
    np.testing.assert_allclose(late["value"], CLOSED_FORMS["sensing_tail"](late), rtol=0.05)
    assert decide(late, "step", -2) == "supported"
    assert decide(late, "step", -1) == "refuted"
    assert decide(late, "step", -2.2) == "refuted"
    rates = rows[(rows["probe"] == "decay_rate") & (rows["step"] >= 1024)]
    assert decide(rates, "step", -1) == "supported"
    assert decide(rates, "step", 0) == "refuted"


def test_without_spare_columns_the_decay_rate_is_that_of_the_weakest_mode():
    """Errors between signal and rest decay like e^(−t), so their square at rate −2 ln(1 − rate)/rate."""
    rows = probes("matrix_sensing", width=8, rank=2, excess=0, init=1.0, updates=256, draws=8)
    rates = rows[(rows["probe"] == "decay_rate") & (rows["step"] >= 96)]
    assert rates["value"].to_numpy() == pytest.approx(-2 * np.log(1 - SENSING_RATE) / SENSING_RATE, rel=0.05)
    assert decide(rates, "step", 0) == "supported"
    assert decide(rates, "step", -1) == "refuted"


def test_the_rate_of_unequal_factors_grows_like_the_square_of_the_start():
    pairs = ((0.4, 1024), (0.2, 4096), (0.1, 16384))
    settings = {"width": 8, "rank": 1, "excess": 1, "symmetric": False, "draws": 32}
    rows = pd.concat([probes("matrix_sensing", init=init, updates=updates, **settings) for init, updates in pairs])
    rows = rows[rows["probe"] == "final_decay_rate"]
    assert decide(rows, "init", 2, margin=0.3) == "supported"
    assert decide(rows, "init", 1, margin=0.3) == "refuted"


def test_factors_started_alike_decay_more_slowly_than_unequal_ones():
    settings = {"width": 8, "rank": 1, "excess": 1, "symmetric": False, "draws": 64, "init": 0.4, "updates": 1024}
    rates = {
        imbalance: probes("matrix_sensing", imbalance=imbalance, **settings).set_index("probe")["value"]
        for imbalance in (1, 3)
    }
    assert rates[3]["final_decay_rate"] > 1.2 * rates[1]["final_decay_rate"]
