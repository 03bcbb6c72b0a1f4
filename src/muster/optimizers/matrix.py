"""What optimizers that precondition whole matrices share: hidden matrices are theirs, all other tensors AdamW's."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from muster.models import trained_tensors
from muster.optimizers.adam import AdamSettings, AdamW
from muster.optimizers.base import Direction, Hyper, Optimizer
from muster.parameterizations.depth import shape_ratios
from muster.parameterizations.rules import unfit_rule
from muster.parameterizations.scaling import scalings
from muster.parameterizations.tables import MATRIX_SCALES, MatrixUpdate

if TYPE_CHECKING:
    from torch import Tensor


class MatrixSettings(AdamSettings):
    """Hyperparameters of the AdamW beside a matrix optimizer."""

    rest_log2_lr: float = Field(
        -7.0, description="log2 of the learning rate of all tensors that are no hidden matrices, at the base shape"
    )


class MatrixOptimizer(Optimizer):
    """Hidden matrices by w ← w − η (scale · direction + λw), with their own rates; the rest by AdamW at a fixed one.

    stepped: a subclass's direction. A member's learning rates are those of the hidden matrices.
    """

    stepped: ClassVar[type[Direction]]
    update: ClassVar[MatrixUpdate]
    decoupled_decay = True

    def __init__(self, weights: Mapping[str, "Tensor"], hyper: dict[str, Hyper], cell: Any):
        super().__init__(weights, hyper, cell)
        if wrong := unfit_rule(self.update, cell.rule):  # a plan is refused for it before any job
            raise ValueError(wrong)
        tensors = trained_tensors(cell)
        width_ratio, depth_ratio = shape_ratios(cell)
        factors = scalings(
            cell.parameterization, self.update, cell.rule, tensors, width_ratio=width_ratio, depth_ratio=depth_ratio,
            alpha=cell.branch_exponent,
        )  # fmt: skip
        self.matrices = [tensor.name for tensor in tensors if tensor.role in self.update.roles]
        others = {name: w for name, w in weights.items() if name not in self.matrices}
        for name in others:
            hyper[name].lr = [2.0**cell.rest_log2_lr * factors[name].lr] * len(hyper[name].lr)
        self.rest = AdamW(others, hyper, cell)
        self.state = dict(self.rest.state)
        for name in self.matrices:
            self.state |= {f"{key}.{name}": value for key, value in self.stepped.empty(weights[name]).items()}

    def bind(self) -> None:
        self.rest.weights = {name: w for name, w in self.weights.items() if name not in self.matrices}
        self.rest.state = self.state
        self.rest.bind()
        scale = MATRIX_SCALES[self.update.scale]
        self._lr, self._keep = {}, {}
        for name in self.matrices:
            w, own = self.weights[name], self.hyper[name]
            self._lr[name] = self.per_member(own.lr, w) * scale(*w.shape[1:])
            shrink = [lr * decay for lr, decay in zip(own.lr, own.weight_decay, strict=True)]
            self._keep[name] = self.per_member(shrink, w) if any(shrink) else None

    def step(self, gradients: Mapping[str, "Tensor"], schedule: float) -> None:
        self.rest.step_count = self.step_count
        self.rest.step(gradients, schedule)
        self.step_count += 1
        for name in self.matrices:
            w, shrink = self.weights[name], self._keep[name]
            state = {key: self.state[f"{key}.{name}"] for key in self.stepped.keys}
            direction = self.stepped.direction(self.cell, state, gradients[name], self.step_count)
            if shrink is not None:
                w.mul_(1 - schedule * shrink)
            w.addcmul_(direction, self._lr[name], value=-schedule)
