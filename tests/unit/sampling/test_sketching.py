"""Sketched least squares and pairs of tasks against pseudo-inverses, and their closed forms against samples."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import optimize

from muster.sampling.sketching import SketchedCell, TaskPairCell, forgotten, minimum_norm, orthonormal
from tests.statistical.test_regression_laws import assert_within_error, formula, probes


def test_rows_are_orthonormal_and_in_a_uniform_position():
    q = orthonormal(np.random.default_rng(0), 4000, 2, 5)
    np.testing.assert_allclose(q @ np.swapaxes(q, 1, 2), np.tile(np.eye(2), (4000, 1, 1)), atol=1e-12)
    np.testing.assert_allclose((q**2).mean(axis=0), 0.2, atol=0.015)
    np.testing.assert_allclose(q.mean(axis=0), 0, atol=0.03)


@pytest.mark.parametrize("shape", [(3, 6), (9, 6)])
def test_the_solution_is_the_pseudo_inverse(shape):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, *shape)), rng.standard_normal((4, shape[0]))
    expected = [np.linalg.pinv(a) @ b for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(minimum_norm(x, y), expected, atol=1e-10)


@pytest.mark.parametrize("method", ["orthogonal", "gaussian", "full"])
def test_risks_are_their_wishart_means_and_not_those_of_the_other_sketch(method):
    sizes = (0.4, 1.6) if method != "full" else (None,)
    rows = pd.concat(
        probes("sketched_regression", width=10, samples=26, method=method, sketch=size, draws=3000) for size in sizes
    )
    assert_within_error(rows, "sketched_risk")
    if method == "gaussian":
        other = formula("sketched_risk", **rows.assign(method="orthogonal"))
        z = np.abs(rows["value"].to_numpy() - other) / rows["se"].to_numpy()
        assert z[0] < 4.5 < z[1]  # alike with fewer rows than features, not with more


def test_the_best_size_minimizes_the_risk_and_the_sweep_finds_it():
    for snr in (1.5, 3.0):
        found = optimize.minimize_scalar(
            lambda x, a=snr: a**2 * (1 - x) + x / (1 - x), bounds=(0, 0.99), method="bounded"
        )
        assert formula("best_sketch", snr=[snr])[0] == pytest.approx(found.x, abs=1e-4)
        assert formula("best_sketch_risk", snr=[snr])[0] == pytest.approx(found.fun)
    row = probes("sketched_regression", width=40, samples=40, snr=2.0, draws=320)
    assert row["value"].item() == pytest.approx(0.5, abs=0.05)


def test_forgetting_equals_pseudo_inverses_of_the_same_tasks():
    cell = TaskPairCell(width=6, samples=3, similarity=0.5, seed=0)
    over, under = forgotten(cell, 5, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    x1 = orthonormal(rng, 5, 3, 6)
    w = rng.standard_normal((5, 6))
    basis, turn = orthonormal(rng, 5, 3, 6), orthonormal(rng, 5, 3, 3)
    for i in range(5):
        rotation = np.eye(6) - basis[i].T @ basis[i] + basis[i].T @ turn[i] @ basis[i]
        x2, y = x1[i] @ rotation, x1[i] @ w[i]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(6), atol=1e-12)
        w1 = np.linalg.pinv(x1[i]) @ y
        w2 = w1 + np.linalg.pinv(x2) @ (y - x2 @ w1)
        assert over[i] == pytest.approx(np.sum((x1[i] @ w2 - y) ** 2))
        assert under[i] == pytest.approx(np.sum((x1[i] @ w1) ** 2))


@pytest.mark.parametrize(("aspect", "similarity"), [(0.2, 0.5), (0.8, 0.7), (0.95, 0.0)])
def test_the_formula_is_the_mean_over_large_tasks_and_a_half_more_is_rejected(aspect, similarity):
    row = probes("task_pair", width=60, aspect=aspect, similarity=similarity, draws=200)
    assert_within_error(row, "forgetting", slack=0.02)
    assert abs(row["value"].item() - 1.5 * formula("forgetting", **row)[0]) > 4.5 * row["se"].item()


def test_limits_of_forgetting():
    assert formula("forgetting", aspect=[0.5], similarity=[1.0])[0] == pytest.approx(0, abs=1e-12)
    assert formula("forgetting", aspect=[1.0], similarity=[0.7])[0] == pytest.approx(0.6)
    assert formula("forgetting", aspect=[1e-9], similarity=[0.7])[0] == pytest.approx((0.7 * 0.3) ** 2, abs=1e-6)


def test_impossible_shapes_are_refused():
    with pytest.raises(ValidationError, match="do not exist"):
        SketchedCell(width=20, samples=30, sketch=2, seed=0)
    with pytest.raises(ValidationError, match="no expectation"):
        SketchedCell(width=20, samples=60, sketch=1, seed=0)
    with pytest.raises(ValidationError, match="determine"):
        TaskPairCell(width=20, samples=20, seed=0)
