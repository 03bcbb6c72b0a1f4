"""Optimizers for stacked members. Each equals its `torch.optim` namesake, member by member."""

from muster.registry import Registry

OPTIMIZERS: Registry[type] = Registry(
    "optimizer",
    {
        "sgd": "muster.optimizers.sgd:Sgd",
        "momentum": "muster.optimizers.sgd:Momentum",
        "adam": "muster.optimizers.adam:Adam",
        "adamw": "muster.optimizers.adam:AdamW",
        "adafactor": "muster.optimizers.adafactor:Adafactor",
    },
)
