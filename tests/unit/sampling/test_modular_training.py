"""Training on a group's table against autograd, its threshold by hand, and wrong laws of it."""

import numpy as np
import pandas as pd
import pytest
import torch

from muster.experiments import EXPERIMENTS
from muster.sampling import modular_training
from muster.sampling.modular_training import crossing, gradients, problem
from tests.statistical.test_regression_laws import decide, formula, probes


def cell(**settings):
    usual = {"width": 16, "seed": 0, "modulus": 7, "draws": 2, "highest": 3}
    return EXPERIMENTS["modular_training"].cell(**usual | settings)


def weights(seed, *shapes):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(2, *shape, generator=rng, dtype=torch.float64) for shape in shapes]


def published_loss(w, v, a, b, c):
    """As in the authors' code: pairs a, b [n] of one draw, classes c [n]; their square is of W [e_a; e_b]."""
    m = v.shape[1]
    o = (w[a] + w[m + b]).pow(2) @ v
    o = o - o.mean(dim=1, keepdim=True)
    return o.pow(2).sum(dim=1).mean() - 2 * o.gather(1, c[:, None]).mean() + 1 - 1 / m


def test_gradients_are_those_of_the_published_loss():
    inputs, classes = (torch.from_numpy(each[:, :20]) for each in problem(cell(), np.random.default_rng(0)))
    w, v = (each.requires_grad_() for each in weights(0, (14, 16), (16, 7)))
    a, b = inputs[..., :7].argmax(-1), inputs[..., 7:].argmax(-1)
    sum(published_loss(w[d], v[d], a[d], b[d], classes[d]) for d in range(2)).backward()
    target = torch.nn.functional.one_hot(classes, 7).double() - 1 / 7
    for found, leaf in zip(gradients(w.detach(), v.detach(), inputs, target), (w, v), strict=True):
        torch.testing.assert_close(found, leaf.grad)


def test_every_draw_has_all_pairs_once_and_their_sums():
    inputs, classes = problem(cell(), np.random.default_rng(0))
    a, b = inputs[..., :7].argmax(-1), inputs[..., 7:].argmax(-1)
    assert (inputs.sum(axis=-1) == 2).all()
    assert (np.sort(7 * a + b, axis=1) == np.arange(49)).all()
    assert (a[0] != a[1]).any()
    assert (classes == (a + b) % 7).all()
    _, random = problem(cell(table="random", draws=40), np.random.default_rng(0))
    assert np.bincount(random.ravel(), minlength=7) / random.size == pytest.approx([1 / 7] * 7, abs=0.04)


def test_the_threshold_is_interpolated_between_the_sizes_about_it():
    rows = [[0.1, 0.1, 0.6, 0.2, 0.1], [0.4, 0.7, 0.9, 0.1, 0.2], [0.8, 0.4, 1.0, 0.3, 0.15], [1.0, 0.9, 1.0, 0.4, 0.9]]
    expected = [20 * 2**0.25, 10 * 2 ** (2 / 3), np.nan, np.nan, 40 * 2 ** (3 / 7)]
    np.testing.assert_allclose(crossing([10, 20, 40, 80], np.array(rows)), expected)


def test_the_formula_has_the_share_that_the_authors_train_on():
    test_size = 1 - np.log(127) / 127 * 2.7482
    assert formula("critical_pairs", modulus=[127]) == pytest.approx([(1 - test_size) * 127**2])


def test_sizes_follow_the_scale_and_leave_pairs_to_be_held_out():
    chosen = cell(modulus=23, lowest=2, highest=4, sizes=3)
    assert chosen.pairs == [round(c * 23 * np.log(23)) for c in (2, 8**0.5, 4)]
    with pytest.raises(ValueError, match="leave some"):
        cell(modulus=7, highest=4)


def test_enough_pairs_are_generalized_from_and_a_random_table_is_not():
    some = {"width": 96, "modulus": 11, "lowest": 1.5, "highest": 4, "sizes": 2, "epochs": 1200, "draws": 2}
    found = {}
    for table in ("addition", "random"):
        rows = probes("modular_training", table=table, **some)
        rows = rows[(rows["probe"] == "heldout_accuracy") & (rows["step"] == 1200)]
        assert rows["layer"].tolist() == [150, 400]
        found[table] = rows["value"].tolist()
    assert found["addition"][0] < 0.2
    assert found["addition"][1] > 0.9
    assert max(found["random"]) < 0.4


@pytest.mark.parametrize(("power", "logarithm", "verdict"), [(1, 1, "supported"), (2, 0, "refuted"), (1, 0, "refuted")])
def test_shares_and_multiples_of_the_modulus_are_told_from_the_law(monkeypatch, power, logarithm, verdict):
    """Networks that know the rule from some law's n on, which 2.7482 M ln M has at M = 17."""

    def accuracies(cell, n, x, classes, rng):
        ratio = cell.modulus / 17
        critical = 2.7482 * 17 * np.log(17) * ratio**power * (np.log(cell.modulus) / np.log(17)) ** logarithm
        known = n > critical * np.exp(0.1 * rng.standard_normal(cell.draws))
        return [known.astype(float)] * 3

    monkeypatch.setattr(modular_training, "accuracies", accuracies)
    rows = pd.concat(
        probes("modular_training", width=4, modulus=m, draws=30, lowest=1.2, highest=4.5, sizes=24)
        for m in (13, 15, 17, 19, 23)
    )
    found = rows[(rows["probe"] == "critical_ratio") & (rows["step"] == 2000)]
    assert decide(found, "modulus", 0, margin=0.135) == verdict
