"""Error rates of whole families, in simulated ledgers of papers with 2 to 17 headline claims and 3 to 8 degrees of
freedom: 1,000 papers, standard error of a share of 0.05: 0.007."""

import functools

import numpy as np
import pytest
from scipy import stats

from muster.claims.families import decide
from muster.claims.tests import on_its_own, verdict

PAPERS = 1000
ALLOWED = 0.05 + 2 * (0.05 * 0.95 / PAPERS) ** 0.5
MARGIN = 0.1


def claim(rng, number, true, test, prediction_se=0.0):
    """A row whose estimate is drawn around a true distance from the prediction, in margins."""
    dof = int(rng.integers(3, 9))
    sigma = MARGIN * 10 ** rng.uniform(-1.3, 0.0)  # from precise to hopeless
    se = sigma * float(np.sqrt(rng.chisquare(dof) / dof))
    predicted = float(rng.normal(0, prediction_se)) if prediction_se else 0.0
    estimate = true * MARGIN + float(rng.normal(0, sigma))
    half = float(stats.t.isf(0.025, dof)) * se
    told = f"{test}, prediction se {prediction_se:g}" if prediction_se else test
    return {
        "claim": f"c{number}", "test": told, "predicted": predicted, "margin": MARGIN, "estimate": estimate, "se": se,
        "dof": dof, "ci_low": estimate - half, "ci_high": estimate + half, "n_cells": 9, "scale": "laptop",
        "family": "paper: headline", "same_as": "",
    }  # fmt: skip


@functools.cache
def papers(place, test, prediction_se=0.0):
    """Rows of each paper after its verdicts. place: distance of the true values from the prediction in margins; None:
    half of them at the prediction, where Holm steps down soon, the others at the border."""
    rng = np.random.default_rng(2026)
    found = []
    for _ in range(PAPERS):
        size = int(rng.integers(2, 18))
        where = [place if place is not None else float(i % 2) for i in range(size)]
        rows = [on_its_own(claim(rng, i, at, test, prediction_se)) | {"true": at} for i, at in enumerate(where)]
        decide(rows)
        found.append(rows)
    return found


def share(found, word, at=None):
    """Of the papers, those with such a word among the claims whose true value lies there."""
    return np.mean([any(row["verdict"] == word for row in rows if at in (None, row["true"])) for rows in found])


@pytest.mark.parametrize("test", ["equivalence", "less"])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0, None])
def test_a_true_claim_of_a_paper_is_refuted_in_at_most_5_percent_of_papers(place, test):
    assert share(papers(place, test), "refuted") <= ALLOWED


@pytest.mark.parametrize("test", ["equivalence", "less"])
@pytest.mark.parametrize("place", [1.0, None])
def test_a_claim_at_its_margin_is_supported_in_at_most_5_percent_of_papers(place, test):
    assert share(papers(place, test), "supported", at=1.0) <= ALLOWED


def test_a_prediction_with_an_error_keeps_both_rates():
    found = papers(1.0, "equivalence", 0.03)
    assert share(found, "refuted") <= ALLOWED
    assert share(found, "supported") <= ALLOWED


def test_without_holm_both_rates_are_far_above():
    for place, test, word in ((1.0, "less", "refuted"), (1.0, "equivalence", "supported")):
        alone = [[row | {"verdict": verdict(on_its_own(row))} for row in rows] for rows in papers(place, test)]
        assert share(alone, word) > 0.15


def test_what_is_true_is_supported_and_what_is_far_is_refuted():
    """The rates above are no consequence of deciding nothing."""
    words = [row["verdict"] for rows in papers(0.0, "equivalence") for row in rows]
    assert words.count("supported") > 0.4 * len(words)
    words = [row["verdict"] for rows in papers(4.0, "equivalence") for row in rows]
    assert words.count("refuted") > 0.7 * len(words)
