"""Subset sums against enumeration, and their law against wrong exponents."""

from itertools import chain, combinations

import numpy as np
import pandas as pd
import pytest

from muster.sampling.subset_sum import log_distances, subset_sums
from tests.statistical.test_regression_laws import decide, probes


def test_sums_are_those_of_all_subsets():
    weights = np.random.default_rng(0).uniform(-1, 1, 6)
    subsets = chain.from_iterable(combinations(weights, k) for k in range(7))
    np.testing.assert_allclose(np.sort(subset_sums(weights)), np.sort([sum(each) for each in subsets]), atol=1e-12)


def test_distances_are_to_the_nearest_candidate():
    found = log_distances(np.array([-1.0, 0.25, 2.0]), np.array([0.0, 1.5]))
    np.testing.assert_allclose(np.exp(found), [0.25, 0.5])


@pytest.mark.parametrize("weights", ["single", "product"])
def test_the_error_falls_like_the_number_of_subsets_and_wrong_exponents_are_refuted(weights):
    rows = pd.concat(probes("subset_sum", width=n, weights=weights, draws=200) for n in (4, 6, 8, 10, 12))
    subset = rows[rows["probe"] == "subset_error"]
    assert decide(subset, "layer", -1, margin=0.15) == "supported"
    for wrong in (-1.5, -0.6, -0.5):
        assert decide(subset, "layer", wrong) == "refuted"
