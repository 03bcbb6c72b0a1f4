"""bfloat16: factors of layers' products rounded to it, sums and everything else in float32.

A package of its own, so that its sources are part of no cell in float32.
"""

from pathlib import Path

from muster.native.dtypes import SHARED, Kernels

HERE = Path(__file__).parent


def kernels() -> Kernels:
    """Where the CPU multiplies bfloat16 itself. A number near the middle between two of bfloat16 may be rounded to
    either, by a difference of 1e-7: hence the tolerance, a quarter of bfloat16's own 2⁻⁸."""
    from muster.native.bfloat16.rounding import multiply

    return Kernels(HERE / "network.cpp", (SHARED, HERE), multiply, 1e-3, needs=("__AVX512BF16__",))
