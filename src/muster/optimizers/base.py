"""What the engine asks of an optimizer."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Hyper:
    """Numbers of one weight tensor, one entry a member."""

    lr: list[float]
    eps: list[float]
    weight_decay: list[float]


class Optimizer:
    """Updates stacked weights {name: [E, ...]} in place. All state is stacked: members can be dropped and resumed."""

    default_epsilon = 0.0

    def __init__(self, weights: Mapping[str, Tensor], hyper: Mapping[str, Hyper], cell):
        self.weights, self.hyper, self.cell = weights, hyper, cell
        self.state: dict[str, Tensor] = {}
        self.step_count = 0

    def bind(self) -> None:
        """Called whenever tensors were replaced: build what depends on their storage."""

    def step(self, gradients: Mapping[str, Tensor], schedule: float) -> None:
        raise NotImplementedError(type(self).__name__)

    def per_member(self, numbers: list[float], like: Tensor) -> Tensor:
        """[E, 1, ...] so that it broadcasts against a stacked tensor."""
        return torch.tensor(numbers, dtype=like.dtype, device=like.device).view(-1, *[1] * (like.dim() - 1))
