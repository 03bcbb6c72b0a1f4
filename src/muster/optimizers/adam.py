"""Adam and AdamW through torch's fused CPU/CUDA kernels.

One fused call per member and distinct set of numbers reads and writes each array once; a chain of element-wise or
`_foreach_` calls over the whole stack makes 3–4 passes and is slower from width 128 on (`benchmarks/engine.py`).
"""

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


class AdamSettings(Settings):
    """The hyperparameters of Adam and AdamW."""

    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the first moment")
    beta2: float = Field(0.999, ge=0, lt=1, description="Decay of the second moment")
    epsilon: float = Field(1e-8, ge=0, description="ε at the base shape, added to the root of the second moment")


@OPTIMIZERS.register("adam")
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015) with coupled weight decay: `torch.optim.Adam`."""

    update = Update(gradient=0, weight=0)
    settings = AdamSettings
    decoupled_decay = False
    kernel = "_fused_adam_"  # of torch

    def __init__(self, weights, hyper, cell):
        super().__init__(weights, hyper, cell)
        for moment in ("m", "v"):
            self.state |= {f"{moment}.{name}": w.new_zeros(w.shape) for name, w in weights.items()}

    def bind(self) -> None:
        import torch

        first = next(iter(self.weights.values()))
        self._kernel = getattr(torch, self.kernel)
        self._step = torch.zeros((), dtype=torch.float32, device=first.device)
        groups: dict[tuple, list[tuple[str, int]]] = {}
        for name in self.weights:
            h = self.hyper[name]
            for e in range(len(first)):
                groups.setdefault((e, h.lr[e], h.eps[e], max(h.weight_decay[e], 0.0)), []).append((name, e))
        self._groups = [
            (
                numbers[1:],
                [self.weights[name][e] for name, e in members],
                members,
                [self.state[f"m.{name}"][e] for name, e in members],
                [self.state[f"v.{name}"][e] for name, e in members],
                [self._step] * len(members),
            )
            for numbers, members in groups.items()
        ]
        self._views: dict[int, list[Tensor]] = {}
        self._gradients: Mapping[str, Tensor] | None = None

    def step(self, gradients: Mapping[str, "Tensor"], schedule: float) -> None:
        self.step_count += 1
        self._step.fill_(self.step_count)
        if gradients is not self._gradients:
            self._views = {i: [gradients[n][e] for n, e in group[2]] for i, group in enumerate(self._groups)}
            self._gradients = gradients
        for i, ((lr, eps, decay), w, _, m, v, steps) in enumerate(self._groups):
            self._kernel(
                w,
                self._views[i],
                m,
                v,
                [],
                steps,
                lr=lr * schedule,
                beta1=self.cell.beta1,
                beta2=self.cell.beta2,
                weight_decay=decay,
                eps=eps,
                amsgrad=False,
                maximize=False,
            )

    def fused(self) -> tuple[str, list[Mapping[str, "Tensor"]]] | None:
        if self._numbers("weight_decay").min() < 0:
            return None
        return "adam", [{name: self.state[f"{moment}.{name}"] for name in self.weights} for moment in ("m", "v")]

    def updates(self, factors: Sequence[float]) -> dict[str, np.ndarray]:
        step, factor = self._count(factors)
        beta1, beta2 = self.cell.beta1, self.cell.beta2
        lr, decay = self._numbers("lr") * factor, self._numbers("weight_decay")
        return {
            "rate": lr / (1 - beta1**step),
            "root": 1 / np.sqrt(1 - beta2**step),
            "epsilon": self._numbers("eps"),
            "couple": decay * (not self.decoupled_decay),
            "keep": 1 - lr * decay * self.decoupled_decay,
            "beta1": np.array(beta1),
            "gain1": np.array(1 - beta1),
            "beta2": np.array(beta2),
            "gain2": np.array(1 - beta2),
        }

    def second_moment(self, name: str) -> "Tensor":
        """Bias-corrected v̂ of a weight tensor, [E, ...]; needs at least one step."""
        return self.state[f"v.{name}"] / (1 - self.cell.beta2**self.step_count)


@OPTIMIZERS.register("adamw")
class AdamW(Adam):
    """Adam with decoupled weight decay, coupled to the learning rate: `torch.optim.AdamW`.

    A negative decay λ, which torch does not have, draws the rows w_i (fixed fan-in index) of each matrix to norm 1:
    w_i ← w_i + ηλ (1 − 1/‖w_i‖) w_i (Liu, Liu & Gore 2025, with their code); vectors are left alone.
    """

    decoupled_decay = True
    negative_decay = True
    kernel = "_fused_adamw_"

    def bind(self) -> None:
        super().bind()
        self._growing = [
            (w, self.per_member([lr * min(decay, 0.0) for lr, decay in zip(h.lr, h.weight_decay, strict=True)], w))
            for name, w in self.weights.items()
            if min((h := self.hyper[name]).weight_decay) < 0 and w.dim() == 3
        ]

    def step(self, gradients: Mapping[str, "Tensor"], schedule: float) -> None:
        import torch

        for w, rate in self._growing:
            norm = w.norm(dim=2, keepdim=True).clamp_(min=torch.finfo(w.dtype).tiny)
            w.mul_(1 + rate * schedule * (1 - 1 / norm))
        super().step(gradients, schedule)
