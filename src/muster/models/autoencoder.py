"""Autoencoder with tied weights, stacked over members: the toy model of superposition.

f = φ(m² x W Wᵀ + m_b b) with W_ExNxM, whose row i holds the M = width numbers that represent feature i of N (Elhage et
al. 2022, who write Wᵀ for it). Shapes as in `muster.models.mlp`; m and m_b are multipliers.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from muster.models.activations import ACTIVATIONS
from muster.models.base import Site
from muster.models.mlp import LossGradient, Weights
from muster.models.shapes.autoencoder import tensors


class Autoencoder:
    """Tied-weight autoencoder x → φ(x W Wᵀ + b) with `width` hidden units; rows of W start with mean square norm 1."""

    def __init__(self, cell, in_features: int, out_features: int):
        self.activation = ACTIVATIONS[cell.activation]
        self.tensors = tensors(cell, in_features, out_features)

    def sites(self, w: Weights, multiplier: Mapping[str, float], x_ExBxI: Tensor) -> list[Site]:
        """The two matrix products of a forward pass; the second result is the output f_ExBxN, after φ."""
        scale = multiplier["w1"]
        h = torch.bmm(x_ExBxI, w["w1"]) * scale
        z = torch.bmm(h, w["w1"].mT) * scale + (w["b2"] * multiplier["b2"]).unsqueeze(1)
        return [Site("w1", x_ExBxI, h), Site("w1", h, self.activation.forward_(z))]

    def output(self, w: Weights, multiplier: Mapping[str, float], x_ExBxI: Tensor) -> Tensor:
        """f_ExBxN."""
        return self.sites(w, multiplier, x_ExBxI)[-1].z_ExBxO

    def workspace(self, w: Weights, multiplier: Mapping[str, float], batch: int) -> "Workspace | None":
        """Preallocated buffers for the hand-written backward pass, or None where autograd must serve."""
        return None if self.activation.backward_ is None else Workspace(self, w, multiplier, batch)


class Workspace:
    """Forward and backward pass by hand into preallocated buffers."""

    def __init__(self, model: Autoencoder, w: Weights, multiplier: Mapping[str, float], batch: int):
        self.activation, self.multiplier = model.activation, multiplier
        members, features, width = w["w1"].shape
        self.h, self.dh = (w["w1"].new_empty(members, batch, width) for _ in range(2))
        self.f = w["w1"].new_empty(members, batch, features)

    def loss_gradients(
        self, w: Weights, x_ExBxI: Tensor, loss_gradient: LossGradient, gradients: Mapping[str, Tensor]
    ) -> Tensor:
        """Write ∂loss_e/∂w_e into `gradients`; return the loss of each member, shape [E]."""
        scale, bias_scale, weights = self.multiplier["w1"], self.multiplier["b2"], w["w1"]
        torch.baddbmm(self.h, x_ExBxI, weights, beta=0, alpha=scale, out=self.h)
        torch.baddbmm((w["b2"] * bias_scale).unsqueeze(1), self.h, weights.mT, alpha=scale, out=self.f)
        self.activation.forward_(self.f)
        loss_E, df = loss_gradient(self.f)
        self.activation.backward_(df, self.f)  # type: ignore[misc]
        torch.sum(df, 1, out=gradients["b2"]).mul_(bias_scale)
        torch.baddbmm(self.dh, df, weights, beta=0, alpha=scale, out=self.dh)
        g = gradients["w1"]
        torch.baddbmm(g, df.mT, self.h, beta=0, alpha=scale, out=g)
        g.baddbmm_(x_ExBxI.mT, self.dh, alpha=scale)
        return loss_E
