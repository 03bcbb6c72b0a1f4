"""Size and power of the verdicts: how often a false claim is supported, a true one refuted, and a true one supported.

Five widths, seeds fixed. Sizes are nominally 5 %; bounds allow three Monte-Carlo standard errors.
"""

import functools
import gc
import math

import numpy as np
import pandas as pd
import pytest

from muster.claims.ledger import judge
from muster.claims.tests import on_its_own, verdict
from muster.config.models import StudyConfig
from muster.statistics.linear import slope_ols

X = np.log([64, 128, 256, 512, 1024])
SCATTER = 0.05  # of ln lr*, per width


DRAWS = 2500


@functools.cache
def noise_slopes():
    """Slopes of pure scatter. A true slope only adds to the estimate, so one set of draws serves every test."""
    rng = np.random.default_rng(41)
    return [slope_ols(X, y) for y in SCATTER * rng.standard_normal((DRAWS, 5))]


def verdicts(test, predicted, margin, true):
    """Share of each verdict over draws of optima with a true slope."""
    decided = []
    for noise in noise_slopes():
        slope = noise._replace(estimate=noise.estimate + true)
        low, high = slope.interval()
        row = {
            "test": test, "predicted": predicted, "margin": margin, "estimate": slope.estimate, "se": slope.se,
            "dof": slope.dof, "ci_low": low, "ci_high": high, "n_cells": 15, "scale": "laptop",
        }  # fmt: skip
        decided.append(verdict(on_its_own(row)))
    return {name: decided.count(name) / DRAWS for name in ("supported", "refuted", "inconclusive")}


@pytest.mark.parametrize("true", [-0.1, 0.1])
def test_equivalence_at_its_margin_is_supported_at_most_6_percent(true):
    share = verdicts("equivalence", 0, 0.1, true)
    assert 0.03 <= share["supported"] <= 0.06
    assert share["refuted"] <= 0.06


def test_not_rejecting_zero_is_no_evidence_of_zero():
    rng = np.random.default_rng(32)
    slopes = [slope_ols(X, y) for y in -0.1 * X + 0.15 * rng.standard_normal((1000, 5))]
    not_rejected = np.mean([low <= 0 <= high for low, high in (slope.interval() for slope in slopes)])
    assert not_rejected > 0.6


@pytest.mark.parametrize(
    ("test", "predicted", "margin", "true"),
    [
        ("equivalence", 0.0, 0.1, -0.15),
        ("interval", 1.05, 0.55, 0.5),
        ("less", 0.0, 0.05, 0.05),
        ("greater", 0.0, 0.05, -0.05),
        ("ordering", 0.0, 0.0, 0.0),
        ("regret", 0.0, 0.05, 0.05),
        ("closed_form", 0.0, 0.05, 0.05),
    ],
)
def test_a_false_claim_is_supported_at_most_5_percent_of_the_time(test, predicted, margin, true):
    assert verdicts(test, predicted, margin, true)["supported"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / DRAWS)


@pytest.mark.parametrize("true", [0.0, 0.1])
def test_a_true_claim_is_refuted_at_most_5_percent_of_the_time(true):
    assert verdicts("equivalence", 0, 0.1, true)["refuted"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / DRAWS)


def test_power_at_the_designs_scatter():
    # Standard error of the slope 0.05/√Σ(x − x̄)² = 0.023 with 3 degrees of freedom against a margin of 0.1.
    assert verdicts("equivalence", 0, 0.1, 0.0)["supported"] > 0.85
    assert verdicts("equivalence", 0, 0.1, -0.5)["refuted"] > 0.99


def families(rng, count, size):
    """Ledgers of `size` headline claims that are all false: each estimate lies on the border of its region."""
    claims = [
        {"claim": f"claim-{index}", "statement": "s", "source": "s", "provenance": "paper", "fit": "slope",
         "where": {"depth": index}, "test": "less", "predicted": 0}
        for index in range(size)
    ]  # fmt: skip
    study = StudyConfig(
        study="demo", title="t", paper="p", slug="p", experiment="train", scales={"laptop": {"grid": [{"width": 1}]}},
        fits={"slope": {"estimator": "lr_transfer", "response": "loss"}}, claims=claims,
    )  # fmt: skip
    for _ in range(count):
        rows = []
        for index, y in enumerate(SCATTER * rng.standard_normal((size, 5))):
            slope = slope_ols(X, y)
            low, high = slope.interval()
            rows.append(
                {"fit": "slope", "primary": True, "parameter": "exponent",
                 "group": f'{{"depth": {index}}}', "estimate": slope.estimate,
                 "se": slope.se, "dof": slope.dof, "ci_low": low, "ci_high": high, "n_cells": 15, "n_runs": 15,
                 "status": "ok", "note": ""}
            )  # fmt: skip
        yield judge([study], {"demo": pd.DataFrame(rows)}, "laptop")


def test_holm_keeps_the_family_at_5_percent_where_raw_p_values_do_not(monkeypatch):
    # statsmodels collects garbage in every call, 0.1 s a ledger.
    monkeypatch.setattr(gc, "collect", lambda: 0)
    ledgers = list(families(np.random.default_rng(33), 120, 8))
    any_supported = np.mean([(ledger["verdict"] == "supported").any() for ledger in ledgers])
    any_raw = np.mean([(ledger["p_support"] <= 0.05).any() for ledger in ledgers])
    assert any_supported <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 120)
    assert any_raw > 0.25
