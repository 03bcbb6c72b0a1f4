"""Diluted Hebbian networks against energies, single flips, the hierarchical state and its closed form."""

import numpy as np
import pandas as pd
import pytest

from muster.sampling.multitasking_memory import MultitaskingCell, draw_patterns, settle, signals
from tests.statistical.test_regression_laws import assert_within_error, formula, probes


@pytest.mark.parametrize("seed", range(4))
def test_it_settles_where_no_single_flip_lowers_the_energy(seed):
    cell, rng = MultitaskingCell(width=40, patterns=3, dilution=0.4, seed=0), np.random.default_rng(seed)
    patterns, start = draw_patterns(cell, rng), rng.choice([-1.0, 1.0], 40)
    couplings = patterns.T @ patterns
    np.fill_diagonal(couplings, 0)

    def energy(state):
        return -state @ couplings @ state / 80

    found = settle(patterns, start, rng)
    flips = [energy(found * np.where(np.arange(40) == i, -1, 1)) for i in range(40)]
    assert min(flips) >= energy(found) - 1e-9
    assert energy(found) <= energy(start)


def hierarchical(patterns):
    """Each neuron agrees with the first pattern that has an entry there."""
    follows = (patterns != 0).argmax(axis=0)
    return patterns[follows, np.arange(patterns.shape[1])]


def test_the_formula_is_that_of_the_hierarchical_state_and_settling_keeps_it():
    rng = np.random.default_rng(0)
    patterns = draw_patterns(MultitaskingCell(width=300_000, dilution=0.4, seed=0), rng)
    state = hierarchical(patterns)
    expected = formula("multitasking_signal", dilution=[0.4] * 3, layer=[1, 2, 3])
    np.testing.assert_allclose(patterns @ state / 300_000, expected, atol=0.006)
    state[state == 0] = 1  # neurons without any entry, which no field turns
    assert (settle(patterns, state, rng) == state).all()


def test_signals_of_a_presented_pattern_follow_the_formula_and_no_other_power():
    rows = pd.concat(probes("multitasking_memory", width=100_000, dilution=d, draws=4) for d in (0.3, 0.4))
    rows = rows[(rows["probe"] == "signal") & (rows["layer"] <= 2)]
    assert_within_error(rows, "multitasking_signal", slack=0.03)
    wrong = rows["dilution"] ** (2 * rows["layer"] - 2) * (1 - rows["dilution"])
    assert (np.abs(np.log(rows["value"] / wrong))[rows["layer"] == 2] > 0.5).all()


def test_beyond_the_threshold_of_stability_the_hierarchy_gives_way():
    """1 − d > d − d³ fails above d = 0.618: neurons whose first entry stands against both others turn."""
    cell = MultitaskingCell(width=200_000, dilution=0.7, seed=0)
    found = signals(cell, np.random.default_rng(1))
    assert found[0] < 0.29 < formula("multitasking_signal", dilution=[0.7], layer=[1])[0]
    assert found[2] > 1.05 * formula("multitasking_signal", dilution=[0.7], layer=[3])[0]
