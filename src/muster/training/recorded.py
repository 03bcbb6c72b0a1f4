"""Steps of a stack that are recorded once and replayed: CUDA graphs, which launch a whole step at once.

Everything that changes from step to step lies in tensors at fixed places: the batch, and the optimizer's numbers, made
in double precision by its `updates`. A stack that loses a member is bound anew, and so recorded anew.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muster.native.binding import UPDATE_FIELDS
from muster.training.clipping import clip_gradients
from muster.training.rules import RULES

Step = Callable[[], None]
Recorder = Callable[[Step], Step]
WARM_UP = 3  # steps before the recording, in which libraries choose their kernels and allocate


def eager(step: Step) -> Step:
    """No recording: the same operations, launched one by one."""
    return step


def cuda_graph(step: Step) -> Step:
    """Record a step in a CUDA graph, after a warm-up on a stream of its own."""
    here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            step()
    here.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def recorder(device: torch.device) -> Recorder | None:
    """What records steps on a device; None where recording gains nothing."""
    return cuda_graph if device.type == "cuda" else None


class Recorded:
    """The step of a `muster.training.engine.Stack`, recorded at the first call of `train`. What recording does to
    weights and state is undone.

    rule, state: what the optimizer says of itself in `fused`.
    """

    def __init__(self, stack: Any, rule: str, state: Sequence[Mapping[str, Tensor]], record: Recorder):
        self._stack, self._rule, self._record = stack, RULES[rule], record
        self._weights = [*stack.weights.values()]
        self._state = [[kind[name] for name in stack.weights] for kind in state]
        first = self._weights[0]
        self._numbers = first.new_zeros(len(UPDATE_FIELDS), len(first), len(self._weights))
        self._by_tensor = {
            field: [self._numbers[i, :, p].view(-1, *[1] * (w.dim() - 1)) for p, w in enumerate(self._weights)]
            for i, field in enumerate(UPDATE_FIELDS)
        }
        self._loss = first.new_zeros(len(first))
        self._replay: Step | None = None

    def train(self, updates: Mapping[str, np.ndarray], x_KxBxI: Tensor, y_KxB: Tensor) -> Tensor:
        """K steps; the losses before each, [E, K]. updates: as in `muster.native.network.Network.train`."""
        steps, (fields, members, tensors) = len(x_KxBxI), self._numbers.shape
        numbers = np.zeros((steps, fields, members, tensors))
        for name, values in updates.items():
            wide = np.broadcast_to(values, (members, steps, tensors))
            numbers[:, UPDATE_FIELDS.index(name)] = wide.transpose(1, 0, 2)
        by_step = torch.from_numpy(numbers).to(self._numbers)
        replay = self._recorded(x_KxBxI[0], y_KxB[0])
        losses = self._loss.new_empty(steps, members)
        for k in range(steps):
            self._x.copy_(x_KxBxI[k])
            self._y.copy_(y_KxB[k])
            self._numbers.copy_(by_step[k])
            replay()
            losses[k].copy_(self._loss)
        return losses.T

    def _recorded(self, x_BxI: Tensor, y_B: Tensor) -> Step:
        if self._replay is None:
            self._x, self._y = x_BxI.clone(), y_B.clone()
            kept = [*self._weights, *(s for kind in self._state for s in kind)]
            before = [tensor.clone() for tensor in kept]
            self._replay = self._record(self._step)
            torch._foreach_copy_(kept, before)
        return self._replay

    def _step(self) -> None:
        stack = self._stack
        self._loss.copy_(stack.compute_gradients(self._x, self._y))
        if stack.cell.clip is not None:
            clip_gradients(stack.gradients, stack.cell.clip)
        self._rule(self._weights, self._state, [stack.gradients[name] for name in stack.weights], self._by_tensor)
