"""Best of n draws: exact against enumeration, unbiased where the plug-in is not, and what a failed run means."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS
from muster.fitting.estimators.expected_max import expected_best, jackknife_error
from muster.statistics.best_of import plug_in_weights, u_statistic_weights


def run(values, draws, best="lowest", **columns):
    table = pd.DataFrame({"final_eval_loss": values, "width": 64, "seed": range(len(values)), **columns})
    fit = FitConfig(estimator="expected_max", response="final_eval_loss", options={"draws": draws, "best": best})
    return ESTIMATORS["expected_max"].function(table, fit).fits.set_index(["parameter", "variant"])


@pytest.mark.parametrize("draws", [1, 2, 3, 7])
def test_the_u_statistic_is_the_mean_over_all_subsets(draws):
    values = np.random.default_rng(0).standard_normal(7)
    subsets = list(itertools.combinations(values, draws))
    assert expected_best(values, draws, "u_statistic") == pytest.approx(np.mean([max(s) for s in subsets]))
    assert expected_best(values, draws, "u_statistic", lowest=True) == pytest.approx(np.mean([min(s) for s in subsets]))


@pytest.mark.parametrize("draws", [1, 2, 4])
def test_the_plug_in_is_the_mean_over_all_tuples(draws):
    values = np.random.default_rng(1).standard_normal(5)
    tuples = list(itertools.product(values, repeat=draws))
    assert expected_best(values, draws, "plug_in") == pytest.approx(np.mean([max(t) for t in tuples]))


def test_weights_sum_to_one():
    for total, draws in ((1, 1), (50, 7), (400, 399)):
        assert u_statistic_weights(total, draws).sum() == pytest.approx(1)
        assert plug_in_weights(total, draws).sum() == pytest.approx(1)


def test_more_draws_than_values():
    with pytest.raises(ValueError, match="best of 4 draws needs at least as many values, not 3"):
        u_statistic_weights(3, 4)
    assert set(run([1.0, 2.0, 3.0], 4)["status"]) == {"too_few"}


def test_unbiased_where_the_plug_in_is_biased_against_the_search():
    """Uniform draws: E[max of n] = n / (n + 1). The plug-in's bias follows from the same order statistics:
    Σ wᵢ i / (N + 1) − n / (n + 1)."""
    total, draws, repeats = 12, 6, 20000
    samples = np.sort(np.random.default_rng(2).random((repeats, total)), axis=1)
    truth = draws / (draws + 1)
    unbiased, plug_in = samples @ u_statistic_weights(total, draws), samples @ plug_in_weights(total, draws)
    error = unbiased.std() / math.sqrt(repeats)
    assert abs(unbiased.mean() - truth) < 3 * error
    bias = plug_in_weights(total, draws) @ np.arange(1, total + 1) / (total + 1) - truth
    assert bias < -0.02
    assert plug_in.mean() - truth == pytest.approx(bias, abs=3 * plug_in.std() / math.sqrt(repeats))


def test_rows_and_optimism():
    values = [3.0, 1.0, 2.0, 50.0, 4.0, 6.0, 8.0, -7.0]
    rows = run(values, 2)
    expected = np.mean([min(pair) for pair in itertools.combinations(values, 2)])
    best, optimism = rows.loc[("expected_best", "u_statistic")], rows.loc[("optimism", "u_statistic")]
    assert best["estimate"] == pytest.approx(expected)
    assert (best["status"], best["n_runs"]) == ("ok", 8)
    partial = [np.mean([min(p) for p in itertools.combinations(values[:i] + values[i + 1 :], 2)]) for i in range(8)]
    assert best["se"] == pytest.approx(np.sqrt(7 * np.var(partial)))
    assert best["dof"] < 6
    assert best["dof"] == pytest.approx(min(7, 2 * 8 / (stats.kurtosis(partial, fisher=False) - 1)))
    assert best["primary"]
    assert optimism["estimate"] == pytest.approx(expected + 7)
    assert (optimism["status"], np.isnan(optimism["se"])) == ("no_se", True)
    assert run(values, 2, best="highest").loc[("optimism", "u_statistic"), "estimate"] > 0


def test_one_draw_is_the_mean_with_its_standard_error():
    values = np.random.default_rng(3).standard_normal(9)
    row = run(values, 1).loc[("expected_best", "u_statistic")]
    assert row["estimate"] == pytest.approx(values.mean())
    assert row["se"] == pytest.approx(values.std(ddof=1) / 3)


def test_beyond_a_quarter_of_the_rows_there_is_no_error():
    assert run(np.arange(1.0, 9.0), 2).loc[("expected_best", "u_statistic"), "status"] == "ok"
    rows = run(np.arange(1.0, 9.0), 3)
    assert rows.loc[("expected_best", "u_statistic"), "status"] == "no_se"
    assert np.isfinite(rows.loc[("expected_best", "u_statistic"), "estimate"])


def test_failed_runs_rank_last_and_no_number_stands_for_them():
    values, failed = [*np.arange(1.0, 11.0), np.nan, 0.5], [False] * 11 + [True]
    row = run(values, 3, diverged=failed).loc[("expected_best", "u_statistic")]
    huge = [*np.arange(1.0, 11.0), 1e9, 1e9]
    assert row["estimate"] == pytest.approx(expected_best(np.array(huge), 3, "u_statistic", lowest=True))
    assert (row["status"], "12 rows, 2 of them failed" in row["note"]) == ("ok", True)
    # The best of two draws may be none: both could fail.
    assert run(values, 2, diverged=failed).loc[("expected_best", "u_statistic"), "status"] == "not_identified"
    assert run(values, 3, diverged=failed).loc[("expected_best", "plug_in"), "status"] == "not_identified"


def test_text_is_a_clear_error():
    with pytest.raises(MusterError, match="final_eval_loss holds 'n/a'"):
        run([1.0, "n/a", 2.0], 1)


def test_light_tailed_partial_values_have_all_degrees_of_freedom_and_no_more():
    """Equal steps have kurtosis 1.8, so that Satterthwaite's formula alone would give 2.5 N."""
    partial = np.arange(10.0)
    assert jackknife_error(partial) == (pytest.approx(math.sqrt(0.9 * 82.5)), 9)
    heavy = np.append(np.zeros(99), 1.0)  # kurtosis 98
    assert jackknife_error(heavy)[1] == pytest.approx(200 / 97, rel=0.02)
