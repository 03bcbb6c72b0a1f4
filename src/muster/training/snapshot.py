"""What the engine hands to a probe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from muster.models.base import Site
from muster.training.losses import Loss


@dataclass
class Snapshot:
    """Network, weights and activations at initialization (`0`) and now (`t`), on the probe batch.

    train: inputs and targets of the whole training set, for probes of the loss. heldout: those of the evaluation.
    """

    model: Any
    multiplier: Mapping[str, float]
    lr_factor: Mapping[str, float]
    w_0: Mapping[str, Tensor]
    w_t: Mapping[str, Tensor]
    sites_0: list[Site]
    sites_t: list[Site]
    x_ExBxI: Tensor
    optimizer: Any
    step: int
    train: tuple[Tensor, Tensor]
    heldout: tuple[Tensor, Tensor]
    loss: Loss
