"""Losses with their gradient in the output, per member.

Each takes the output f_ExBxK and the targets of the batch, and returns (loss_E, ∂loss_E/∂f of shape ExBxK): the mean
over the batch, so that members stay independent.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from muster.registry import Registry

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
LOSSES: Registry[Loss] = Registry("loss")


@LOSSES.register("cross_entropy")
def cross_entropy(f_ExBxK: Tensor, y_B: Tensor) -> tuple[Tensor, Tensor]:
    """−log softmax(f)[y] in nats; y holds class indices."""
    members, batch, _ = f_ExBxK.shape
    index = y_B.expand(members, batch).unsqueeze(-1)
    log_p = torch.log_softmax(f_ExBxK.float() if f_ExBxK.dtype == torch.bfloat16 else f_ExBxK, -1)
    loss_E = -log_p.gather(-1, index).mean((1, 2))
    gradient = log_p.exp_().scatter_add_(-1, index, log_p.new_full((1, 1, 1), -1.0).expand_as(index)).div_(batch)
    return loss_E, gradient


@LOSSES.register("squared_error")
def squared_error(f_ExBxK: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """½‖f − y‖², summed over outputs; class indices become one-hot targets."""
    if y.dtype == torch.int64:
        y = torch.nn.functional.one_hot(y, f_ExBxK.shape[-1])
    residual = f_ExBxK - y.to(f_ExBxK.dtype).view(y.shape[0], -1)
    loss_E = 0.5 * residual.square().sum(-1).mean(1)
    return loss_E, residual.div_(len(y))
