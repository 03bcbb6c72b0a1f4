"""Tensors of `muster.models.mlp`."""

from typing import Any

from pydantic import Field

from muster.models import register_family
from muster.models.activations import ACTIVATIONS
from muster.models.shapes.base import Shape
from muster.parameterizations.scaling import Tensor
from muster.settings import Settings


class MlpSettings(Settings):
    """The setting that a multi-layer perceptron alone reads."""

    input_rate: float | None = Field(None, gt=0, description="factor on the learning rate of the input layer")


def tensors(cell: Any, in_features: int, out_features: int) -> list[Tensor]:
    """w1 … w(depth+1) [fan_in, fan_out], biases b and gains g of the layer normalization where the cell has them."""
    sizes = [in_features, *[cell.width] * cell.depth, out_features]
    found: list[Tensor] = []
    for layer, fan_in, fan_out in zip(range(1, cell.depth + 2), sizes, sizes[1:], strict=False):
        role = "input" if layer == 1 else "readout" if layer == cell.depth + 1 else "hidden"
        gain = 1.0 if layer == 1 or cell.norm == "layer" else ACTIVATIONS[cell.activation].gain
        if role == "readout":
            gain = cell.readout_gain
        rate = cell.input_rate or 1.0 if role == "input" else 1.0
        found.append(Tensor(f"w{layer}", role, (fan_in, fan_out), "normal", gain * cell.init_gain, rate=rate))
        if cell.bias:
            found.append(Tensor(f"b{layer}", "fixed" if role == "readout" else "vector", (fan_out,), "zeros"))
        if cell.norm == "layer" and role != "readout":
            found.append(Tensor(f"g{layer}", "vector", (fan_out,), "ones"))
    return found


register_family("mlp", "muster.models.mlp:Mlp", Shape(tensors, settings=MlpSettings, norms=("layer",), biases=True))
