"""What the rules promise: how far a layer's output moves in the first steps, as a power of width.

Preactivations z1, z2 and output f of a tanh network with two hidden layers; base width 1, so that the width itself is
the ratio. The loss is linear in f: its gradient there does not change with width, as it otherwise would through f at
initialization. A readout gain of 2 makes the change of f that comes through the features the larger part.
"""

import functools

import numpy as np
import pytest
import torch

from muster.optimizers import OPTIMIZERS
from muster.parameterizations import Tensor, scalings
from tests.parity.reference import forward, train

WIDTHS, SEEDS, BATCH, INPUTS, OUTPUTS = (128, 256, 512, 1024), 2, 32, 16, 4
RATES = {"sgd": 0.1, "adam": 0.01, "adafactor": 0.01}
FORMS = ["sp", "ntp", "mup", "mfp"]


@functools.cache
def _draw(width: int, seed: int) -> tuple[tuple[torch.Tensor, torch.Tensor], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    shapes = (BATCH, INPUTS), (BATCH, OUTPUTS), (INPUTS, width), (width, width), (width, OUTPUTS)
    x, y, *normals = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return (x, y), normals


def _correlation(f: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return -(f * target).mean()


def _movements(name: str, optimizer: str, rule: str, width: int, seed: int, steps: int) -> list[float]:
    """log RMS of the change of z1, z2, f and the bias terms of the first layer and the readout."""
    batch, normals = _draw(width, seed)
    tensors = [
        Tensor("w1", "input", (INPUTS, width)),
        Tensor("w2", "hidden", (width, width)),
        Tensor("w3", "readout", (width, OUTPUTS), gain=2.0),
        Tensor("b1", "vector", (width,), init="zeros"),
        Tensor("b2", "vector", (width,), init="zeros"),
        Tensor("b3", "fixed", (OUTPUTS,), init="zeros"),
    ]
    applied = list(
        scalings(name, OPTIMIZERS[optimizer].update, rule, tensors, width_ratio=width, epsilon_rule="scaled").values()
    )
    weights = [normal * scaling.init_std for normal, scaling in zip(normals, applied, strict=False)]
    biases = [torch.zeros(tensor.shape, dtype=torch.float64) for tensor in tensors[3:]]
    network = {"scalings": applied[:3], "bias_scalings": applied[3:], "activation": torch.tanh}
    before = forward(batch[0], weights, biases=biases, **network)
    trained = train(
        weights,
        batches=[batch] * steps,
        biases=biases,
        optimizer=optimizer,
        lr=RATES[optimizer],
        loss=_correlation,
        **network,
    )
    after = forward(batch[0], trained.weights, biases=trained.biases, **network)
    changes = [new - old for old, new in zip(before, after, strict=True)]
    changes += [trained.biases[i] * applied[3 + i].multiplier for i in (0, 2)]
    return [change.square().mean().sqrt().log().item() for change in changes]


def _slopes(name: str, optimizer: str, rule: str, steps: int) -> np.ndarray:
    """Exponents of `_movements` in width, from geometric means over seeds."""
    log_rms = [[_movements(name, optimizer, rule, width, seed, steps) for seed in range(SEEDS)] for width in WIDTHS]
    return np.polyfit(np.log(WIDTHS), np.mean(log_rms, axis=1), 1)[0]


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("name", FORMS)
def test_one_step_under_full_alignment(name, optimizer):
    """Hidden layers move by O(1); the output of sp and ntp too far, its initial readout aligning with the features."""
    output = 0.5 if name in ("sp", "ntp") else 0.0
    found = _slopes(name, optimizer, "full_alignment", steps=1)
    np.testing.assert_allclose(found, [0, 0, output, 0, 0], rtol=0, atol=0.05)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("name", FORMS)
def test_first_steps_under_an_aligned_readout(name, optimizer, steps):
    """The output moves by O(1) everywhere; the hidden layers of sp and ntp pay for it, not those of mup and mfp."""
    hidden = -0.5 if name in ("sp", "ntp") else 0.0
    found = _slopes(name, optimizer, "omega_out_1", steps)
    np.testing.assert_allclose(found, [hidden, hidden, 0, hidden, 0], rtol=0, atol=0.05)


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("name", ["sp", "mup"])
def test_one_step_without_the_alignment_allowed_for_is_too_long(name, optimizer):
    """The first step is fully aligned, so rates for random sums move the second layer ever further as width grows."""
    first, second, *_ = _slopes(name, optimizer, "no_alignment", steps=1)
    assert first == pytest.approx(0, abs=0.05)
    assert 0.1 < second < 0.5
