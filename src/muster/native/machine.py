"""What this machine has: the kernels compiled, loaded and checked, or the reason why not."""

import os
from dataclasses import dataclass
from functools import cache

from muster.errors import MusterError
from muster.native import build
from muster.native.binding import Library, open_library
from muster.native.dtypes import KERNELS

VARIABLE = "MUSTER_NATIVE"


@dataclass(frozen=True)
class Status:
    """What became of the kernels here: the library, or the reason why there is none."""

    kernels: Library | None
    reason: str = ""


@cache
def status(dtype: str = "float32") -> Status:
    """Compile, load and check the kernels of a number format, once a process."""
    if os.environ.get(VARIABLE) == "0":
        return Status(None, f"turned off by {VARIABLE}=0")
    try:
        library = open_library(build.build(dtype=dtype))
    except MusterError as error:
        return Status(None, f"{error.found}. {error.remedy}")
    from muster.native import check  # imports torch

    declared = KERNELS[dtype]()
    off = check.largest_error(library, declared.multiply)
    if not off <= declared.tolerance:
        return Status(
            None, f"{library.path} is off by {off:.1e} in the check against torch; {VARIABLE}=0 silences this"
        )
    return Status(library)


@cache
def load(dtype: str = "float32") -> Library | None:
    """The kernels of a number format that has some, or None with one line that says why torch has to do; silent where
    the user turned them off."""
    found = status(dtype)
    if found.kernels is None and os.environ.get(VARIABLE) != "0":
        print(f"native kernels are not used: {found.reason}", flush=True)
    return found.kernels
