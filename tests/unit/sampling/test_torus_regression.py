"""Nearest points against brute force, distances against their closed form, the target against its gradient, a network
against torch, and exponents against wrong ones."""

import numpy as np
import pandas as pd
import pytest
import torch

from muster.sampling.random_network import generator
from muster.sampling.relu_network import Adam, forward, gradients, initial
from muster.sampling.torus_regression import TESTS, TorusCell, embedded, errors, fitted, target
from tests.statistical.test_regression_laws import assert_within_error, decide, formula, probes


def test_the_nearest_point_by_brute_force_and_a_hand_written_wave():
    cell = TorusCell(width=50, dimension=2, frequency=3, seed=0)
    rng = generator(cell)
    x, new, phases = rng.random((50, 2)), rng.random((TESTS, 2)), rng.uniform(0, 2 * np.pi, 2)
    gap = np.abs(new[:, None] - x)
    gap = np.minimum(gap, 1 - gap)
    distance = np.sqrt((gap**2).sum(axis=2))
    wave = [np.cos(6 * np.pi * points + phases).sum(axis=1) for points in (x, new)]  # √(2/2) = 1
    expected = np.abs(wave[0][distance.argmin(axis=1)] - wave[1]).mean(), distance.min(axis=1).mean()
    assert errors(cell, generator(cell)) == pytest.approx(expected)


@pytest.mark.parametrize("dimension", [1, 3])
def test_the_target_has_the_size_and_the_gradient_that_it_says(dimension):
    """Root mean squares 1 and 2πK, by finite differences."""
    rng = np.random.default_rng(0)
    x, phases = rng.random((100_000, dimension)), rng.uniform(0, 6, dimension)
    y = target(x, phases, 2)
    steps = [(target(x + 1e-5 * axis, phases, 2) - y) / 1e-5 for axis in np.eye(dimension)]
    assert np.square(y).mean() ** 0.5 == pytest.approx(1, rel=0.02)
    assert np.sum(np.square(steps), axis=0).mean() ** 0.5 == pytest.approx(4 * np.pi, rel=0.02)


def test_the_embedding_keeps_small_distances_and_has_unit_variance():
    rng = np.random.default_rng(0)
    x, frame = rng.random((2000, 2)), np.linalg.qr(rng.standard_normal((30, 4)))[0]
    z, moved = embedded(x, frame), embedded(x + 1e-6, frame)
    assert z.shape == (2000, 30)
    np.testing.assert_allclose(np.square(z).sum(axis=1), 4)
    np.testing.assert_allclose(np.linalg.norm(moved - z, axis=1) / 1e-6, 4 * np.pi, rtol=1e-3)


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_the_distance_is_its_closed_form_and_has_no_other_power(dimension):
    tables = [probes("torus_regression", width=n, dimension=dimension, draws=24) for n in (1000, 4000)]
    rows = pd.concat(tables)
    rows = rows[rows["probe"] == "distance"]
    assert_within_error(rows, "nearest_distance")
    with pytest.raises(AssertionError):
        assert_within_error(rows.assign(dimension=dimension + 1), "nearest_distance")


def test_the_closed_form_has_its_limits():
    assert formula("nearest_distance", width=[10], dimension=[1]) == pytest.approx(
        [1 / 22]
    )  # of a circle: 1/(2(N + 1))
    assert formula("nearest_distance", width=[10**8], dimension=[2]) == pytest.approx([0.5e-4])  # Clark & Evans
    assert formula("nearest_distance", width=[10**6], dimension=[3]) == pytest.approx([0.55396e-2], rel=1e-4)


def test_on_a_circle_the_error_is_that_of_a_distance_times_a_gradient():
    """√2 2πK E|sin| E distance = √2 · 4K/(2(N + 1)) for small distances."""
    rows = probes("torus_regression", width=4000, dimension=1, frequency=2, draws=40).set_index("probe")
    error, se = rows.loc["error", ["value", "se"]]
    assert error == pytest.approx(2**0.5 * 8 / 8002, abs=4.5 * se)
    assert error != pytest.approx(2**0.5 * 4 / 8002, abs=4.5 * se)


def test_exponents_in_points_are_minus_one_over_the_dimension_and_no_other():
    rows = pd.concat([probes("torus_regression", width=n, dimension=3, draws=16) for n in (4000, 8000, 16000, 32000)])
    rows = rows[rows["probe"] == "error"]
    assert decide(rows, "width", -1 / 3) == "supported"
    assert decide(rows, "width", -1 / 2) == "refuted"


def test_a_network_is_trained_as_torchs_is():
    rng = np.random.default_rng(0)
    x, y, new = rng.normal(size=(20, 30)), rng.normal(size=20), rng.normal(size=(5, 30))
    found = fitted(x, y, new, 30, np.random.default_rng(1))
    leaves = [torch.tensor(part, requires_grad=True) for part in initial([30, 64, 64, 1], np.random.default_rng(1))]

    def output(points):
        h = torch.relu(torch.tensor(points) @ leaves[0] + leaves[1])
        return (torch.relu(h @ leaves[2] + leaves[3]) @ leaves[4] + leaves[5])[:, 0]

    adam = torch.optim.Adam(leaves, lr=3e-3)
    for step in range(30):
        adam.param_groups[0]["lr"] = 3e-3 * (1 - step / 30)
        adam.zero_grad()
        (output(x) - torch.tensor(y)).square().mean().backward()
        adam.step()
    np.testing.assert_allclose(found, output(new).detach().numpy(), rtol=1e-6, atol=1e-8)


def test_first_weights_are_uniform_and_gradients_those_of_differences():
    rng = np.random.default_rng(0)
    weights = initial([40, 300, 2], rng)
    assert [part.shape for part in weights] == [(40, 300), (300,), (300, 2), (2,)]
    for part, fan_in in ((weights[0], 40), (weights[2], 300)):
        assert np.abs(part).max() <= fan_in**-0.5
        assert part.var() * fan_in == pytest.approx(1 / 3, rel=0.15)
    x, pull = rng.normal(size=(7, 40)), rng.normal(size=(7, 2))
    slopes = gradients(weights, forward(weights, x), pull)
    for part, slope in zip(weights, slopes, strict=True):
        place = np.unravel_index(3 % part.size, part.shape)
        part[place] += 1e-6
        up = (forward(weights, x)[-1] * pull).sum()
        part[place] -= 2e-6
        assert (up - (forward(weights, x)[-1] * pull).sum()) / 2e-6 == pytest.approx(slope[place], rel=1e-5, abs=1e-9)
        part[place] += 1e-6


def test_adam_moves_by_its_rate_first():
    weights = [np.zeros(3)]
    Adam(weights, 0.1).step([np.array([2.0, -1e-3, 0.0])])
    np.testing.assert_allclose(weights[0], [-0.1, 0.1, 0.0], rtol=1e-4)
