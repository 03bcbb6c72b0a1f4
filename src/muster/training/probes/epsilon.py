"""Probe of Adam's ε beside the size of gradients."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from muster.training.probes import PROBES, Reading
from muster.training.probes.base import probe, rms

if TYPE_CHECKING:
    from muster.training.snapshot import Snapshot


@PROBES.register("epsilon")
@probe()
def epsilon(s: "Snapshot") -> Iterator[Reading]:
    """Adam's √v̂ per weight matrix: its RMS (after one step, the gradient's) and the share of entries below ε."""
    if s.step == 0 or not hasattr(s.optimizer, "second_moment"):
        return
    for layer, at_t in enumerate(s.sites_t, start=1):
        root = s.optimizer.second_moment(at_t.weight).sqrt()
        yield "gradient_rms", layer, rms(root)
        eps = s.optimizer.per_member(s.optimizer.hyper[at_t.weight].eps, root)
        yield "eps_killed", layer, (root < eps).flatten(1).to(root.dtype).mean(1)
