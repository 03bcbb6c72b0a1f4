"""What a family of networks declares without torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from muster.parameterizations.scaling import Factor, Tensor
from muster.settings import Settings

# What probes may need of a network.
Trait = Literal["one output an example", "a matrix of its own in every product", "a residual stream"]
PLAIN: tuple[Trait, ...] = ("one output an example", "a matrix of its own in every product")
RESIDUAL: tuple[Trait, ...] = (*PLAIN, "a residual stream")


def _no_more(cell: Any) -> None:
    """Nothing else to check."""


@dataclass(frozen=True)
class Shape:
    """The tensors of a family, and the settings of a cell that it reads.

    tensors: (cell, in_features, out_features) → what is trained. factors: the same of what else multiplies in a forward
    pass. settings: those that other families may not be given. norms: kinds of normalization besides none. biases:
    whether the cell's `bias` is read. tokens: whether it reads sequences of tokens, and nothing else. traits: what
    probes may take for granted. check: raises ValueError where settings make no network. example: settings that a cell
    of this family must have, as `muster show` takes them where nothing else is asked for.
    """

    tensors: Callable[[Any, int, int], list[Tensor]]
    factors: Callable[[Any, int, int], list[Factor]] = lambda cell, in_features, out_features: []
    settings: type[BaseModel] = Settings
    norms: tuple[str, ...] = ()
    biases: bool = False
    tokens: bool = False
    traits: Callable[[Any], tuple[Trait, ...]] = lambda cell: PLAIN
    check: Callable[[Any], None] = _no_more
    example: Mapping[str, Any] = field(default_factory=dict)
