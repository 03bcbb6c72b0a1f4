"""Adam on stacks of weights, for small networks that are trained outside the engine."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def adam(
    weights: "Tensor",
    moments: "list[Tensor]",
    gradient: "Tensor",
    update: int,
    rate: "Tensor | float",
    decay: float = 0,
) -> None:
    """Update number `update` (from 1) in place, with the usual constants; decay · w is added to the gradient first.

    D. P. Kingma and J. Ba, Adam: a method for stochastic optimization (2015), Algorithm 1. moments: mean and mean
    square of the gradients so far, 0 at the start.
    """
    mean, square = moments
    if decay:
        gradient = gradient.add_(weights, alpha=decay)
    mean.mul_(0.9).add_(gradient, alpha=0.1)
    square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
    denominator = square.sqrt().div_(math.sqrt(1 - 0.999**update)).add_(1e-8)
    weights.sub_(mean.div(denominator).mul_(rate / (1 - 0.9**update)))
