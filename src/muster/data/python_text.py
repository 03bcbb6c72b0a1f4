"""Bytes of the running Python's standard library: a real text corpus that every machine has."""

import os
import platform
import sysconfig
from pathlib import Path

from muster.data.base import DATASETS, Dataset, Raw
from muster.data.text import TextOptions, split, text_dimensions

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


def build(options: TextOptions) -> Raw:
    """Windows of bytes of the files, a tenth of which is held out."""
    files = _files(Path(sysconfig.get_paths()["stdlib"]))
    return split(files, options, "python_text", "files", {"python": platform.python_version()})


DATASETS.register("python_text")(
    Dataset(
        summary="Next-byte prediction on the source of the running Python's standard library: real text, no network",
        options=TextOptions,
        dimensions=text_dimensions,
        build=build,
        licence="PSF-2.0",
        source="the .py files of the running Python's standard library, without tests and installed packages",
        axes=("context",),
    )
)
