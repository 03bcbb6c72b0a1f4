"""Partly frozen networks against autograd, counts by hand, and learning that must and must not happen."""

import numpy as np
import pytest
import torch

from muster.experiments import EXPERIMENTS
from muster.sampling.frozen_weights import gradients, losses, masks, teachers
from tests.statistical.test_regression_laws import probes


def cell(**settings):
    usual = {"width": 4, "seed": 0, "draws": 3, "updates": 20, "features": 5}
    return EXPERIMENTS["frozen_weights"].cell(**usual | settings)


def test_gradients_are_those_of_half_the_squared_error():
    rng = torch.Generator().manual_seed(0)
    inner, outer, x, y = (
        torch.randn(2, *shape, generator=rng, dtype=torch.float64) for shape in ((5, 4), (4, 1), (30, 5), (30, 1))
    )
    inner.requires_grad_()
    outer.requires_grad_()
    f = torch.einsum("dnh,dho->dno", torch.tanh(torch.einsum("dni,dih->dnh", x, inner)), outer)
    (0.5 * (f - y).square().mean(dim=1).sum()).backward()
    for found, leaf in zip(gradients(inner.detach(), outer.detach(), x, y), (inner, outer), strict=True):
        torch.testing.assert_close(found, leaf.grad)


@pytest.mark.parametrize(("frozen", "units"), [(0, 4), (0.5, 8), (0.75, 16)])
def test_every_share_trains_as_many_weights_as_a_dense_network_of_its_width(frozen, units):
    chosen = cell(frozen=frozen)
    assert chosen.units == units
    rng = np.random.default_rng(0)
    for shape, trained in (((5, units), 20), ((units, 1), 4)):
        found = masks(chosen, shape, trained, rng)
        assert found.shape == (3, *shape)
        assert np.isin(found, (0, 1)).all()
        assert (found.sum(axis=(1, 2)) == trained).all()


def test_the_mask_falls_on_every_entry_alike():
    found = masks(cell(draws=4000), (2, 3), 2, np.random.default_rng(0))
    np.testing.assert_allclose(found.mean(axis=0), np.full((2, 3), 1 / 3), atol=0.035)


def test_teachers_are_those_of_every_size_and_share():
    for other in ({"width": 9}, {"frozen": 0.5}, {"updates": 10}):
        for one, two in zip(teachers(cell()), teachers(cell(**other)), strict=True):
            np.testing.assert_array_equal(one, two)
    assert (teachers(cell())[0] != teachers(cell(seed=1))[0]).all()


def test_what_is_frozen_stays_and_what_is_not_learns(monkeypatch):
    seen = []

    def recorded(inner, outer, x, y):
        seen.append((inner.clone(), outer.clone()))
        return gradients(inner, outer, x, y)

    monkeypatch.setattr("muster.sampling.frozen_weights.gradients", recorded)
    chosen = cell(frozen=0.5)
    losses(chosen, np.random.default_rng(0))
    for first, last, trained in zip(seen[0], seen[-1], (20, 4), strict=True):
        assert ((first != last).sum(dim=(-1, -2)) == trained).all()


def test_wider_networks_learn_more_and_the_best_rate_is_kept():
    narrow, wide = (probes("frozen_weights", width=n, updates=400, draws=4).set_index("probe") for n in (2, 12))
    assert wide["value"]["test_loss"] < 0.5 * narrow["value"]["test_loss"] < 0.5
    assert wide["value"]["best_rate"] in (-6, -5, -4, -3)
    low = probes("frozen_weights", width=12, updates=400, draws=4, lowest_rate=-14, rates=1).set_index("probe")
    assert low["value"]["test_loss"] > 2 * wide["value"]["test_loss"]
