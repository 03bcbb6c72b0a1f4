"""Rows of ANCHORS.csv on best learning rates in grids that other people trained: fcnet and hpobench-mlp.

The anchors are least squares of ln(best rate) on ln(axis), over the shapes with an interior optimum of the estimator's
own quadratics; means over data sets are plain t.
"""

import numpy as np
import pandas as pd
import pytest

from muster.claims.tests import on_its_own, verdict
from muster.config.load import load_study
from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS, parse_options
from muster.fitting.estimators.lr_transfer import LN2, TransferOptions, shape_optima
from muster.statistics.linear import Estimate, mean_t, slope_ols
from tests.parity.test_readers import STUDIES


def read(folder, file):
    table = pd.read_csv(folder / file)
    return table.assign(log2_lr=np.log2(table["lr"]))


def exponent(rows, response, along, **options):
    """The anchors' number of one group: None below three interior optima."""
    fit = FitConfig(estimator="lr_transfer", response=response, along=along, options=options)
    found = shape_optima(rows, fit, parse_options(TransferOptions, fit))
    kept = [each for each in found if each.status == "interior"]
    if len(kept) < 3:
        return None
    return slope_ols(np.log([each.x for each in kept]), LN2 * np.array([each.log2_lr for each in kept]))


def exponents(table, by, response, along, **options):
    """Estimates of all groups that have one, by group."""
    found = {key: exponent(rows, response, along, **options) for key, rows in table.groupby(by)}
    index = pd.MultiIndex.from_tuples(found, names=by)
    return pd.Series(list(found.values()), index, dtype=object).dropna()


def mean(numbers):
    """Mean over data sets of their own means, and its 95 % half-width (t, one degree less than data sets)."""
    points = numbers.map(lambda each: each.estimate).groupby("dataset").mean()
    return half_width(mean_t(points.to_numpy(float)))


def half_width(found):
    low, high = found.interval()
    return found.estimate, (high - low) / 2


def judged(found: Estimate, test, predicted, margin=0.0):
    """What the ledger would say of a claim on this number, judged alone."""
    low, high = found.interval()
    row = {"estimate": found.estimate, "se": found.se, "dof": found.dof, "ci_low": low, "ci_high": high}
    claim = {**row, "test": test, "predicted": predicted, "margin": margin, "scale": "laptop", "n_cells": 1}
    return verdict(on_its_own(claim))


@pytest.fixture(scope="module")
def widths(shared_data):
    table = read(shared_data, "hpobench-mlp/runs.csv")
    return exponents(table, ["dataset", "depth", "batch"], "error", "width")


@pytest.fixture(scope="module")
def batches(shared_data):
    table = read(shared_data, "hpobench-mlp/batch.csv")
    return exponents(table, ["dataset", "depth", "width"], "error", "batch")


@pytest.fixture(scope="module")
def cosine(shared_data):
    table = read(shared_data, "fcnet/square.csv")
    return table[table["schedule"] == "cosine"]


@pytest.mark.parametrize(("depth", "expected"), [(1, (-0.323, 0.150)), (2, (-0.491, 0.255)), (3, (-0.610, 0.138))])
def test_width_exponents_over_four_tasks(widths, depth, expected):
    """hb_w_d1, hb_w_d2, hb_w_d3: all twelve groups fall; −1 lies outside every interval."""
    groups = widths.xs(depth, level="depth")
    assert mean(groups) == pytest.approx(expected, abs=6e-4)
    assert {judged(each, "less", 0) for each in groups} == {"supported"}
    assert len(groups) == 12
    assert all(each.interval()[0] > -1 for each in groups)


def test_deeper_networks_shift_more(widths):
    """hb_depth."""
    points = widths.map(lambda each: each.estimate).groupby(["depth", "dataset"]).mean()
    found = mean_t((points[3] - points[1]).to_numpy(float))
    assert half_width(found) == pytest.approx((-0.287, 0.139), abs=6e-4)
    assert judged(found, "less", 0) == "supported"


def test_one_group_and_what_its_leaning_valleys_add(widths, shared_data):
    """hb_w_kc1_d3_b64. The valleys lean more with width, which the anchor's interval does not know: ours holds it."""
    plain = widths["kc1", 3, 64]
    assert (plain.estimate, *plain.interval()) == pytest.approx((-0.682, -0.760, -0.603), abs=6e-4)
    rows = read(shared_data, "hpobench-mlp/runs.csv").query("dataset == 'kc1' and depth == 3 and batch == 64")
    fit = FitConfig(estimator="lr_transfer", response="error", along="width")
    row = ESTIMATORS["lr_transfer"].function(rows, fit).fits.query("primary").iloc[0]
    assert (row["estimate"], row["ci_low"], row["ci_high"]) == pytest.approx((-0.682, -1.047, -0.316), abs=6e-4)


def test_the_rate_rises_as_the_root_of_the_batch(batches):
    """hb_batch: ½ supported at margin .1, 1 refuted, and outside 35 of 36 intervals."""
    assert mean(batches) == pytest.approx((0.445, 0.044), abs=6e-4)
    found = mean_t(batches.map(lambda each: each.estimate).groupby("dataset").mean().to_numpy(float))
    assert judged(found, "equivalence", 0.5, 0.1) == "supported"
    assert judged(found, "equivalence", 1.0, 0.15) == "refuted"
    assert len(batches) == 36
    assert sum(not low <= 1 <= high for low, high in (each.interval() for each in batches)) == 35


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("parkinsons", (-0.252, -0.309, -0.195)),
        ("naval", (-0.402, -0.501, -0.304)),
        ("slice", (-0.149, -0.208, -0.090)),
        # The anchor, −.404 [−.610, −.199], left width 512 out, whose parabola has its vertex below the slowest rate; a
        # narrower window has one inside, and all six widths enter.
        ("protein", (-0.456, -0.601, -0.312)),
    ],
)
def test_the_best_rate_of_standard_networks_falls_with_width(cosine, dataset, expected):
    """fc_w_parkinsons, fc_w_naval, fc_w_slice, fc_w_protein: ReLU, batch 64."""
    rows = cosine.query(f"dataset == '{dataset}' and batch == 64 and activation == 'relu'")
    found = exponent(rows, "valid_mse", "width", min_side=1)
    assert (found.estimate, *found.interval()) == pytest.approx(expected, abs=6e-4)
    assert judged(found, "less", 0) == "supported"
    assert judged(found, "equivalence", -1, 0.2) == "refuted"


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [("parkinsons", -0.208), ("naval", -0.380), ("slice", -0.149), ("protein", -0.399)],
)
def test_plain_parabolas_give_the_second_number_of_those_anchors(cosine, dataset, expected):
    """Mean ln loss of the five rates around the lowest, an exact least-squares parabola, vertices inside the window."""
    rows = cosine.query(f"dataset == '{dataset}' and batch == 64 and activation == 'relu'")
    x, y = [], []
    for width, shape in rows.groupby("width"):
        height = np.log(shape["valid_mse"]).groupby(shape["log2_lr"]).mean()
        lowest = int(height.argmin())
        inside = height.iloc[(start := int(np.clip(lowest - 2, 0, len(height) - 5))) : start + 5]
        curvature, slope, _ = np.polyfit(inside.index, inside, 2)
        vertex = -slope / (2 * curvature)
        if 0 < lowest < len(height) - 1 and inside.index[0] < vertex < inside.index[-1]:
            x.append(np.log(width))
            y.append(vertex * LN2)
    assert slope_ols(np.array(x), np.array(y)).estimate == pytest.approx(expected, abs=6e-4)


def test_means_over_four_regressions(cosine):
    """fc_w_mean, fc_b_mean: −.341 ± .206 and .481 ± .083 by the older windows; here −.348 and .494."""
    width = exponents(cosine[cosine["batch"] == 64], ["dataset", "activation"], "valid_mse", "width", min_side=1)
    assert mean(width) == pytest.approx((-0.341, 0.206), abs=0.011)
    batch = exponents(cosine, ["dataset", "activation", "width"], "valid_mse", "batch", min_side=1)
    assert mean(batch) == pytest.approx((0.481, 0.083), abs=0.013)
    found = mean_t(batch.map(lambda each: each.estimate).groupby("dataset").mean().to_numpy(float))
    assert judged(found, "equivalence", 0.5, 0.15) == "supported"
    assert judged(found, "equivalence", 1.0, 0.15) == "refuted"


def test_the_hidden_matrix_carries_the_shift(shared_data):
    """fc_w1_rel: medians of parkinsons −.283 and +.064; the first falls in 18 of 24 groups."""
    table = read(shared_data, "fcnet/rectangular.csv")
    first = exponents(table, ["dataset", "width2"], "valid_mse", "width1", min_side=1)
    second = exponents(table, ["dataset", "width1"], "valid_mse", "width2", min_side=1)
    medians = [each["parkinsons"].map(lambda one: one.estimate).median() for each in (first, second)]
    assert medians == pytest.approx([-0.283, 0.064], abs=6e-4)
    assert (len(first), sum(each.interval()[1] < 0 for each in first)) == (24, 18)


def test_the_study_has_the_same_means(widths, shared_data):
    """What the study's YAML says gives the anchors: depth 3 of hpobench-mlp, pooled within and over tasks."""
    study = load_study(next(path for path in STUDIES if path.stem == "hpobench-mlp"))
    fit = study.fits["width"].model_copy(update={"select": {}, "by": []})
    table = read(shared_data, "hpobench-mlp/runs.csv").rename(columns={"batch": "batch_size"})
    rows = ESTIMATORS[fit.estimator].function(table[table["depth"] == 3], fit).fits
    row = rows[rows["primary"]].iloc[0]
    expected, half = mean(widths.xs(3, level="depth"))
    assert (row["estimate"], row["ci_high"] - row["estimate"]) == pytest.approx((expected, half))
