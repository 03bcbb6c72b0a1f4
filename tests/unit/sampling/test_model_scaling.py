"""Counts of a scaled network against sums over its layers, and the exponents against the shares."""

import numpy as np
import pytest

from muster.experiments import EXPERIMENTS, Context
from muster.sampling.model_scaling import SHARES, ModelScalingCell, Sizes, cost, count, sizes


@pytest.mark.parametrize("size", [Sizes(1, 5, 7), Sizes(2, 3, 4), Sizes(9, 6, 11)])
def test_counts_are_sums_over_the_layers(size):
    d, w, length = size
    pairs = [(1, w)] + [(w, w)] * (d - 1)  # channels in and out of each layer
    flops = sum(2 * 3 * before * after * length for before, after in pairs) + 2 * w * 10
    assert count(size) == (d * w * length, flops)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("depth", (1024, 64, 64)),
        ("width", (16, 512, 64)),
        ("length", (16, 64, 4096)),
        ("uniform", (64, 128, 256)),  # 64^⅓ = 4 for depth and length, 4^½ for width
        ("fast", (24, 338, 97)),  # 64^.1 = 1.5157 and 64^.4 = 5.2780
    ],
)
def test_sizes_take_their_shares_of_the_factor(strategy, expected):
    found = sizes(ModelScalingCell(doublings=6), strategy)
    assert found[0] == (16, 64, 64)
    assert len(found) == 7
    assert found[-1] == expected


@pytest.mark.parametrize("strategy", SHARES)
def test_a_large_network_has_the_exponent_of_its_shares(strategy):
    """Over ×16 from a base whose stem hardly counts."""
    first, *_, last = sizes(ModelScalingCell(layers=40, channels=200, length=200, doublings=4), strategy)
    few, many = np.array(count(first)), np.array(count(last))
    activations, flops = np.log(many / few)
    assert activations / flops == pytest.approx(1 - SHARES[strategy][1] / 2, abs=0.01)


def test_tables_of_a_base_shape():
    """A probe each strategy, a layer each of its FLOPs; all begin at the same network; planned is what is counted."""
    cell = ModelScalingCell(layers=3, channels=4, length=5, doublings=2)
    found = EXPERIMENTS["model_scaling"].run(cell, Context())
    probes = found.probes.groupby("probe")
    assert set(probes.groups) == set(SHARES)
    assert (probes[["layer", "value"]].min() == [2 * 3 * 5 * 4 * (1 + 4 + 4) + 2 * 4 * 10, 3 * 4 * 5]).all(axis=None)
    assert (probes.size() == 3).all()
    assert found.runs["flops"].item() == found.probes["layer"].sum() == cost(cell).flops
