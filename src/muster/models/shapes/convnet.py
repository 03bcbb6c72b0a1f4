"""Tensors of `muster.models.convnet`."""

from typing import Any

from pydantic import Field

from muster.models import register_family
from muster.models.activations import ACTIVATIONS
from muster.models.graphs import chain, path_rate
from muster.models.shapes.base import Shape
from muster.parameterizations.scaling import Tensor
from muster.settings import Settings

DEFAULT_KERNEL = 3


class ConvnetSettings(Settings):
    """Settings that a convolutional network alone reads."""

    kernel_size: int | None = Field(None, ge=1, description="positions that a unit sees; 3 if absent")
    architecture_rate: bool | None = Field(None, description="learning rates carry its own rule, 1/kernel_size")


def tensors(cell: Any, in_features: int, out_features: int) -> list[Tensor]:
    """w1 … w(depth) [kernel·channels, width], each used at all positions, and the readout.

    With `architecture_rate` all rates carry 1/kernel_size · (depth/base_depth)^−3/2 (Chen, Wu, Wang & Hanin 2024).
    """
    kernel = cell.kernel_size or DEFAULT_KERNEL
    rate = path_rate(chain(cell.depth)) * cell.base_depth**1.5 / kernel if cell.architecture_rate else 1.0
    found: list[Tensor] = []
    for layer in range(1, cell.depth + 1):
        role, channels, gain = (
            ("input", 1, 1.0) if layer == 1 else ("hidden", cell.width, ACTIVATIONS[cell.activation].gain)
        )
        shape = (kernel * channels, cell.width)
        found.append(Tensor(f"w{layer}", role, shape, "normal", gain * cell.init_gain, rate=rate, uses=in_features))
    readout, gain = (cell.width, out_features), cell.readout_gain * cell.init_gain
    return [*found, Tensor(f"w{cell.depth + 1}", "readout", readout, "normal", gain, rate=rate)]


register_family("convnet", "muster.models.convnet:Convnet", Shape(tensors, settings=ConvnetSettings))
