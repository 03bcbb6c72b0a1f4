"""What a graph means, in plain torch: the kernels are held against it and its derivatives.

Shapes: N tokens (B · T of sequences), weights of one member.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from muster.native.graph import Graph, Op
from muster.native.program import ROTARY_BASE, Loss

Multiply = Callable[[Tensor, Tensor, float], Tensor]  # of activations [N, I], weights [I, O] and a scale
_EPSILON = 1e-5  # of normalizations
_ACTIVATIONS = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
    "relu2": lambda z: torch.relu(z).square(),
}


def multiply(h: Tensor, w: Tensor, scale: float) -> Tensor:
    """scale · h w."""
    return h @ w * scale


def output(graph: Graph, w: Mapping[str, Tensor], x: Tensor, multiply: Multiply = multiply) -> Tensor:
    """Output [N, K] from examples [B, I], or tokens [B, T]."""
    values = {0: x}
    context = x.shape[1]
    for op in graph.ops:
        h = values[op.source]
        z = _dense(op, w, h, multiply) if op.kind == "dense" else _BY_KIND[op.kind](op, w, h, context)
        if op.add is not None:
            z = z + values[op.add]
        values[op.target] = _ACTIVATIONS[graph.nodes[op.target].activation](z)
    return values[len(graph.nodes) - 1]


def mean_loss(f_NxK: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """Mean over tokens, as in `muster.training.losses`."""
    if loss.name == "squared_error":
        if not y.is_floating_point():
            y = functional.one_hot(y, f_NxK.shape[1])
        return 0.5 * (f_NxK - y.reshape(f_NxK.shape)).square().sum(1).mean()
    penalty = torch.logsumexp(f_NxK, 1).square().mean() * loss.z_loss
    return functional.cross_entropy(f_NxK, y.flatten()) + penalty


def _dense(op: Op, w: Mapping[str, Tensor], h: Tensor, multiply: Multiply) -> Tensor:
    matrix = w[str(op.weight)]
    z = multiply(h, matrix.T if op.turned else matrix, op.scale)
    return z + w[op.bias] * op.bias_scale if op.bias else z


def _norm(kind: str, h: Tensor) -> Tensor:
    norm = functional.layer_norm if kind == "layer" else functional.rms_norm
    return norm(h, h.shape[-1:], eps=_EPSILON)


def _normalize(op: Op, w: Mapping[str, Tensor], h: Tensor, context: int) -> Tensor:
    y = _norm(str(op.norm), h)
    return y * (w[op.bias] * op.bias_scale) if op.bias else y


def _embed(op: Op, w: Mapping[str, Tensor], x: Tensor, context: int) -> Tensor:
    h = w[str(op.weight)][x] * op.scale
    return (h + w[op.bias] * op.bias_scale if op.bias else h).flatten(0, 1)


def _heads(op: Op, w: Mapping[str, Tensor], z: Tensor, context: int) -> Tensor:
    q, k, v = z.chunk(3, 1)
    turned = []
    for part, gain, scale in ((q, op.weight, op.scale), (k, op.bias, op.bias_scale)):
        by_head = part.view(-1, context, op.heads, part.shape[1] // op.heads)
        if op.norm:
            by_head = _norm(op.norm, by_head) * (w[gain] * scale if gain else 1.0)
        turned.append((_rotate(by_head) if op.rotary else by_head).reshape(part.shape))
    return torch.cat([*turned, v], 1)


def _rotate(x_BxTxHxD: Tensor) -> Tensor:
    positions, width = x_BxTxHxD.shape[1], x_BxTxHxD.shape[3]
    rates = ROTARY_BASE ** (-2.0 * torch.arange(width // 2, dtype=torch.float64) / width)
    angle = torch.outer(torch.arange(positions, dtype=torch.float64), rates).unsqueeze(1)
    cosine, sine = angle.cos().to(x_BxTxHxD.dtype), angle.sin().to(x_BxTxHxD.dtype)
    a, b = x_BxTxHxD.chunk(2, -1)
    return torch.cat([a * cosine - b * sine, a * sine + b * cosine], -1)


def _attend(op: Op, w: Mapping[str, Tensor], z: Tensor, context: int) -> Tensor:
    q, k, v = (part.view(-1, context, op.heads, part.shape[1] // op.heads).transpose(1, 2) for part in z.chunk(3, 1))
    future = torch.ones(context, context, dtype=torch.bool).triu(1)
    weights = torch.softmax((q @ k.mT * op.scale).masked_fill(future, -math.inf), -1)
    return (weights @ v).transpose(1, 2).reshape(len(z), -1)


def _gate(op: Op, w: Mapping[str, Tensor], z: Tensor, context: int) -> Tensor:
    gate, value = z.chunk(2, 1)
    return functional.silu(gate) * value


_BY_KIND = {
    "normalize": _normalize,
    "activate": lambda op, w, h, context: h,
    "embed": _embed,
    "heads": _heads,
    "attend": _attend,
    "gate": _gate,
}
