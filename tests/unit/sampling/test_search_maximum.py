"""Estimators of the best of n trials: truths and closed forms against enumeration, the bootstrap by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats

from muster.sampling import random_network
from muster.sampling.search_maximum import SearchMaximumCell, covered, true_maximum
from muster.statistics.best_of import WEIGHTS
from tests.statistical.test_regression_laws import assert_within_error, formula, probes


def test_the_true_maximum_of_known_laws():
    assert true_maximum(stats.uniform(), 7) == pytest.approx(7 / 8)
    assert true_maximum(stats.norm(), 3) == pytest.approx(1.5 / np.sqrt(np.pi))
    drawn = np.random.default_rng(0).lognormal(size=(50_000, 10)).max(axis=1)
    assert true_maximum(stats.lognorm(1.0), 10) == pytest.approx(drawn.mean(), abs=4 * drawn.std() / 223)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_mean_of_the_plug_in_equals_enumeration(share):
    """All tuples of n of B = 6 values with replacement, the values at the means of sorted uniform draws."""
    n = round(6 * share)
    means = np.arange(1, 7) / 7
    every = np.mean([max(tuple_) for tuple_ in itertools.product(means, repeat=n)])
    assert formula("uniform_plug_in", width=[6], share=[share])[0] == pytest.approx(every)


def test_samples_keep_the_closed_form_and_the_truth_in_its_place_is_rejected():
    rows = probes("search_maximum", width=12, law="uniform", draws=8000, intervals=40, resamples=40)
    plug_in = rows[rows["probe"] == "plug_in_mean"]
    assert_within_error(plug_in, "uniform_plug_in")
    assert abs(plug_in["value"].item() - 12 / 13) > 20 * plug_in["se"].item()
    values = rows.set_index("probe")["value"]
    assert values["plug_in_bias"] < -0.4
    assert abs(values["unbiased_bias"]) < 0.03 < values["rmse_ratio"] < 1


def test_the_bootstrap_equals_one_by_hand():
    cell = SearchMaximumCell(width=8, seed=0, law="normal", intervals=12, resamples=1000)
    searches = np.sort(np.random.default_rng(0).standard_normal((12, 8)), axis=1)
    truth, rng, hits = true_maximum(stats.norm(), 8), np.random.default_rng(5), []
    for values in searches:
        found = [np.sort(rng.choice(values, 8)) @ WEIGHTS["plug_in"](8, 8) for _ in range(400)]
        low, high = np.quantile(found, [0.025, 0.975])
        hits.append(low <= truth <= high)
    assert abs(covered(cell, searches, truth, np.random.default_rng(1)).sum() - sum(hits)) <= 1


def test_as_many_searches_are_resampled_at_a_time_as_may_be_held(monkeypatch):
    """Of 40 resamples of 4 trials each 2 searches within 400 numbers; the draws are those of all at once."""
    cell = SearchMaximumCell(width=4, seed=0, resamples=40)
    found, sizes = np.sort(np.random.default_rng(1).random((5, 4)), axis=1), []

    class Counted:
        drawn = np.random.default_rng(0)

        def integers(self, *arguments, size, **options):
            sizes.append(size)
            return self.drawn.integers(*arguments, size=size, **options)

    whole = covered(cell, found, 0.8, np.random.default_rng(0))
    monkeypatch.setattr(random_network, "CHUNK_ENTRIES", 400)
    assert (covered(cell, found, 0.8, Counted()) == whole).all()
    assert sizes == [(2, 40, 4), (2, 40, 4), (1, 40, 4)]
