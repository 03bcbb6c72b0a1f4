"""Planted sweeps: the optimum lies where it was planted, and the estimators of sweeps find it there."""

import math

import numpy as np
import pandas as pd
import pytest

from muster.config.models import FitConfig
from muster.experiments import EXPERIMENTS, Context
from muster.fitting.base import ESTIMATORS
from muster.sampling.planted_sweep import PlantedSweepCell, log_optimum, losses

RATES = [x / 2 for x in range(-20, -3)]
WIDTHS = (64, 128, 256, 512, 1024)


def cell(width: int = 64, **fields: object) -> PlantedSweepCell:
    return PlantedSweepCell.model_validate({"width": width, "strength": 0, "seed": 1, "log2_lr": RATES, **fields})


def drawn(**fields: object) -> pd.DataFrame:
    context = Context(progress=lambda line: None)
    parts = [
        EXPERIMENTS["planted_sweep"].run(cell(width, **fields), context).runs.assign(width=width, seed=1)
        for width in WIDTHS
    ]
    return pd.concat(parts, ignore_index=True)


def test_optima_follow_their_laws() -> None:
    """n^−½ over two octaves of width is one octave of the rate; 1 − 5/√1024 is 27/32."""
    assert log_optimum(cell(64)) == pytest.approx(-6 * math.log(2))
    assert log_optimum(cell(256, strength=-0.5)) == pytest.approx(-7 * math.log(2))
    assert log_optimum(cell(1024, law="limit", strength=5)) == pytest.approx(math.log(27 / 32 / 64))


def test_the_loss_is_lowest_at_the_optimum() -> None:
    quiet = {"noise": 0, "scatter": 0, "lean": 0.002}
    fine = np.linspace(-9, -5, 401)
    found = losses(cell(256, strength=-0.5, log2_lr=list(fine), **quiet), np.random.default_rng(0))
    assert fine[found.argmin()] == pytest.approx(-7)
    assert found[fine.searchsorted(-6)] > math.exp(0.018)


def test_another_grid_has_the_same_optimum() -> None:
    wide, narrow = (
        EXPERIMENTS["planted_sweep"].run(cell(noise=0, log2_lr=rates), Context(progress=lambda line: None)).runs
        for rates in (RATES, RATES[3:])
    )
    np.testing.assert_array_equal(wide["final_train_loss"][3:], narrow["final_train_loss"])


@pytest.mark.parametrize("strength", [0, -0.5, 0.3])
def test_a_planted_exponent_is_found(strength: float) -> None:
    fit = FitConfig(estimator="lr_transfer", response="final_train_loss")
    fits = ESTIMATORS["lr_transfer"].function(drawn(strength=strength), fit).fits
    row = fits[fits["primary"]].iloc[0]
    assert abs(row["estimate"] - strength) < 5 * row["se"] + 1e-9
    assert row["se"] < 0.05
