"""Scores of pruned networks against automatic differentiation and fixed points; critical sparsity against pruning."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import integrate, stats

from muster.sampling.pruning_depth import PruningCell, critical_sparsity, scores, variances
from tests.statistical.test_regression_laws import decide, probes


@pytest.mark.parametrize(("susceptibility", "kernel"), [(0.6, 1.0), (1.0, 1.5)])
def test_the_variances_have_the_fixed_point(susceptibility, kernel):
    weight, bias = variances(PruningCell(width=8, susceptibility=susceptibility, kernel=kernel, seed=0))

    def mean(f):
        return integrate.quad(lambda g: f(np.sqrt(kernel) * g) * stats.norm.pdf(g), -12, 12, epsabs=1e-12)[0]

    assert bias + weight * mean(lambda z: np.tanh(z) ** 2) == pytest.approx(kernel, rel=1e-5)
    assert weight * mean(lambda z: np.cosh(z) ** -4) == pytest.approx(susceptibility, rel=1e-5)


def test_scores_are_weights_times_derivatives():
    import torch

    cell = PruningCell(width=4, depth=3, susceptibility=0.7, seed=0)
    found = scores(cell, np.random.default_rng(0))
    rng, (weight, bias) = np.random.default_rng(0), variances(cell)
    w = torch.tensor(rng.standard_normal((3, 4, 4)) * np.sqrt(weight / 4), requires_grad=True)
    b = torch.tensor(rng.standard_normal((3, 4)) * np.sqrt(bias))
    h = torch.tanh(torch.tensor(rng.standard_normal(4)))
    for layer in range(3):
        h = torch.tanh(w[layer] @ h + b[layer])
    (h * torch.tensor(rng.standard_normal(4))).sum().backward()
    np.testing.assert_allclose(found, (w * w.grad).abs().detach().numpy())


def test_one_weight_fewer_leaves_every_layer_one_and_no_fewer_does():
    found = scores(PruningCell(width=6, depth=8, susceptibility=0.5, seed=0), np.random.default_rng(3))
    gone = round(critical_sparsity(found) * found.size)
    order = np.sort(found.ravel())
    assert (found >= order[gone - 1]).any(axis=(1, 2)).all()
    assert not (found > order[gone - 1]).any(axis=(1, 2)).all()


def test_the_critical_sparsity_falls_like_one_over_depth_and_not_otherwise():
    depths = (64, 96, 128, 192, 256)
    rows = pd.concat(probes("pruning_depth", width=24, depth=depth, susceptibility=0.4, draws=16) for depth in depths)
    assert decide(rows, "depth", -1, margin=0.1) == "supported"
    for wrong in (-2, -0.5, 0):
        assert decide(rows, "depth", wrong, margin=0.1) == "refuted"
    critical = probes("pruning_depth", width=64, depth=32, susceptibility=1.0, draws=4)
    assert critical["value"].item() > 0.95


def test_biases_of_negative_variance_are_refused():
    with pytest.raises(ValidationError, match="variance below 0"):
        PruningCell(width=8, susceptibility=1.5, kernel=1, seed=0)
