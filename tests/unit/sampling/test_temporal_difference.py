"""LSTD on random features against the Bellman equation and the direct system."""

import numpy as np
import pytest

from muster.sampling.temporal_difference import TemporalDifferenceCell, bellman_errors, values
from tests.statistical.test_regression_laws import probes


def test_with_all_states_and_exact_transitions_values_solve_the_bellman_equation():
    """V = (1 − γP)⁻¹ r, for as many independent features as states."""
    rng = np.random.default_rng(0)
    chances, features, rewards = rng.dirichlet(np.ones(8), 8), rng.standard_normal((8, 8)), rng.standard_normal(8)
    theta = values(features, chances @ features, rewards, 0.9, 1e-12)
    np.testing.assert_allclose(features @ theta, np.linalg.solve(np.eye(8) - 0.9 * chances, rewards), rtol=1e-6)


@pytest.mark.parametrize("n", [6, 14])
def test_both_systems_are_the_regularized_one(n):
    rng = np.random.default_rng(1)
    visited, successors, rewards = rng.standard_normal((10, n)), rng.standard_normal((10, n)), rng.standard_normal(10)
    matrix = visited.T @ (visited - 0.7 * successors) / 10 + 0.3 * np.eye(n)
    expected = np.linalg.solve(matrix, visited.T @ rewards / 10)
    np.testing.assert_allclose(values(visited, successors, rewards, 0.7, 0.3), expected, rtol=1e-9)


def test_a_large_ridge_leaves_the_rewards_and_interpolation_needs_as_many_features_as_states():
    cell = TemporalDifferenceCell(width=30, states=60, dimension=5, ridge=1e6, seed=0)
    error = np.mean([bellman_errors(cell, [30], np.random.default_rng(seed))[0] for seed in range(200)])
    assert error == pytest.approx(1 + 0.3**2, rel=0.1)


def test_the_error_has_its_peak_at_as_many_features_as_states_unless_regularized():
    free, ridge = (probes("temporal_difference", width=30, states=90, ridge=r, draws=96) for r in (1e-9, 0.1))
    peak = free.set_index("probe")["value"]
    assert 0.8 < peak["peak_ratio"] < 1.3
    assert peak["peak_height"] > 3
    assert ridge.set_index("probe")["value"]["peak_height"] < 1


def test_states_are_visited_once():
    """As many visits as states, without a future: enough features interpolate every reward."""
    cell = TemporalDifferenceCell(width=20, states=20, discount=0.0, ridge=1e-12, seed=0)
    assert bellman_errors(cell, [200], np.random.default_rng(0))[0] < 1e-9
