"""Rounding against numpy's own formats, margins against torch's losses, gradients and updates against autograd and
torch's AdamW, growth against wrong exponents."""

import numpy as np
import pandas as pd
import pytest
import torch

from muster.experiments import EXPERIMENTS, Context
from muster.sampling.modular_grokking import ModularGrokkingCell, losses
from muster.sampling.random_network import generator
from muster.sampling.relu_network import forward, gradients
from muster.sampling.softmax_collapse import CollapseCell, collapse_steps, rounded
from tests.statistical.test_regression_laws import decide, formula, probes

TORCH = {11: torch.float16, 24: torch.float32, 53: torch.float64}


@pytest.mark.parametrize(("bits", "dtype"), [(11, np.float16), (24, np.float32), (53, np.float64)])
def test_numbers_are_rounded_as_the_formats_do(bits, dtype):
    x = np.exp(np.random.default_rng(0).normal(size=2000))
    assert (rounded(x, bits) == x.astype(dtype)).all()
    ties = 1 + np.array([1.0, 3.0]) * 2.0**-bits
    assert (rounded(ties, bits) == ties.astype(dtype)).all()


@pytest.mark.parametrize("bits", TORCH)
def test_the_margin_at_which_torchs_loss_is_zero(bits):
    """Of two classes to the last place of the scores; of a hundred at most that, since numbers that are added to 1 one
    by one vanish one by one, from b ln 2 on: the order of the sum decides between the two."""
    for classes, error in ((2, 0.0), (100, np.log(99))):
        (expected,) = formula("collapse_margin", bits=[bits], classes=[classes])
        margins = np.arange(expected - 6, expected + 1, 1e-3)
        scores = torch.zeros((len(margins), classes), dtype=torch.float64)
        scores[:, 1:] = -torch.tensor(margins)[:, None]
        found = torch.nn.functional.log_softmax(scores.to(TORCH[bits]), dim=1)[:, 0]
        zero = margins[(found == 0).numpy()]
        assert expected - error - 2e-3 * expected < zero.min() < expected * 1.002
        mine = probes("softmax_collapse", width=16, bits=min(bits, 11), classes=classes, draws=2)
        row = mine[mine["probe"] == "collapse_margin"]
        assert row["value"].item() == pytest.approx(formula("collapse_margin", bits=[11], classes=[classes]), abs=2e-3)


def plain(cell):
    """One draw at a time, with numpy's halves in place of the rounding."""
    rng, half = generator(cell), np.float16
    x = rng.standard_normal((cell.draws, cell.samples, cell.width)) / cell.width**0.5
    classes, found = rng.integers(cell.classes, size=(cell.draws, cell.samples)), []
    for inputs, labels in zip(x, classes, strict=True):
        weights, parts, step = torch.zeros(cell.width, cell.classes, dtype=torch.float64), 0, 0
        weights.requires_grad_(True)
        kind = torch.optim.SGD if cell.method == "descent" else torch.optim.Adam
        more = {} if cell.method == "descent" else {"betas": (0.9, 0.99), "eps": 1e-30}
        optimizer = kind([weights], lr=cell.rate, **more)
        while True:
            step += 1
            scores = (torch.tensor(inputs) @ weights).detach().numpy()
            powers = np.exp(scores - scores.max(axis=1, keepdims=True)).astype(half).astype(float)
            total = powers.sum(axis=1, keepdims=True).astype(half).astype(float)
            p = (powers / total).astype(half).astype(float)
            parts = ((total[:, 0] == 1) & (scores.argmax(axis=1) == labels)).mean()
            if parts >= 0.5:
                break
            p[np.arange(len(labels)), labels] -= 1
            weights.grad = torch.tensor(inputs.T @ p)
            optimizer.step()
        found.append(step)
    return found


@pytest.mark.parametrize("method", ["descent", "adam"])
def test_steps_to_collapse_by_a_plain_loop(method):
    cell = CollapseCell(width=8, samples=6, bits=11, method=method, rate=1.0, draws=2, seed=0)
    assert collapse_steps(cell, generator(cell)).tolist() == plain(cell)


def test_collapse_takes_a_power_of_the_precision_under_descent_and_hardly_longer_under_adam():
    def rows(bits, **method):
        tables = [probes("softmax_collapse", width=64, bits=b, draws=64, **method) for b in bits]
        table = pd.concat(tables)
        return table[table["probe"] == "collapse_steps"]

    steep = rows([6, 7, 8, 9])
    assert decide(steep, "layer", 1, 0.1) == "supported"
    assert decide(steep, "layer", 0.5, 0.1) == "refuted"
    flat = rows([12, 24], method="adam", rate=0.02).set_index("bits")["value"]
    assert 1 < flat[24] / flat[12] < 3


def torch_losses(cell, scores, classes):
    if cell.normalizer == "softmax":
        return torch.nn.functional.cross_entropy(scores, classes, reduction="none")
    mass = torch.where(scores >= 0, scores + 1, 1 / (1 - torch.where(scores >= 0, 0.0, scores)))
    return -torch.log(mass / mass.sum(dim=1, keepdim=True))[torch.arange(len(classes)), classes]


@pytest.mark.parametrize("normalizer", ["softmax", "stablemax"])
def test_gradients_of_a_network_are_autograds(normalizer):
    cell = ModularGrokkingCell(width=6, modulus=5, normalizer=normalizer, precision="float64", seed=0)
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=size) for size in ((10, 6), 6, (6, 6), 6, (6, 5), 5)]
    hot = torch.nn.functional.one_hot(torch.tensor([[0, 7], [4, 9], [2, 5]]), 10).sum(dim=1).double()
    classes = np.array([2, 3, 2])
    layers = forward(weights, hot.numpy())
    lost, slope = losses(cell, layers[-1], classes)
    leaves = [torch.tensor(part, requires_grad=True) for part in weights]
    hidden = torch.relu(torch.relu(hot @ leaves[0] + leaves[1]) @ leaves[2] + leaves[3])
    expected = torch_losses(cell, hidden @ leaves[4] + leaves[5], torch.tensor(classes))
    expected.sum().backward()
    np.testing.assert_allclose(lost, expected.detach().numpy(), rtol=1e-9)
    for found, leaf in zip(gradients(weights, layers, slope), leaves, strict=True):
        np.testing.assert_allclose(found, leaf.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("normalizer", ["softmax", "stablemax"])
def test_a_network_learns_as_torchs_does(normalizer):
    """Accuracies after 40 updates of the same pairs and first weights."""
    cell = ModularGrokkingCell(
        width=24, modulus=7, normalizer=normalizer, precision="float64", steps=40, rate=0.01, seed=1
    )
    rng = generator(cell)
    numbers = rng.permutation(49)
    hot = (
        torch.nn.functional.one_hot(torch.tensor(np.stack([numbers // 7, 7 + numbers % 7], axis=1)), 14)
        .sum(dim=1)
        .double()
    )
    classes, seen = torch.tensor((numbers // 7 + numbers % 7) % 7), round(0.6 * 49)
    leaves = []
    for fan_in, fan_out in ((14, 24), (24, 24), (24, 7)):
        leaves += [torch.tensor(rng.uniform(-1, 1, shape) / fan_in**0.5) for shape in ((fan_in, fan_out), (fan_out,))]
    for leaf in leaves:
        leaf.requires_grad_(True)
    adam, zero = torch.optim.Adam(leaves, lr=0.01, betas=(0.9, 0.99), eps=1e-30), []

    def scores(x):
        return torch.relu(torch.relu(x @ leaves[0] + leaves[1]) @ leaves[2] + leaves[3]) @ leaves[4] + leaves[5]

    for _ in range(40):
        adam.zero_grad()
        before = scores(hot[:seen])
        lost = torch_losses(cell, before, classes[:seen])
        zero.append((lost == 0).double().mean().item())
        lost.mean().backward()
        adam.step()
    found = EXPERIMENTS["modular_grokking"].run(cell, Context(progress=lambda line: None)).probes
    found = found.set_index("probe")["value"]
    with torch.no_grad():
        heldout = (scores(hot[seen:]).argmax(dim=1) == classes[seen:]).double().mean().item()
        train = (before.argmax(dim=1) == classes[:seen]).double().mean().item()
    assert train > 0.3
    assert found["train_accuracy"] == pytest.approx(train)
    assert found["best_accuracy"] >= found["zero_losses"] == zero[-1]
    assert found["collapse_steps"] == 40
    assert abs(found["heldout_accuracy"] - heldout) <= 1 / 20  # it is measured before the last update


def test_a_half_collapses_before_a_single_and_a_stablemax_does_not():
    steps = {
        (normalizer, precision): probes(
            "modular_grokking", width=48, modulus=11, steps=2000, rate=0.03, normalizer=normalizer, precision=precision
        ).set_index("probe")["value"]
        for normalizer, precision in [("softmax", "float16"), ("softmax", "float32"), ("stablemax", "float32")]
    }
    half, single, stable = (found["collapse_steps"] for found in steps.values())
    assert half < single < stable == 2000
    assert steps["softmax", "float16"]["zero_losses"] > 0.5
