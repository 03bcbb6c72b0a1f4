"""Hessian–vector products and the largest eigenvalue of a Hessian.

Products are central differences of gradients in float64, so that any loss and family serve; eigenvalues
are Lanczos' (Golub & Van Loan, Matrix Computations, 10.1) with full reorthogonalization, all members side by side.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from muster.training.losses import Loss

STEP = 1e-5  # of a central difference along a unit vector: truncation and rounding are both about 1e-10
ITERATIONS = 40
TOLERANCE = 1e-5  # relative change of the eigenvalue at which Lanczos stops

Product = Callable[[Tensor], Tensor]


def flatten(tensors: Mapping[str, Tensor]) -> Tensor:
    """[E, N] from tensors [E, ...]."""
    return torch.cat([t.flatten(1) for t in tensors.values()], 1)


def unflatten(vector_ExN: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    sizes = [w[0].numel() for w in like.values()]
    parts = vector_ExN.split(sizes, 1)
    return {name: part.view_as(w) for (name, w), part in zip(like.items(), parts, strict=True)}


class Network(Protocol):
    """What a Hessian needs: a snapshot has it, and so has a stack in training."""

    @property
    def model(self) -> Any: ...
    @property
    def multiplier(self) -> Mapping[str, float]: ...
    @property
    def loss(self) -> Loss: ...


def hessian_product(s: Network, weights: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Product:
    """v [E, N] ↦ Hv of each member's mean loss over the examples x [B, I], y [B, ...]; weights in float64."""

    def gradient(at_ExN: Tensor) -> Tensor:
        leaves = {name: w.requires_grad_() for name, w in unflatten(at_ExN, weights).items()}
        with torch.enable_grad():
            f = s.model.output(leaves, s.multiplier, x.expand(len(at_ExN), *x.shape))
        _, df = s.loss(f.detach().clone(), y)
        return flatten(dict(zip(leaves, torch.autograd.grad(f, list(leaves.values()), df), strict=True)))

    centre = flatten(weights)

    def product(v_ExN: Tensor) -> Tensor:
        step = STEP / v_ExN.norm(dim=1, keepdim=True).clamp_min(1e-300)
        return (gradient(centre + step * v_ExN) - gradient(centre - step * v_ExN)) / (2 * step)

    return product


def piecewise_product(s: Network, weights: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Product:
    """The same without the kinks of ReLU, across which a difference of gradients jumps: H = JᵀFJ + Σ ∂L/∂f ∇²f.

    Derivatives by weights are exact (Pearlmutter 1994); only F, the Hessian in the smooth outputs f, is a difference.
    """
    leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
    tensors = list(leaves.values())
    with torch.enable_grad():
        f = s.model.output(leaves, s.multiplier, x.expand(len(tensors[0]), *x.shape))
        cotangent = torch.zeros_like(f, requires_grad=True)
        back = torch.autograd.grad(f, tensors, cotangent, create_graph=True)
        gradient = torch.autograd.grad(f, tensors, s.loss(f.detach().clone(), y)[1], create_graph=True)

    def product(v_ExN: Tensor) -> Tensor:
        parts = list(unflatten(v_ExN, leaves).values())
        (u,) = torch.autograd.grad(back, cotangent, parts, retain_graph=True)
        step = STEP / u.flatten(1).norm(dim=1).clamp_min(1e-300)[:, None, None]
        ends = [s.loss(f.detach() + sign * step * u, y)[1].clone() for sign in (1, -1)]
        first = torch.autograd.grad(f, tensors, (ends[0] - ends[1]) / (2 * step), retain_graph=True)
        second = torch.autograd.grad(gradient, tensors, parts, retain_graph=True)
        return flatten({name: a + b for name, a, b in zip(leaves, first, second, strict=True)})

    return product


def largest_eigenvalue(product: Product, start_ExN: Tensor) -> tuple[Tensor, Tensor]:
    """Algebraically largest eigenvalue [E] and its unit vector [E, N] of a symmetric operator, by Lanczos."""
    basis = [start_ExN / start_ExN.norm(dim=1, keepdim=True)]
    diagonal: list[Tensor] = []
    side: list[Tensor] = []
    value = start_ExN.new_full((len(start_ExN),), torch.inf)
    while True:
        w = product(basis[-1])
        diagonal.append((w * basis[-1]).sum(1))
        span = torch.stack(basis, 1)
        for _ in range(2):  # twice is enough (Parlett)
            w = w - torch.einsum("ekn,ek->en", span, torch.einsum("ekn,en->ek", span, w))
        tridiagonal = torch.diag_embed(torch.stack(diagonal, 1))
        if side:
            beside = torch.stack(side, 1)
            tridiagonal += torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
        values, vectors = torch.linalg.eigh(tridiagonal)
        change, value = (values[:, -1] - value).abs(), values[:, -1]
        side.append(w.norm(dim=1))
        settled = bool((change <= TOLERANCE * value.abs()).all())
        if settled or len(basis) == min(ITERATIONS, start_ExN.shape[1]):
            return value, torch.einsum("ekn,ek->en", span, vectors[:, :, -1])
        basis.append(w / side[-1][:, None])
