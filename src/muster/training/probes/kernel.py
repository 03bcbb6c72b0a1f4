"""Probe of the empirical neural tangent kernel."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from muster.training.probes import PROBES, Reading
from muster.training.probes.base import probe, rms

if TYPE_CHECKING:
    from torch import Tensor

    from muster.training.snapshot import Snapshot

NTK_ENTRIES = 6  # examples whose pairwise kernel entries are written out at initialization


def tangent_kernel(s: "Snapshot", weights: Mapping[str, "Tensor"]) -> "Tensor":
    """Empirical neural tangent kernel averaged over the K outputs, shape [E, B, B].

    Θ(x, x') = (1/K) Σ_k Σ_l r_l ⟨∂f_k(x)/∂w_l, ∂f_k(x')/∂w_l⟩ over weight matrices and biases, r_l the tensor's
    learning-rate factor: the kernel that gradient flow follows, invariant under reparametrization (Jacot et al. 2018,
    Section 4; Yang & Hu 2021, Section 3). For a matrix product the inner product factorizes into ⟨h, h'⟩⟨δ, δ'⟩.
    """
    import torch

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


@PROBES.register("ntk")
@probe("one output an example")
def ntk(s: "Snapshot") -> Iterator[Reading]:
    """Entries of the tangent kernel at initialization; later its relative change ‖Θ_t − Θ_0‖/‖Θ_0‖ (Frobenius)."""
    import torch

    at_0 = tangent_kernel(s, s.w_0)
    if s.step == 0:
        rows, columns = torch.triu_indices(*[min(NTK_ENTRIES, at_0.shape[1])] * 2)
        for entry, (i, j) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
            yield "ntk_entry", entry, at_0[:, i, j]
        return
    yield "ntk_change", 0, rms(tangent_kernel(s, s.w_t) - at_0) / rms(at_0)
