"""Exponents as data: planted laws are found, and what cannot be estimated says why."""

import json

import numpy as np
import pandas as pd
import pytest

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS
from muster.fitting.estimators.exponents import trend as stage_two

SIZES = [16, 32, 64, 128]


def losses(exponent, *, column="examples", dimensions=(2, 4, 8, 12), noise=0.0, seeds=3):
    """One run per dimension d, size and seed: loss = size^exponent(d), with normal noise of ln loss."""
    rng = np.random.default_rng(5)
    rows = [
        {"features": d, column: n, "seed": seed, "loss": n ** exponent(d) * np.exp(noise * rng.standard_normal())}
        for d in dimensions
        for n in SIZES
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows).assign(study="s", diverged=False)


def fit(table, estimator, along="examples", **options):
    config = FitConfig(estimator=estimator, response="loss", along=along, options=options)
    return ESTIMATORS[estimator].function(table, config).fits


def trend(table, **options):
    return fit(table, "exponent_trend", across="features", factor=-4, power=-1, **options)


def test_exact_exponents_give_slope_one_and_intercept_zero():
    for variant, rows in trend(losses(lambda d: -4 / d, noise=1e-9)).groupby("variant"):
        found = rows.set_index("parameter")["estimate"]
        assert found["slope"] == pytest.approx(1, abs=1e-6), variant
        assert found["intercept"] == pytest.approx(0, abs=1e-6), variant


def test_slope_and_intercept_are_those_of_the_planted_line():
    rows = trend(losses(lambda d: 0.3 - 2 * 4 / d, noise=1e-9)).query("variant == 'ols_t'").set_index("parameter")
    np.testing.assert_allclose(rows["estimate"][["slope", "intercept"]], [2, 0.3], atol=1e-6)
    np.testing.assert_allclose(rows["intercept"], 0.3, atol=1e-6)  # of the line that a figure draws
    points = pd.DataFrame(json.loads(rows["diagnostics"].iloc[0])["exponents"])
    np.testing.assert_allclose(points["predictor"], -4 / points["across"], rtol=1e-5)


def test_intervals_of_the_trend_cover():
    rng = np.random.default_rng(1)
    x, se = np.array([-2.0, -1.0, -0.5, -0.4, -0.3]), np.array([0.1, 0.02, 0.05, 0.05, 0.03])
    inside = []
    for _ in range(300):
        found = stage_two(x, x + se * rng.standard_normal(5), se)["slope"]
        inside.append([low < 1 < high for low, high in (found[name].interval() for name in ("reml_kh", "ols_t"))])
    covered = np.mean(inside, axis=0)
    assert 0.9 < covered[0] < 0.99  # with the known errors, which ols_t does not use
    assert covered[1] > 0.8


def test_best_member_is_taken_per_size():
    table = losses(lambda d: -4 / d, noise=1e-9)
    worse = table.assign(loss=table["loss"] * (1 + table["examples"]), log2_lr=-5.0)
    both = pd.concat([table.assign(log2_lr=-4.0), worse])
    slope = trend(both, best_over="log2_lr").query("parameter == 'slope'")["estimate"]
    np.testing.assert_allclose(slope, 1, atol=1e-6)
    with pytest.raises(MusterError, match="log2_lr"):
        trend(both)


def test_two_exponents_are_too_few_for_a_trend():
    rows = trend(losses(lambda d: -4 / d, dimensions=(2, 4)))
    assert set(rows["status"]) == {"too_few"}
    assert rows["se"].isna().all()


def paired(shift, **settings):
    data = losses(lambda d: -4 / d, **settings).assign(side="data", parameters=0)
    size = losses(lambda d: -4 / d + shift, column="parameters", **settings).assign(side="size", examples=0)
    return pd.concat([data, size], ignore_index=True)


def difference(table):
    sides = {"a": {"side": "data"}, "b": {"side": "size"}}
    return fit(table, "exponent_difference", across="features", along_b="parameters", **sides)


@pytest.mark.parametrize("shift", [0.0, -0.4])
def test_the_paired_difference_is_that_of_the_exponents(shift):
    rows = difference(paired(shift, noise=1e-9))
    np.testing.assert_allclose(rows["estimate"], -shift, atol=1e-6)
    assert rows["note"].str.startswith("4 pairs").all()


def test_a_bent_curve_is_named():
    table = losses(lambda d: -4 / d, noise=1e-3)
    bent = table["features"] == 8
    table.loc[bent, "loss"] += 0.2
    assert trend(table)["note"].str.contains("curvature p < 0.05 at features 8").all()


def test_one_pair_is_too_few_for_a_difference():
    assert set(difference(paired(0.0, dimensions=(4,)))["status"]) == {"too_few"}


def test_a_value_with_few_sizes_is_left_out_and_those_after_it_are_not():
    table = losses(lambda d: -4 / d)
    table = table[(table["features"] != 4) | (table["examples"] <= 32)]
    assert set(trend(table)["dof"]) == {1}  # three values less two coefficients
