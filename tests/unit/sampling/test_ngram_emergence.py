"""Back-off n-grams against dictionaries, exact match against independent and kept-together errors, a whole cell by
hand, and a rise whose sharpness is known."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from muster.data.base import Arrays, Raw
from muster.experiments import EXPERIMENTS, Context
from muster.sampling import ngram_emergence
from muster.sampling.ngram_emergence import NgramCell, block_matches, context_keys, corpus, predictions


def text(count, seed, letters=6):
    """Windows of a Markov chain of the highest bytes, so that keys fill all their places."""
    rng = np.random.default_rng(seed)
    law = rng.dirichlet(np.full(letters, 0.3), size=(letters, letters))
    out = rng.integers(letters, size=(count, 33))
    for j in range(2, 33):
        p = law[out[:, j - 2], out[:, j - 1]]
        out[:, j] = (rng.random((count, 1)) > p.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return out + 256 - letters


def by_dictionaries(train, windows, longest):
    counts = defaultdict(Counter)
    for row in train.tolist():
        for j in range(8, 33):
            for length in range(longest + 1):
                counts[tuple(row[j - length : j])][row[j]] += 1
    best = {key: min(found, key=lambda byte: (-found[byte], byte)) for key, found in counts.items()}

    def guess(row, j):
        return next(best[key] for n in range(longest, -1, -1) if (key := tuple(row[j - n : j])) in best)

    return [[guess(row, j) for j in range(17, 33)] for row in windows.tolist()]


@pytest.mark.parametrize("longest", [1, 3, 8])
def test_predictions_are_those_of_dictionaries(longest):
    train, windows = text(30, 0), text(20, 1)
    assert predictions(train, windows, longest).tolist() == by_dictionaries(train, windows, longest)


def test_a_key_holds_the_bytes_before():
    windows = text(3, 0)
    for length in (0, 2, 8):
        keys = context_keys(windows, length, 8)
        assert keys.shape == (3, 25)
        for j in (8, 20, 32):
            assert keys[1, j - 8] == int.from_bytes(bytes(windows[1, j - length : j].tolist()), "big")


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_independent_errors_give_the_power_and_errors_that_keep_together_more(size):
    rng, p = np.random.default_rng(0), 0.8
    free = block_matches(rng.random((40_000, 16)) < p, size)
    expected = p**size
    error = (expected * (1 - expected) * size / 16 / 40_000) ** 0.5
    assert free.mean() == pytest.approx(expected, abs=4.5 * error)
    assert free.mean() != pytest.approx(p ** (size + 1), abs=4.5 * error)
    together = np.repeat(rng.random((40_000, 1)) < p, 16, axis=1)
    assert block_matches(together, size).mean() == pytest.approx(p, abs=0.01)


def table(monkeypatch, train, heldout, **settings):
    arrays = Arrays(train[:, :-1], train[:, 1:], heldout[:, :-1], heldout[:, 1:])
    monkeypatch.setattr(ngram_emergence, "corpus", lambda cell: Raw(arrays))
    cell = NgramCell(seed=0, train=len(train), heldout=len(heldout), **settings)
    found = EXPERIMENTS["ngram_emergence"].run(cell, Context()).probes
    return found.set_index(["probe", "step", "layer"])["value"]


def test_the_probes_of_a_cell(monkeypatch):
    train, heldout = text(64, 0, letters=12), text(50, 1, letters=12)
    heldout[:25] = train[20:45]  # a law of its own for the others
    found = table(monkeypatch, train, heldout, width=3, halvings=2)
    shares = []
    for size in (16, 32, 64):
        right = np.array(by_dictionaries(train[:size], heldout, 3)) == heldout[:, -16:]
        pairs = right.reshape(50, 8, 2).all(axis=2).mean()
        assert found["exact_match", size, 1] == pytest.approx(right.mean())
        assert found["exact_match", size, 2] == pytest.approx(pairs)
        assert found["log_ratio", size, 2] == pytest.approx(np.log(pairs) / (2 * np.log(right.mean())))
        shares.append((right.mean(), pairs))
    rises = np.diff(shares, axis=0)
    sharp = rises.max(axis=0) / rises.sum(axis=0)
    assert found["sharpness", 0, 1] == pytest.approx(sharp[0])
    late = rises[1] / rises.sum(axis=0)
    assert found["late_rise", 0, 2] == pytest.approx(late[1])
    assert found["extra_late_rise", 0, 2] == pytest.approx(late[1] - late[0])
    assert found["extra_late_rise", 0, 1] == 0


def test_an_even_rise_of_independent_bytes_is_as_sharp_as_its_power(monkeypatch):
    """Byte accuracy 0.5, 0.6 … 0.9 at five sizes: a quarter a step; of its 16th power the last step is 0.85."""
    rng, accuracies = np.random.default_rng(0), iter([0.5, 0.6, 0.7, 0.8, 0.9])
    heldout = text(60_000, 1)

    def guessed(train, windows, longest):
        wrong = rng.random((len(windows), 16)) > next(accuracies)
        return windows[:, -16:] - wrong

    monkeypatch.setattr(ngram_emergence, "predictions", guessed)
    found = table(monkeypatch, text(64, 0), heldout, halvings=4)
    assert found["sharpness", 0, 1] == pytest.approx(0.25, abs=0.01)
    assert found["sharpness", 0, 16] == pytest.approx((0.9**16 - 0.8**16) / (0.9**16 - 0.5**16), abs=0.02)
    assert found["late_rise", 0, 1] == pytest.approx(0.5, abs=0.01)
    assert found["late_rise", 0, 16] == pytest.approx((0.9**16 - 0.7**16) / (0.9**16 - 0.5**16), abs=0.02)
    assert found["log_ratio", 64, 16] == pytest.approx(1, abs=0.02)


def test_what_does_not_rise_has_no_sharpness(monkeypatch):
    monkeypatch.setattr(ngram_emergence, "predictions", lambda train, windows, longest: windows[:, -16:])
    found = table(monkeypatch, text(64, 0), text(50, 1), halvings=2)
    assert found["sharpness"].isna().all()
    assert found["late_rise"].isna().all()
    assert (found["exact_match"] == 1).all()


def test_each_seed_splits_the_standard_library_anew():
    """Text of programs: more than a quarter of the bytes are spaces or line ends; facts say what was read."""
    parts = [corpus(NgramCell(seed=seed, train=640, heldout=200)) for seed in (3, 3, 4)]
    first, same, other = (part.arrays.train_x for part in parts)
    assert first.shape == (640, 32)
    assert (first == same).all()
    assert (first != other).any()
    assert np.isin(first, [10, 32]).mean() > 0.2
    assert parts[0].facts["corpus_sha256"] == parts[2].facts["corpus_sha256"]
