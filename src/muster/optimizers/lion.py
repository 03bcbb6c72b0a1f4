"""Lion: the sign of a momentum."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from muster.optimizers import OPTIMIZERS
from muster.optimizers.base import Optimizer
from muster.parameterizations.tables import Update
from muster.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


class LionSettings(Settings):
    """The hyperparameters of Lion."""

    beta1: float = Field(0.9, ge=0, lt=1, description="Share of the momentum in the direction whose sign is taken")
    beta2: float = Field(0.99, ge=0, lt=1, description="Decay of the momentum")


@OPTIMIZERS.register("lion")
class Lion(Optimizer):
    """Lion with decoupled weight decay (Chen et al. 2023, Algorithm 2): `lion_pytorch.Lion`.

    w ← w − η (sign(β₁m + (1 − β₁)g) + λw), then m ← β₂m + (1 − β₂)g.
    """

    update = Update(gradient=0, weight=0)
    settings = LionSettings
    decoupled_decay = True

    def __init__(self, weights, hyper, cell):
        super().__init__(weights, hyper, cell)
        self.state = {f"m.{name}": w.new_zeros(w.shape) for name, w in weights.items()}

    def bind(self) -> None:
        self._lr = {name: self.per_member(self.hyper[name].lr, w) for name, w in self.weights.items()}
        self._decay = {name: self.per_member(self.hyper[name].weight_decay, w) for name, w in self.weights.items()}

    def step(self, gradients: Mapping[str, "Tensor"], schedule: float) -> None:
        self.step_count += 1
        for name, w in self.weights.items():
            g, m = gradients[name], self.state[f"m.{name}"]
            direction = m.lerp(g, 1 - self.cell.beta1).sign_().addcmul_(self._decay[name], w)
            w.addcmul_(direction, self._lr[name], value=-schedule)
            m.lerp_(g, 1 - self.cell.beta2)
