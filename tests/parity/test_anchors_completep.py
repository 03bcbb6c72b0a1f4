"""Published measurements of the distance from linearization (Dey et al. 2025): delta_hs_*.npy of the authors' notebook.

Slopes of the medians over 50 seeds on log axes, L = 2 … 4096, with t intervals over depths: −0.46 for branches ×
L^(−½), −0.05 for branches × 1/L. For branches × 1 nothing is finite and positive beyond 128 blocks.
"""

import math

import numpy as np
import pandas as pd
import pytest

from muster.config.models import FitConfig
from muster.fitting.estimators.power_law import power_law
from muster.statistics.linear import slope_ols
from tests.parity.test_readers import TABLES, apply, read


def runs(source: str, folder) -> pd.DataFrame:
    table = TABLES[f"completep-measurements/{source}"]
    return apply(table, read(table, folder), source).runs


@pytest.mark.parametrize(
    ("source", "slope", "interval"), [("half", -0.46, (-0.51, -0.41)), ("one", -0.05, (-0.10, 0.00))]
)
def test_the_medians_have_the_slopes_of_the_figure(source, slope, interval, shared_data):
    medians = runs(source, shared_data).groupby("depth")["linearization_distance"].median()
    line = slope_ols(np.log(medians.index.to_numpy(float)), np.log(medians.to_numpy()))
    assert len(medians) == 12
    assert line.estimate == pytest.approx(slope, abs=0.006)
    assert line.interval() == pytest.approx(interval, abs=0.01)


@pytest.mark.parametrize(("source", "slope"), [("half", -0.455), ("one", -0.037)])
def test_the_study_fits_geometric_means_which_say_the_same(source, slope, shared_data):
    fit = FitConfig(estimator="power_law", response="linearization_distance", along="depth")
    found = power_law(runs(source, shared_data), fit).fits.query("primary").iloc[0]
    assert found["estimate"] == pytest.approx(slope, abs=0.002)


def test_branches_without_a_multiplier_overflow_beyond_128_blocks(shared_data):
    found = runs("zero", shared_data)
    assert found["depth"].max() == 128
    assert math.isfinite(found["linearization_distance"].max())
