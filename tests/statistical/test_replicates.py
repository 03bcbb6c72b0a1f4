"""Shapes are the replicates: coverage through the final row where runs of one shape share its deviation."""

import numpy as np
import pandas as pd
import pytest

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS
from muster.fitting.estimators.first_passage import slope_lognormal
from muster.fitting.estimators.interval_exponents import estimates
from muster.statistics.linear import mean_reml_kh, mean_t, wider


def covers(found, true):
    low, high = found.interval()
    return low <= true <= high


@pytest.mark.parametrize(("values", "draws"), [(4, 120), (8, 120)])
def test_first_passage_covers_when_values_scatter(values, draws):
    """t(runs − 2) covered .56–.64 here."""
    rng, x = np.random.default_rng(31), np.repeat(np.linspace(0, 1, values), 4)
    hits = []
    for _ in range(draws):
        t = -x + np.repeat(0.3 * rng.standard_normal(values), 4) + 0.1 * rng.standard_normal(len(x))
        late = t > 0.1
        hits.append(covers(slope_lognormal(x, np.minimum(t, 0.1), np.where(late, np.inf, t)), -1))
    assert np.mean(hits) > 0.89


def test_brackets_cover_when_shapes_scatter():
    """t(runs − 2) covered about .7 here; 80 draws, Monte-Carlo error .024."""
    rng, hits = np.random.default_rng(32), []
    depth = np.repeat(2.0 ** np.arange(6), 4)
    design = np.column_stack([np.ones(len(depth)), np.log(depth)])
    for _ in range(80):
        y = -np.log(depth) + np.repeat(0.2 * rng.standard_normal(6), 4) + 0.05 * rng.standard_normal(len(depth))
        low = np.floor(y / 0.1) * 0.1
        found = estimates(design, low, low + 0.1, np.array([0.0, 1.0]))
        assert found["interval_censored"].dof == found["midpoints"].dof == 4
        hits.append([covers(each, -1) for each in found.values()])
    assert (np.mean(hits, axis=0) > 0.88).all()


@pytest.mark.parametrize("count", [3, 5, 8])
def test_misjudged_errors_do_not_make_a_mean_too_sure(count):
    """Unequal errors known from two seeds: Knapp–Hartung alone covers about .87, the wider of it and plain t .95."""
    rng, hits = np.random.default_rng(33), []
    for _ in range(300):
        true = np.exp(rng.uniform(0, 3.4, count))
        y, known = true * rng.standard_normal(count), true * np.sqrt(rng.chisquare(1, count))
        hits.append(covers(wider(mean_reml_kh(y, known), mean_t(y)), 0))
    assert np.mean(hits) > 0.93


def test_the_primary_row_of_exponents_is_never_surer_than_plain_t():
    rng = np.random.default_rng(34)
    for _ in range(10):
        rows = [
            (d, 16.0 * 2**i, seed, np.exp(-0.5 * i + 10.0 ** (d - 3) * rng.standard_normal()))
            for d in (1.0, 2.0, 3.0)
            for i in range(4)
            for seed in range(2)
        ]
        table = pd.DataFrame(rows, columns=["across", "width", "seed", "loss"])
        config = FitConfig(estimator="exponent_trend", response="loss", along="width", options={"across": "across"})
        fits = ESTIMATORS["exponent_trend"].function(table, config).fits.set_index(["parameter", "variant"])
        width = fits["ci_high"] - fits["ci_low"]
        assert width["slope", "reml_kh"] >= width["slope", "ols_t"]
