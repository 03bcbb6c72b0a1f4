"""float32: what the sources in `kernels` compute as they stand."""

from muster.native.dtypes import SHARED, Kernels


def kernels() -> Kernels:
    """Products and sums in float32."""
    from muster.native.reference import multiply

    return Kernels(SHARED / "network.cpp", (SHARED,), multiply, 1e-5)
