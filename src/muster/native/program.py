"""A graph with places in memory: the records that the kernels read (structs of network.cpp), as numpy arrays."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from muster.native.graph import ACTIVATIONS, KEEPS_SLOPE, KINDS, Graph, Op

PANEL = 32  # tokens side by side in memory

_INT, _REAL = np.int64, np.float64
NODE = np.dtype([(name, _INT) for name in ("features", "value", "slope", "gradient", "activation")])
OP = np.dtype(
    [
        (name, _INT)
        for name in (
            "kind", "source", "target", "add", "weight", "bias", "turned", "accumulate", "propagate", "saved", "heads",
            "centered", "rotary",
        )
    ]
    + [("scale", _REAL), ("bias_scale", _REAL)]
)  # fmt: skip
PARAMETER = np.dtype([("size", _INT), ("deferred", _INT)])
PLAN = np.dtype(
    [
        (name, _INT)
        for name in (
            "ops",
            "parameters",
            "output",
            "squared",
            "sequence_panels",
            "turned",
            "small",
            "heads",
            "rotation",
        )
    ]
    + [("z_loss", _REAL)]
    + [(name, np.uintp) for name in ("node", "op", "parameter")]
)
BATCH = np.dtype([("panels", _INT), ("tokens", _INT), ("counts", np.uintp)])
ROTARY_BASE = 10000.0


class Loss(NamedTuple):
    """name: cross_entropy or squared_error."""

    name: str
    z_loss: float = 0.0


class _Memory:
    """Places in one array of floats; what is given back is used again."""

    def __init__(self) -> None:
        self.size = 0
        self._free: list[tuple[int, int]] = []
        self._sizes: dict[int, int] = {}

    def take(self, floats: int) -> int:
        floats = -(-floats // PANEL) * PANEL
        fitting = [(size, place) for place, size in self._free if size >= floats]
        if fitting:
            size, place = min(fitting)
            self._free.remove((place, size))
        else:
            size, place = floats, self.size
            self.size += floats
        self._sizes[place] = size
        return place

    def give_back(self, place: int) -> None:
        self._free.append((place, self._sizes.pop(place)))


class Program:
    """Where everything of one member lies.

    names, shapes: tensors in the order of their numbers. examples: the largest batch; context: tokens of an example.
    training: values are kept and gradients have places, else only the loss can be computed.
    """

    def __init__(
        self, graph: Graph, shapes: Mapping[str, Sequence[int]], examples: int, context: int, loss: Loss, training: bool
    ):
        self.graph, self.names, self.context, self.loss = graph, list(shapes), context, loss
        self.sequences = graph.sequences
        self.sequence_panels = -(-context // PANEL) if self.sequences else 0
        self.panels = examples * self.sequence_panels if self.sequences else -(-examples // PANEL)
        self._sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        self._training = training
        self._memory = _Memory()
        self._nodes = np.zeros(len(graph.nodes), NODE)
        self._ops = np.zeros(len(graph.ops), OP)
        self._parameters = np.zeros(len(self.names), PARAMETER)
        self._plan = np.zeros(1, PLAN)
        self._place_buffers()
        self._place_parameters()
        self._place_values()
        if training:
            self._place_gradients()
        self._fill_plan()
        self.scratch_size = self._memory.size

    @property
    def address(self) -> int:
        """Of the plan; it lives as long as the program."""
        return self._plan.ctypes.data

    @property
    def outputs(self) -> int:
        return self.graph.nodes[-1].features

    @property
    def embedded(self) -> int:
        """Rows of the table of tokens."""
        embed = self.graph.ops[0]
        return self._sizes[str(embed.weight)] // self.graph.nodes[embed.target].features

    def batch(self, examples: int) -> tuple[np.ndarray, np.ndarray]:
        """The record of a batch of at most so many examples as planned for, and the counts that it points to."""
        if self.sequences:
            counts = np.minimum(PANEL, self.context - PANEL * np.arange(self.sequence_panels))
            counts, tokens = np.tile(counts, examples), examples * self.context
        else:
            counts = np.minimum(PANEL, examples - PANEL * np.arange(-(-examples // PANEL)))
            tokens = examples
        counts = counts.astype(_INT)
        record = np.zeros(1, BATCH)
        record["panels"], record["tokens"], record["counts"] = len(counts), tokens, counts.ctypes.data
        return record, counts

    def constants(self, scratch: np.ndarray) -> None:
        """Write what never changes into a fresh scratch memory: the angles of rotary positions."""
        size = self._head_width
        if not size:
            return
        half = np.arange(size // 2)
        at = np.arange(PANEL * self.sequence_panels)
        angle = np.outer(at, ROTARY_BASE ** (-2.0 * half / size))
        table = np.concatenate([np.cos(angle), np.sin(angle)], 1).reshape(self.sequence_panels, PANEL, size)
        place = int(self._plan["rotation"][0])
        scratch[place : place + table.size] = table.transpose(0, 2, 1).ravel()

    @property
    def _head_width(self) -> int:
        """Of rotary heads; 0 where there are none."""
        rotary = [op for op in self.graph.ops if op.rotary]
        return self.graph.nodes[rotary[0].source].features // (3 * rotary[0].heads) if rotary else 0

    def _floats(self, node: int) -> int:
        return self.graph.nodes[node].features * PANEL * self.panels

    def _place_buffers(self) -> None:
        """What operations use in passing. Taken before anything is given back, so that it overlaps with nothing."""
        plan, memory = self._plan, self._memory
        widest = max(-(-node.features // PANEL) * PANEL for node in self.graph.nodes)
        plan["turned"] = memory.take(widest * PANEL * (self.panels if self._training else 1))
        plan["small"] = memory.take(widest)
        attends = any(op.kind == "attend" for op in self.graph.ops)
        plan["heads"] = memory.take(3 * (self.sequence_panels * PANEL) ** 2) if attends and self._training else -1
        plan["rotation"] = memory.take(self._head_width * PANEL * self.sequence_panels) if self._head_width else 0

    def _place_parameters(self) -> None:
        """Embeddings gather their gradient in memory, from both of their uses where they are tied."""
        gathered = {name for op in self.graph.ops if op.kind == "embed" for name in (op.weight, op.bias)}
        for number, name in enumerate(self.names):
            size = self._sizes[name]
            deferred = self._memory.take(size) if self._training and name in gathered else -1
            self._parameters[number] = size, deferred

    def _place_values(self) -> None:
        graph, records = self.graph, self._nodes
        last_use: dict[int, int] = {}
        for i, op in enumerate(graph.ops):
            last_use[op.source] = i
            if op.add is not None:
                last_use[op.add] = i
        spare = max(
            (self._floats(n) for n, node in enumerate(graph.nodes) if node.activation in KEEPS_SLOPE), default=0
        )
        shared = self._memory.take(spare) if spare and not self._training else -1
        records["value"], records["slope"], records["gradient"] = -1, -1, -1
        records["features"] = [node.features for node in graph.nodes]
        records["activation"] = [ACTIVATIONS[node.activation] for node in graph.nodes]
        for i, op in enumerate(graph.ops):
            records["value"][op.target] = self._memory.take(self._floats(op.target))
            if graph.nodes[op.target].activation in KEEPS_SLOPE:
                slope = self._memory.take(self._floats(op.target)) if self._training else shared
                records["slope"][op.target] = slope
            saved = self._saved(op)
            self._ops["saved"][i] = self._memory.take(saved) if saved else -1
            if not self._training:
                if saved:
                    self._memory.give_back(int(self._ops["saved"][i]))
                for used in {op.source, op.source if op.add is None else op.add} - {0}:
                    if last_use[used] == i:
                        self._memory.give_back(int(records["value"][used]))
        output = len(graph.nodes) - 1
        records["gradient"][output] = self._memory.take(self._floats(output))

    def _saved(self, op: Op) -> int:
        if op.kind == "normalize":
            return 2 * PANEL * self.panels
        if op.kind == "heads":
            return 2 * PANEL * self.panels * 2 * op.heads
        if op.kind == "attend":
            return self.panels // self.sequence_panels * op.heads * (self.sequence_panels * PANEL) ** 2
        return 0

    def _place_gradients(self) -> None:
        """From the last operation to the first: a gradient's place is free again once its node's producer is done."""
        graph, records = self.graph, self._nodes
        begun = {graph.nodes[-1].stream}
        places = {graph.nodes[-1].stream: int(records["gradient"][len(graph.nodes) - 1])}
        for i in reversed(range(len(graph.ops))):
            op, record = graph.ops[i], self._ops[i : i + 1]
            source = graph.nodes[op.source].stream
            record["propagate"] = wanted = op.kind != "embed" and op.source != 0
            if wanted:
                if source not in places:
                    places[source] = self._memory.take(self._floats(op.source))
                record["accumulate"] = source in begun
                begun.add(source)
                records["gradient"][op.source] = places[source]
            own = graph.nodes[op.target].stream
            records["gradient"][op.target] = places[own]
            if own == op.target and op.target != len(graph.nodes) - 1:
                self._memory.give_back(places[own])

    def _fill_plan(self) -> None:
        graph, number = self.graph, {name: i for i, name in enumerate(self.names)} | {None: -1}
        for i, op in enumerate(graph.ops):
            record = self._ops[i : i + 1]
            record["kind"], record["source"], record["target"] = KINDS[op.kind], op.source, op.target
            record["add"] = -1 if op.add is None else op.add
            record["weight"], record["bias"] = number[op.weight], number[op.bias]
            record["scale"], record["bias_scale"] = op.scale, op.bias_scale
            record["turned"], record["heads"], record["rotary"] = op.turned, op.heads, op.rotary
            record["centered"] = {"layer": 1, "rms": 0, None: -1}[op.norm]
        plan = self._plan
        plan["ops"], plan["parameters"], plan["output"] = len(graph.ops), len(self.names), len(graph.nodes) - 1
        plan["squared"], plan["z_loss"] = self.loss.name == "squared_error", self.loss.z_loss
        plan["sequence_panels"] = self.sequence_panels
        for name, array in (("node", self._nodes), ("op", self._ops), ("parameter", self._parameters)):
            plan[name] = array.ctypes.data
