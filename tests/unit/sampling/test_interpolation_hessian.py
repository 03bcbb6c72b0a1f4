"""Hessians of networks that fit their targets against differences and singular values, and the rank against counts."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from muster.sampling.interpolation_hessian import (
    EARLY,
    EXACT,
    InterpolationHessianCell,
    descend,
    hessian,
    jacobian,
    layers,
    solve,
)
from tests.statistical.test_regression_laws import decide, formula, probes


def drawn(width=4, samples=3, features=2, outputs=2, draws=2):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((draws, samples, size)) for size in (features, outputs))
    return rng.standard_normal((draws, width, features + outputs)) / 2, x, y


def loss(weights, x, y):
    return np.square(layers(weights, x)[2] - y).sum(axis=(1, 2)) / (2 * x.shape[1])


def differences(function, weights, eps=1e-5):
    """Derivatives by every weight, stacked on the last axis."""
    columns = []
    for k in range(weights[0].size):
        step = np.zeros(weights[0].size)
        step[k] = eps
        step = step.reshape(weights.shape[1:])
        columns.append((function(weights + step) - function(weights - step)) / (2 * eps))
    return np.stack(columns, axis=-1)


def test_jacobians_and_hessians_are_those_of_differences():
    weights, x, y = drawn()
    j = differences(lambda w: layers(w, x)[2].reshape(2, -1), weights)
    np.testing.assert_allclose(jacobian(weights, x), j, atol=1e-8)
    twice = differences(lambda w: differences(lambda v: loss(v, x, y), w, 1e-4), weights, 1e-4)
    np.testing.assert_allclose(hessian(weights, x, layers(weights, x)[2] - y), twice, atol=1e-6)


def test_training_stops_early_and_ends_in_an_exact_fit():
    weights, x, y = drawn(width=20, draws=3)
    size = np.square(y).sum(axis=(1, 2)) / (2 * 3)
    early = descend(weights, x, y)
    assert (loss(early, x, y) <= EARLY * size).all()
    assert (loss(early, x, y) > EARLY * size / 2).all()
    exact = solve(early, x, y)
    assert (loss(exact, x, y) <= EXACT * size).all()
    assert np.linalg.norm(exact - early) < np.linalg.norm(early - weights)


def test_without_residuals_the_rank_is_that_of_the_jacobian_and_with_them_it_is_not():
    """Singular values of J, not eigenvalues of its square."""
    weights, x, y = drawn(width=12, samples=4, outputs=3)
    exact = solve(weights, x, y)
    none = hessian(exact, x, layers(exact, x)[2] - y)
    singular = np.linalg.svd(jacobian(exact, x), compute_uv=False)
    for draw in range(2):
        found = np.sort(np.abs(np.linalg.eigvalsh(none[draw])))[::-1]
        np.testing.assert_allclose(found[:12], singular[draw] ** 2 / 4, rtol=1e-6)
        assert found[12] < 1e-10 * found[11]
    residual = hessian(weights, x, layers(weights, x)[2] - y)
    assert (np.linalg.matrix_rank(residual, tol=1e-8) > 24).all()


def test_the_rank_is_inputs_times_outputs_and_neither_alone():
    few = {"features": 4, "draws": 3}
    rows = pd.concat(
        [probes("interpolation_hessian", width=12, samples=n, outputs=2, **few) for n in (3, 5, 8)]
        + [probes("interpolation_hessian", width=12, samples=5, outputs=c, **few) for c in (1, 4)]
    )
    count = rows[rows["probe"] == "nonzero"]
    np.testing.assert_allclose(count["value"], formula("interpolation_rank", **count[["samples", "outputs"]]))
    early = rows[rows["probe"] == "early_nonzero"]
    assert (early["value"] > 1.2 * formula("interpolation_rank", **early[["samples", "outputs"]])).all()
    assert (rows[rows["probe"] == "gap"]["value"] > 1e8).all()


def test_parameters_do_not_count_and_data_do():
    few = {"features": 4, "outputs": 2, "draws": 3}
    by_width = pd.concat(probes("interpolation_hessian", width=h, samples=5, **few) for h in (8, 12, 16))
    by_data = pd.concat(probes("interpolation_hessian", width=12, samples=n, **few) for n in (3, 5, 8))
    widths, data = (rows[rows["probe"] == "nonzero"] for rows in (by_width, by_data))
    assert decide(widths, "width", 0, margin=0.02) == "supported"
    assert decide(widths, "width", 1, margin=0.02) == "refuted"
    assert decide(data, "samples", 1, margin=0.02) == "supported"
    assert decide(data, "samples", 0.5, margin=0.02) == "refuted"


def test_a_network_with_as_many_parameters_as_targets_is_refused():
    with pytest.raises(ValidationError, match="30 parameters cannot fit 30 targets"):
        InterpolationHessianCell(width=3, samples=6, features=5, outputs=5, seed=0)
