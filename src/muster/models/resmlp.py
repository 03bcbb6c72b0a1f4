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
from muster.parameterizations.depth import branch_multiplier


class ResMlp:
    """Residual multi-layer perceptron: `depth` blocks of one or two layers on a stream of `width`, pre-norm or none."""

    def __init__(self, cell, in_features: int, out_features: int):
        self.activation = ACTIVATIONS[cell.activation]
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
        if self.norm or self.activation.backward_ is None:
            return None
        return Workspace(self, w, multiplier, batch)


class Workspace:
    """Forward and backward pass by hand into preallocated buffers, on one core about twice as fast as autograd.

    The stream h and its gradient dh are one buffer each, updated in place; `inputs` keeps what each matrix multiplied.
    """

    def __init__(self, model: ResMlp, w: Weights, multiplier: Mapping[str, float], batch: int):
        self.model, self.multiplier = model, multiplier
        members, _, width = w["w1"].shape
        outputs = w[f"w{model.last}"].shape[2]

        def buffer() -> Tensor:
            return w["w1"].new_empty(members, batch, width)

        self.h, self.dh, self.dz = buffer(), buffer(), buffer()
        self.inputs = {number: buffer() for number in range(2, model.last + 1)}
        self.f = w["w1"].new_empty(members, batch, outputs)

    def loss_gradients(
        self, w: Weights, x_ExBxI: Tensor, loss_gradient: LossGradient, gradients: Mapping[str, Tensor]
    ) -> Tensor:
        """Write ∂loss_e/∂w_e into `gradients`; return the loss of each member, shape [E]."""
        model, s = self.model, self.model.branch_multiplier
        self._multiply(w, 1, x_ExBxI, self.h)
        for first in model.blocks:
            self._read(first)
            if model.per_block == 2:
                self._multiply(w, first, self.inputs[first], self.inputs[first + 1])
                model.activation.forward_(self.inputs[first + 1])
            last = first + model.per_block - 1
            self._multiply(w, last, self.inputs[last], self.h, add=True, factor=s)
        self._read(model.last)
        self._multiply(w, model.last, self.inputs[model.last], self.f)
        loss_E, df = loss_gradient(self.f)
        self._weights(gradients, model.last, self.inputs[model.last], df)
        self._inputs(w, model.last, df, self.dh)
        if model.per_block == 1:
            model.activation.backward_(self.dh, self.inputs[model.last])  # type: ignore[misc]
        for first in reversed(model.blocks):
            self._block_gradients(w, first, gradients)
        self._weights(gradients, 1, x_ExBxI, self.dh)
        return loss_E

    def _block_gradients(self, w: Weights, first: int, gradients: Mapping[str, Tensor]) -> None:
        """Gradients of one block's weights; adds the branch's share to dh."""
        model, s = self.model, self.model.branch_multiplier
        last = first + model.per_block - 1
        self._weights(gradients, last, self.inputs[last], self.dh, factor=s)
        self._inputs(w, last, self.dh, self.dz, factor=s)
        model.activation.backward_(self.dz, self.inputs[last])  # type: ignore[misc]
        if model.per_block == 2:
            self._weights(gradients, first, self.inputs[first], self.dz)
            self._inputs(w, first, self.dz, self.dh, add=True)
        else:
            self.dh.add_(self.dz)

    def _read(self, number: int) -> None:
        """Copy what matrix `number` sees of the stream."""
        self.inputs[number].copy_(self.h)
        if self.model.per_block == 1:
            self.model.activation.forward_(self.inputs[number])

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
