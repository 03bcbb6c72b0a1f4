"""Adam on stacks against torch's."""

import pytest
import torch

from muster.sampling.adam import adam


@pytest.mark.parametrize("decay", [0, 0.1])
def test_updates_are_those_of_torchs_adam_with_weight_decay_in_the_gradient(decay):
    start, *slopes = torch.randn(6, 2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    leaves, ours = [each.clone().requires_grad_() for each in start], start.clone()
    rates, moments = (0.01, 0.3), [torch.zeros_like(start) for _ in range(2)]
    theirs = [torch.optim.Adam([leaf], lr=rate, weight_decay=decay) for leaf, rate in zip(leaves, rates, strict=True)]
    for update, slope in enumerate(slopes, start=1):
        for leaf, each, optimizer in zip(leaves, slope, theirs, strict=True):
            leaf.grad = each.clone()
            optimizer.step()
        adam(ours, moments, slope.clone(), update, torch.tensor(rates, dtype=torch.float64).view(2, 1, 1), decay)
    torch.testing.assert_close(ours, torch.stack(leaves).detach())
