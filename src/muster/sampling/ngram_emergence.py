"""Back-off n-gram models of growing training data: is a rise sharp under exact match where it is smooth per byte?

A byte is predicted as the most frequent one after the longest context, of at most `width` ≤ 8 bytes, that occurred in
training; sizes are N = 1, ½, ¼ … (`halvings`) of the windows of `python_text`, whose documents the seed splits. The
last TARGETS bytes of every held-out window are predicted, each from the true bytes before it, and a block of K is an
exact match if all of it is right, the mean of which is p^K at independent errors, p being the share of right bytes. R.
Schaeffer, B. Miranda and S. Koyejo, Are emergent abilities of large language models a mirage? (2023).

Probes at layer K, step N (0 where they speak of all sizes): `exact_match`, share of disjoint blocks that match (K = 1:
of right bytes); `log_ratio`, ln(exact match)/(K ln p), 1 at independent errors, less where errors keep together;
`sharpness`, the largest rise of exact match from one size to the next over its whole rise; `late_rise`, the share of
it that the last half of the doublings makes; `extra_late_rise`, that less the late rise at K = 1.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws
from muster.sampling.tables import Row, outcome

if TYPE_CHECKING:
    from muster.data.base import Raw

Integers = NDArray[Any]
CONTEXT, TARGETS, LONGEST = 32, 16, 8  # bytes before the last one of a window, predicted bytes, bytes that a key holds


class NgramCell(Cell):
    """One split of the documents; `width` is the longest context."""

    width: int = Field(LONGEST, ge=1, le=LONGEST, description="Bytes of the longest context")
    train: int = Field(40000, ge=64, le=2_000_000, description="Training windows of 33 bytes, at the largest size")
    heldout: int = Field(4000, ge=10, le=500_000, description="Held-out windows")
    halvings: int = Field(10, ge=1, le=30, description="Times that the training windows are halved")


def context_keys(windows: Integers, length: int, first: int) -> NDArray[np.uint64]:
    """The `length` bytes before every byte from place `first` on, as one number each, [windows, places]."""
    count = windows.shape[1] - first
    keys = np.zeros((len(windows), count), np.uint64)
    for back in range(length, 0, -1):
        keys = keys << np.uint64(8) | windows[:, first - back : first - back + count].astype(np.uint64)
    return keys


def most_frequent(keys: NDArray[np.uint64], following: Integers) -> tuple[NDArray[np.uint64], Integers]:
    """Distinct contexts, sorted, and the byte that follows each most often, of several the lowest."""
    known, index = np.unique(keys, return_inverse=True)
    pairs, counts = np.unique(index.ravel() * 256 + following, return_counts=True)
    pairs = pairs[np.lexsort((-pairs, counts, pairs // 256))]
    return known, pairs[np.flatnonzero(np.diff(pairs // 256, append=len(known)))] % 256


def predictions(train: Integers, windows: Integers, longest: int) -> Integers:
    """Of the last TARGETS bytes of windows [n, 33] from training windows [N, 33], both of bytes: [n, TARGETS]."""
    first = windows.shape[1] - TARGETS
    found = np.zeros((len(windows), TARGETS), np.int64)
    for length in range(longest + 1):  # a longer context that is known writes over a shorter
        known, best = most_frequent(context_keys(train, length, LONGEST).ravel(), train[:, LONGEST:].ravel())
        asked = context_keys(windows, length, first)
        place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        found = np.where(known[place] == asked, best[place], found)
    return found


def block_matches(right: NDArray[np.bool_], size: int) -> NDArray[np.float64]:
    """Share of the blocks of so many bytes that are right in full, of every window: [n] from [n, TARGETS]."""
    blocks = right.reshape(len(right), -1, size).all(axis=2)
    return np.asarray(blocks.mean(axis=1), float)


def corpus(cell: NgramCell) -> "Raw":
    """Windows of the running Python's standard library. Raises Unavailable where it comes without."""
    from muster.data import python_text
    from muster.data.base import Places
    from muster.data.text import TextOptions

    options = TextOptions(train=cell.train, heldout=cell.heldout, seed=cell.seed, context=CONTEXT, encoding="tokens")
    return python_text.build(options, python_text.obtain(options, Places()))


def run(cell: NgramCell, context: Context) -> Outcome:
    """Predict the held-out bytes from every size of the training data."""
    raw = corpus(cell)
    train = np.concatenate([raw.arrays.train_x, raw.arrays.train_y[:, -1:]], axis=1)
    heldout = np.concatenate([raw.arrays.heldout_x, raw.arrays.heldout_y[:, -1:]], axis=1)
    lengths = [2**k for k in range(TARGETS.bit_length())]
    sizes = [cell.train >> k for k in range(cell.halvings, -1, -1)]
    rows: list[Row] = []
    matches = np.empty((len(sizes), len(lengths)))
    for i, size in enumerate(sizes):
        right = predictions(train[:size], heldout, cell.width) == heldout[:, -TARGETS:]
        found = [mean_over_draws(block_matches(right, length)) for length in lengths]
        matches[i] = [each.value for each in found]
        rows += [(size, "exact_match", length, *each) for length, each in zip(lengths, found, strict=True)]
        for length, match in zip(lengths[1:], matches[i, 1:], strict=True):
            ratio = np.log(match) / (length * np.log(matches[i, 0])) if 0 < match < 1 else np.nan
            rows.append((size, "log_ratio", length, float(ratio), np.nan))
    rise = matches[-1] - matches[0]
    largest = np.diff(matches, axis=0).max(axis=0)
    late = matches[-1] - matches[cell.halvings // 2]
    rise[rise <= 0] = np.nan
    shares = {"sharpness": largest / rise, "late_rise": late / rise, "extra_late_rise": late / rise - late[0] / rise[0]}
    for probe, values in shares.items():
        rows += [(0, probe, length, value, np.nan) for length, value in zip(lengths, values.tolist(), strict=True)]
    return replace(outcome(rows, flops=cost(cell).flops), notes=raw.facts)


def cost(cell: NgramCell) -> Cost:
    """Two sorts of all bytes for every length of the contexts, of twice the largest size in all."""
    numbers = 2.0 * cell.train * (CONTEXT + 1 - LONGEST) * (cell.width + 1)
    return Cost(20 * numbers, 1.0 + 2.5e-7 * numbers, 3e8 + 2000.0 * cell.train)


EXPERIMENTS.register("ngram_emergence")(
    Experiment(
        summary="Back-off n-gram models of growing training data: exact match of K bytes against single bytes",
        stage="sample",
        cell=NgramCell,
        cost=cost,
        run=run,
        stored=False,  # the text is that of the Python at hand
        example=probe_example(
            "sharpness",
            {"width": 4, "heldout": 200, "halvings": 4},
            {"train": [400, 800, 1600]},
            along="train",
            select={"layer": 1},
            smoke={"halvings": 3},
        ),
    )
)
