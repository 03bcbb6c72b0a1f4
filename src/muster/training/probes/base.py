"""What a probe declares. Planning reads it, so modules of probes import torch where they compute."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from muster.models.shapes.base import Trait

if TYPE_CHECKING:
    from torch import Tensor

    from muster.training.snapshot import Snapshot

Reading = tuple[str, int, "Tensor"]
Read = Callable[["Snapshot"], Iterator[Reading]]


class ProbeCost(NamedTuple):
    """What one reading after step 0 takes: gradients, of all members side by side, and examples in all of them."""

    gradients: float
    examples: float


@dataclass(frozen=True)
class Probe:
    """A function of a `Snapshot` that yields (name, layer, value_E).

    Layers count matrix products from 1; the last one is the output f. needs: what not every network has. cost: of a
    probe that takes longer than a few steps of training, by the number of training examples.
    """

    read: Read
    needs: tuple[Trait, ...] = ()
    cost: Callable[[int], ProbeCost] | None = None

    def __call__(self, snapshot: "Snapshot") -> Iterator[Reading]:
        return self.read(snapshot)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.read.__doc__


def probe(*needs: Trait, cost: Callable[[int], ProbeCost] | None = None) -> Callable[[Read], Probe]:
    """Makes a probe of a function."""
    return lambda read: Probe(read, needs, cost)


def rms(values: "Tensor") -> "Tensor":
    """Root mean square over all axes but the first: shape [E]."""
    return values.flatten(1).square().mean(1).sqrt()
