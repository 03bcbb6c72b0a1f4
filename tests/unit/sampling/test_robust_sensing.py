"""Robust matrix sensing against full measurements, and its rate of growth against sampled sub-gradients."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from muster.errors import MusterError
from muster.sampling.robust_sensing import OUTLIER, STEP, RobustSensingCell, descend
from tests.statistical.test_regression_laws import decide, probes


@pytest.mark.parametrize(("rank", "corruption"), [(1, 0.0), (2, 0.3)])
def test_the_rate_is_that_of_the_mean_sub_gradient(rank, corruption):
    """⟨A, M⟩ ~ N(0, r), and E A sign(⟨A, M⟩ + s) = (M/r) E ⟨A, M⟩ sign(⟨A, M⟩ + s), as A is Gaussian."""
    rng = np.random.default_rng(0)
    along = np.sqrt(rank) * rng.standard_normal(2_000_000)
    noise = OUTLIER * rng.standard_normal(len(along)) * (rng.random(len(along)) < corruption)
    rate = RobustSensingCell(width=6, rank=rank, columns=6, corruption=corruption, seed=0).growth_rate
    assert 2 * STEP / rank * (along * np.sign(along + noise)).mean() == pytest.approx(rate, rel=0.005)


def test_the_escape_is_inverse_to_the_start_and_wrong_exponents_are_refuted():
    cells = {"width": 5, "rank": 1, "columns": 5, "measurements": 300, "updates": 600, "draws": 6}
    rows = pd.concat(probes("robust_sensing", init=init, **cells) for init in (1e-1, 1e-2, 1e-3, 1e-4))
    rows = rows[rows["probe"] == "growth"]
    assert decide(rows, "init", -1, margin=0.1) == "supported"
    for wrong in (-2, -1.5, -0.5, 0):
        assert decide(rows, "init", wrong) == "refuted"


def test_clean_squares_recover_the_matrix_and_corrupted_ones_do_not():
    cells = {"width": 6, "columns": 6, "measurements": 200, "updates": 1500, "residuals": "squared", "init": 1e-2}
    clean, corrupted = (
        descend(RobustSensingCell(corruption=share, seed=0, **cells), np.random.default_rng(0))[-1]
        for share in (0, 0.3)
    )
    assert clean < 1e-3
    assert corrupted > 0.3


def test_impossible_problems_are_refused():
    with pytest.raises(ValidationError, match="columns"):
        RobustSensingCell(width=6, rank=3, columns=2, seed=0)
    with pytest.raises(MusterError, match="updates"):
        probes("robust_sensing", width=4, columns=4, updates=20, draws=2, measurements=50)
