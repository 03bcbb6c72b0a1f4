"""Rates and losses at sizes that nobody swept: intervals by their formula, and where there is no prediction."""

import numpy as np
import pytest
from scipy import stats

from muster.fitting.optimum.predict_lr import predict_loss, predict_lr, reach

X = np.array([64.0, 128.0, 256.0, 512.0, 1024.0])
NOISE = np.array([0.02, -0.03, 0.01, 0.02, -0.02])


def by_hand(y, at):
    """Line through y over ln X, and its 95 % prediction interval."""
    x, new = np.log(X), np.log(at)
    slope, intercept = np.polyfit(x, y, 1)
    s = np.sqrt(np.square(y - intercept - slope * x).sum() / (len(x) - 2))
    half = stats.t.ppf(0.975, len(x) - 2) * s
    half *= np.sqrt(1 + 1 / len(x) + (new - x.mean()) ** 2 / np.square(x - x.mean()).sum())
    return intercept + slope * new + np.array([0.0, -half, half])


def test_intervals_are_those_of_a_new_point_on_the_line():
    rates = -0.5 * np.log2(X) - 3 + NOISE
    found = predict_lr(X, rates, 4096)
    assert (found.status, found[3:6]) == ("ok", pytest.approx(2.0 ** by_hand(rates, 4096)))
    losses = np.exp(1 - 0.3 * np.log(X) + NOISE)
    found = predict_loss(X, losses, 4096)[0]
    assert (found.status, found[3:6]) == ("ok", pytest.approx(np.exp(by_hand(np.log(losses), 4096))))


def test_a_loss_that_nothing_removes_bends_the_line_and_is_the_offsets():
    line, offset = predict_loss(X, (0.5 + 20 / X) * np.exp(0.001 * NOISE), 4096)
    assert (line.status, offset.status) == ("bent", "ok")
    assert offset.value == pytest.approx(0.5 + 20 / 4096, rel=1e-3)
    assert offset.low < offset.value < offset.high
    assert "bend away" in predict_lr(X, 0.1 * np.log2(X) ** 2 + 0.01 * NOISE, 4096).note


def test_two_points_are_too_few_for_a_line_and_three_for_an_offset():
    assert [predict_lr(X[:n], NOISE[:n], 2048).status for n in (2, 3)] == ["too_few", "ok"]
    statuses = [[each.status for each in predict_loss(X[:n], np.exp(NOISE[:n]), 2048)] for n in (2, 3)]
    assert statuses == [["too_few", "too_few"], ["ok", "too_few"]]


def test_far_is_beyond_half_of_the_range():
    assert [reach(X, at) for at in (300, 4095, 4097)] == [(1, False), (4095 / 1024, False), (4097 / 1024, True)]
    assert reach(X, 15) == (64 / 15, True)
