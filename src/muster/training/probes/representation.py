"""Probes of what a network represents: accuracy, and how features share the directions of an autoencoder."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from muster.training.probes import PROBES, Reading
from muster.training.probes.base import probe

if TYPE_CHECKING:
    from torch import Tensor

    from muster.training.snapshot import Snapshot

SLICE = 1024  # examples in one forward pass
REPRESENTED = 0.5  # least norm of the row of a feature that counts as represented (Liu, Liu & Gore 2025)


def outputs(s: "Snapshot", x_BxI: "Tensor") -> Iterator[tuple[slice, "Tensor"]]:
    """Slices of the examples, with the output f_ExBxK on each."""
    members = len(next(iter(s.w_t.values())))
    for start in range(0, len(x_BxI), SLICE):
        part = slice(start, start + SLICE)
        x = x_BxI[part]
        yield part, s.model.output(s.w_t, s.multiplier, x.expand(members, *x.shape))


@PROBES.register("accuracy")
@probe("one output an example")
def accuracy(s: "Snapshot") -> Iterator[Reading]:
    """Share of examples whose largest output is that of their class, over the held-out and the training examples."""
    import torch

    for name, (x, y) in (("heldout_accuracy", s.heldout), ("train_accuracy", s.train)):
        right = torch.stack([(f.argmax(-1) == y[part]).double().sum(1) for part, f in outputs(s, x)]).sum(0)
        yield name, len(s.sites_t), right / len(x)


@PROBES.register("superposition")
@probe("one output an example")
def superposition(s: "Snapshot") -> Iterator[Reading]:
    """Of an autoencoder: mean ‖f − x‖² over held-out examples; share of features whose row of W is longer than
    REPRESENTED; mean squared cosine of the rows of two different features. Nothing at initialization.

    Σ_{i,j} cos² = ‖UᵀU‖² with U the normalized rows [N, M]: the Gram matrix of the M columns is the small one. The mean
    is at least (N/M − 1)/(N − 1) (Welch 1974), about 1/M for random directions.
    """
    import torch

    if s.step == 0:
        return
    x, _ = s.heldout
    errors = [(f - x[part]).square().sum((1, 2)).double() for part, f in outputs(s, x)]
    yield "reconstruction_error", 2, torch.stack(errors).sum(0) / len(x)
    w = s.w_t["w1"].double()  # the squares of a feature that died out would underflow
    norm = w.norm(dim=2, keepdim=True)
    yield "represented", 1, (norm.squeeze(2) > REPRESENTED).double().mean(1)
    unit = w / norm.clamp(min=torch.finfo(norm.dtype).tiny)
    features = unit.shape[1]
    squares = torch.bmm(unit.mT, unit).square().sum((1, 2))
    yield "squared_overlap", 1, (squares - features) / (features * (features - 1))
