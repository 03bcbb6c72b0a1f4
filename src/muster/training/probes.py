"""Measurements taken during training on one fixed batch.

A probe is a function of a `Snapshot` that yields (name, layer, value_E). Layers count matrix products from 1; the last
one is the output f. Root mean squares run over batch and units of one member.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from muster.training.snapshot import Snapshot

Reading = tuple[str, int, Tensor]
NTK_ENTRIES = 6  # examples whose pairwise kernel entries are written out at initialization


def rms(values: Tensor) -> Tensor:
    """Root mean square over all axes but the first: shape [E]."""
    return values.flatten(1).square().mean(1).sqrt()


def coordinate_check(s: Snapshot) -> Iterator[Reading]:
    """Size of pre-activations and of their change, split into ΔW·h_t and W₀·Δh (Yang et al. 2022, Appendix D.1)."""
    for layer, (at_0, at_t) in enumerate(zip(s.sites_0, s.sites_t, strict=True), start=1):
        yield "activation_rms", layer, rms(at_t.z_ExBxO)
        if s.step == 0:
            continue
        name = at_t.weight
        yield "activation_change_rms", layer, rms(at_t.z_ExBxO - at_0.z_ExBxO)
        from_weights = torch.bmm(at_t.h_ExBxI, s.w_t[name] - s.w_0[name]) * s.multiplier[name]
        from_inputs = torch.bmm(at_t.h_ExBxI - at_0.h_ExBxI, s.w_0[name]) * s.multiplier[name]
        yield "weight_change_term", layer, rms(from_weights)
        yield "input_change_term", layer, rms(from_inputs)


def feature_change(s: Snapshot) -> Iterator[Reading]:
    """‖h_l(t) − h_l(0)‖ / ‖h_l(0)‖ of the post-activations of each hidden layer l."""
    if s.step == 0:
        return
    for layer, (at_0, at_t) in enumerate(zip(s.sites_0[1:], s.sites_t[1:], strict=True), start=1):
        yield "feature_change", layer, rms(at_t.h_ExBxI - at_0.h_ExBxI) / rms(at_0.h_ExBxI)


def alignment(s: Snapshot) -> Iterator[Reading]:
    """log_fan_in of RMS(ΔW h)/(RMS(ΔW)·RMS(h)): ½ unaligned, 1 fully aligned (Everett et al. 2024, Section 3.2)."""
    if s.step == 0:
        return
    for layer, at_t in enumerate(s.sites_t, start=1):
        change = s.w_t[at_t.weight] - s.w_0[at_t.weight]
        ratio = rms(torch.bmm(at_t.h_ExBxI, change)) / (rms(change) * rms(at_t.h_ExBxI))
        yield "alignment", layer, ratio.log() / torch.log(torch.tensor(float(change.shape[1])))


def tangent_kernel(s: Snapshot, weights: Mapping[str, Tensor]) -> Tensor:
    """Empirical neural tangent kernel averaged over the K outputs, shape [E, B, B].

    Θ(x, x') = (1/K) Σ_k Σ_l r_l ⟨∂f_k(x)/∂w_l, ∂f_k(x')/∂w_l⟩ over weight matrices and biases, r_l the tensor's
    learning-rate factor: the kernel that gradient flow follows, invariant under reparametrization (Jacot et al. 2018,
    Section 4; Yang & Hu 2021, Section 3). For a matrix product the inner product factorizes into ⟨h, h'⟩⟨δ, δ'⟩.
    """
    leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
    with torch.enable_grad():
        sites = s.model.sites(leaves, s.multiplier, s.x_ExBxI)
        f = sites[-1].z_ExBxO
        outputs = f.shape[-1]
        batch = s.x_ExBxI.shape[1]
        kernel = f.new_zeros(len(f), batch, batch)
        for k in range(outputs):
            deltas = torch.autograd.grad(
                f[..., k].sum(), [site.z_ExBxO for site in sites], retain_graph=k + 1 < outputs
            )
            for site, delta in zip(sites, deltas, strict=True):
                h = site.h_ExBxI.detach()
                factor = s.lr_factor[site.weight] * s.multiplier[site.weight] ** 2
                gram = torch.bmm(h, h.mT) * factor
                bias = site.weight.replace("w", "b")
                if bias in s.lr_factor:
                    gram = gram + s.lr_factor[bias] * s.multiplier[bias] ** 2
                kernel = kernel + gram * torch.bmm(delta, delta.mT)
    return kernel / outputs


def ntk(s: Snapshot) -> Iterator[Reading]:
    """Entries of the tangent kernel at initialization; later its relative change ‖Θ_t − Θ_0‖/‖Θ_0‖ (Frobenius)."""
    at_0 = tangent_kernel(s, s.w_0)
    if s.step == 0:
        rows, columns = torch.triu_indices(*[min(NTK_ENTRIES, at_0.shape[1])] * 2)
        for entry, (i, j) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
            yield "ntk_entry", entry, at_0[:, i, j]
        return
    yield "ntk_change", 0, rms(tangent_kernel(s, s.w_t) - at_0) / rms(at_0)


def epsilon(s: Snapshot) -> Iterator[Reading]:
    """Adam's √v̂ per weight matrix: its RMS (after one step, the gradient's) and the share of entries below ε."""
    if s.step == 0 or not hasattr(s.optimizer, "second_moment"):
        return
    for layer, at_t in enumerate(s.sites_t, start=1):
        root = s.optimizer.second_moment(at_t.weight).sqrt()
        yield "gradient_rms", layer, rms(root)
        eps = s.optimizer.per_member(s.optimizer.hyper[at_t.weight].eps, root)
        yield "eps_killed", layer, (root < eps).flatten(1).to(root.dtype).mean(1)
