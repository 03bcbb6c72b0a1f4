"""Families of networks: one module and one line here each."""

from muster.registry import Registry

FAMILIES: Registry[type] = Registry(
    "family",
    {"mlp": "muster.models.mlp:Mlp", "autoencoder": "muster.models.autoencoder:Autoencoder"},
)
