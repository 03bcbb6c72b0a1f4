"""Majority votes and verified answers against votes counted one by one, and their closed forms against exhaustion."""

import math

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from muster.experiments import Context
from muster.sampling.voting import (
    MajorityVoteCell,
    VerifiedSamplingCell,
    accepted,
    accuracy,
    calibration_counts,
    run_majority_vote,
    two_classes,
    voted,
)
from tests.statistical.test_regression_laws import assert_within_error, formula, probes

CALLS = np.arange(1, 200, 2)


def vote_cell(**settings):
    return MajorityVoteCell.model_validate(
        {"width": 4000, "seed": 0, "easy_share": 0.6, "draws": 8, "most_calls": 9, **settings}
    )


def curve(share, easy, hard):
    """Exact accuracy over CALLS by counting, not by the incomplete beta function."""
    return np.array([share, 1 - share]) @ accuracy(CALLS, np.array([easy, hard]))


@pytest.mark.parametrize("dispersion", [0.0, 0.3])
def test_tallies_equal_votes_counted_one_by_one(dispersion):
    cell = vote_cell(dispersion=dispersion, width=20_000)
    rng = np.random.default_rng(1)
    p = np.where(np.arange(200_000) < 120_000, cell.easy, cell.hard)
    if dispersion:
        p = rng.beta(p / dispersion, (1 - p) / dispersion)
    votes = rng.random((200_000, 9)) < p[:, None]
    counted = [(votes[:, :k].sum(axis=1) > k / 2).mean() for k in (1, 3, 5, 7, 9)]
    np.testing.assert_allclose(voted(cell, np.random.default_rng(0)).mean(axis=0), counted, atol=0.005)


def test_two_classes_are_recovered_from_their_counts():
    counts = calibration_counts(vote_cell(calibration=100_000, draws=2), np.random.default_rng(0))
    assert (counts.sum(axis=1) == 100_000).all()
    shares, p = two_classes(counts)
    np.testing.assert_allclose(shares[0], [0.6, 0.4], atol=0.03)
    np.testing.assert_allclose(p[0], [0.85, 0.4], atol=0.02)


def test_a_class_that_explains_no_query_is_empty():
    """1200 right answers of 1200 have probability 0 in floating point for the class that starts at p = 0.25."""
    counts = np.zeros((1, 1201), int)
    counts[0, -1] = 50
    shares, p = two_classes(counts)
    np.testing.assert_allclose(shares[0], [1, 0], atol=1e-12)
    np.testing.assert_allclose(p[0], [1, 0], atol=1e-8)


@pytest.mark.parametrize(("easy", "hard", "best"), [(0.6, 0.45, 21), (0.9, 0.1, 1)])
def test_calibration_finds_the_best_number_of_calls(easy, hard, best):
    """From plenty of queries nothing is lost; a single call would lose 19 % where more help until the last."""
    share = 0.9 if best > 1 else 0.45
    cell = vote_cell(easy=easy, hard=hard, easy_share=share, most_calls=21, calibration=20_000, width=20_000)
    rows = run_majority_vote(cell, Context(progress=lambda line: None)).probes.set_index("probe")["value"]
    assert rows["best_calls"] == best
    assert rows["regret"] < 1e-3


def test_the_accuracy_is_the_incomplete_beta_function():
    given = {"easy_share": [0.6] * 100, "easy": [0.85] * 100, "hard": [0.4] * 100, "layer": CALLS}
    np.testing.assert_allclose(formula("majority_accuracy", **given), curve(0.6, 0.85, 0.4), rtol=1e-10)


def test_the_best_number_of_calls_is_that_of_all_curves():
    rng = np.random.default_rng(0)
    tried = 0
    for share, easy, hard in rng.uniform([0.1, 0.55, 0.1], [0.95, 0.95, 0.48], (120, 3)):
        found = float(formula("best_majority", easy_share=[share], easy=[easy], hard=[hard])[0])
        if easy + hard > 1.02 and 1 <= found < 80:
            exact = curve(share, easy, hard)
            assert CALLS[exact.argmax()] == found
            assert exact[-1] < exact.max()  # it falls in the end
            tried += 1
    assert tried > 25


def test_the_closed_form_holds_for_samples_and_two_calls_more_are_refuted():
    rows = pd.concat(
        probes("majority_vote", width=400_000, draws=8, easy_share=share, most_calls=41) for share in (0.6, 0.7, 0.8)
    )
    best = rows[rows["probe"] == "best_calls"]
    expected = formula("best_majority", **best[["easy_share", "easy", "hard"]])
    np.testing.assert_allclose(best["value"], expected, atol=0.3)
    assert (np.abs(np.log(best["value"] / (expected + 2))) > 0.15).all()
    assert_within_error(rows[rows["probe"] == "accuracy"], "majority_accuracy")


def test_accepted_answers_equal_calls_made_one_by_one():
    cell = VerifiedSamplingCell(
        width=20_000, seed=0, easy_share=0.5, easy=0.3, hard=0.02, false_positive=0.1, most_calls=6
    )
    right, wrong = accepted(cell, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    p = np.repeat([0.3, 0.02], 100_000)
    open_, counts = np.ones(200_000, bool), []
    for _ in range(6):
        answer = rng.random(200_000) < p
        taken = open_ & (answer | (rng.random(200_000) < 0.1))
        counts.append([(taken & answer).mean(), (taken & ~answer).mean()])
        open_ &= ~taken
    np.testing.assert_allclose(np.stack([right.mean(axis=0), wrong.mean(axis=0)], axis=1), counts, atol=0.003)


@pytest.mark.parametrize(("false_positive", "price"), [(0.04, 1.0), (0.1, 1.0), (0.05, 2.0)])
def test_closed_forms_of_verified_answers(false_positive, price):
    case = {"easy_share": [0.5], "easy": [0.3], "hard": [0.02], "false_positive": [false_positive], "price": [price]}
    p = np.array([0.3, 0.02])
    a = p + (1 - p) * false_positive
    calls = np.arange(200)
    gained = 0.5 * ((p - price * (1 - p) * false_positive)[:, None] * (1 - a[:, None]) ** calls).sum(axis=0)
    assert formula("best_verified_calls", **case)[0] == 1 + np.cumsum(gained).argmax()
    limit = (0.5 * p[:, None] * (1 - a[:, None]) ** np.arange(20_000)).sum()
    assert formula("verified_ceiling", **case)[0] == pytest.approx(limit)
    rows = probes("verified_sampling", width=20_000, most_calls=512, **{name: value[0] for name, value in case.items()})
    assert_within_error(rows[(rows["probe"] == "accuracy") & (rows["layer"] == 512)], "verified_ceiling")


def test_difficulties_that_are_not_two_sided_are_refused():
    with pytest.raises(ValidationError, match="hard < 1/2 < easy"):
        vote_cell(hard=0.6)
    with pytest.raises(ValidationError, match="easy_share"):
        vote_cell(easy_share=None)


@pytest.mark.parametrize(("calls", "share"), [(9, 1.0), (10, 0.0)])
def test_ten_calls_are_not_below_ten(calls, share):
    """Answers that cost nothing are asked for to the last call, and some are right there."""
    rows = probes("verified_sampling", width=5000, easy_share=0.5, easy=0.1, hard=0.1, price=0.0, false_positive=0.0,
                  most_calls=calls, draws=4)  # fmt: skip
    values = rows.set_index("probe")["value"]
    assert values[["best_calls", "below_ten"]].tolist() == [calls, share]


def test_tasks_without_a_price_draw_their_own():
    rows = probes("verified_sampling", width=1000, draws=50, most_calls=256)
    share = rows.loc[rows["probe"] == "below_ten", "value"].item()
    assert 0 < share < 1
    assert math.isfinite(rows.loc[rows["probe"] == "best_calls", "se"].item())
