"""Fully connected networks, stacked over members.

Shapes: E members, B examples, I/O fan-in and fan-out. z_l = multiplier_l · (h_(l-1) @ W_l) [+ multiplier_b · b_l],
h_l = φ(norm(z_l)), output f = z_(depth+1).
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from muster.models.activations import ACTIVATIONS
from muster.models.base import Site
from muster.models.shapes.mlp import tensors
from muster.native import Graph

Weights = Mapping[str, Tensor]
LossGradient = Callable[[Tensor], tuple[Tensor, Tensor]]


class Mlp:
    """Multi-layer perceptron: `depth` hidden layers of `width` units, optional bias and layer normalization."""

    def __init__(self, cell, in_features: int, out_features: int):
        self.activation, self.activation_name = ACTIVATIONS[cell.activation], cell.activation
        self.norm = cell.norm == "layer"
        self.bias = cell.bias
        self.layers = range(1, cell.depth + 2)
        self.depth = cell.depth
        self.tensors = tensors(cell, in_features, out_features)

    def sites(self, w: Weights, multiplier: Mapping[str, float], x_ExBxI: Tensor) -> list[Site]:
        """Every matrix product of a forward pass, in order; the last result is the output f_ExBxK."""
        sites, h = [], x_ExBxI
        for layer in self.layers:
            name = f"w{layer}"
            z = torch.bmm(h, w[name]) * multiplier[name]
            if self.bias:
                z = z + (w[f"b{layer}"] * multiplier[f"b{layer}"]).unsqueeze(1)
            sites.append(Site(name, h, z))
            if layer <= self.depth:
                h = z
                if self.norm:
                    gain = (w[f"g{layer}"] * multiplier[f"g{layer}"]).unsqueeze(1)
                    h = torch.nn.functional.layer_norm(h, h.shape[-1:]) * gain
                h = self.activation.forward_(h if self.norm else h.clone())
        return sites

    def output(self, w: Weights, multiplier: Mapping[str, float], x_ExBxI: Tensor) -> Tensor:
        """f_ExBxK."""
        return self.sites(w, multiplier, x_ExBxI)[-1].z_ExBxO

    def workspace(self, w: Weights, multiplier: Mapping[str, float], batch: int) -> "Workspace | None":
        """Preallocated buffers for the hand-written backward pass, or None where autograd must serve."""
        if self.norm or self.activation.backward_ is None:
            return None
        return Workspace(self, w, multiplier, batch)

    def native(self, multiplier: Mapping[str, float]) -> Graph | None:
        """The network for the compiled kernels, or None where these do not know its activation."""
        if self.activation_name not in Graph.activations:
            return None
        shapes = {tensor.name: tensor.shape for tensor in self.tensors}
        graph = Graph(multiplier)
        h = graph.input(shapes["w1"][0])
        for layer in self.layers:
            bias = f"b{layer}" if self.bias else None
            activation = self.activation_name if layer <= self.depth else "identity"
            normed = self.norm and layer <= self.depth
            between = "identity" if normed else activation
            h = graph.dense(h, f"w{layer}", shapes[f"w{layer}"][1], bias=bias, activation=between)
            if normed:
                h = graph.normalize(h, "layer", gain=f"g{layer}", activation=activation)
        return graph


class Workspace:
    """Forward and backward pass by hand into preallocated buffers: no graph, no allocation, no page faults.

    On one core this runs 1.2–2 times as fast as autograd on the same stacked network (`benchmarks/engine.py`).
    """

    def __init__(self, model: Mlp, w: Weights, multiplier: Mapping[str, float], batch: int):
        self.model, self.multiplier = model, multiplier
        first = w["w1"]

        def like(layer: int) -> Tensor:
            return first.new_empty(len(first), batch, w[f"w{layer}"].shape[2])

        self.h = [first.new_empty(0), *map(like, model.layers)]
        self.dz = [first.new_empty(0), *map(like, model.layers)]

    def loss_gradients(
        self, w: Weights, x_ExBxI: Tensor, loss_gradient: LossGradient, gradients: Mapping[str, Tensor]
    ) -> Tensor:
        """Write ∂loss_e/∂w_e into `gradients`; return the loss of each member, shape [E]."""
        model, h, dz = self.model, self.h, self.dz
        h[0] = x_ExBxI
        for layer in model.layers:
            name, scale = f"w{layer}", self.multiplier[f"w{layer}"]
            if model.bias:
                bias = (w[f"b{layer}"] * self.multiplier[f"b{layer}"]).unsqueeze(1)
                torch.baddbmm(bias, h[layer - 1], w[name], alpha=scale, out=h[layer])
            else:
                torch.baddbmm(h[layer], h[layer - 1], w[name], beta=0, alpha=scale, out=h[layer])
            if layer <= model.depth:
                model.activation.forward_(h[layer])
        loss_E, dz[-1] = loss_gradient(h[-1])
        for layer in reversed(model.layers):
            name, scale = f"w{layer}", self.multiplier[f"w{layer}"]
            g = gradients[name]
            torch.baddbmm(g, h[layer - 1].mT, dz[layer], beta=0, alpha=scale, out=g)
            if model.bias:
                torch.sum(dz[layer], 1, out=gradients[f"b{layer}"]).mul_(self.multiplier[f"b{layer}"])
            if layer > 1:
                below = dz[layer - 1]
                torch.baddbmm(below, dz[layer], w[name].mT, beta=0, alpha=scale, out=below)
                model.activation.backward_(below, h[layer - 1])  # type: ignore[misc]
        return loss_E
