"""What probes cost that take longer than a few steps of training. Planning asks, so this file imports no torch."""

from collections.abc import Callable
from typing import NamedTuple


class ProbeCost(NamedTuple):
    """What one reading after step 0 takes: gradients, of all members side by side, and examples in all of them."""

    gradients: float
    examples: float


def _batch_hessian(examples: int) -> ProbeCost:
    """Two gradients a product: 14 products of Lanczos on the whole training set, 10 on each of 8 batches of every size,
    256 on single examples. Lanczos' numbers were counted on digits at widths 32 and 96."""
    sizes = (examples // 16).bit_length()  # 4, 8, … up to a quarter of the set
    return ProbeCost(2.0 * (14 + 256 + 80 * sizes), 2.0 * (14 * examples + 256 + 80 * 4 * (2**sizes - 1)))


# Probe → its cost by the number of training examples.
PROBE_COSTS: dict[str, Callable[[int], ProbeCost]] = {"batch_hessian": _batch_hessian}
