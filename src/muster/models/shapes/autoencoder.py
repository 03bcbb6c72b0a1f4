"""Tensors of `muster.models.autoencoder`."""

from typing import Any

from muster.models import register_family
from muster.models.shapes.base import Shape
from muster.parameterizations.scaling import Tensor


def tensors(cell: Any, in_features: int, out_features: int) -> list[Tensor]:
    """w1 [features, width], which encodes and decodes, and the bias b2 [features] of the output."""
    # A standard deviation of gain/√fan_in that is 1/√width.
    gain = (in_features / cell.width) ** 0.5 * cell.init_gain
    return [
        Tensor("w1", "input", (in_features, cell.width), "normal", gain, uses=2),
        Tensor("b2", "fixed", (out_features,), "zeros"),
    ]


register_family(
    "autoencoder",
    "muster.models.autoencoder:Autoencoder",
    Shape(tensors, traits=lambda cell: ("one output an example",), example={"data": "sparse_features"}),
)
