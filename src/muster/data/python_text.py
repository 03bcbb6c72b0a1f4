"""Bytes of the running Python's standard library: a real text corpus that every machine has."""

import os
import platform
import sysconfig
from pathlib import Path

from muster.data.base import DATASETS, Dataset, Origin, Places, Raw
from muster.data.text import TextOptions, split, text_dimensions
from muster.errors import Unavailable

# Packages that were installed later, and tests, which distributions leave out or in.
SKIPPED = frozenset({"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"})


def _files(root: Path) -> list[bytes]:
    """Contents of the .py files below `root` sorted by path, each distinct content once."""
    paths = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED]
        paths += [Path(folder, name) for name in names if name.endswith(".py")]
    contents = (path.read_bytes() for path in sorted(paths, key=lambda path: path.relative_to(root).as_posix()))
    return list(dict.fromkeys(contents))


def _library() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def obtain(options: TextOptions, places: Places) -> list[bytes]:
    """Contents of the standard library's files. Raises Unavailable where Python comes without their source."""
    if found := _files(_library()):
        return found
    raise Unavailable(f"this Python has no source of its standard library in {_library()}")


def state(options: TextOptions, folders: tuple[Path, ...]) -> str:
    """Changes when the source of the standard library appears."""
    return "there" if any(_library().glob("*.py")) else "absent"


def by_hand(options: TextOptions, folder: Path) -> str:
    """Another Python, or other text."""
    return (
        "use a Python that comes with the source of its standard library (`make PYTHON=python3.12`), or in the study "
        "`data: text_file` with a text of yours in data_options.path"
    )


def build(options: TextOptions, files: list[bytes]) -> Raw:
    """Windows of bytes of the files, a tenth of which is held out."""
    return split(files, options, "python_text", "files", {"python": platform.python_version()})


DATASETS.register("python_text")(
    Dataset(
        summary="Next-byte prediction on the source of the running Python's standard library: real text, no network",
        options=TextOptions,
        dimensions=text_dimensions,
        build=build,
        origin=Origin(obtain, state, by_hand),
        licence="PSF-2.0",
        source="the .py files of the running Python's standard library, without tests and installed packages",
        axes=("context",),
    )
)
