"""Families of networks: two modules each, the network and, in `shapes`, what it declares without torch."""

from typing import Any

from muster.data import dimensions
from muster.models.shapes.base import Shape
from muster.parameterizations.scaling import Tensor
from muster.registry import Registry

_DECLARATIONS = "muster.models.shapes"

SHAPES: Registry[Shape] = Registry("family", modules=(_DECLARATIONS,))
FAMILIES: Registry[type] = Registry("family", modules=(_DECLARATIONS,))


def register_family(name: str, network: str, shape: Shape) -> None:
    """Make a family known: its network by place, `module:Class`, and its shape."""
    FAMILIES.declare(name, network)
    SHAPES.register(name)(shape)


def trained_tensors(cell: Any) -> list[Tensor]:
    """What the cell's network trains."""
    shape = dimensions(cell.data, cell.data_options)
    return SHAPES[cell.family].tensors(cell, shape.features, shape.outputs)
