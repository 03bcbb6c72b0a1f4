"""Optimizers for stacked members. Each equals its `torch.optim` namesake, member by member.

Every module of this package registers what it defines. They import torch where they compute, so that planning, which
reads their declarations, stays fast.
"""

from muster.optimizers.base import Hyper, Optimizer
from muster.registry import Registry

OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer", modules=(__name__,))

__all__ = ["OPTIMIZERS", "Hyper", "Optimizer"]
