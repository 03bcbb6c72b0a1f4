"""Probes of depth: how far blocks and the network leave their linearization, and how the residual stream grows.

All in float64: the distance of a block from its linearization is a difference of small differences.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from muster.training.probes import PROBES, Reading
from muster.training.probes.base import probe, rms

if TYPE_CHECKING:
    from torch import Tensor

    from muster.training.snapshot import Snapshot

Weights = Mapping[str, "Tensor"]

MOST_BLOCKS = 8  # linearized: each costs a few passes through the whole network


def double(weights: Weights) -> dict[str, "Tensor"]:
    return {name: w.double() for name, w in weights.items()}


def distance(function: Callable[[Weights], "Tensor"], w_0: Weights, w_t: Weights) -> "Tensor":
    """‖f(w_t) − f_lin‖ / ‖f(w_t) − f(w_0)‖ with f_lin = f(w_0) + J·(w_t − w_0), one number a member: shape [E].

    function maps weights {name: [E, ...]} to [E, ...], each member's to its own. NaN where it does not change.
    """
    import torch

    leaves = {name: w.detach().requires_grad_() for name, w in w_0.items()}
    with torch.enable_grad():
        f_0 = function(leaves)
        # u ↦ uᵀJ is linear, so that its derivative along Δw is J·Δw: forward mode from two backward passes.
        u = torch.zeros_like(f_0, requires_grad=True)
        pulled = torch.autograd.grad(f_0, list(leaves.values()), u, create_graph=True)
    (tangent,) = torch.autograd.grad(pulled, u, [w_t[name] - w_0[name] for name in leaves])
    moved = function(w_t) - f_0.detach()
    return rms(moved - tangent) / rms(moved)


def blocks(model: Any) -> list[list[str]]:
    """Names of the tensors of every residual block; of every hidden matrix in a family that has no blocks."""
    if not hasattr(model, "blocks"):
        return [[spec.name] for spec in model.tensors if spec.role == "hidden"]
    inside = [spec.name for spec in model.tensors if spec.branch]
    size = len(inside) // len(model.blocks)  # blocks are alike, and their tensors stand in order
    return [inside[first : first + size] for first in range(0, len(inside), size)]


def chosen(count: int) -> list[int]:
    """The blocks that are linearized, from 1: all, or MOST_BLOCKS evenly spread ones, the first and last among them."""
    if count <= MOST_BLOCKS:
        return list(range(1, count + 1))
    return [1 + round(i * (count - 1) / (MOST_BLOCKS - 1)) for i in range(MOST_BLOCKS)]


@PROBES.register("linearization")
@probe("one output an example")
def linearization(s: "Snapshot") -> Iterator[Reading]:
    """Relative distance from linearization: of blocks (`block_linearization_distance`, layer b of 1 … L, eight of them
    where there are more) and of the whole network (`linearization_distance`, layer 0). Nothing at initialization.

    A block's: with h_L, the end of the residual stream, as a function of the tensors θ_b of block b alone, others at
    their initial values, ‖h_L(θ_b(t)) − h_lin‖ / ‖h_L(θ_b(t)) − h_L(θ_b(0))‖, h_lin its first-order expansion about
    θ_b(0). This is the ratio whose limit tells a lazy layer from one that learns features (Dey et al. 2025, Section 6);
    the figure there comes from one entry of one branch, in its first matrix, after one step, relative to the branch. Of
    a branch L^(−α)·W₂φ(W₁h) with steps Δw ∝ L^(α−1), which keep the change of h_L of order 1, the first order is
    L^(−α)·Δw and the second L^(−α)·Δw²: the ratio is ∝ L^(α−1). Families without blocks: each hidden matrix counts as
    one, and the input of the readout as h_L.

    The network's: of its output as a function of all tensors.
    """
    if s.step == 0:
        return
    w_0, w_t, x = double(s.w_0), double(s.w_t), s.x_ExBxI.double()

    def output(weights: Weights) -> "Tensor":
        return s.model.sites(weights, s.multiplier, x)[-1].z_ExBxO

    def end(weights: Weights) -> "Tensor":
        if hasattr(s.model, "stream"):
            return s.model.stream(weights, s.multiplier, x)[-1]
        return s.model.sites(weights, s.multiplier, x)[-1].h_ExBxI

    yield "linearization_distance", 0, distance(output, w_0, w_t)
    groups = blocks(s.model)
    for b in chosen(len(groups)):
        at_0, at_t = ({name: w[name] for name in groups[b - 1]} for w in (w_0, w_t))
        yield "block_linearization_distance", b, distance(lambda own: end({**w_0, **own}), at_0, at_t)


@PROBES.register("residual_growth")
@probe("a residual stream")
def residual_growth(s: "Snapshot") -> Iterator[Reading]:
    """The residual stream h_b after b = 0 … L blocks (`layer`): `residual_rms`, its root mean square, and after steps
    `residual_change_rms`, that of h_b(t) − h_b(0). Of its end h_L the same as layer 0 of `final_residual_rms` and
    `final_residual_change_rms`, so that networks of all depths share a layer.

    Without a rule of depth both grow with b (Yang et al. 2024, Tensor Programs VI; Dey et al. 2025, Section 4).
    """
    x = s.x_ExBxI.double() if s.x_ExBxI.is_floating_point() else s.x_ExBxI  # tokens stay integers
    streams = [s.model.stream(double(w), s.multiplier, x) for w in (s.w_0, s.w_t)]
    sizes = {"residual_rms": [rms(h) for h in streams[1]]}
    if s.step > 0:
        sizes["residual_change_rms"] = [rms(h_t - h_0) for h_0, h_t in zip(*streams, strict=True)]
    for name, values in sizes.items():
        for b, value in enumerate(values):
            yield name, b, value
        yield f"final_{name}", 0, values[-1]
