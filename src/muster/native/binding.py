"""A compiled library, and the numbers that Python and C++ know rules and fields by."""

import ctypes
from dataclasses import dataclass
from pathlib import Path

from muster.errors import MusterError
from muster.native.program import NODE, OP, PLAN

# Optimizer rules by number, with the optimizer's state that they step: `with_rule` in updates.h.
RULES = {"gradient": 0, "sgd": 1, "momentum": 2, "adam": 3}
UPDATE_FIELDS = ("rate", "root", "epsilon", "couple", "keep", "beta1", "gain1", "beta2", "gain2")


@dataclass(frozen=True)
class Library:
    """The kernels. lanes: floats of a vector."""

    path: Path
    train: ctypes._CFuncPtr  # type: ignore[name-defined]
    evaluate: ctypes._CFuncPtr  # type: ignore[name-defined]
    lanes: int


def open_library(path: Path) -> Library:
    """Load kernels that were compiled before. Raises MusterError where they are not those of this version."""
    try:
        found = ctypes.CDLL(str(path))
        sizes, lanes = found.muster_sizes, found.muster_lanes
    except (OSError, AttributeError) as error:
        raise MusterError(str(path), f"cannot be loaded ({error})", "Delete it: it is made anew") from None
    sizes.restype = lanes.restype = ctypes.c_int64
    expected = PLAN.itemsize << 24 | OP.itemsize << 16 | NODE.itemsize << 8 | 4 * len(UPDATE_FIELDS)
    if sizes() != expected:
        raise MusterError(str(path), "holds records of another layout", "Delete it: it is made anew")
    pointer, whole = ctypes.c_void_p, ctypes.c_int64
    found.muster_train.restype = None
    found.muster_train.argtypes = [
        pointer, pointer, whole, whole, pointer, pointer, pointer, whole, pointer, whole, pointer, pointer,
    ]  # fmt: skip
    found.muster_evaluate.restype = ctypes.c_float
    found.muster_evaluate.argtypes = [pointer] * 6
    return Library(path, found.muster_train, found.muster_evaluate, lanes())
