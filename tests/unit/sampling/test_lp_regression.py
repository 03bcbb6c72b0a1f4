"""Linear networks against finite differences, a plain loop and the end-to-end rule."""

import numpy as np
import pytest
from pydantic import ValidationError

from muster.errors import MusterError
from muster.experiments import Context
from muster.sampling import lp_regression
from muster.sampling.lp_regression import RATES, LpRegressionCell, descend, fewest_updates, gradient
from tests.statistical.test_regression_laws import probes


def network(layers, size=0.3, d=5):
    rng = np.random.default_rng(layers)
    start = rng.standard_normal(d)
    first = size ** (1 / layers) * start / np.linalg.norm(start)
    return first, np.full(layers - 1, size ** (1 / layers)), rng.standard_normal((7, d)), rng.standard_normal(7)


def one_update(rate, first, others, x, y, power=4):
    _, g = gradient(power, (others.prod() * first)[None, None], x[None], y[None])
    moved, scales = descend(first[None, None], others[:, None, None], np.array([[rate]]), g)
    return moved[0, 0], scales[:, 0, 0], g[0, 0]


@pytest.mark.parametrize("power", [2, 4])
def test_factors_move_down_the_gradient_of_the_loss(power):
    first, others, x, y = network(3)

    def loss(flat):
        return np.mean((x @ (flat[5:].prod() * flat[:5]) - y) ** power) / power

    flat, h = np.concatenate([first, others]), 1e-6
    slopes = [(loss(flat + h * e) - loss(flat - h * e)) / (2 * h) for e in np.eye(len(flat))]
    moved, scales, _ = one_update(1.0, first, others, x, y, power)
    np.testing.assert_allclose(flat - np.concatenate([moved, scales]), slopes, rtol=1e-6)


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_the_product_moves_by_the_end_to_end_rule_up_to_the_rate_squared(layers):
    """w − η|w|^(2 − 2/N)(g + (N − 1) w(w·g)/|w|²), Arora, Cohen & Hazan 2018; the exponent 2 − 1/N is no such rule."""
    first, others, x, y = network(layers)
    w = others.prod() * first

    def errors(power):
        off = []
        for rate in (1e-3, 1e-4, 1e-5):
            moved, scales, g = one_update(rate, first, others, x, y)
            rule = np.linalg.norm(w) ** power * (g + (layers - 1) * w * (w @ g) / (w @ w))
            off.append(np.linalg.norm((w - scales.prod() * moved) / rate - rule) / np.linalg.norm(rule))
        return np.array(off)

    right = errors(2 - 2 / layers)
    assert right.max() < 1e-10 if layers == 1 else np.diff(np.log10(right)) == pytest.approx([-1, -1], abs=0.05)
    assert errors(2 - 1 / layers).min() > 0.1


@pytest.mark.parametrize(("layers", "method"), [(1, "gd"), (2, "gd"), (1, "adagrad")])
def test_the_fewest_updates_are_those_of_plain_loops(layers, method):
    cell = LpRegressionCell(width=3, layers=layers, method=method, power=4, samples=9, draws=3, init=0.1, seed=0)
    found, best = fewest_updates(cell, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    x = rng.standard_normal((3, 9, 3)) * np.array([1, 10**-0.5, 0.1])
    teacher, start = rng.standard_normal((2, 3, 3))
    for i in range(3):
        y = x[i] @ (teacher[i] / np.linalg.norm(teacher[i]))
        counts = []
        for rate in RATES[best[i] - 1 : best[i] + 2]:
            w1, a, past = 0.1 ** (1 / layers) * start[i] / np.linalg.norm(start[i]), 0.1 ** (1 / layers), np.zeros(3)
            error, updates = (a if layers == 2 else 1) * x[i] @ w1 - y, 0
            while np.abs(error).max() < 1e3 and np.mean(error**4) > 1e-4 * np.mean(y**4):
                g = x[i].T @ error**3 / 9
                past += g**2
                if method == "adagrad":
                    g = g / np.sqrt(past)
                w1, a = w1 - rate * (a if layers == 2 else 1) * g, a - rate * (w1 @ g)
                error, updates = (a if layers == 2 else 1) * x[i] @ w1 - y, updates + 1
            counts.append(updates if np.abs(error).max() < 1e3 else np.inf)
        assert min(counts) == found[i] == counts[1]


def test_too_few_updates_and_deep_adagrad_are_refused():
    with pytest.raises(MusterError, match="max_updates"):
        probes("lp_regression", width=8, max_updates=10, draws=2)
    with pytest.raises(ValidationError, match="layers 1"):
        LpRegressionCell(width=8, layers=2, method="adagrad", seed=0)


def test_the_error_of_a_median_is_that_of_the_bootstrap(monkeypatch):
    """Of the draws 1 … 49: about 1.2533 sd/√n for a normal, √(n + 1)/2 for equal steps."""
    cell = LpRegressionCell(width=4, seed=0, draws=49)
    monkeypatch.setattr(lp_regression, "fewest_updates", lambda cell, rng: (np.arange(1.0, 50), np.full(49, 3)))
    found = lp_regression.run(cell, Context()).probes.iloc[0]
    assert found["value"] == 25
    assert found["se"] == pytest.approx(np.sqrt(50) / 2, rel=0.1)
