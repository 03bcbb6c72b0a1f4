"""A plain trainer to hold the library against: one network at a time, torch.autograd, torch.optim, one group a tensor.

It imports nothing from muster. A scaling is any object with the fields multiplier, lr, eps and weight_decay. Letters in
comments and shapes: B batch, I and O fan-in and fan-out.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from unittest import mock

import lion_pytorch
import torch

MUON = {
    "muon": "original", "muon_jordan": "original", "muon_unscaled": "original", "muon_moonshot": "match_rms_adamw",
}  # fmt: skip
ADAFACTOR_EPS = (torch.finfo(torch.float64).eps, 1e-3)


class MuonAndAdamW:
    """torch.optim.Muon for hidden square matrices, of which all scales but one are 1, beside AdamW at its own rate."""

    def __init__(self, hidden: list[dict[str, Any]], others: list[dict[str, Any]], scale: str, rest_over_lr: float):
        for group in others:
            group["lr"] *= rest_over_lr
        self.parts = torch.optim.Muon(hidden, adjust_lr_fn=scale), torch.optim.AdamW(others, foreach=False)
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad()

    def step(self) -> None:
        """Muon without its rounding to bfloat16."""
        with mock.patch.object(torch.Tensor, "bfloat16", torch.Tensor.clone):
            self.parts[0].step()
        self.parts[1].step()


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
    rest_lr: float = 2.0**-7,
) -> Trained:
    """Train an MLP from the given tensors, one step a batch, and leave those tensors as they were.

    optimizer: sgd | momentum | adam | adamw | adafactor of torch.optim, lion of the package lion-pytorch, muon… of
    torch.optim for the square matrices, with AdamW at the rate rest_lr for all others. Tensor i has learning rate
    lr · schedule(step) · scalings[i].lr (steps counted from 0), likewise eps and weight_decay.
    Adafactor's `eps` is torch's first one; `eps` of this function is Adam's alone.
    """
    weights = [w.clone().requires_grad_() for w in weights]
    biases = [b.clone().requires_grad_() for b in biases]

    def group(parameter: torch.Tensor, scaling: Any) -> dict[str, Any]:
        options = {"params": [parameter], "lr": lr * scaling.lr, "weight_decay": weight_decay * scaling.weight_decay}
        if optimizer in ("adam", "adamw") or (optimizer in MUON and not _square(parameter)):
            options["eps"] = eps * scaling.eps
        if optimizer == "adafactor":
            options["eps"] = (ADAFACTOR_EPS[0] * scaling.eps, ADAFACTOR_EPS[1])
        return options

    makers = {
        "sgd": lambda groups: torch.optim.SGD(groups),
        "momentum": lambda groups: torch.optim.SGD(groups, momentum=momentum),
        "adam": lambda groups: torch.optim.Adam(groups, betas=betas, foreach=False),
        "adamw": lambda groups: torch.optim.AdamW(groups, betas=betas, foreach=False),
        "adafactor": lambda groups: torch.optim.Adafactor(groups, foreach=False),
        "lion": lambda groups: lion_pytorch.Lion(groups),
    } | dict.fromkeys(
        MUON,
        lambda groups: MuonAndAdamW(
            [g for g in groups if _square(g["params"][0])], [g for g in groups if not _square(g["params"][0])],
            MUON[optimizer], rest_lr / lr,
        ),
    )  # fmt: skip
    make = makers[optimizer]
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


def _square(parameter: torch.Tensor) -> bool:
    return parameter.dim() == 2 and parameter.shape[0] == parameter.shape[1]
