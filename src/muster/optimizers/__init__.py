"""Optimizers for stacked members. Each equals its `torch.optim` namesake, member by member.

Every module of this package registers what it defines. They import torch where they compute, so that planning, which
reads their declarations, stays fast.
"""

from muster.optimizers.base import Direction, Hyper, Optimizer
from muster.registry import Registry

OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer", modules=(__name__,))
# How they step whole matrices, by the same names, for whom no network is trained: a cell that samples random matrices
# then does not depend on every network that an optimizer may be given.
DIRECTIONS: Registry[type[Direction]] = Registry("direction", modules=(__name__,))

__all__ = ["DIRECTIONS", "OPTIMIZERS", "Direction", "Hyper", "Optimizer"]
