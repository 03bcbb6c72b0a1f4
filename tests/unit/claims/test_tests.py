"""The tests that decide claims, one row at a time."""

import math

import pytest
from scipy import stats

from muster.claims.tests import CLAIM_TESTS, explain, p_value, region, verdict
from muster.config.models import Test as TestNames


def row(test="equivalence", estimate=0.0, se=0.02, dof=3.0, predicted=0.0, margin=0.1, **changes):
    half = stats.t.ppf(0.975, dof) * se
    base = {
        "test": test, "predicted": predicted, "margin": margin, "estimate": estimate, "se": se, "dof": dof,
        "ci_low": estimate - half, "ci_high": estimate + half, "n_cells": 8, "p_holm": math.nan, "scale": "laptop",
    }  # fmt: skip
    base |= changes
    return {"p_value": p_value(base)} | base


def test_every_test_of_the_config_is_decided():
    assert set(CLAIM_TESTS) == set(TestNames.__args__)


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("equivalence", (-0.4, 1.0)),
        ("interval", (-0.4, 1.0)),
        ("closed_form", (-0.4, 1.0)),
        ("less", (-math.inf, 1.0)),
        ("ordering", (-math.inf, 1.0)),
        ("regret", (-math.inf, 1.0)),
        ("greater", (-0.4, math.inf)),
    ],
)
def test_regions(test, expected):
    assert region(row(test, predicted=0.3, margin=0.7)) == pytest.approx(expected)


def test_tost_is_the_larger_of_two_one_sided_t_tests():
    found = p_value(row(estimate=0.04, se=0.02, dof=4))
    assert found == pytest.approx(stats.t.sf(0.06 / 0.02, 4), rel=1e-12)
    assert p_value(row(estimate=-0.04, se=0.02, dof=4)) == pytest.approx(found, rel=1e-12)


def test_support_by_tost_is_the_ninety_percent_interval_inside_the_margin():
    half = stats.t.ppf(0.95, 3) * 0.02
    assert verdict(row(estimate=0.1 - half - 1e-9)) == "supported"
    assert verdict(row(estimate=0.1 - half + 1e-9)) == "inconclusive"


def test_refutation_is_the_ninety_five_percent_interval_outside_the_margin():
    half = stats.t.ppf(0.975, 3) * 0.02
    assert verdict(row(estimate=0.1 + half + 1e-9)) == "refuted"
    assert verdict(row(estimate=-0.1 - half - 1e-9)) == "refuted"
    assert verdict(row(estimate=0.1 + half - 1e-9)) == "inconclusive"


@pytest.mark.parametrize(
    ("test", "estimate", "expected"),
    [
        ("less", -0.5, "supported"),
        ("less", 0.5, "refuted"),
        ("less", 0.11, "inconclusive"),
        ("greater", 0.5, "supported"),
        ("greater", -0.5, "refuted"),
        ("greater", -0.11, "inconclusive"),
        ("ordering", -0.5, "supported"),
        ("regret", 0.0, "supported"),
        ("regret", 0.3, "refuted"),
    ],
)
def test_directions(test, estimate, expected):
    assert verdict(row(test, estimate=estimate)) == expected


def test_ordering_without_margin_needs_the_difference_to_be_negative():
    # The one-sided 5 % point of t(3) is 2.353: 0.0471 at se 0.02.
    assert verdict(row("ordering", estimate=-0.047, margin=0.0)) == "inconclusive"
    assert verdict(row("ordering", estimate=-0.0472, margin=0.0)) == "supported"
    assert verdict(row("ordering", estimate=0.07, margin=0.0)) == "refuted"


def test_holm_decides_when_it_is_there():
    strong = row(estimate=0.02)
    assert strong["p_value"] < 0.05
    assert verdict(strong) == "supported"
    assert verdict({**strong, "p_holm": 0.2}) == "inconclusive"
    assert "after Holm" in explain({**strong, "p_holm": 0.04})


def test_without_an_estimate_or_its_error_nothing_is_decided():
    for changes in ({"estimate": math.nan}, {"se": math.nan}, {"dof": 0.0}):
        decided = row() | changes
        decided["p_value"] = p_value(decided)
        assert math.isnan(decided["p_value"])
        assert verdict(decided) == "inconclusive"


def test_exact_estimates_without_error():
    assert p_value(row(se=0.0)) == 0
    assert p_value(row(se=0.0, estimate=0.2)) == 1
    assert verdict(row(se=0.0, estimate=0.2)) == "refuted"
    assert p_value(row(se=0.0, estimate=0.1)) == 1


def test_smoke_scale_and_missing_fits():
    assert verdict(row(scale="smoke")) == "not judged"
    assert explain(row(scale="smoke")) == "not judged at smoke scale"
    assert verdict(row(n_cells=0)) == "not run"


def test_cells_of_a_csv_are_read_as_they_are():
    text = {name: "" if value != value else str(value) for name, value in row().items()}
    assert verdict(text) == "supported"


def test_explanations_name_the_region():
    assert explain(row(estimate=0.5)) == "95 % interval excludes within [-0.1, 0.1]"
    assert explain(row()).startswith("within [-0.1, 0.1]: p = ")
    assert explain(row("less", estimate=0.1)).startswith("neither shown nor excluded to be at most 0.1: p = ")
    assert explain(row("greater", estimate=0.5)).startswith("at least -0.1: p = ")
