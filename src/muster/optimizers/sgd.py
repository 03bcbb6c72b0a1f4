"""Stochastic gradient descent with and without momentum."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from muster.optimizers import OPTIMIZERS
from muster.optimizers.base import Optimizer
from muster.parameterizations.tables import Update
from muster.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


class MomentumSettings(Settings):
    """The hyperparameter of momentum."""

    momentum: float = Field(0.9, ge=0, lt=1, description="Heavy-ball coefficient")


@OPTIMIZERS.register("sgd")
class Sgd(Optimizer):
    """Gradient descent with coupled weight decay: `torch.optim.SGD`."""

    update = Update(gradient=1, weight=0)
    decoupled_decay = False
    momentum = False

    def __init__(self, weights, hyper, cell):
        super().__init__(weights, hyper, cell)
        if self.momentum:
            self.state = {f"buffer.{name}": w.new_zeros(w.shape) for name, w in weights.items()}

    def bind(self) -> None:
        self._lr = {name: self.per_member(self.hyper[name].lr, w) for name, w in self.weights.items()}
        self._decay = {
            name: self.per_member(self.hyper[name].weight_decay, w)
            for name, w in self.weights.items()
            if any(self.hyper[name].weight_decay)
        }

    def step(self, gradients: Mapping[str, "Tensor"], schedule: float) -> None:
        self.step_count += 1
        for name, w in self.weights.items():
            g = gradients[name]
            if name in self._decay:
                g = g.addcmul(w, self._decay[name])
            if self.momentum:
                buffer = self.state[f"buffer.{name}"]
                g = buffer.copy_(g) if self.step_count == 1 else buffer.mul_(self.cell.momentum).add_(g)
            w.addcmul_(g, self._lr[name], value=-schedule)

    def fused(self) -> tuple[str, list[Mapping[str, "Tensor"]]]:
        if not self.momentum:
            return "sgd", []
        return "momentum", [{name: self.state[f"buffer.{name}"] for name in self.weights}]

    def updates(self, factors: Sequence[float]) -> dict[str, np.ndarray]:
        _, factor = self._count(factors)
        return {
            "rate": self._numbers("lr") * factor,
            "couple": self._numbers("weight_decay"),
            "beta1": np.array(self.cell.momentum if self.momentum else 0.0),
        }


@OPTIMIZERS.register("momentum")
class Momentum(Sgd):
    """SGD with heavy-ball momentum, no dampening: `torch.optim.SGD(momentum=...)`."""

    settings = MomentumSettings
    momentum = True
