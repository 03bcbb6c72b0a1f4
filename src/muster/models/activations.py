"""Activations, with the gain that keeps variance at initialization and, where cheap, a derivative from the output."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from muster.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """`backward_(grad, output)` multiplies grad in place by the derivative; where that needs the pre-activation z it is
    None, and `backward_from_input_(grad, z)` does.

    gain: standard deviation times sqrt(fan_in) that preserves the second moment: sqrt(2) for ReLU (He et al. 2015,
    eq. 10), 1 at tanh's critical point (Roberts, Yaida & Hanin 2022, ch. 5).
    """

    summary: str
    gain: float
    forward_: Callable[["Tensor"], "Tensor"]
    backward_: Callable[["Tensor", "Tensor"], "Tensor"] | None = None
    backward_from_input_: Callable[["Tensor", "Tensor"], "Tensor"] | None = None

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self.summary


def _aten(name: str) -> Callable[["Tensor", "Tensor"], "Tensor"]:
    def backward_(grad: "Tensor", output: "Tensor") -> "Tensor":
        import torch

        if name == "relu":
            return torch.ops.aten.threshold_backward.grad_input(grad, output, 0, grad_input=grad)
        return torch.ops.aten.tanh_backward.grad_input(grad, output, grad_input=grad)

    return backward_


def _gelu(z: "Tensor") -> "Tensor":
    from torch.nn.functional import gelu

    return gelu(z)


def _gelu_backward_(grad: "Tensor", z: "Tensor") -> "Tensor":
    import torch

    return torch.ops.aten.gelu_backward.grad_input(grad, z, grad_input=grad)


ACTIVATIONS: Registry[Activation] = Registry("activation")
ACTIVATIONS.register("relu")(Activation("max(z, 0)", 2**0.5, lambda z: z.relu_(), _aten("relu")))
ACTIVATIONS.register("tanh")(Activation("Hyperbolic tangent", 1.0, lambda z: z.tanh_(), _aten("tanh")))
ACTIVATIONS.register("identity")(Activation("No nonlinearity: a deep linear network", 1.0, lambda z: z, lambda g, y: g))
ACTIVATIONS.register("gelu")(Activation("Gaussian error linear unit", 2**0.5, _gelu, None, _gelu_backward_))
