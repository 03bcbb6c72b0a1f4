"""The worst of many cases: which row it is, its simultaneous limits, and how often they err."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS


def table(log_ratios, se, draws=None):
    values = np.exp(np.asarray(log_ratios, float))
    return pd.DataFrame(
        {"seed": 0, "width": np.arange(8, 8 + len(values)), "layer": 1, "value": values, "se": np.asarray(se) * values}
    )


def fitted(rows, side="both", draws=25):
    options = {"formula": "one", "side": side, "least_draws": draws}
    fit = FitConfig(estimator="worst_case", table="probes", response="value", along="width", options=options)
    found = ESTIMATORS["worst_case"].function(rows, fit).fits
    return found[found["variant"] == "simultaneous"].iloc[0]


def test_the_worst_row_is_the_one_with_the_highest_limit_and_its_interval_is_bonferronis():
    rows = table([0.01, 0.02, -0.04], [0.001, 0.02, 0.001])
    row = fitted(rows)
    half = stats.t.isf(0.025 / 3, 24) * 0.02
    assert row["estimate"] == pytest.approx(0.02)  # not the largest deviation: its error is twenty times as large
    assert [row["ci_low"], row["ci_high"]] == pytest.approx([0.02 - half, 0.02 + half])
    assert row["note"] == "worst of 3: width 9"


def test_a_bound_looks_upwards_only():
    rows = table([-0.3, -0.1, 0.0], [0.001, 0.001, 0.001])
    assert fitted(rows, "both")["estimate"] == pytest.approx(-0.3)
    assert fitted(rows, "above")["estimate"] == pytest.approx(0.0)


def test_of_many_true_cases_few_intervals_lie_beyond_the_bound():
    """Twelve cases on the very bound, 25 draws each: without the correction a true claim would often be refuted."""
    rng, beyond = np.random.default_rng(1), 0
    for _ in range(300):
        draws = rng.normal(0.0, 0.1, (12, 25))
        row = fitted(table(draws.mean(1), draws.std(1, ddof=1) / 5), "above")
        beyond += row["ci_low"] > 0
    assert beyond / 300 <= 0.05
