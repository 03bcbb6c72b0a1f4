"""Residual fully connected networks, stacked over members.

h_0 = m_1 · x W_1, then `depth` blocks h_(l+1) = h_l + s · block(norm(h_l)) with the branch multiplier s = L^(−α):
block(h) = W φ(h) with one layer (Bordelon et al. 2024, eq. 1), block(h) = W' φ(W h) with two, and then the readout sees
no φ (Dey et al. 2025, Section 3). Each W stands for its multiplier times w, and biases are added inside the branch.
Shapes as in `muster.models.mlp`.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from muster.models.activations import ACTIVATIONS
from muster.models.base import Site
from muster.models.mlp import LossGradient, Weights
from muster.models.shapes.resmlp import tensors
from muster.native import Graph
from muster.parameterizations.depth import branch_multiplier

NORM_EPSILON = 1e-5  # torch's default


class ResMlp:
    """Residual multi-layer perceptron: `depth` blocks of one or two layers on a stream of `width`, pre-norm or none."""

    def __init__(self, cell, in_features: int, out_features: int):
        self.activation, self.activation_name = ACTIVATIONS[cell.activation], cell.activation
        self.norm = cell.norm == "layer"
        self.bias = cell.bias
        self.per_block = cell.block_layers or 1
        self.branch_multiplier = branch_multiplier(cell)
        self.last = cell.depth * self.per_block + 2
        self.tensors = tensors(cell, in_features, out_features)

    @property
    def blocks(self) -> range:
        """The number of each block's first matrix."""
        return range(2, self.last, self.per_block)

    def sites(self, w: Weights, multiplier: Mapping[str, float], x_ExBxI: Tensor) -> list[Site]:
        """Every matrix product of a forward pass, in order, branches before their multiplier; the last is f_ExBxK."""
        return self._forward(w, multiplier, x_ExBxI)[0]

    def stream(self, w: Weights, multiplier: Mapping[str, float], x_ExBxI: Tensor) -> list[Tensor]:
        """The residual stream h_0 … h_depth, before the last normalization: depth + 1 tensors [E, B, width]."""
        return self._forward(w, multiplier, x_ExBxI)[1]

    def _forward(self, w: Weights, multiplier: Mapping[str, float], x_ExBxI: Tensor) -> tuple[list[Site], list[Tensor]]:
        product = partial(self._product, w, multiplier)
        sites = [product(1, x_ExBxI)]
        stream = [sites[0].z_ExBxO]
        for first in self.blocks:
            sites.append(product(first, self._read(w, multiplier, first, stream[-1])))
            if self.per_block == 2:
                sites.append(product(first + 1, self.activation.forward_(sites[-1].z_ExBxO.clone())))
            stream.append(stream[-1] + sites[-1].z_ExBxO * self.branch_multiplier)
        sites.append(product(self.last, self._read(w, multiplier, self.last, stream[-1])))
        return sites, stream

    def _product(self, w: Weights, multiplier: Mapping[str, float], number: int, h: Tensor) -> Site:
        name = f"w{number}"
        z = torch.bmm(h, w[name]) * multiplier[name]
        if self.bias:
            z = z + (w[f"b{number}"] * multiplier[f"b{number}"]).unsqueeze(1)
        return Site(name, h, z)

    def _read(self, w: Weights, multiplier: Mapping[str, float], number: int, h: Tensor) -> Tensor:
        """What the matrix that follows the stream sees: normalized, and with one layer a block activated."""
        if self.norm:
            gain = (w[f"g{number}"] * multiplier[f"g{number}"]).unsqueeze(1)
            h = torch.nn.functional.layer_norm(h, h.shape[-1:]) * gain
        return self.activation.forward_(h.clone()) if self.per_block == 1 else h

    def output(self, w: Weights, multiplier: Mapping[str, float], x_ExBxI: Tensor) -> Tensor:
        """f_ExBxK."""
        return self.sites(w, multiplier, x_ExBxI)[-1].z_ExBxO

    def workspace(self, w: Weights, multiplier: Mapping[str, float], batch: int) -> "Workspace | None":
        """Preallocated buffers for the hand-written backward pass, or None where autograd must serve."""
        known = self.activation.backward_ or self.activation.backward_from_input_
        return Workspace(self, w, multiplier, batch) if known else None

    def native(self, multiplier: Mapping[str, float]) -> Graph | None:
        """The network for the compiled kernels, or None where these do not know its activation."""
        if self.activation_name not in Graph.activations:
            return None
        shapes = {tensor.name: tensor.shape for tensor in self.tensors}
        graph, activation, single = Graph(multiplier), self.activation_name, self.per_block == 1

        def product(h: int, number: int, *, inner: bool = False, add: int | None = None, factor: float = 1.0) -> int:
            bias = f"b{number}" if self.bias else None
            found = activation if inner else "identity"
            features = shapes[f"w{number}"][1]
            return graph.dense(h, f"w{number}", features, bias=bias, activation=found, add=add, factor=factor)

        def read(h: int, number: int) -> int:
            if self.norm:
                after = activation if single else "identity"
                return graph.normalize(h, "layer", gain=f"g{number}", activation=after)
            return graph.activate(h, activation) if single else h

        h = product(graph.input(shapes["w1"][0]), 1)
        for first in self.blocks:
            z = read(h, first)
            if not single:
                z = product(z, first, inner=True)
            h = product(z, first + self.per_block - 1, add=h, factor=self.branch_multiplier)
        product(read(h, self.last), self.last)
        return graph


class Workspace:
    """Forward and backward pass by hand into preallocated buffers.

    The stream h and its gradient dh are one buffer each, updated in place; `inputs` keeps what each matrix multiplied,
    `before` the pre-activations where the derivative needs them, `normal` the normalized stream and 1/its deviation.
    """

    def __init__(self, model: ResMlp, w: Weights, multiplier: Mapping[str, float], batch: int):
        self.model, self.multiplier = model, multiplier
        members, _, width = w["w1"].shape
        outputs = w[f"w{model.last}"].shape[2]

        def buffer() -> Tensor:
            return w["w1"].new_empty(members, batch, width)

        self.h, self.dh, self.dz, self.back = buffer(), buffer(), buffer(), buffer()
        self.inputs = {number: buffer() for number in range(2, model.last + 1)}
        self.before = {number: buffer() for number in self.inputs} if model.activation.backward_ is None else {}
        self.normal: dict[int, tuple[Tensor, Tensor]] = {}
        self.zero, self.one = (h.new_full((members, batch, 1), value) for h, value in ((self.h, 0.0), (self.h, 1.0)))
        self.f = w["w1"].new_empty(members, batch, outputs)

    def loss_gradients(
        self, w: Weights, x_ExBxI: Tensor, loss_gradient: LossGradient, gradients: Mapping[str, Tensor]
    ) -> Tensor:
        """Write ∂loss_e/∂w_e into `gradients`; return the loss of each member, shape [E]."""
        model, s = self.model, self.model.branch_multiplier
        self._multiply(w, 1, x_ExBxI, self.h)
        for first in model.blocks:
            self._read(w, first)
            if model.per_block == 2:
                self._multiply(w, first, self.inputs[first], self.inputs[first + 1])
                self._activate(first + 1)
            last = first + model.per_block - 1
            self._multiply(w, last, self.inputs[last], self.h, add=True, factor=s)
        self._read(w, model.last)
        self._multiply(w, model.last, self.inputs[model.last], self.f)
        loss_E, df = loss_gradient(self.f)
        self._weights(gradients, model.last, self.inputs[model.last], df)
        self.dh.zero_()
        self._unread(w, gradients, model.last, df)
        for first in reversed(model.blocks):
            self._block_gradients(w, first, gradients)
        self._weights(gradients, 1, x_ExBxI, self.dh)
        return loss_E

    def _block_gradients(self, w: Weights, first: int, gradients: Mapping[str, Tensor]) -> None:
        """Gradients of one block's weights; adds the branch's share to dh."""
        model, s = self.model, self.model.branch_multiplier
        last = first + model.per_block - 1
        self._weights(gradients, last, self.inputs[last], self.dh, factor=s)
        if model.per_block == 1:
            self._unread(w, gradients, first, self.dh, factor=s)
            return
        self._inputs(w, last, self.dh, self.dz, factor=s)
        self._deactivate(last, self.dz)
        self._weights(gradients, first, self.inputs[first], self.dz)
        self._unread(w, gradients, first, self.dz)

    def _gain(self, w: Weights, number: int) -> Tensor:
        return (w[f"g{number}"] * self.multiplier[f"g{number}"]).unsqueeze(1)

    def _read(self, w: Weights, number: int) -> None:
        """What matrix `number` sees of the stream: normalized, and with one layer a block activated."""
        if self.model.norm:
            normal, _, inverse = torch.native_layer_norm(self.h, self.h.shape[-1:], None, None, NORM_EPSILON)
            self.normal[number] = normal, inverse
            torch.mul(normal, self._gain(w, number), out=self.inputs[number])
        else:
            self.inputs[number].copy_(self.h)
        if self.model.per_block == 1:
            self._activate(number)

    def _unread(
        self, w: Weights, gradients: Mapping[str, Tensor], number: int, dz: Tensor, *, factor: float = 1.0
    ) -> None:
        """Add to dh what the stream gets back from matrix `number`, whose result has the gradient dz · factor."""
        if self.model.per_block == 2 and not self.model.norm:
            self._inputs(w, number, dz, self.dh, add=True, factor=factor)
            return
        self._inputs(w, number, dz, self.back, factor=factor)
        if self.model.per_block == 1:
            self._deactivate(number, self.back)
        if not self.model.norm:
            self.dh.add_(self.back)
            return
        normal, inverse = self.normal[number]
        name = f"g{number}"
        torch.linalg.vecdot(self.back, normal, dim=1, out=gradients[name]).mul_(self.multiplier[name])
        self.back.mul_(self._gain(w, number))
        # The normalized stream has mean 0 and deviation 1: the derivative of its own normalization, over the deviation.
        through = torch.ops.aten.native_layer_norm_backward(
            self.back, normal, normal.shape[-1:], self.zero, self.one, None, None, [True, False, False]
        )[0]
        self.dh.addcmul_(through, inverse)

    def _activate(self, number: int) -> None:
        z = self.inputs[number]
        if self.before:
            self.before[number].copy_(z)
        h = self.model.activation.forward_(z)
        if h is not z:
            z.copy_(h)

    def _deactivate(self, number: int, grad: Tensor) -> None:
        """Multiply by the derivative of the activation that matrix `number` reads."""
        if self.before:
            self.model.activation.backward_from_input_(grad, self.before[number])  # type: ignore[misc]
        else:
            self.model.activation.backward_(grad, self.inputs[number])  # type: ignore[misc]

    def _multiply(
        self, w: Weights, number: int, h: Tensor, out: Tensor, *, add: bool = False, factor: float = 1.0
    ) -> None:
        """out (+)= factor · (multiplier · h W + multiplier_b · b)."""
        scale = self.multiplier[f"w{number}"] * factor
        torch.baddbmm(out, h, w[f"w{number}"], beta=float(add), alpha=scale, out=out)
        if self.model.bias:
            out.add_(w[f"b{number}"].unsqueeze(1), alpha=self.multiplier[f"b{number}"] * factor)

    def _weights(
        self, gradients: Mapping[str, Tensor], number: int, h: Tensor, dz: Tensor, *, factor: float = 1.0
    ) -> None:
        """Gradients of matrix and bias `number`, from its input and the gradient of what it adds to."""
        g = gradients[f"w{number}"]
        torch.baddbmm(g, h.mT, dz, beta=0, alpha=self.multiplier[f"w{number}"] * factor, out=g)
        if self.model.bias:
            torch.sum(dz, 1, out=gradients[f"b{number}"]).mul_(self.multiplier[f"b{number}"] * factor)

    def _inputs(
        self, w: Weights, number: int, dz: Tensor, out: Tensor, *, add: bool = False, factor: float = 1.0
    ) -> None:
        """Gradient of the input of matrix `number`, written or added to `out`."""
        scale = self.multiplier[f"w{number}"] * factor
        torch.baddbmm(out, dz, w[f"w{number}"].mT, beta=float(add), alpha=scale, out=out)
