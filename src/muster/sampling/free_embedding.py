"""Free embeddings: how many documents can queries for every pair of them tell apart in d dimensions?
n documents and a query for each of their n(n − 1)/2 pairs are unit vectors of d = `width` entries, without any model.
Adam (rate RATE) lowers the mean cross-entropy of the two wanted documents under a softmax of inner products over
TEMPERATURE, and after every update all vectors are scaled back to unit norm; a start succeeds when, at a look every
LOOK updates, each query's two highest scores are those of its pair. O. Weller, M. Boratko, I. Naim and J. Lee, On the
theoretical limitations of embedding-based retrieval (2025), and the authors' code, which has one start and up to
100,000 updates.

Probe `critical_documents`: the largest n up to which half of the starts or more succeed within `max_updates`. A start
that fails says nothing of whether such vectors exist.
"""

import itertools

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.random_network import generator
from muster.sampling.tables import Estimate, outcome, probe_rows

Array = NDArray[np.float64]
RATE, TEMPERATURE, LOOK = 0.01, 0.1, 50
FEW = 2  # values of n without half the successes, after which none is expected


class EmbeddingCell(Cell):
    """One dimension and budget."""

    max_updates: int = Field(3000, ge=LOOK, le=10**6, description="Updates after which a start counts as failed")
    draws: int = Field(6, ge=1, le=1000, description="Random starts at each number of documents")


def unit(vectors: Array) -> Array:
    """Vectors [..., d] scaled to norm 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def wanted(documents: int) -> NDArray[np.bool_]:
    """Which documents each query wants, [pairs, documents]."""
    pairs = np.array(list(itertools.combinations(range(documents), 2)))
    return np.asarray((pairs[:, :, None] == np.arange(documents)).any(axis=1))


def loss_gradients(queries: Array, documents: Array, mask: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Scores [S, Q, n] and the gradients of the mean cross-entropy by queries [S, Q, d] and documents [S, n, d]."""
    scores = queries @ np.swapaxes(documents, 1, 2)
    p = np.exp((scores - 1) / TEMPERATURE)  # scores are at most 1
    p /= p.sum(axis=-1, keepdims=True)
    slope = (p - mask / 2) / (len(mask) * TEMPERATURE)
    return scores, slope @ documents, np.swapaxes(slope, 1, 2) @ queries


def succeeded(scores: Array, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the wanted documents have the highest scores of every query, [S]."""
    lowest = np.where(mask, scores, np.inf).min(axis=-1)
    return np.asarray((lowest > np.where(mask, -np.inf, scores).max(axis=-1)).all(axis=-1))


def adam_on_spheres(
    parts: list[Array], moments: list[list[Array]], slopes: list[Array], update: int
) -> tuple[list[Array], list[list[Array]]]:
    """Vectors and their two moments after an update (from 1) of Adam with its usual constants, scaled to norm 1."""
    moved, kept = [], []
    for part, (mean, square), slope in zip(parts, moments, slopes, strict=True):
        kept.append([0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2])
        first, second = kept[-1][0] / (1 - 0.9**update), kept[-1][1] / (1 - 0.999**update)
        moved.append(unit(part - RATE * first / (np.sqrt(second) + 1e-8)))
    return moved, kept


def success_share(cell: EmbeddingCell, documents: int, rng: np.random.Generator) -> float:
    """Share of the starts that succeed."""
    mask = wanted(documents)
    parts = [unit(rng.standard_normal((cell.draws, count, cell.width))) for count in (len(mask), documents)]
    moments = [[np.zeros_like(part), np.zeros_like(part)] for part in parts]
    done = 0
    for update in range(1, cell.max_updates + 1):
        scores, *slopes = loss_gradients(parts[0], parts[1], mask)
        if update % LOOK == 1:
            found = succeeded(scores, mask)
            done += int(found.sum())
            if found.any():
                parts = [part[~found] for part in parts]
                slopes = [slope[~found] for slope in slopes]
                moments = [[each[~found] for each in pair] for pair in moments]
            if not len(parts[0]):
                break
        parts, moments = adam_on_spheres(parts, moments, slopes, update)
    return done / cell.draws


def run(cell: EmbeddingCell, context: Context) -> Outcome:
    """Add documents until most starts fail."""
    rng, best = generator(cell), 2
    for documents in itertools.count(3):
        if success_share(cell, documents, rng) >= 0.5:
            best = documents
        elif documents >= best + FEW:
            break
    return outcome(probe_rows("critical_documents", [Estimate(float(best), np.nan)]), flops=cost(cell).flops)


def cost(cell: EmbeddingCell) -> Cost:
    """About five documents a dimension, the last of which take all updates."""
    numbers = float(cell.draws) * cell.max_updates * (5 * cell.width) ** 3
    return Cost(40 * numbers, 3e-8 * numbers + 1e-3 * cell.max_updates, 2e8)


EXPERIMENTS.register("free_embedding")(
    Experiment(
        summary="Documents whose pairs free unit vectors can be trained to retrieve",
        stage="sample",
        cell=EmbeddingCell,
        cost=cost,
        run=run,
        example=probe_example(
            "critical_documents", {"max_updates": 200, "draws": 2}, {"width": [2, 3, 4]}, smoke={"max_updates": 100}
        ),
    )
)
