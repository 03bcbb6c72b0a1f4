"""Bytes of the running Python's standard library: a real text corpus that every machine has."""

import hashlib
import os
import platform
import sysconfig
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from muster.data.base import DATASETS, Arrays, Dataset, Dimensions, Options, Raw, check_size

VOCABULARY = 256
HELDOUT_FILES = 0.1
# Packages that were installed later, and tests, which distributions leave out or in.
SKIPPED = frozenset({"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"})


class TextOptions(Options):
    """Options of `python_text`."""

    train: int = Field(40000, ge=10, le=2_000_000, description="Training windows")
    heldout: int = Field(4000, ge=1, le=500_000, description="Held-out windows, from other files")
    context: int = Field(32, ge=16, le=1024, description="Bytes that precede the predicted byte")
    encoding: Literal["bits", "tokens"] = Field(
        "bits",
        description="bits: 8 inputs per byte, one target byte (for an MLP); tokens: byte values, a target per position",
    )


def _files(root: Path) -> list[bytes]:
    """Contents of the .py files below `root` sorted by path, each distinct content once."""
    paths = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED]
        paths += [Path(folder, name) for name in names if name.endswith(".py")]
    contents = (path.read_bytes() for path in sorted(paths, key=lambda path: path.relative_to(root).as_posix()))
    return list(dict.fromkeys(contents))


def _windows(files: list[bytes], context: int) -> tuple[np.ndarray, np.ndarray]:
    """The concatenated bytes, and every start of a window of context + 1 bytes that stays inside one file."""
    corpus = np.frombuffer(b"".join(files), np.uint8)
    ends = np.cumsum([len(content) for content in files])
    starts = ends - [len(content) for content in files]
    inside = [np.arange(a, b - context) for a, b in zip(starts, ends, strict=True) if b - context > a]
    return corpus, np.concatenate(inside)


def _sample(windows: tuple[np.ndarray, np.ndarray], count: int, context: int, rng: np.random.Generator) -> np.ndarray:
    corpus, starts = windows
    chosen = rng.choice(starts, min(count, len(starts)), replace=False)
    return corpus[chosen[:, None] + np.arange(context + 1)]


def _encode(windows: np.ndarray, encoding: str) -> tuple[np.ndarray, np.ndarray]:
    if encoding == "tokens":
        return windows[:, :-1].astype(np.int64), windows[:, 1:].astype(np.int64)
    return np.unpackbits(windows[:, :-1], axis=1).astype(np.float32), windows[:, -1].astype(np.int64)


def build(options: TextOptions) -> Raw:
    """Windows of bytes; a tenth of the files is held out, and a held-out window that occurs in training is dropped."""
    files = _files(Path(sysconfig.get_paths()["stdlib"]))
    rng = np.random.default_rng(options.seed)
    order = rng.permutation(len(files))
    count = max(1, round(HELDOUT_FILES * len(files)))
    heldout_files, train_files = [files[i] for i in order[:count]], [files[i] for i in order[count:]]

    train_windows = _windows(train_files, options.context)
    check_size("train", options.train, len(train_windows[1]), "python_text")
    train = _sample(train_windows, options.train, options.context, rng)
    # Licence headers and idioms recur across files: ask for more than needed, then drop what training holds.
    candidates = _sample(_windows(heldout_files, options.context), 2 * options.heldout, options.context, rng)
    seen = {row.tobytes() for row in train[:, :-1]}
    fresh = candidates[[row.tobytes() not in seen for row in candidates[:, :-1]]]
    check_size("heldout", options.heldout, len(fresh), "python_text, after windows that occur in training are dropped")

    facts = {
        "python": platform.python_version(),
        "corpus_sha256": hashlib.sha256(b"".join(files)).hexdigest(),
        "corpus_bytes": sum(map(len, files)),
        "files": {"train": len(train_files), "heldout": len(heldout_files)},
        "heldout_dropped_share": 1 - len(fresh) / len(candidates),
    }
    encoded = (_encode(windows, options.encoding) for windows in (train, fresh[: options.heldout]))
    return Raw(Arrays(*(array for pair in encoded for array in pair)), facts)


def _dimensions(options: TextOptions) -> Dimensions:
    if options.encoding == "tokens":
        return Dimensions(options.context, VOCABULARY, "next_token")
    return Dimensions(8 * options.context, VOCABULARY, "classification")


DATASETS.register("python_text")(
    Dataset(
        summary="Next-byte prediction on the source of the running Python's standard library: real text, no network",
        options=TextOptions,
        dimensions=_dimensions,
        build=build,
        licence="PSF-2.0",
        source="the .py files of the running Python's standard library, without tests and installed packages",
    )
)
