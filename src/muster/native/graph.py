"""Networks as lists of operations, which families describe and the kernels execute.

A graph is plain data: it knows names of tensors, not their values, and imports nothing. Activations live on the node
that an operation writes; gradients of a node are those before its activation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

# Numbers that the kernels know them by: activations.h and network.cpp.
ACTIVATIONS = {"identity": 0, "relu": 1, "tanh": 2, "gelu": 3, "relu2": 4}
KEEPS_SLOPE = {"gelu", "relu2"}  # their derivative does not follow from the output alone
KINDS = {"dense": 0, "normalize": 1, "activate": 2, "embed": 3, "heads": 4, "attend": 5, "gate": 6}


@dataclass
class Node:
    """Activations of so many features a token. stream: the first node of the residual stream that it continues."""

    features: int
    activation: str = "identity"
    stream: int = -1


@dataclass
class Op:
    """out = kind(in): see the methods of `Graph`. weight, bias: names of tensors, with their multipliers as scales."""

    kind: str
    source: int
    target: int
    weight: str | None = None
    scale: float = 1.0
    bias: str | None = None
    bias_scale: float = 1.0
    add: int | None = None
    turned: bool = False
    heads: int = 0
    norm: str | None = None
    rotary: bool = False


@dataclass
class Graph:
    """Operations in order. multiplier: number by which each tensor's values enter; the last node is the output.

    sequences: examples are sequences of tokens, else vectors of numbers.
    """

    activations: ClassVar[frozenset[str]] = frozenset(ACTIVATIONS)

    multiplier: Mapping[str, float]
    sequences: bool = False
    nodes: list[Node] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)

    def _node(self, features: int, activation: str = "identity", add: int | None = None) -> int:
        if activation not in ACTIVATIONS:
            raise ValueError(f"no kernel computes the activation {activation!r}")
        number = len(self.nodes)
        self.nodes.append(Node(features, activation, number if add is None else self.nodes[add].stream))
        return number

    def _plain(self, h: int) -> int:
        """Features of a node without activation: only a product hands its gradient through one."""
        if self.nodes[h].activation != "identity":
            raise ValueError("this operation reads what no activation has touched")
        return self.nodes[h].features

    def _scale(self, name: str | None) -> float:
        return 1.0 if name is None else float(self.multiplier[name])

    def input(self, features: int) -> int:
        """The examples themselves, node 0."""
        return self._node(features)

    def dense(
        self, h: int, weight: str, features: int, *, bias: str | None = None, activation: str = "identity",
        add: int | None = None, factor: float = 1.0,
    ) -> int:  # fmt: skip
        """φ(add + factor · (h W + b)) with W [in, out]. A node that is added to continues a residual stream."""
        out = self._node(features, activation, add)
        scale, bias_scale = self._scale(weight) * factor, self._scale(bias) * factor
        self.ops.append(Op("dense", h, out, weight, scale, bias, bias_scale, add))
        return out

    def readout(self, h: int, weight: str, features: int, *, factor: float = 1.0) -> int:
        """factor · h Wᵀ with an embedding's W [out, in]: tied weights, always the last operation."""
        out = self._node(features)
        self.ops.append(Op("dense", h, out, weight, self._scale(weight) * factor, turned=True))
        return out

    def normalize(self, h: int, norm: str, *, gain: str | None = None, activation: str = "identity") -> int:
        """φ(gain · norm(h)); norm: layer or rms."""
        out = self._node(self._plain(h), activation)
        self.ops.append(Op("normalize", h, out, bias=gain, bias_scale=self._scale(gain), norm=norm))
        return out

    def activate(self, h: int, activation: str) -> int:
        """φ(h)."""
        out = self._node(self._plain(h), activation)
        self.ops.append(Op("activate", h, out))
        return out

    def embed(self, token: str, position: str | None, features: int) -> int:
        """The stream's first node from tokens: their rows, and those of their positions where these are learned."""
        self.input(1)
        out = self._node(features)
        self.ops.append(Op("embed", 0, out, token, self._scale(token), position, self._scale(position)))
        return out

    def heads(self, z: int, heads: int, *, norm: str | None, gains: tuple[str, str] | None, rotary: bool) -> int:
        """Queries and keys of each head normalized (gains: of queries, of keys) and turned by their position."""
        out = self._node(self._plain(z))
        query, key = gains or (None, None)
        op = Op(
            "heads", z, out, query, self._scale(query), key, self._scale(key), heads=heads, norm=norm, rotary=rotary
        )
        self.ops.append(op)
        return out

    def attend(self, z: int, heads: int, scale: float) -> int:
        """Causal attention from queries, keys and values side by side."""
        out = self._node(self._plain(z) // 3)
        self.ops.append(Op("attend", z, out, scale=scale, heads=heads))
        return out

    def gate(self, z: int) -> int:
        """SiLU of the first half of the features times the second half."""
        out = self._node(self._plain(z) // 2)
        self.ops.append(Op("gate", z, out))
        return out
