"""Adam and AdamW through torch's fused CPU/CUDA kernels.

One fused call per member and distinct set of numbers reads and writes each array once; a chain of element-wise or
`_foreach_` calls over the whole stack makes 3–4 passes and is slower from width 128 on (`benchmarks/engine.py`).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from muster.optimizers.base import Optimizer


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015) with coupled weight decay: `torch.optim.Adam`."""

    default_epsilon = 1e-8
    kernel = staticmethod(torch._fused_adam_)

    def __init__(self, weights, hyper, cell):
        super().__init__(weights, hyper, cell)
        for moment in ("m", "v"):
            self.state |= {f"{moment}.{name}": torch.zeros_like(w) for name, w in weights.items()}

    def bind(self) -> None:
        first = next(iter(self.weights.values()))
        self._step = torch.zeros((), dtype=torch.float32, device=first.device)
        groups: dict[tuple, list[tuple[str, int]]] = {}
        for name in self.weights:
            h = self.hyper[name]
            for e in range(len(first)):
                groups.setdefault((e, h.lr[e], h.eps[e], h.weight_decay[e]), []).append((name, e))
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

    def step(self, gradients: Mapping[str, Tensor], schedule: float) -> None:
        self.step_count += 1
        self._step.fill_(self.step_count)
        if gradients is not self._gradients:
            self._views = {i: [gradients[n][e] for n, e in group[2]] for i, group in enumerate(self._groups)}
            self._gradients = gradients
        for i, ((lr, eps, decay), w, _, m, v, steps) in enumerate(self._groups):
            self.kernel(
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

    def second_moment(self, name: str) -> Tensor:
        """Bias-corrected v̂ of a weight tensor, [E, ...]; needs at least one step."""
        return self.state[f"v.{name}"] / (1 - self.cell.beta2**self.step_count)


class AdamW(Adam):
    """Adam with decoupled weight decay, coupled to the learning rate: `torch.optim.AdamW`."""

    kernel = staticmethod(torch._fused_adamw_)
