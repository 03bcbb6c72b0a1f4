"""Families of networks: two modules, the network and its torch-free shapes, and two lines here each."""

from collections.abc import Callable
from typing import Any

from muster.parameterizations.scaling import Tensor
from muster.registry import Registry

FAMILIES: Registry[type] = Registry(
    "family",
    {
        "mlp": "muster.models.mlp:Mlp",
        "autoencoder": "muster.models.autoencoder:Autoencoder",
        "dag_mlp": "muster.models.dag_mlp:DagMlp",
        "convnet": "muster.models.convnet:Convnet",
        "resmlp": "muster.models.resmlp:ResMlp",
        "transformer": "muster.models.transformer:Transformer",
    },
)

# What each family trains, declared without torch: (cell, in_features, out_features) → tensors.
SHAPES: Registry[Callable[[Any, int, int], list[Tensor]]] = Registry(
    "family",
    {
        "mlp": "muster.models.shapes.mlp:tensors",
        "autoencoder": "muster.models.shapes.autoencoder:tensors",
        "resmlp": "muster.models.shapes.resmlp:tensors",
        "transformer": "muster.models.shapes.transformer:tensors",
        "dag_mlp": "muster.models.shapes.dag_mlp:tensors",
        "convnet": "muster.models.shapes.convnet:tensors",
    },
)
