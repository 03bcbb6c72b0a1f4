"""Rows that share a value of a variable: which are asked about, and the test that they agree against SciPy's."""

import numpy as np
import pytest
from scipy import stats

from muster.fitting.laws.clusters import alike, question, shared_levels

NAMES = ["parameters", "tokens", "steps", "one"]


def test_two_rows_a_value_are_shared_fewer_or_one_value_alone_are_not():
    x = np.array([[1, 1, 2, 2, 3, 3], [1, 1, 1, 2, 3, 4], [1, 1, 1, 1, 1, 2], [5, 5, 5, 5, 5, 5]], float)
    assert shared_levels(x, NAMES) == [("parameters", 3), ("steps", 2)]
    assert question(x, NAMES).startswith("6 rows share 3 values of parameters and 2 values of steps: name their")
    assert question(x[[1, 3]], ["tokens", "one"]) == ""


@pytest.mark.parametrize("sizes", [[3, 3, 3], [2, 5, 4, 3]])
def test_agreement_is_one_way_analysis_of_variance(sizes):
    """The p of `f_oneway`, one per cent, and half of that where two variables are asked."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    x = np.array([10.0**labels, np.arange(len(labels)), rng.permutation(labels)], float)
    seen = []
    for shift in np.linspace(0, 4, 81):
        residuals = 0.3 + np.sin(7.0 * np.arange(len(labels)) ** 2) + shift * np.cos(labels)
        p = stats.f_oneway(*(residuals[labels == each] for each in range(len(sizes)))).pvalue
        expected = f"residuals of one value of parameters agree (p = {p:.1g})"
        assert alike(residuals, x[:2], ["parameters", "id"]) == (expected if p < 0.01 else "")
        other = stats.f_oneway(*(residuals[x[2] == each] for each in range(len(sizes)))).pvalue
        assert other > 0.005
        assert alike(residuals, x, ["parameters", "id", "tokens"]) == (expected if p < 0.005 else "")
        seen.append(np.digitize(p, [0.005, 0.01]))
    assert set(seen) == {0, 1, 2}


def test_rows_that_say_nothing_within_a_value_decide_nothing():
    x = np.repeat([[1.0, 2.0, 3.0]], 2, axis=0).T.reshape(1, -1)
    assert alike(np.repeat([0.0, 1.0, 5.0], 2), x, ["parameters"]) == ""
