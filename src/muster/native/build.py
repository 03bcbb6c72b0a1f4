"""Compile the kernels once a machine, and find them again.

The library lies in the user's cache folder under a name that hashes the sources, the flags, and what the compiler says
of itself and of this CPU: a home folder may be shared by machines that are not alike.
"""

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from muster.errors import MusterError
from muster.files import write_atomically
from muster.native.dtypes import KERNELS, Kernels

COMPILERS = ("c++", "g++", "clang++")
CPU = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
# No flag here may change IEEE arithmetic: products are fused where the source says so, NaN and infinity count.
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared", "-pthread")
CACHE_VARIABLE = "MUSTER_NATIVE_CACHE"


def compiler() -> str | None:
    """$CXX or the first compiler that is there; None without one."""
    asked = os.environ.get("CXX")
    return next((found for name in ((asked,) if asked else COMPILERS) if (found := shutil.which(name))), None)


def cache_folder() -> Path:
    """$MUSTER_NATIVE_CACHE, or muster/native in the user's cache folder."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "muster" / "native"
    except RuntimeError:
        raise MusterError("native kernels", "this user has no home folder", f"Set {CACHE_VARIABLE}") from None


def build(flags: tuple[str, ...] = (CPU,), dtype: str = "float32") -> Path:
    """The compiled library of a number format, made now if it is not there yet.

    Of several processes that ask at once one compiles and the others wait; without file locks each compiles its own,
    and the last to finish renames it into place. Raises MusterError where there is no compiler, where it fails,
    or where the CPU has no products in this format.
    """
    kernels = KERNELS[dtype]()
    chosen = compiler()
    if chosen is None:
        asked = os.environ.get("CXX")
        found = f"no compiler named {asked!r}" if asked else "no C++ compiler"
        raise MusterError("native kernels", found, "Install g++ or clang++, or set CXX")
    command = [chosen, *FLAGS, *flags]
    macros = _run([*command, "-dM", "-E", "-x", "c++", os.devnull])
    if kernels.needs and not any(f"#define {name} " in macros for name in kernels.needs):
        raise MusterError("native kernels", f"this CPU has no products in {dtype}", "torch does them in its own way")
    path = cache_folder() / f"{_key(command, macros, kernels)}.so"
    if path.exists():
        return path
    with _lock(path):
        if not path.exists():
            write_atomically(path, lambda temporary: _run([*command, "-w", str(kernels.source), "-o", str(temporary)]))
    return path


def _key(command: list[str], macros: str, kernels: Kernels) -> str:
    """From sources, flags and the compiler's predefined macros, which name its version and the CPU's instructions."""
    hasher = hashlib.sha256(" ".join(command).encode())
    hasher.update(macros.encode())
    for source in (path for folder in kernels.folders for path in sorted(folder.iterdir()) if path.is_file()):
        hasher.update(source.name.encode() + b"\0" + source.read_bytes())
    return hasher.hexdigest()[:24]


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise MusterError("native kernels", f"{command[0]} does not start ({error.strerror})", "Set CXX") from None
    if done.returncode:
        first = next(iter(done.stderr.strip().splitlines()), "no message")
        raise MusterError("native kernels", f"{command[0]} fails: {first}", "Set CXX to a compiler that knows C++17")
    return done.stdout


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        raise MusterError(
            str(path.parent), f"cannot be written ({error.strerror})", f"Set {CACHE_VARIABLE} to a folder that can"
        ) from None
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
