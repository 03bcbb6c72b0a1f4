"""Adafactor: factored second moments and steps relative to the weights' own size."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from muster.optimizers import OPTIMIZERS
from muster.optimizers.base import Optimizer
from muster.parameterizations.tables import Update
from muster.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST_SCALE = 1e-3  # ε₂ of Shazeer & Stern 2018, Algorithm 4, and torch's default


class AdafactorSettings(Settings):
    """The hyperparameters of Adafactor."""

    epsilon: float = Field(1e-15, ge=0, description="ε₁ at the base shape, the least root of the second moment")
    adafactor_clip: float = Field(1.0, gt=0, description="Update clipping threshold d")


@OPTIMIZERS.register("adafactor")
class Adafactor(Optimizer):
    """Adafactor (Shazeer & Stern 2018, Algorithm 4), relative step min(lr, 1/√t): `torch.optim.Adafactor`.

    `epsilon` is torch's ε₁. torch's default is the machine epsilon, which in float32 exceeds the squared gradients of
    wide networks and so breaks the scale invariance that the exponent tables assume; ours is 1e-15.
    """

    update = Update(gradient=0, weight=1)
    settings = AdafactorSettings
    decoupled_decay = True

    def __init__(self, weights, hyper, cell):
        super().__init__(weights, hyper, cell)
        for name, w in weights.items():
            if w.dim() == 3:
                self.state[f"row.{name}"] = w.new_zeros(*w.shape[:2], 1)
                self.state[f"col.{name}"] = w.new_zeros(len(w), 1, w.shape[2])
            else:
                self.state[f"var.{name}"] = w.new_zeros(w.shape)

    def bind(self) -> None:
        self._lr = {name: self.per_member(self.hyper[name].lr, w) for name, w in self.weights.items()}
        self._eps = {name: self.per_member(self.hyper[name].eps, w) for name, w in self.weights.items()}
        self._decay = {name: self.per_member(self.hyper[name].weight_decay, w) for name, w in self.weights.items()}

    def step(self, gradients: Mapping[str, "Tensor"], schedule: float) -> None:
        self.step_count += 1
        forget = self.step_count ** (-0.8)
        for name, w in self.weights.items():
            g, eps = gradients[name], self._eps[name]
            axes = tuple(range(1, w.dim()))
            rate = (self._lr[name] * schedule).clamp(max=self.step_count**-0.5)
            scale = w.square().mean(axes, keepdim=True).sqrt_().clamp_(min=_SMALLEST_SCALE) * rate
            if any(self.hyper[name].weight_decay):
                w.mul_(1 - self._lr[name] * schedule * self._decay[name])
            squared = g.square()
            if w.dim() == 3:
                row = self.state[f"row.{name}"].lerp_(squared.mean(2, keepdim=True), forget)
                col = self.state[f"col.{name}"].lerp_(squared.mean(1, keepdim=True), forget)
                variance = (row @ col).div_(row.mean(1, keepdim=True).maximum(eps))
            else:
                variance = self.state[f"var.{name}"].lerp_(squared, forget).clone()
            update = variance.maximum(eps.square()).rsqrt_().mul_(g)
            clip = (update.square().mean(axes, keepdim=True).sqrt_() / self.cell.adafactor_clip).clamp_(min=1.0)
            w.sub_(update.mul_(scale / clip))
