"""The worst of many cases: which row it is, its limits, and how often claims on all of them err."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.claims.components import row_of
from muster.claims.tests import p_refute, p_support
from muster.config.models import ClaimConfig, FitConfig
from muster.fitting.base import ESTIMATORS


def table(log_ratios, se, draws=None):
    values = np.exp(np.asarray(log_ratios, float))
    return pd.DataFrame(
        {"seed": 0, "width": np.arange(8, 8 + len(values)), "layer": 1, "value": values, "se": np.asarray(se) * values}
    )


def fitted(rows, side="both", draws=25, **more):
    options = {"formula": "one", "side": side, "least_draws": draws, **more}
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


def test_layers_beyond_the_range_of_the_formula_are_no_cases():
    rows = table([0.3, 0.01, 0.02, 0.4], [0.001] * 4).assign(layer=[1, 2, 5, 6])  # of widths 8 to 11
    row = fitted(rows, min_layer=2, max_ratio=0.5)
    assert (row["estimate"], row["note"]) == (pytest.approx(0.02), "worst of 2: width 10, layer 5")


def judged(rows, margin, test="closed_form"):
    """p of support and of refutation of the claim that all log ratios lie within the margin of 0."""
    claim = ClaimConfig(
        claim="c", statement="s", source="s", provenance="paper", fit="f", test=test, predicted=0, margin=margin
    )
    row = row_of(claim, fitted(rows, "both" if test == "closed_form" else "above"))
    asked = {**row, "test": test, "predicted": 0, "margin": margin}
    return p_support(asked), p_refute(asked), row


def test_each_row_is_tested_against_the_claimed_bound():
    at, se = np.array([0.01, 0.02, -0.05]), np.array([0.001, 0.02, 0.004])
    supported, _, row = judged(table(at, se), 0.1)
    assert supported == pytest.approx(stats.t.sf((0.1 - 0.02) / 0.02, 24), rel=1e-4)
    assert row["estimate"] == pytest.approx(0.02)
    half = stats.t.isf(0.025, 24) * 0.02
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((0.02 - half, 0.02 + half), rel=1e-4)
    # Against a nearer bound another row is the worst; any of three may lie beyond it by chance.
    _, refuted, row = judged(table(at, se), 0.03)
    assert row["estimate"] == pytest.approx(-0.05)
    assert refuted == pytest.approx(3 * stats.t.sf((0.05 - 0.03) / 0.004, 24), rel=1e-2)


def test_claims_on_all_of_twelve_rows_keep_their_size_on_both_sides():
    """25 draws a row, 150 tables: all rows at either end of the region, or one of them. Uncorrected, the worst of the
    former would refute in .46; Bonferroni's error would support the latter in less than .01."""
    rng, margin, tables = np.random.default_rng(1), 0.1, 150
    ends = np.where(np.arange(12) % 2, margin, -margin)
    at = {"all": ends, "one": np.r_[margin, np.zeros(11)]}
    p = {"all": [], "one": []}
    for _ in range(tables):
        noise = rng.normal(0.0, 0.1, (12, 25))
        error = noise.std(1, ddof=1) / 5
        for where, true in at.items():
            p[where].append(judged(table(noise.mean(1) + true, error), margin)[: 2 if where == "all" else 1])
    supported, refuted = np.transpose(p["all"])
    assert np.mean(refuted <= 0.05) <= 0.05 + 2 * 0.018
    assert np.mean(supported <= 0.05) <= 0.01
    share = np.mean(np.ravel(p["one"]) <= 0.05)
    assert 0.015 <= share <= 0.05 + 2 * 0.018


@pytest.mark.parametrize("changes", [{"status": "no_se"}, {"variant": "other"}, {"diagnostics": "{}"}])
def test_a_row_without_numbers_to_judge_stays_as_it_is(changes):
    claim = ClaimConfig(
        claim="c", statement="s", source="s", provenance="paper", fit="f", test="less", predicted=0, margin=0.03
    )
    row = fitted(table([0.01, 0.02, -0.04], [0.001, 0.02, 0.001]), "above").to_dict()
    assert row_of(claim, row)["se"] != row["se"]
    assert row_of(claim, row | changes) == row | changes
