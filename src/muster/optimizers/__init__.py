"""Optimizers for stacked members. Each equals its `torch.optim` namesake, member by member."""

from dataclasses import dataclass

from muster.registry import Registry


@dataclass
class Hyper:
    """Numbers of one weight tensor, one entry a member."""

    lr: list[float]
    eps: list[float]
    weight_decay: list[float]


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
