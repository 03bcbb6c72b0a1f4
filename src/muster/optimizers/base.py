"""What the engine asks of an optimizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
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

    def fused(self) -> tuple[str, list[Mapping[str, Tensor]]] | None:
        """Rule of the compiled kernels (`muster.native.library.RULES`) and the state that it steps, by tensor; None
        where `step` alone does the update."""
        return None

    def updates(self, factors: Sequence[float]) -> dict[str, np.ndarray]:
        """Numbers of the rule for the next steps, by field of its update: shape [E, K, P], or what broadcasts to it.

        factors: the schedule's, one a step. The steps count as taken.
        """
        raise NotImplementedError(type(self).__name__)

    def _count(self, factors: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Count K steps: their numbers, from 1, and factors, each of shape [K, 1]."""
        numbers = self.step_count + 1.0 + np.arange(len(factors))
        self.step_count += len(factors)
        return numbers[:, None], np.array(factors)[:, None]

    def _numbers(self, column: str) -> np.ndarray:
        """A column of `Hyper` for members and tensors, [E, 1, P]."""
        return np.array([getattr(self.hyper[name], column) for name in self.weights]).T[:, None]

    def per_member(self, numbers: list[float], like: Tensor) -> Tensor:
        """[E, 1, ...] so that it broadcasts against a stacked tensor."""
        return torch.tensor(numbers, dtype=like.dtype, device=like.device).view(-1, *[1] * (like.dim() - 1))
