"""Gradient clipping by the norm of each member's whole gradient."""

from collections.abc import Mapping

import torch
from torch import Tensor

STABILIZER = 1e-6  # added to the norm, as torch does


def clip_gradients(gradients: Mapping[str, Tensor], limit: float) -> Tensor:
    """Scale each member's gradients in place so that their joint 2-norm is at most `limit`; the norms before, [E].

    Member by member this is `torch.nn.utils.clip_grad_norm_` (Pascanu, Mikolov & Bengio 2013, Algorithm 1). A gradient
    that is not finite stays so: its member is retired at the next look at its loss.
    """
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
    factor = (limit / (norms + STABILIZER)).clamp_(max=1.0)
    for g in gradients.values():
        g.mul_(factor.view(-1, *[1] * (g.dim() - 1)))
    return norms
