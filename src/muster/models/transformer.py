"""Decoder-only transformers with pre-normalization, stacked over members.

Shapes: E members, B sequences, T positions, N = B·T tokens in one axis, H heads of width D, K vocabulary. Of block l:
h ← h + s · merge(attention(qkv(norm h))), h ← h + s · down(φ(up(norm h))), with the branch multiplier s = L^(−α);
output f_ExNxK = readout(norm h) (Radford et al. 2019, Section 2.3). Each matrix W stands for its multiplier times w.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from muster.models.base import Site
from muster.models.mlp import Weights
from muster.models.shapes.transformer import GATED, attention_scale, layout, tensors, tied_multiplier
from muster.models.transformer_workspace import HAND_WRITTEN, NORM_EPSILON, Workspace, lookup
from muster.native import Graph
from muster.parameterizations.depth import branch_multiplier

ROTARY_BASE = 10000.0
LONGEST_BY_HAND = 256  # positions; the hand-written pass keeps every attention weight


def gated(z: Tensor) -> Tensor:
    """SwiGLU: SiLU(gate) · value, the two halves of the last axis (Shazeer 2020, eq. 6)."""
    gate, value = z.chunk(2, -1)
    return functional.silu(gate) * value


FEEDFORWARD: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "relu2": lambda z: functional.relu(z).square(),  # So et al. 2021, Primer
    "swiglu": gated,
}


def rotate(x: Tensor) -> Tensor:
    """Rotary positions on [..., T, D]: the pair x_i, x_(i + D/2) turns by t · base^(−2i/D) (Su et al. 2021)."""
    positions, width = x.shape[-2:]
    half = torch.arange(width // 2, dtype=torch.float64, device=x.device)
    at = torch.arange(positions, dtype=torch.float64, device=x.device)
    angle = torch.outer(at, ROTARY_BASE ** (-2.0 * half / width))
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Transformer:
    """Decoder-only transformer of `depth` blocks: attention and feed-forward branch, normalized before each."""

    def __init__(self, cell, in_features: int, out_features: int):
        self.layout = layout(cell, in_features, out_features)
        self.blocks = range(1, cell.depth + 1)
        self.norm, self.bias, self.gains = cell.norm, cell.bias, bool(cell.gains)
        self.qk_norm, self.tied = bool(cell.qk_norm), bool(cell.tied)
        self.rotary = cell.positions == "rotary"
        self.attention_scale = attention_scale(cell, self.layout).value
        self.branch_multiplier = branch_multiplier(cell)
        self.tied_multiplier = tied_multiplier(cell, self.layout).value
        self.tensors = tensors(cell, in_features, out_features)

    def sites(self, w: Weights, multiplier: Mapping[str, float], x_ExBxT: Tensor) -> list[Site]:
        """Every matrix product of a forward pass, in order, branches before their multiplier; the last is f_ExNxK."""
        sites: list[Site] = []
        self._forward(w, multiplier, x_ExBxT, sites.append)
        return sites

    def output(self, w: Weights, multiplier: Mapping[str, float], x_ExBxT: Tensor) -> Tensor:
        """f_ExNxK from tokens x."""
        return self._forward(w, multiplier, x_ExBxT, None)[0]

    def stream(self, w: Weights, multiplier: Mapping[str, float], x_ExBxT: Tensor) -> list[Tensor]:
        """The residual stream h_0 … h_depth, before the last normalization: depth + 1 tensors [E, N, width]."""
        return self._forward(w, multiplier, x_ExBxT, None)[1]

    def _forward(
        self, w: Weights, m: Mapping[str, float], x: Tensor, record: Callable[[Site], None] | None
    ) -> tuple[Tensor, list[Tensor]]:
        context, s = x.shape[2], self.branch_multiplier
        stream = [self._embed(w, m, x, record)]
        for l in self.blocks:
            z = self._product(w, m, f"qkv{l}", self._normalize(w, m, f"qkv{l}", stream[-1]), record)
            mixed = self.attend(*self.heads(w, m, l, z, context))
            h = stream[-1] + self._product(w, m, f"merge{l}", mixed, record) * s
            z = self._product(w, m, f"up{l}", self._normalize(w, m, f"up{l}", h), record)
            z = FEEDFORWARD[self.layout.feedforward](z)
            stream.append(h + self._product(w, m, f"down{l}", z, record) * s)
        last = self._normalize(w, m, "readout", stream[-1])
        if not self.tied:
            return self._product(w, m, "readout", last, record), stream
        f = torch.bmm(last, w["token"].mT) * (m["token"] * self.tied_multiplier)
        if record:
            record(Site("token", last, f))
        return f, stream

    def _embed(self, w: Weights, m: Mapping[str, float], x: Tensor, record: Callable[[Site], None] | None) -> Tensor:
        """h_0 of shape [E, N, width]: token embedding, plus that of the position where it is learned."""
        members, _, context = x.shape
        token = w["token"]
        h = functional.embedding(lookup(x, token), token.flatten(0, 1)) * m["token"]
        if record:
            one_hot = functional.one_hot(x, token.shape[1]).to(token.dtype).flatten(1, 2)
            record(Site("token", one_hot, h.flatten(1, 2)))
        if not self.rotary:
            z = w["position"][:, :context] * m["position"]
            h = h + z.unsqueeze(1)
            if record:
                eye = torch.eye(len(w["position"][0]), dtype=z.dtype, device=z.device)[:context]
                record(Site("position", eye.expand(members, -1, -1), z))
        return h.flatten(1, 2)

    def _product(
        self, w: Weights, m: Mapping[str, float], name: str, h: Tensor, record: Callable[[Site], None] | None
    ) -> Tensor:
        z = torch.bmm(h, w[name]) * m[name]
        if self.bias:
            z = z + (w[f"b_{name}"] * m[f"b_{name}"]).unsqueeze(1)
        if record:
            record(Site(name, h, z))
        return z

    def _normalize(self, w: Weights, m: Mapping[str, float], name: str, h: Tensor) -> Tensor:
        """Layer or root-mean-square normalization over the last axis, with the gain where it is trained."""
        normalize = functional.layer_norm if self.norm == "layer" else functional.rms_norm
        h = normalize(h, h.shape[-1:], eps=NORM_EPSILON)
        if not self.gains:
            return h
        gain = w[f"g_{name}"] * m[f"g_{name}"]
        return h * gain.view(len(gain), *[1] * (h.dim() - 2), -1)

    def heads(
        self, w: Weights, multiplier: Mapping[str, float], block: int, z_ExNxO: Tensor, context: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [E, B, H, T, D] from the product with qkv, normalized and turned as asked."""
        size = self.layout
        z = z_ExNxO.view(len(z_ExNxO), -1, context, 3, size.heads, size.head_width)
        q, k, v = z.permute(3, 0, 1, 4, 2, 5).unbind(0)
        if self.qk_norm:
            q = self._normalize(w, multiplier, f"query{block}", q)
            k = self._normalize(w, multiplier, f"key{block}", k)
        return (rotate(q), rotate(k), v) if self.rotary else (q, k, v)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Causal attention of all heads side by side, [E, N, width]."""
        mixed = functional.scaled_dot_product_attention(
            q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), is_causal=True, scale=self.attention_scale
        )
        return mixed.transpose(1, 2).reshape(len(q), -1, self.layout.width)

    def attention_logits(
        self, w: Weights, multiplier: Mapping[str, float], block: int, z_ExNxO: Tensor, context: int
    ) -> Tensor:
        """Scaled logits [E, B, H, T, T] of a block, −∞ where a query must not look."""
        q, k, _ = self.heads(w, multiplier, block, z_ExNxO, context)
        logits = torch.matmul(q, k.mT) * self.attention_scale
        future = torch.ones(context, context, dtype=torch.bool, device=q.device).triu(1)
        return logits.masked_fill_(future, -math.inf)

    def workspace(self, w: Weights, multiplier: Mapping[str, float], batch: int) -> Workspace | None:
        """Preallocated buffers for the hand-written backward pass, or None where autograd must serve."""
        plain = self.norm == "layer" and not (self.qk_norm or self.rotary or self.bias)
        if not plain or self.layout.feedforward not in HAND_WRITTEN or self.layout.context > LONGEST_BY_HAND:
            return None
        return Workspace(self, w, multiplier, batch)

    def native(self, multiplier: Mapping[str, float]) -> Graph | None:
        """The network for the compiled kernels, or None where these keep too many attention weights."""
        size, s = self.layout, self.branch_multiplier
        if size.context > LONGEST_BY_HAND:
            return None
        width, gated = size.width, size.feedforward == GATED
        graph = Graph(multiplier, sequences=True)

        def read(h: int, name: str) -> int:
            return graph.normalize(h, self.norm, gain=f"g_{name}" if self.gains else None)

        def product(
            h: int, name: str, units: int, *, add: int | None = None, factor: float = 1.0, activation: str = "identity"
        ) -> int:
            bias = f"b_{name}" if self.bias else None
            return graph.dense(h, name, units, bias=bias, activation=activation, add=add, factor=factor)

        h = graph.embed("token", None if self.rotary else "position", width)
        for l in self.blocks:
            z = product(read(h, f"qkv{l}"), f"qkv{l}", 3 * width)
            if self.qk_norm or self.rotary:
                gains = (f"g_query{l}", f"g_key{l}") if self.qk_norm and self.gains else None
                norm = self.norm if self.qk_norm else None
                z = graph.heads(z, size.heads, norm=norm, gains=gains, rotary=self.rotary)
            mixed = graph.attend(z, size.heads, self.attention_scale)
            h = product(mixed, f"merge{l}", width, add=h, factor=s)
            inner = "identity" if gated else size.feedforward
            z = product(read(h, f"up{l}"), f"up{l}", size.inner * (1 + gated), activation=inner)
            h = product(graph.gate(z) if gated else z, f"down{l}", width, add=h, factor=s)
        last = read(h, "readout")
        if self.tied:
            graph.readout(last, "token", size.vocabulary, factor=self.tied_multiplier)
        else:
            product(last, "readout", size.vocabulary)
        return graph
