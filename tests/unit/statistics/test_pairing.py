"""Means over seeds with gaps: against least squares with dummies, and which rows pair what."""

import numpy as np
import pytest
import statsmodels.api as sm

from muster.statistics.pairing import column_means, connected, paired_rows

NAN = np.nan


def test_complete_rows_give_the_plain_mean_to_the_last_digit():
    values = np.random.default_rng(1).standard_normal((3, 7))
    assert (column_means(values) == values.mean(axis=0)).all()
    assert paired_rows(values) is values


def test_gaps_are_adjusted_as_by_least_squares_with_dummies():
    rng = np.random.default_rng(2)
    values = rng.standard_normal((4, 1)) * 3 + rng.standard_normal((4, 6))
    values[0, :3] = values[1, 4:] = values[2, 0] = NAN
    seed, column = np.nonzero(np.isfinite(values))
    dummies = np.hstack([np.eye(6)[column], np.eye(4)[seed][:, 1:]])
    fit = sm.OLS(values[seed, column], dummies).fit()
    expected = fit.params[:6] + fit.params[6:].sum() / 4
    np.testing.assert_allclose(column_means(values), expected, rtol=1e-9)


def test_a_seed_run_where_the_loss_is_low_does_not_pull_it_down():
    curve = np.array([3.0, 1.0, 0.0, 1.0, 3.0])
    values = np.stack([curve, curve + 10, np.where(np.arange(5) == 2, curve - 5, NAN)])
    assert np.diff(column_means(paired_rows(values))) == pytest.approx(np.diff(curve))
    assert len(paired_rows(values)) == 2


def test_seeds_that_link_nothing_are_replicates():
    values = np.full((6, 3), NAN)
    values[np.arange(6), [0, 0, 1, 1, 2, 2]] = [1, 3, 5, 7, 9, 11]
    np.testing.assert_array_equal(paired_rows(values), [[1, 5, 9], [3, 7, 11]])
    np.testing.assert_allclose(column_means(values), [2, 6, 10])


def test_seeds_that_link_some_columns_but_not_all_pair_nothing():
    values = np.array([[1.0, 2.0, NAN, NAN], [NAN, NAN, 3.0, 4.0], [5.0, NAN, NAN, NAN]])
    np.testing.assert_array_equal(paired_rows(values), [[1, 2, 3, 4], [5, NAN, NAN, NAN]])


def test_a_column_without_a_run_has_no_mean():
    values = np.array([[1.0, NAN, 3.0], [2.0, NAN, 4.0]])
    np.testing.assert_array_equal(column_means(values), [1.5, NAN, 3.5])


@pytest.mark.parametrize(
    ("known", "linked"),
    [([[1, 1, 0], [0, 1, 1]], True), ([[1, 1, 0], [0, 0, 1]], False), ([[1, 0], [0, 1], [1, 1]], True)],
)
def test_connected(known, linked):
    assert connected(np.array(known, bool)) is linked
