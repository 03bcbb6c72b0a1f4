"""Incremental learning of singular values against an ODE solver, the aligned solution and best approximations."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import integrate

from muster.sampling.rank_sequence import STEP, RankSequenceCell, flow, half_times
from tests.statistical.test_regression_laws import decide, probes


def cell(**settings):
    return RankSequenceCell.model_validate({"width": 5, "rank": 3, "init": 1e-2, "draws": 2, "seed": 0, **settings})


def test_the_flow_equals_an_ode_solver_and_distances_those_of_matrices():
    given = cell()
    strengths, distances = flow(given, np.random.default_rng(4))
    starts = given.init / np.sqrt(5) * np.random.default_rng(4).standard_normal((2, 5, 5))
    target = np.diag([1, 1 / 2, 1 / 3, 0, 0])

    def velocity(t, flat):
        x = flat.reshape(5, 5)
        return ((target - x @ x.T) @ x).ravel()

    for step in (80, 160):
        for draw, start in enumerate(starts):
            x = integrate.solve_ivp(velocity, (0, step * STEP), start.ravel(), rtol=1e-9, atol=1e-12).y[:, -1]
            product = x.reshape(5, 5) @ x.reshape(5, 5).T
            np.testing.assert_allclose(strengths[step, draw], np.diag(product)[:3], rtol=0.01)
            best = [np.diag(np.where(np.arange(5) < k, np.diag(target), 0)) for k in (1, 2)]
            squares = [np.square(product - each).sum() for each in best]
            np.testing.assert_allclose(distances[step, draw], squares, rtol=0.02)


def test_half_times_of_known_curves():
    t = STEP * np.arange(200)
    logistic = 0.8 / (1 + np.exp(-2 * (t - 3.3)))
    found = half_times(np.stack([logistic, np.full(200, 0.9)], axis=1)[:, None], np.array([0.8, 1.0]))
    np.testing.assert_allclose(found, [[3.3, 0.0]], atol=1e-3)


def test_growth_is_inverse_to_the_start_and_wrong_exponents_are_refuted():
    rows = pd.concat(probes("rank_sequence", width=6, init=init, draws=32) for init in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7))
    for layer in (1, 3):
        mine = rows[(rows["probe"] == "growth") & (rows["layer"] == layer)]
        assert decide(mine, "init", -1, margin=0.1) == "supported"
        for wrong in (-0.5, -0.8, -1.25, -2):
            assert decide(mine, "init", wrong) == "refuted"
    error = rows[rows["probe"] == "rank_error"].groupby("init")["value"].max()
    assert (
        error[1e-6]
        < 0.05
        < probes("rank_sequence", width=6, init=0.3, draws=16).query("probe == 'rank_error'").value.min()
    )


def test_a_rank_above_the_width_is_refused():
    with pytest.raises(ValidationError, match="exceeds width"):
        cell(rank=6)
