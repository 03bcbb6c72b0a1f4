"""What the kernels' products mean in plain torch: each factor is rounded, forward and backward."""

from typing import Any

import torch
from torch import Tensor


def rounded(values: Tensor) -> Tensor:
    """The nearest numbers of bfloat16, ties to even, in the dtype of `values`."""
    return values.float().bfloat16().to(values.dtype)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, w: Tensor, scale: float) -> Tensor:
        factors = rounded(h), rounded(w)
        ctx.save_for_backward(*factors)
        ctx.scale = scale
        return factors[0] @ factors[1] * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        h, w = ctx.saved_tensors
        dz = rounded(gradients[0])
        return dz @ w.T * ctx.scale, h.T @ dz * ctx.scale, None


def multiply(h: Tensor, w: Tensor, scale: float) -> Tensor:
    """scale · h w with all three products of the layer on rounded factors, which the scale is none of."""
    found: Tensor = _Product.apply(h, w, scale)  # type: ignore[no-untyped-call]
    return found
