"""The package unit-scaling 0.3.5 (Blake et al. 2024) as an oracle for `umup`: its groups and its training."""

import pytest
import torch

from muster.optimizers import OPTIMIZERS
from muster.parameterizations import Scaling, Tensor, scalings

uu = pytest.importorskip("unit_scaling", reason="unit-scaling 0.3.5 is not installed")

INPUTS, OUTPUTS, DEPTH, RATE, DECAY = 12, 5, 3, 0.0625, 0.015625


def _tensors(width: int) -> dict[str, Tensor]:
    """Our tensor for each of the package's modules, by its name there."""
    return {
        "embedding": Tensor("embedding", "embedding", (INPUTS, width)),
        "stack": Tensor("stack", "hidden", (width, 2 * width), branch=True),
        "stack_bias": Tensor("stack_bias", "vector", (2 * width,), init="zeros", branch=True),
        "norm": Tensor("norm", "vector", (width,), init="ones"),
        "readout": Tensor("readout", "readout", (width, OUTPUTS)),
    }


def _parameters(width: int) -> dict[str, torch.nn.Parameter]:
    stack = uu.DepthModuleList([uu.Linear(width, 2 * width, bias=True) for _ in range(DEPTH)])
    return {
        "embedding": uu.Embedding(INPUTS, width).weight,
        "stack": stack[0].weight,
        "stack_bias": stack[0].bias,
        "norm": uu.LayerNorm(width, elementwise_affine=True, bias=False).weight,
        "readout": uu.LinearReadout(width, OUTPUTS, bias=False).weight,
    }


def _applied(width: int, optimizer: str) -> dict[str, Scaling]:
    tensors = list(_tensors(width).values())
    return scalings(
        "umup", OPTIMIZERS[optimizer].update, "full_alignment", tensors, width_ratio=1.0, depth_ratio=float(DEPTH)
    )


@pytest.mark.parametrize("width", [32, 48, 256])
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_groups_of_the_optimizers_are_ours(optimizer, width):
    """Their λ does not depend on the rate: it is ours, which torch multiplies by the rate, times that rate."""
    parameters = _parameters(width)
    stepper = {"adam": uu.optim.Adam, "adamw": uu.optim.AdamW}[optimizer]
    groups = stepper(parameters.values(), lr=RATE, weight_decay=DECAY).param_groups
    for (name, scaling), group in zip(_applied(width, optimizer).items(), groups, strict=True):
        assert group["params"][0] is parameters[name]
        assert group["lr"] == pytest.approx(RATE * scaling.lr, rel=1e-12)
        assert group["weight_decay"] == pytest.approx(DECAY / RATE * scaling.weight_decay, rel=1e-12)


def test_initial_weights_have_unit_variance():
    for name, parameter in _parameters(512).items():
        if parameter.dim() == 2:
            assert parameter.std().item() == pytest.approx(_applied(512, "adam")[name].init_std, rel=0.05)


@pytest.mark.parametrize("width", [32, 96])
def test_three_steps_of_adam_equal_the_packages(width):
    """ε = 0: the package rescales gradients on the way back, tensor by tensor, which Adam then does not see."""
    tensors = [
        Tensor("0", "input", (INPUTS, width)),
        Tensor("1", "hidden", (width, width)),
        Tensor("2", "readout", (width, OUTPUTS)),
    ]
    applied = scalings("umup", OPTIMIZERS["adam"].update, "full_alignment", tensors, width_ratio=1.0)
    network = torch.nn.Sequential(
        uu.Linear(INPUTS, width, bias=False),
        uu.Linear(width, width, bias=False),
        uu.LinearReadout(width, OUTPUTS, bias=False),
    ).double()
    ours = [layer.weight.detach().T.clone().requires_grad_() for layer in network]
    theirs = uu.optim.Adam(network.parameters(), lr=RATE, eps=0.0)
    groups = [{"params": [w], "lr": RATE * applied[str(i)].lr} for i, w in enumerate(ours)]
    stepper = torch.optim.Adam(groups, lr=RATE, eps=0.0)
    generator = torch.Generator().manual_seed(width)
    for _ in range(3):
        x = torch.randn(16, INPUTS, generator=generator, dtype=torch.float64)
        target = x[:, :OUTPUTS].argmax(1)
        outputs = [network(x), x]
        for i, w in enumerate(ours):
            outputs[1] = outputs[1] @ w * applied[str(i)].multiplier
        torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-12)
        for f, optimizer in zip(outputs, (theirs, stepper), strict=True):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(f, target).backward()
            optimizer.step()
    for layer, w in zip(network, ours, strict=True):
        torch.testing.assert_close(layer.weight.detach().T, w.detach(), rtol=1e-10, atol=1e-12)
