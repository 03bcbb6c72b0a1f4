"""Networks that train and are evaluated by the kernels: stacked tensors in, losses out.

Shapes: E members, K steps, B examples of a batch, P tensors.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from muster.native.binding import RULES, UPDATE_FIELDS, Library
from muster.native.graph import Graph
from muster.native.program import PANEL, Loss, Program

EVALUATED_TOKENS = 128  # at once: their activations stay in the cache


class Network:
    """One stack of members. `weights` {name: [E, ...]}: contiguous float32 tensors on the CPU, updated in place.

    rule: of `RULES`, with the optimizer's state tensors in the order of the rule, each {name: [E, ...]}. fused: it
    steps, so that `train` can be asked; else `gradients` alone.
    """

    def __init__(
        self,
        library: Library,
        graph: Graph,
        weights: Mapping[str, Tensor],
        *,
        batch: int,
        context: int,
        loss: Loss,
        evaluation_loss: Loss,
        rule: str = "gradient",
        state: Sequence[Mapping[str, Tensor]] = (),
    ):
        self._library, self._graph, self.rule = library, graph, rule
        self._shapes = {name: tuple(w.shape[1:]) for name, w in weights.items()}
        self._context, self._evaluation_loss = context, evaluation_loss
        self.members = len(next(iter(weights.values())))
        self._program = Program(graph, self._shapes, batch, context, loss, training=True)
        self.batch, self.fused = batch, rule != "gradient"
        self._weights = [*weights.values()]  # they must not be freed while their addresses are in use
        self._state = [[s[name] for name in weights] for s in state]
        self._tensors = _addresses(self._weights, *self._state)
        threads = min(torch.get_num_threads(), self.members)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._scratches = [self._scratch(self._program) for _ in range(threads)]
        self._evaluations: dict[int, tuple[Program, list[Tensor]]] = {}

    def train(self, updates: Mapping[str, np.ndarray], x_KxBxI: Tensor, y_KxB: Tensor) -> Tensor:
        """K steps of every member; the loss of each before its step, [E, K].

        updates: fields of `Update` in updates.h, each of a shape that broadcasts to [E, K, P]; 0 where absent.
        """
        numbers = np.zeros((self.members, len(x_KxBxI), len(self._shapes), len(UPDATE_FIELDS)), np.float32)
        for name, values in updates.items():
            numbers[..., UPDATE_FIELDS.index(name)] = values
        return self._run(self._tensors, RULES[self.rule], numbers, x_KxBxI, y_KxB)

    def gradients(self, gradients: Mapping[str, Tensor], x_BxI: Tensor, y_B: Tensor) -> Tensor:
        """Write ∂loss_e/∂w_e into `gradients`; the loss of each member, [E]. The weights stay as they are."""
        tensors = _addresses(self._weights)
        tensors[:, :, 3] = _addresses([gradients[name] for name in self._shapes])[:, :, 0]
        updates = np.zeros((self.members, 1, len(self._shapes), len(UPDATE_FIELDS)), np.float32)
        return self._run(tensors, RULES["gradient"], updates, x_BxI[None], y_B[None])[:, 0]

    def evaluate(self, x_BxI: Tensor, y_B: Tensor, members: int | None = None) -> Tensor:
        """Mean loss over any number of examples, float64 [E]; of the first `members` alone where that is given."""
        at_once = max(1, EVALUATED_TOKENS // (self._context if self._graph.sequences else 1))
        program, scratches = self._evaluation(at_once)
        slices = []
        for start in range(0, len(x_BxI), at_once):
            x, y = x_BxI[start : start + at_once], y_B[start : start + at_once]
            slices.append((len(x), *_pack(program, x[None], y[None]), program.batch(len(x))))

        def member(e: int, scratch: int) -> float:
            total = 0.0
            for count, x, y, (record, _) in slices:
                loss = self._library.evaluate(
                    program.address,
                    record.ctypes.data,
                    self._tensors[e].ctypes.data,
                    x.data_ptr(),
                    y.data_ptr(),
                    scratch,
                )
                total += loss * count
            return total / len(x_BxI)

        found = self._each(member, self.members if members is None else members, scratches)
        return torch.tensor(found, dtype=torch.float64)

    def _run(self, tensors: np.ndarray, rule: int, updates: np.ndarray, x_KxBxI: Tensor, y_KxB: Tensor) -> Tensor:
        steps, batch = x_KxBxI.shape[:2]
        if batch > self.batch:
            raise ValueError(f"a batch of {batch} examples where {self.batch} were planned for")
        record, _counts = self._program.batch(batch)
        repeated = x_KxBxI.stride(0) == 0  # the same batch at every step
        x, y = _pack(self._program, *((x_KxBxI[:1], y_KxB[:1]) if repeated else (x_KxBxI, y_KxB)))
        x_step, y_step = (0 if repeated else part[0].numel() * part.element_size() for part in (x, y))
        loss = torch.empty(self.members, steps)

        def member(e: int, scratch: int) -> None:
            self._library.train(
                self._program.address, record.ctypes.data, rule, steps, tensors[e].ctypes.data, updates[e].ctypes.data,
                x.data_ptr(), x_step, y.data_ptr(), y_step, loss[e].data_ptr(), scratch,
            )  # fmt: skip

        self._each(member, self.members, self._scratches)
        return loss

    def _each(self, call: Callable[[int, int], object], members: int, scratches: list[Tensor]) -> list:
        """One member after another, or on several threads: a member's numbers are the same."""
        if self._pool is None or members == 1:
            return [call(e, scratches[0].data_ptr()) for e in range(members)]
        parts = np.array_split(np.arange(members), len(scratches))

        def several(part: np.ndarray, scratch: Tensor) -> list:
            return [call(int(e), scratch.data_ptr()) for e in part]

        return [found for part in self._pool.map(several, parts, scratches) for found in part]

    def _evaluation(self, examples: int) -> tuple[Program, list[Tensor]]:
        if examples not in self._evaluations:
            loss = self._evaluation_loss
            program = Program(self._graph, self._shapes, examples, self._context, loss, training=False)
            self._evaluations[examples] = program, [self._scratch(program) for _ in self._scratches]
        return self._evaluations[examples]

    @staticmethod
    def _scratch(program: Program) -> Tensor:
        memory = torch.zeros(program.scratch_size)
        program.constants(memory.numpy())
        return memory


def _addresses(*tensors: Sequence[Tensor]) -> np.ndarray:
    """[E, P, 4]: where each member's tensors begin: weights, then as many kinds of state as there are."""
    found = np.zeros((len(tensors[0][0]), len(tensors[0]), 4), np.uintp)
    for kind, values in enumerate(tensors):
        for number, value in enumerate(values):
            if value.dtype != torch.float32 or not value.is_contiguous():
                raise ValueError("the kernels read contiguous float32 tensors")
            size = value[0].numel() * value.element_size()
            found[:, number, kind] = value.data_ptr() + size * np.arange(len(value))
    return found


def _pack(program: Program, x_KxBxI: Tensor, y_KxB: Tensor) -> tuple[Tensor, Tensor]:
    """Examples in the kernels' layout: numbers in panels of 32 tokens, whole numbers padded to panels."""
    x = _whole_numbers(program, x_KxBxI, program.embedded) if program.sequences else _panels(x_KxBxI)
    if program.loss.name == "squared_error":
        y = y_KxB if y_KxB.is_floating_point() else functional.one_hot(y_KxB, program.outputs)
        return x, _panels(y.reshape(*y.shape[:2], -1))
    return x, _whole_numbers(program, y_KxB, program.outputs)


def _panels(values_KxBxI: Tensor) -> Tensor:
    """[K, panel, I, 32]."""
    steps, batch, features = values_KxBxI.shape
    padded = functional.pad(values_KxBxI, (0, 0, 0, -batch % PANEL)) if batch % PANEL else values_KxBxI
    return padded.reshape(steps, -1, PANEL, features).mT.to(torch.float32).contiguous()


def _whole_numbers(program: Program, values: Tensor, below: int) -> Tensor:
    """Tokens or classes, int32. Raises IndexError for those that no row of a table has."""
    if int(values.min()) < 0 or int(values.max()) >= below:
        raise IndexError(f"a class or token outside 0 … {below - 1}")
    values = values.to(torch.int32)
    rows = values.reshape(len(values), -1, program.context) if program.sequences else values.reshape(len(values), 1, -1)
    return functional.pad(rows, (0, -rows.shape[2] % PANEL)).contiguous()
