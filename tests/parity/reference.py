"""A plain trainer to hold the library against: one network at a time, torch.autograd, torch.optim, one group a tensor.

It imports nothing from muster. A scaling is any object with the fields multiplier, lr, eps and weight_decay. Letters in
comments and shapes: B batch, I and O fan-in and fan-out.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import lion_pytorch
import torch

ADAFACTOR_EPS = (torch.finfo(torch.float64).eps, 1e-3)


class Trained(NamedTuple):
    """Loss before each step, and the tensors after the last one."""

    losses: list[float]
    weights: list[torch.Tensor]
    biases: list[torch.Tensor]


def forward(
    x: torch.Tensor,
    weights: Sequence[torch.Tensor],
    scalings: Sequence[Any],
    *,
    biases: Sequence[torch.Tensor] = (),
    bias_scalings: Sequence[Any] = (),
    activation: Callable[[torch.Tensor], torch.Tensor] = torch.relu,
) -> list[torch.Tensor]:
    """Preactivations of every layer, [B, O] each, for inputs x [B, I] and weights [I, O]; the last is the output."""
    preactivations = []
    for i, (w, scaling) in enumerate(zip(weights, scalings, strict=True)):
        z = (activation(preactivations[-1]) if preactivations else x) @ w * scaling.multiplier
        if biases:
            z = z + biases[i] * bias_scalings[i].multiplier
        preactivations.append(z)
    return preactivations


def train(
    weights: Sequence[torch.Tensor],
    scalings: Sequence[Any],
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    optimizer: str,
    lr: float,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    biases: Sequence[torch.Tensor] = (),
    bias_scalings: Sequence[Any] = (),
    activation: Callable[[torch.Tensor], torch.Tensor] = torch.relu,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
    schedule: Callable[[int], float] = lambda step: 1.0,
) -> Trained:
    """Train an MLP from the given tensors, one step a batch, and leave those tensors as they were.

    optimizer: sgd | momentum | adam | adamw | adafactor of torch.optim, lion of the package lion-pytorch. Tensor
    i has learning rate lr · schedule(step) · scalings[i].lr (steps counted from 0), likewise eps and weight_decay.
    Adafactor's `eps` is torch's first one; `eps` of this function is Adam's alone.
    """
    weights = [w.clone().requires_grad_() for w in weights]
    biases = [b.clone().requires_grad_() for b in biases]

    def group(parameter: torch.Tensor, scaling: Any) -> dict[str, Any]:
        options = {"params": [parameter], "lr": lr * scaling.lr, "weight_decay": weight_decay * scaling.weight_decay}
        if optimizer in ("adam", "adamw"):
            options["eps"] = eps * scaling.eps
        if optimizer == "adafactor":
            options["eps"] = (ADAFACTOR_EPS[0] * scaling.eps, ADAFACTOR_EPS[1])
        return options

    make = {
        "sgd": lambda groups: torch.optim.SGD(groups),
        "momentum": lambda groups: torch.optim.SGD(groups, momentum=momentum),
        "adam": lambda groups: torch.optim.Adam(groups, betas=betas, foreach=False),
        "adamw": lambda groups: torch.optim.AdamW(groups, betas=betas, foreach=False),
        "adafactor": lambda groups: torch.optim.Adafactor(groups, foreach=False),
        "lion": lambda groups: lion_pytorch.Lion(groups),
    }[optimizer]
    stepper = make([group(*pair) for pair in zip([*weights, *biases], [*scalings, *bias_scalings], strict=True)])
    rates = [options["lr"] for options in stepper.param_groups]

    losses = []
    for step, (x, target) in enumerate(batches):
        for options, rate in zip(stepper.param_groups, rates, strict=True):
            options["lr"] = rate * schedule(step)
        layers = forward(x, weights, scalings, biases=biases, bias_scalings=bias_scalings, activation=activation)
        value = loss(layers[-1], target)
        stepper.zero_grad()
        value.backward()
        stepper.step()
        losses.append(value.item())
    return Trained(losses, [w.detach() for w in weights], [b.detach() for b in biases])
