"""Families of networks: two modules each, the network and, in `shapes`, what it declares without torch."""

from muster.models.shapes.base import Shape
from muster.registry import Registry

_DECLARATIONS = "muster.models.shapes"

SHAPES: Registry[Shape] = Registry("family", modules=(_DECLARATIONS,))
FAMILIES: Registry[type] = Registry("family", modules=(_DECLARATIONS,))


def register_family(name: str, network: str, shape: Shape) -> None:
    """Make a family known: its network by place, `module:Class`, and its shape."""
    FAMILIES.declare(name, network)
    SHAPES.register(name)(shape)
