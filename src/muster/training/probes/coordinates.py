"""Probes of pre-activations and features: their size, their change, and how updates align with them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from muster.training.probes import PROBES, Reading
from muster.training.probes.base import probe, rms

if TYPE_CHECKING:
    from muster.training.snapshot import Snapshot


@PROBES.register("coordinate_check")
@probe("a matrix of its own in every product")
def coordinate_check(s: "Snapshot") -> Iterator[Reading]:
    """Size of pre-activations and of their change, split into ΔW·h_t and W₀·Δh (Yang et al. 2022, Appendix D.1)."""
    import torch

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


@PROBES.register("feature_change")
@probe()
def feature_change(s: "Snapshot") -> Iterator[Reading]:
    """‖h_l(t) − h_l(0)‖ / ‖h_l(0)‖ of the post-activations of each hidden layer l."""
    if s.step == 0:
        return
    for layer, (at_0, at_t) in enumerate(zip(s.sites_0[1:], s.sites_t[1:], strict=True), start=1):
        yield "feature_change", layer, rms(at_t.h_ExBxI - at_0.h_ExBxI) / rms(at_0.h_ExBxI)


@PROBES.register("alignment")
@probe("a matrix of its own in every product")
def alignment(s: "Snapshot") -> Iterator[Reading]:
    """log_fan_in of RMS(ΔW h)/(RMS(ΔW)·RMS(h)): ½ unaligned, 1 fully aligned (Everett et al. 2024, Section 3.2)."""
    import torch

    if s.step == 0:
        return
    for layer, at_t in enumerate(s.sites_t, start=1):
        change = s.w_t[at_t.weight] - s.w_0[at_t.weight]
        ratio = rms(torch.bmm(at_t.h_ExBxI, change)) / (rms(change) * rms(at_t.h_ExBxI))
        yield "alignment", layer, ratio.log() / torch.log(torch.tensor(float(change.shape[1])))
