"""What an optimizer declares, and what the engine asks of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel

from muster.parameterizations.tables import MatrixUpdate, Update
from muster.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Hyper:
    """Numbers of one weight tensor, one entry a member."""

    lr: list[float]
    eps: list[float]
    weight_decay: list[float]


class Optimizer:
    """Updates stacked weights {name: [E, ...]} in place. All state is stacked: members can be dropped and resumed.

    update: how its step scales, from which every parameterization has its rates. settings: its hyperparameters; one
    named `epsilon` is scaled by a cell's epsilon_rule. decoupled_decay: w shrinks by ηλw beside the step; else λw is
    added to the gradient. negative_decay: whether λ below 0 means something, and what is in its docstring.
    """

    update: ClassVar[Update]
    settings: ClassVar[type[BaseModel]] = Settings
    decoupled_decay: ClassVar[bool]
    negative_decay: ClassVar[bool] = False

    def __init__(self, weights: Mapping[str, "Tensor"], hyper: Mapping[str, Hyper], cell: Any):
        self.weights, self.hyper, self.cell = weights, hyper, cell
        self.state: dict[str, Tensor] = {}
        self.step_count = 0

    def bind(self) -> None:
        """Called whenever tensors were replaced: build what depends on their storage."""

    def step(self, gradients: Mapping[str, "Tensor"], schedule: float) -> None:
        raise NotImplementedError(type(self).__name__)

    def fused(self) -> tuple[str, list[Mapping[str, "Tensor"]]] | None:
        """Rule of the compiled kernels (`muster.native.binding.RULES`) and the state that it steps, by tensor; None
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

    def per_member(self, numbers: list[float], like: "Tensor") -> "Tensor":
        """[E, 1, ...] so that it broadcasts against a stacked tensor."""
        return like.new_tensor(numbers).view(-1, *[1] * (like.dim() - 1))


State = dict[str, "Tensor"]


class Direction:
    """How an optimizer steps a whole matrix, knowing nothing of the network around it.

    Both are functions of their arguments alone, and the same for Q₁GQ₂ with orthogonal Q, so that sampling experiments
    call them on low-rank cores. update: how a step scales. keys: names of the state.
    """

    update: ClassVar[MatrixUpdate]
    keys: ClassVar[tuple[str, ...]]

    @staticmethod
    def empty(w: "Tensor") -> State:
        """The state before the first step, by name, of a stacked matrix [E, in, out]."""
        raise NotImplementedError

    @staticmethod
    def direction(settings: Any, state: State, g: "Tensor", step: int) -> "Tensor":
        """The step of number `step`, from 1, per unit of rate and scale; `state` is changed in place."""
        raise NotImplementedError
