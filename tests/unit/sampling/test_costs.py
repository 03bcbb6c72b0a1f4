"""What a sampling cell is reckoned to need, of every experiment at the size of its example: plans, progress and the
column `flops` go by it."""

import pytest

from muster.experiments import EXPERIMENTS

SAMPLED = {
    name: entry
    for name in EXPERIMENTS
    if (entry := EXPERIMENTS[name]).stage == "sample" and entry.example and "draws" in entry.cell.model_fields
}


def cost(name, **changes):
    entry = SAMPLED[name]
    axes = {axis: value[0] if isinstance(value, list) else value for axis, value in entry.example.grid[0].items()}
    axes.pop("seeds", None)
    settings = {"seed": 0} | entry.example.settings | axes | changes
    return entry.cost(entry.cell(**({} if "samples" in settings else {"width": 64}) | settings))


@pytest.mark.parametrize("name", SAMPLED)
def test_draws_cost_the_same_each(name):
    some, more, most = (cost(name, draws=draws) for draws in (10_000, 20_000, 30_000))
    for need in ("flops", "seconds"):
        first, second, third = (getattr(each, need) for each in (some, more, most))
        assert second - first == pytest.approx(third - second, rel=0.02)
        assert 0.01 * first < second - first <= 1.02 * first
    assert 1e8 <= some.memory_bytes <= more.memory_bytes <= most.memory_bytes < 2e10


@pytest.mark.parametrize("name", SAMPLED)
def test_a_core_does_what_cores_do(name):
    """10⁶ operations a second where each is a random number, an update or a call, up to 10¹¹ in matrix products."""
    found = cost(name)
    assert 1e6 < found.flops / found.seconds < 1e11
    assert 1e-4 < found.seconds < 600
