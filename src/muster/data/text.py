"""What all data sets of text share: windows of bytes, a held-out part from other documents, two encodings."""

import hashlib
from typing import Any, Literal

import numpy as np
from pydantic import Field

from muster.data.base import Arrays, Dimensions, Options, Raw, check_size
from muster.errors import MusterError

VOCABULARY = 256
HELDOUT_SHARE = 0.1  # of the documents


class TextOptions(Options):
    """Options of every data set of text."""

    train: int = Field(40000, ge=10, le=2_000_000, description="Training windows")
    heldout: int = Field(4000, ge=1, le=500_000, description="Held-out windows, from other files")
    context: int = Field(32, ge=16, le=1024, description="Bytes that precede the predicted byte")
    encoding: Literal["bits", "tokens"] = Field(
        "bits",
        description="bits: 8 inputs per byte, one target byte (for an MLP); tokens: byte values, a target per position",
    )


def _windows(files: list[bytes], context: int) -> tuple[np.ndarray, np.ndarray]:
    """The concatenated bytes, and every start of a window of context + 1 bytes that stays inside one file."""
    corpus = np.frombuffer(b"".join(files), np.uint8)
    ends = np.cumsum([len(content) for content in files])
    starts = ends - [len(content) for content in files]
    inside = [np.arange(a, b - context) for a, b in zip(starts, ends, strict=True) if b - context > a]
    if not inside:
        remedy = "Choose a shorter data_options.context, or more text"
        raise MusterError("data_options.context", f"no document is longer than {context} bytes", remedy)
    return corpus, np.concatenate(inside)


def _sample(windows: tuple[np.ndarray, np.ndarray], count: int, context: int, rng: np.random.Generator) -> np.ndarray:
    corpus, starts = windows
    chosen = rng.choice(starts, min(count, len(starts)), replace=False)
    return corpus[chosen[:, None] + np.arange(context + 1)]


def _encode(windows: np.ndarray, encoding: str) -> tuple[np.ndarray, np.ndarray]:
    if encoding == "tokens":
        return windows[:, :-1].astype(np.int64), windows[:, 1:].astype(np.int64)
    return np.unpackbits(windows[:, :-1], axis=1).astype(np.float32), windows[:, -1].astype(np.int64)


def split(documents: list[bytes], options: TextOptions, name: str, kind: str, facts: dict[str, Any]) -> Raw:
    """Windows of bytes; a tenth of the documents is held out, and a held-out window that occurs in training is dropped.

    kind: what a document is called in the manifest, to which `facts` go, too. Raises MusterError where the text is too
    short for the windows asked for.
    """
    rng = np.random.default_rng(options.seed)
    order = rng.permutation(len(documents))
    count = max(1, round(HELDOUT_SHARE * len(documents)))
    heldout_part, train_part = [documents[i] for i in order[:count]], [documents[i] for i in order[count:]]

    train_windows = _windows(train_part, options.context)
    check_size("train", options.train, len(train_windows[1]), name)
    train = _sample(train_windows, options.train, options.context, rng)
    # Licence headers and idioms recur across files: ask for more than needed, then drop what training holds.
    candidates = _sample(_windows(heldout_part, options.context), 2 * options.heldout, options.context, rng)
    seen = {row.tobytes() for row in train[:, :-1]}
    fresh = candidates[[row.tobytes() not in seen for row in candidates[:, :-1]]]
    check_size("heldout", options.heldout, len(fresh), f"{name}, after windows that occur in training are dropped")

    described = facts | {
        "corpus_sha256": hashlib.sha256(b"".join(documents)).hexdigest(),
        "corpus_bytes": sum(map(len, documents)),
        kind: {"train": len(train_part), "heldout": len(heldout_part)},
        "heldout_dropped_share": 1 - len(fresh) / len(candidates),
    }
    encoded = (_encode(windows, options.encoding) for windows in (train, fresh[: options.heldout]))
    return Raw(Arrays(*(array for pair in encoded for array in pair)), described)


def text_dimensions(options: TextOptions) -> Dimensions:
    if options.encoding == "tokens":
        return Dimensions(options.context, VOCABULARY, "next_token")
    return Dimensions(8 * options.context, VOCABULARY, "classification")
