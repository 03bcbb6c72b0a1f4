"""Families of networks: two modules each, the network and its torch-free shape, and one line here."""

from muster.models.shapes.base import Shape
from muster.registry import Registry

# Family, and the name of both modules → class of the network.
_NETWORKS = {
    "mlp": "Mlp",
    "autoencoder": "Autoencoder",
    "dag_mlp": "DagMlp",
    "convnet": "Convnet",
    "resmlp": "ResMlp",
    "transformer": "Transformer",
}
FAMILIES: Registry[type] = Registry(
    "family", {name: f"muster.models.{name}:{network}" for name, network in _NETWORKS.items()}
)
SHAPES: Registry[Shape] = Registry("family", {name: f"muster.models.shapes.{name}:SHAPE" for name in _NETWORKS})
