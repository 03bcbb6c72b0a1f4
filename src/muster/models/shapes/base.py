"""What a family of networks declares without torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from muster.parameterizations.scaling import Tensor


def _no_more(cell: Any) -> None:
    """Nothing else to check."""


@dataclass(frozen=True)
class Shape:
    """The tensors of a family, and the settings of a cell that it reads.

    tensors: (cell, in_features, out_features) → what is trained. settings: those that other families may not be given.
    norms: kinds of normalization besides none. biases: whether the cell's `bias` is read. tokens: whether it reads
    sequences of tokens, and nothing else. check: raises ValueError where settings make no network.
    """

    tensors: Callable[[Any, int, int], list[Tensor]]
    settings: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    biases: bool = False
    tokens: bool = False
    check: Callable[[Any], None] = _no_more
