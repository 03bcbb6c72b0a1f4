"""Accelerated SGD against its three sequences, a textbook variance and the eigenvalues of its mean."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from muster.sampling.accelerated_sgd import AcceleratedCell, step
from tests.statistical.test_regression_laws import assert_within_error, formula, probes


def test_a_step_is_that_of_the_three_sequences_and_of_sgd():
    cell = AcceleratedCell(width=3, last=3, learning_rate=0.2, acceleration=5, momentum=0.1, seed=0)
    rng = np.random.default_rng(0)
    w, z, x, target = rng.standard_normal((4, 3))
    label = x @ target + 0.7
    alpha = 1 / 1.1
    y = alpha * (w + target) + (1 - alpha) * (z + target)
    g = (x @ y - label) * x
    found = step(cell, "asgd", w[None], z[None], x[None], np.array([0.7]))
    np.testing.assert_allclose(found[0][0], y - 0.2 * g - target)
    np.testing.assert_allclose(found[1][0], 0.1 * y + 0.9 * (z + target) - 1.0 * g - target)
    both = step(cell, "sgd", w[None], w[None], x[None], np.array([0.7]))
    np.testing.assert_allclose(both, [[w - 0.2 * (x @ w - 0.7) * x]] * 2)


def test_the_formula_is_the_larger_eigenvalue_of_one_step_and_its_limit():
    """In one dimension a step on x = √λ is the mean step."""
    for size, acceleration in ((1.0, 4.0), (0.04, 2.0), (0.01, 6.0)):
        cell = AcceleratedCell(width=1, last=1, acceleration=acceleration, seed=0)
        columns = [
            step(cell, "asgd", *each, np.full((1, 1), size**0.5), np.zeros(1)) for each in np.eye(2)[:, :, None, None]
        ]
        largest = np.abs(np.linalg.eigvals(np.array(columns).reshape(2, 2).T)).max()
        case = {"learning_rate": [0.1], "acceleration": [acceleration], "momentum": [0.012], "decay": [1.0]}
        expected = np.log(1 - 0.1 * size) / np.log(largest)
        assert formula("asgd_rate_share", layer=[1 / size], **case)[0] == pytest.approx(expected)
        assert formula("asgd_rate_share", layer=[1e6], **case)[0] == pytest.approx(2 / (1 + acceleration), rel=1e-3)


def test_sampled_rates_follow_the_formula_and_not_another_acceleration():
    rows = pd.concat(
        probes("accelerated_sgd", width=12, last=12, updates=1440, acceleration=each, draws=320) for each in (2.0, 5.0)
    )
    rows = rows[(rows["probe"] == "rate_share") & (rows["layer"] >= 10)]
    assert len(rows) == 6
    assert_within_error(rows, "asgd_rate_share", slack=0.01)
    wrong = formula("asgd_rate_share", **rows.assign(acceleration=1.25 * rows["acceleration"]))
    assert (np.abs(np.log(rows["value"] / wrong)) > 0.05).all()


def test_the_stationary_variance_in_one_dimension_is_the_textbook_one():
    """E w² = δσ²/(2 − 3δλ), from E(1 − δx²)² = 1 − 2δλ + 3δ²λ²; with γ = δ both methods are one."""
    rows = probes("accelerated_sgd", width=1, noise=0.5, learning_rate=0.2, acceleration=1, updates=80, draws=8000)
    last = rows[rows["step"] == 80].set_index("probe")
    assert last["value"]["risk"] == pytest.approx(0.2 * 0.25 / 1.4, abs=4.5 * last["se"]["risk"])
    assert last["value"]["variance_share"] == pytest.approx(1)
    assert last["value"]["risk_ratio"] == pytest.approx(1)


def test_nothing_to_see_is_refused():
    with pytest.raises(ValidationError, match="without noise"):
        AcceleratedCell(width=4, seed=0)
    with pytest.raises(ValidationError, match="without noise"):
        AcceleratedCell(width=4, first=3, last=2, seed=0)
