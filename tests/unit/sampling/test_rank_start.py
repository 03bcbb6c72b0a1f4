"""Networks of low-rank first weights: kernels, steps and laws against autograd, a conserved balance, matrices."""

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from muster.sampling import rank_start
from muster.sampling.rank_start import KINDS, READOUT, STOP, RankStartCell, first_weights, tangent_kernel, train
from tests.statistical.test_regression_laws import decide, probes

SMALL = {"width": 12, "features": 5, "samples": 9}
TORCH = {"identity": lambda z: z, "relu": torch.relu, "tanh": torch.tanh}


def drawn(**settings):
    cell = RankStartCell(**SMALL | {"rank": 2, "draws": 3, "seed": 0} | settings)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((cell.draws, cell.samples, cell.features))
    target, readout = rng.standard_normal((cell.draws, cell.features)), rng.standard_normal((cell.draws, cell.width))
    readout *= READOUT / np.linalg.norm(readout, axis=1, keepdims=True)
    return first_weights(cell, target, rng), readout, x, (x @ target[:, :, None])[:, :, 0], target


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_are_products_of_the_gradients_that_autograd_finds(kind):
    weights, readout, x, _, _ = drawn()
    w, a = (torch.tensor(each[1], requires_grad=True) for each in (weights, readout))
    outputs = TORCH[kind](torch.tensor(x[1]) @ w.T) @ a
    rows = [torch.cat([g.flatten() for g in torch.autograd.grad(f, (w, a), retain_graph=True)]) for f in outputs]
    jacobian = torch.stack(rows).numpy()
    np.testing.assert_allclose(tangent_kernel(weights, readout, x, KINDS[kind])[1], jacobian @ jacobian.T, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_descent_on_both_layers_from_an_output_of_zero(kind, monkeypatch):
    """Thirty steps of torch's SGD, of a loss that stays above its end."""
    monkeypatch.setattr(rank_start, "STEPS", 30)
    weights, readout, x, y, _ = drawn()
    w, a = (torch.tensor(each[2], requires_grad=True) for each in (weights, readout))
    sgd = torch.optim.SGD([w, a], lr=rank_start.RATE)
    start = None
    for _ in range(30):
        sgd.zero_grad()
        outputs = TORCH[kind](torch.tensor(x[2]) @ w.T) @ a
        start = outputs.detach() if start is None else start
        loss = (outputs - start - torch.tensor(y[2])).square().mean() / 2
        loss.backward()
        sgd.step()
    assert loss.item() > STOP * np.square(y[2]).mean() / 2
    found = train(weights, readout, x, y, KINDS[kind])
    for each, leaf in zip(found, (w, a), strict=True):
        np.testing.assert_allclose(each[2], leaf.detach().numpy(), rtol=1e-9, atol=1e-12)


def test_draws_stop_each_where_its_own_loss_is_the_share_and_linear_ones_conserve_their_balance(monkeypatch):
    """W Wᵀ − a aᵀ is constant under gradient flow of a linear network; draws of different length do not mix."""
    monkeypatch.setattr(rank_start, "RATE", 1e-3)
    weights, readout, x, y, _ = drawn()
    after, out = train(weights, readout, x, y, KINDS["identity"])
    residual = (x @ (after.swapaxes(1, 2) @ out[:, :, None] - weights.swapaxes(1, 2) @ readout[:, :, None]))[
        :, :, 0
    ] - y
    share = np.square(residual).sum(axis=1) / np.square(y).sum(axis=1)
    assert (share <= STOP).all()
    assert (share > 0.95 * STOP).all()
    balance = [w @ w.swapaxes(1, 2) - a[:, :, None] * a[:, None] for w, a in ((weights, readout), (after, out))]
    np.testing.assert_allclose(balance[0], balance[1], atol=0.01 * np.abs(after).max() ** 2)
    alone = train(*(each[1:2] for each in (weights, readout, x, y)), KINDS["identity"])
    np.testing.assert_allclose(alone[0][0], after[1])


@pytest.mark.parametrize("norm", ["frobenius", "spectral"])
@pytest.mark.parametrize("aligned", [False, True])
def test_first_weights_have_equal_singular_values_and_the_norm_that_rank_leaves_alone(norm, aligned):
    for rank in (1, 3, 5):
        weights, *_, target = drawn(rank=rank, norm=norm, aligned=aligned)
        singular = np.linalg.svd(weights, compute_uv=False)
        np.testing.assert_allclose(singular[:, rank:], 0, atol=1e-12)
        top = 0.5 * (12 / (rank if norm == "frobenius" else 5)) ** 0.5
        np.testing.assert_allclose(singular[:, :rank], top)
        gain = np.linalg.norm(weights @ target[:, :, None], axis=(1, 2)) / np.linalg.norm(target, axis=1)
        assert (np.abs(gain - top) < 1e-9).all() == (aligned or rank == 5)


def test_higher_rank_turns_the_kernel_less_and_alignment_helps_low_rank_alone():
    few = {"width": 24, "features": 8, "samples": 24, "draws": 24}
    rows = {(r, a): probes("rank_start", rank=r, aligned=a, **few) for r in (1, 2, 3, 4, 6, 8) for a in (False, True)}
    angle = {key: found.loc[found["probe"] == "kernel_angle", "value"].item() for key, found in rows.items()}
    table = pd.concat(rows[rank, False] for rank in (2, 3, 4, 6, 8))
    assert decide(table[table["probe"] == "kernel_angle"], "rank", 1, margin=1) == "refuted"
    assert angle[8, False] < 0.5 * angle[2, False]
    assert angle[1, True] < 0.5 * angle[1, False]
    assert angle[8, True] == pytest.approx(angle[8, False], rel=0.3)


def test_a_rank_above_the_matrix_is_refused():
    with pytest.raises(ValidationError, match="rank 6 of a matrix of 12 by 5"):
        RankStartCell(**SMALL, rank=6, seed=0)
