"""Losses with their gradient in the output, per member.

Each takes the output f_ExBxK and the targets of the batch, and returns (loss_E, ∂loss_E/∂f of shape ExBxK): the mean
over the batch, so that members stay independent. Of sequences B counts the tokens of all, and targets are [B, T].
What a loss takes by keyword are settings of the cells that choose it: they change what is trained on, not evaluations.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from muster.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[..., "tuple[Tensor, Tensor]"]
LOSSES: Registry[Loss] = Registry("loss")


@LOSSES.register("cross_entropy")
def cross_entropy(
    f_ExBxK: "Tensor",
    y: "Tensor",
    *,
    z_loss: Annotated[
        float | None,
        Field(ge=0, description="coefficient of log² Z, Z the sum of exp over the outputs; none if absent"),
    ] = None,
) -> "tuple[Tensor, Tensor]":
    """−log softmax(f)[y] in nats; y holds class indices.

    z_loss: coefficient of log² Z, Z = Σ_k exp(f_k), against drifting outputs (Chowdhery et al. 2022, Section 5).
    """
    import torch

    members, batch, _ = f_ExBxK.shape
    index = y.flatten().expand(members, batch).unsqueeze(-1)
    log_p = torch.log_softmax(f_ExBxK.float() if f_ExBxK.dtype == torch.bfloat16 else f_ExBxK, -1)
    loss_E = -log_p.gather(-1, index).mean((1, 2))
    strength = z_loss or 0.0
    log_z = f_ExBxK[..., :1] - log_p[..., :1] if strength else None
    gradient = log_p.exp_()
    if log_z is not None:
        loss_E = loss_E + strength * log_z.square().mean((1, 2))
        gradient.mul_(1 + 2 * strength * log_z)  # ∂log Z/∂f = softmax(f)
    return loss_E, gradient.scatter_add_(-1, index, log_p.new_full((1, 1, 1), -1.0).expand_as(index)).div_(batch)


@LOSSES.register("squared_error")
def squared_error(f_ExBxK: "Tensor", y: "Tensor") -> "tuple[Tensor, Tensor]":
    """½‖f − y‖², summed over outputs; class indices become one-hot targets."""
    import torch

    if y.dtype == torch.int64:
        y = torch.nn.functional.one_hot(y, f_ExBxK.shape[-1])
    residual = f_ExBxK - y.to(f_ExBxK.dtype).view(y.shape[0], -1)
    loss_E = 0.5 * residual.square().sum(-1).mean(1)
    return loss_E, residual.div_(len(y))
