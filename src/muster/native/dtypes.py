"""The number formats that kernels exist for. A cell names one, so its fingerprint covers the sources of no other."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from muster.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Kernels:
    """Sources of one number format, and what the check at load holds them against.

    source: the file that is compiled; folders: all sources, in which it lies. needs: macros of which the compiler
    predefines one where the CPU has the format's products; empty: any CPU. multiply: scale · [N, I] [I, O] of
    activations and weights as they mean it. tolerance: of the check, relative to each tensor's largest entry.
    """

    source: Path
    folders: tuple[Path, ...]
    multiply: "Callable[[Tensor, Tensor, float], Tensor]"
    tolerance: float
    needs: tuple[str, ...] = ()


KERNELS: Registry[Callable[[], Kernels]] = Registry("dtype")
KERNELS.declare("float32", "muster.native.float32:kernels")
KERNELS.declare("bfloat16", "muster.native.bfloat16:kernels")
SHARED = Path(__file__).parent / "kernels"
