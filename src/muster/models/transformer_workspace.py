"""Forward and backward pass of the plain transformer by hand into preallocated buffers.

For layer normalization, learned positions, no biases and no normalized queries. The gains of a normalization multiply
its result or the matrix that follows, h·diag(g) W = h (diag(g) W), whichever is smaller.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from muster.models.mlp import LossGradient, Weights
from muster.models.shapes.transformer import Layout

NORM_EPSILON = 1e-5
_aten = torch.ops.aten


class Unit(NamedTuple):
    """`forward(z, out)` writes φ(z); `backward_(grad, z, out)` multiplies grad in place by the derivative."""

    forward: Callable[[Tensor, Tensor], Tensor]
    backward_: Callable[[Tensor, Tensor], Tensor]


HAND_WRITTEN = {
    "gelu": Unit(
        lambda z, out: _aten.gelu.out(z, out=out),
        lambda grad, z: _aten.gelu_backward.grad_input(grad, z, grad_input=grad),
    ),
    "relu": Unit(
        lambda z, out: torch.clamp(z, min=0, out=out),
        lambda grad, z: _aten.threshold_backward.grad_input(grad, z, 0, grad_input=grad),
    ),
    "relu2": Unit(
        lambda z, out: torch.mul(z.relu_(), z, out=out),
        lambda grad, z: grad.mul_(z).mul_(2),  # z holds max(z, 0) by then
    ),
}


def lookup(x_ExBxT: Tensor, token_ExKxI: Tensor) -> Tensor:
    """Rows of the flattened table [E·K, width] that the tokens of each member name."""
    members, vocabulary = token_ExKxI.shape[:2]
    return x_ExBxT + vocabulary * torch.arange(members, device=x_ExBxT.device).view(-1, 1, 1)


class Normalized(NamedTuple):
    """A layer normalization: its input h, its result, and the mean and reciprocal deviation of each token."""

    h: Tensor
    y: Tensor
    mean: Tensor
    rstd: Tensor

    @classmethod
    def of(cls, h: Tensor) -> "Normalized":
        return cls(h, *torch.native_layer_norm(h, h.shape[-1:], None, None, NORM_EPSILON))

    def backward(self, dy: Tensor) -> Tensor:
        shape = self.h.shape[-1:]
        return _aten.native_layer_norm_backward(
            dy, self.h, shape, self.mean, self.rstd, None, None, (True, False, False)
        )[0]


class Read(NamedTuple):
    """What a matrix reads after a normalization, and that matrix; one of them holds the gains."""

    normalized: Normalized
    y: Tensor
    matrix: Tensor


class Decoder(Protocol):
    """What of a transformer decides its forward pass, beside its weights."""

    layout: Layout
    blocks: range
    gains: bool
    tied: bool
    attention_scale: float
    branch_multiplier: float
    tied_multiplier: float


class Workspace:
    """Buffers of one stack. The stream has one after every branch, its gradient a single one, updated in place."""

    def __init__(self, model: Decoder, w: Weights, multiplier: Mapping[str, float], batch: int):
        self.model, self.multiplier = model, multiplier
        size, like = model.layout, w["token"]
        self.unit = HAND_WRITTEN[size.feedforward]
        members, tokens, width = len(like), batch * size.context, size.width
        self.batches = members * batch

        def buffer(units: int) -> Tensor:
            return like.new_empty(members, tokens, units)

        def heads(count: int, units: int) -> Tensor:
            return like.new_empty(count, self.batches, size.heads, size.context, units)

        self.stream = [buffer(width) for _ in range(2 * size.depth + 1)]
        self.qkv = {l: heads(3, size.head_width) for l in model.blocks}
        self.attention = {l: heads(1, size.context)[0] for l in model.blocks}
        self.mixed = {l: buffer(width) for l in model.blocks}
        self.z = {l: buffer(size.inner) for l in model.blocks}
        self.h = {l: buffer(size.inner) for l in model.blocks}
        self.f = buffer(size.vocabulary)
        self.d_stream, self.d_read, self.d_inner = buffer(width), buffer(width), buffer(size.inner)
        self.d_qkv, self.z_qkv = heads(3, size.head_width), buffer(3 * width)
        self.d_attention, self.value = heads(1, size.context)[0], heads(1, size.head_width)[0]
        self.mask = like.new_full((size.context, size.context), float("-inf")).triu_(1)

    def loss_gradients(
        self, w: Weights, x_ExBxT: Tensor, loss_gradient: LossGradient, gradients: Mapping[str, Tensor]
    ) -> Tensor:
        """Write ∂loss_e/∂w_e into `gradients`; return the loss of each member, shape [E]."""
        model, m, h = self.model, self.multiplier, self.stream
        rows, token = lookup(x_ExBxT, w["token"]), w["token"]
        members, vocabulary, width = token.shape
        by_position = (members, -1, model.layout.context, width)
        torch.mul(token.view(-1, width)[rows.flatten()].view(h[0].shape), m["token"], out=h[0])
        h[0].view(by_position).add_(w["position"].unsqueeze(1), alpha=m["position"])

        self.read: dict[str, Read] = {}
        for l in model.blocks:
            self._attention_branch(w, l)
            self._feedforward_branch(w, l)
        last = self._normalize(w, "readout", h[-1])
        scale = m["token"] * model.tied_multiplier if model.tied else m["readout"]
        torch.baddbmm(self.f, last.y, last.matrix, beta=0, alpha=scale, out=self.f)

        loss_E, df = loss_gradient(self.f)
        d_tied = self._backward_read(w, "readout", df, gradients, scale)
        self.d_stream.copy_(last.normalized.backward(self.d_read))
        for l in reversed(model.blocks):
            self._feedforward_gradients(w, l, gradients)
            self._attention_gradients(w, l, gradients)
        torch.sum(self.d_stream.view(by_position), 1, out=gradients["position"]).mul_(m["position"])
        found = _aten.embedding_dense_backward(
            self.d_stream.view(-1, width), rows.flatten(), members * vocabulary, -1, False
        )
        torch.mul(found.view_as(token), m["token"], out=gradients["token"])
        if d_tied is not None:
            gradients["token"].add_(d_tied.mT)
        return loss_E

    def _normalize(self, w: Weights, name: str, h: Tensor) -> Read:
        """Normalize before the matrix of that name."""
        matrix = self._matrix(w, name)
        normalized = Normalized.of(h)
        y = normalized.y
        if self.model.gains:
            gain = self._gain(w, name)
            if self._gains_on_tokens(matrix):
                y = y * gain.unsqueeze(1)
            else:
                matrix = matrix * gain.unsqueeze(2)
        self.read[name] = Read(normalized, y, matrix)
        return self.read[name]

    def _matrix(self, w: Weights, name: str) -> Tensor:
        return w["token"].mT if name == "readout" and self.model.tied else w[name]

    def _gain(self, w: Weights, name: str) -> Tensor:
        return w[f"g_{name}"] * self.multiplier[f"g_{name}"]

    def _gains_on_tokens(self, matrix: Tensor) -> bool:
        return self.f.shape[1] < matrix.shape[2]

    def _backward_read(
        self, w: Weights, name: str, dz: Tensor, gradients: Mapping[str, Tensor], scale: float
    ) -> Tensor | None:
        """Gradients of a matrix after a normalization and of its gain; d_read becomes that of what was normalized.

        Returns the gradient of a tied readout [E, width, vocabulary], which is no tensor of its own.
        """
        tied = name == "readout" and self.model.tied
        normalized, y, matrix = self.read[name]
        g = torch.empty_like(matrix) if tied else gradients[name]
        torch.baddbmm(g, y.mT, dz, beta=0, alpha=scale, out=g)
        torch.baddbmm(self.d_read, dz, matrix.mT, beta=0, alpha=scale, out=self.d_read)
        if self.model.gains:
            gain, d_gain = self._gain(w, name), gradients[f"g_{name}"]
            if self._gains_on_tokens(matrix):
                torch.sum(self.d_read * normalized.y, 1, out=d_gain)
                self.d_read.mul_(gain.unsqueeze(1))
            else:
                torch.sum(g * self._matrix(w, name), 2, out=d_gain)
                g.mul_(gain.unsqueeze(2))
            d_gain.mul_(self.multiplier[f"g_{name}"])
        return g if tied else None

    def _attention_branch(self, w: Weights, l: int) -> None:
        before, after, model = self.stream[2 * l - 2], self.stream[2 * l - 1], self.model
        read = self._normalize(w, f"qkv{l}", before)
        z = self.z_qkv
        torch.baddbmm(z, read.y, read.matrix, beta=0, alpha=self.multiplier[f"qkv{l}"], out=z)
        self.qkv[l].copy_(self._by_head(z, 3).permute(2, 0, 3, 1, 4))
        q, k, v = (part.flatten(0, 1) for part in self.qkv[l])
        weights = self.attention[l].flatten(0, 1)
        torch.baddbmm(self.mask, q, k.mT, alpha=model.attention_scale, out=weights)
        torch.softmax(weights, -1, out=weights)
        torch.bmm(weights, v, out=self.value.flatten(0, 1))
        self._by_head(self.mixed[l], 1)[:, :, 0].copy_(self.value.transpose(1, 2))
        torch.baddbmm(before, self.mixed[l], w[f"merge{l}"], alpha=self._branch(f"merge{l}"), out=after)

    def _attention_gradients(self, w: Weights, l: int, gradients: Mapping[str, Tensor]) -> None:
        self._backward_branch(w, f"merge{l}", self.mixed[l], self.d_read, gradients)
        value, weights = self.value.flatten(0, 1), self.attention[l].flatten(0, 1)
        self.value.copy_(self._by_head(self.d_read, 1)[:, :, 0].transpose(1, 2))
        q, k, v = (part.flatten(0, 1) for part in self.qkv[l])
        dq, dk, dv = (part.flatten(0, 1) for part in self.d_qkv)
        d_weights = self.d_attention.flatten(0, 1)
        torch.bmm(weights.mT, value, out=dv)
        torch.bmm(value, v.mT, out=d_weights)
        _aten._softmax_backward_data.out(d_weights, weights, -1, weights.dtype, grad_input=d_weights)
        scale = self.model.attention_scale
        torch.baddbmm(dq, d_weights, k, beta=0, alpha=scale, out=dq)
        torch.baddbmm(dk, d_weights.mT, q, beta=0, alpha=scale, out=dk)
        self._by_head(self.z_qkv, 3).copy_(self.d_qkv.permute(1, 3, 0, 2, 4))
        name = f"qkv{l}"
        self._backward_read(w, name, self.z_qkv, gradients, self.multiplier[name])
        self.d_stream.add_(self.read[name].normalized.backward(self.d_read))

    def _feedforward_branch(self, w: Weights, l: int) -> None:
        before, after, z = self.stream[2 * l - 1], self.stream[2 * l], self.z[l]
        read = self._normalize(w, f"up{l}", before)
        torch.baddbmm(z, read.y, read.matrix, beta=0, alpha=self.multiplier[f"up{l}"], out=z)
        self.unit.forward(z, self.h[l])
        torch.baddbmm(before, self.h[l], w[f"down{l}"], alpha=self._branch(f"down{l}"), out=after)

    def _feedforward_gradients(self, w: Weights, l: int, gradients: Mapping[str, Tensor]) -> None:
        self._backward_branch(w, f"down{l}", self.h[l], self.d_inner, gradients)
        self.unit.backward_(self.d_inner, self.z[l])
        name = f"up{l}"
        self._backward_read(w, name, self.d_inner, gradients, self.multiplier[name])
        self.d_stream.add_(self.read[name].normalized.backward(self.d_read))

    def _backward_branch(self, w: Weights, name: str, h: Tensor, dh: Tensor, gradients: Mapping[str, Tensor]) -> None:
        """Gradients of the matrix that writes to the stream and, into dh, of what it multiplied."""
        g, scale = gradients[name], self._branch(name)
        torch.baddbmm(g, h.mT, self.d_stream, beta=0, alpha=scale, out=g)
        torch.baddbmm(dh, self.d_stream, w[name].mT, beta=0, alpha=scale, out=dh)

    def _branch(self, name: str) -> float:
        return self.multiplier[name] * self.model.branch_multiplier

    def _by_head(self, z_ExNxO: Tensor, count: int) -> Tensor:
        """[E·B, T, count, H, D] view."""
        size = self.model.layout
        return z_ExNxO.view(self.batches, size.context, count, size.heads, size.head_width)
