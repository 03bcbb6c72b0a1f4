"""Reparametrizations train alike, in float64: w' = w·s with the forward multiplier, rate, ε and decay moved along.

The symmetry is per layer (Yang & Hu 2021; Everett et al. 2024): with W = m·w fixed, w → s·w, m → m/s, the rate goes
as s² for gradient descent, s for Adam and Lion, s⁰ for Adafactor; ε as 1/s; decay keeps rate·decay.
"""

import numpy as np
import pytest
import torch

from muster.optimizers import OPTIMIZERS
from muster.parameterizations import Scaling, Tensor, scalings
from tests.parity.reference import forward, train

WIDTH, INPUTS, OUTPUTS, BATCH, STEPS = 48, 10, 5, 16, 10
RATIO = 3.0
RATES = {"sgd": 0.3, "momentum": 0.1, "adam": 0.02, "adamw": 0.02, "adafactor": 0.05, "lion": 0.003}
DECAY = {"sgd": 0.03, "momentum": 0.03, "adam": 0.0, "adamw": 0.5, "adafactor": 0.5, "lion": 0.5}
POWER = {"sgd": 2, "momentum": 2, "adam": 1, "adamw": 1, "adafactor": 0, "lion": 1}
PER_LAYER = ["full_alignment", "no_alignment", "omega_out_1"]
TWINS = [("sp", "ntp"), ("mup", "mfp"), ("mup", "mup_table3"), ("mup", "mup_table8")]

TENSORS = [
    Tensor("w1", "input", (INPUTS, WIDTH), gain=2**0.5),
    Tensor("w2", "hidden", (WIDTH, WIDTH), gain=2**0.5),
    Tensor("w3", "hidden", (WIDTH, WIDTH), gain=2**0.5),
    Tensor("w4", "readout", (WIDTH, OUTPUTS)),
    Tensor("b1", "vector", (WIDTH,), init="zeros"),
    Tensor("b2", "vector", (WIDTH,), init="zeros"),
    Tensor("b3", "vector", (WIDTH,), init="zeros"),
    Tensor("b4", "fixed", (OUTPUTS,), init="zeros"),
]


def _normals():
    generator = torch.Generator().manual_seed(0)
    return {t.name: torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in TENSORS}


def _batches():
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        x = torch.randn(BATCH, INPUTS, generator=generator, dtype=torch.float64)
        yield x, (x[:, :OUTPUTS] + x[:, 1 : OUTPUTS + 1]).argmax(1)


def _losses(applied: dict[str, Scaling], optimizer: str) -> np.ndarray:
    normals = _normals()
    tensors = [normals[name] * scaling.init_std for name, scaling in applied.items()]
    numbers = list(applied.values())
    result = train(
        tensors[:4],
        numbers[:4],
        _batches(),
        optimizer=optimizer,
        lr=RATES[optimizer],
        loss=torch.nn.functional.cross_entropy,
        biases=tensors[4:],
        bias_scalings=numbers[4:],
        weight_decay=DECAY[optimizer],
    )
    return np.array(result.losses)


def _scalings(name: str, optimizer: str, rule: str, **options: str) -> dict[str, Scaling]:
    return scalings(
        name, OPTIMIZERS[optimizer].update, rule, TENSORS, width_ratio=RATIO, **{"epsilon_rule": "scaled", **options}
    )


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("rule", PER_LAYER)
@pytest.mark.parametrize(("name", "twin"), TWINS)
def test_forms_of_one_parameterization_train_alike(name, twin, rule, optimizer):
    losses, twins = (_losses(_scalings(form, optimizer, rule), optimizer) for form in (name, twin))
    assert np.ptp(losses) > 0.05
    np.testing.assert_allclose(twins, losses, rtol=0, atol=1e-10)


@pytest.mark.parametrize("optimizer", RATES)
def test_standard_and_maximal_update_do_not_train_alike(optimizer):
    standard, maximal = (_losses(_scalings(name, optimizer, "full_alignment"), optimizer) for name in ("sp", "mup"))
    assert np.abs(standard - maximal).max() > 1e-2


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_forms_differ_when_one_rate_serves_all(optimizer):
    standard, kernel = (_losses(_scalings(name, optimizer, "constant"), optimizer) for name in ("sp", "ntp"))
    assert np.abs(standard - kernel).max() > 1e-3


def test_epsilon_must_be_shifted_with_the_weights():
    losses, twins = (
        _losses(_scalings(name, "adam", "full_alignment", epsilon_rule="constant"), "adam") for name in ("sp", "ntp")
    )
    assert np.abs(twins - losses).max() > 1e-9


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("seed", range(3))
def test_a_random_shift_of_every_layer_trains_alike(optimizer, seed):
    """The symmetry itself, without the tables: s differs per weight matrix and has nothing to do with width."""
    applied = _scalings("sp", optimizer, "full_alignment")
    shifts = 2 ** np.random.default_rng(seed).uniform(-2, 2, 4)
    shifted = dict(applied)
    for (name, old), s in zip(list(applied.items())[:4], shifts.tolist(), strict=True):
        rate = s ** POWER[optimizer]
        shifted[name] = Scaling(
            old.init_std * s, old.multiplier / s, old.lr * rate, old.eps / s, old.weight_decay / rate
        )
    np.testing.assert_allclose(_losses(shifted, optimizer), _losses(applied, optimizer), rtol=0, atol=1e-10)


def test_reference_forward_is_the_formula():
    x, normals = torch.ones(2, INPUTS, dtype=torch.float64), _normals()
    numbers = [Scaling(1.0, m, 1.0, 1.0, 1.0) for m in (2.0, 0.5, 1.0, 3.0)]
    z = forward(x, [normals[f"w{i}"] for i in range(1, 5)], numbers)
    h = (x @ (2 * normals["w1"])).clamp(min=0)
    h = (h @ (normals["w2"] / 2)).clamp(min=0)
    np.testing.assert_allclose(z[-1], (h @ normals["w3"]).clamp(min=0) @ (3 * normals["w4"]), rtol=1e-12)


def test_reference_step_is_gradient_descent_on_each_group():
    """One step of SGD by hand: w − η·factor·(gradient + λ·factor·w)."""
    w = torch.tensor([[2.0]], dtype=torch.float64)
    x, y = torch.tensor([[3.0]], dtype=torch.float64), torch.tensor([[1.0]], dtype=torch.float64)
    result = train(
        [w],
        [Scaling(1.0, 0.5, 4.0, 1.0, 10.0)],
        [(x, y)],
        optimizer="sgd",
        lr=0.01,
        weight_decay=0.1,
        loss=torch.nn.functional.mse_loss,
        schedule=lambda step: 0.5,
    )
    gradient = 2 * (3.0 * 2.0 * 0.5 - 1.0) * 3.0 * 0.5
    assert result.losses == [4.0]
    assert result.weights[0].item() == pytest.approx(2.0 - 0.01 * 0.5 * 4.0 * (gradient + 0.1 * 10.0 * 2.0), rel=1e-14)
    assert w.item() == 2.0
