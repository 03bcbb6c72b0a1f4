"""Sparse non-negative features whose probabilities fall as a power of their rank: the toy model of superposition."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.data.base import DATASETS, Arrays, Dataset, Dimensions, Options, Raw

Array = NDArray[np.float64]

ACTIVE = 1.0  # features that an example holds on average (Liu, Liu & Gore 2025)
LARGEST = 2.0  # values are uniform between 0 and this, so that their mean is 1
GOLDEN = (np.sqrt(5) - 1) / 2  # the additive sequence of this step fills [0, 1) evenly from any place on


class SparseFeaturesOptions(Options):
    """Options of `sparse_features`."""

    train: int = Field(
        1024, ge=2, le=2_000_000, description="Training examples kept on disk; training draws fresh ones"
    )
    heldout: int = Field(
        32768, ge=1, le=2_000_000, description="Held-out examples, stratified over features and values"
    )
    features: int = Field(512, ge=2, le=65536, description="Features n: inputs and outputs")
    decay: float = Field(1.0, ge=0, le=8, description="α: feature i is active with probability ∝ i^−α")


def probabilities(features: int, decay: float) -> Array:
    """p_i ∝ i^−decay, i = 1 … features, ACTIVE in sum, shape [features] (Liu, Liu & Gore 2025)."""
    weights = np.arange(1, features + 1.0) ** -decay
    return ACTIVE * weights / weights.sum()


def stream(options: SparseFeaturesOptions, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` fresh examples [count, features] float32, which are their own targets: x_i = s_i v_i with independent
    s_i ~ Bernoulli(p_i), v_i ~ U(0, LARGEST).

    Events of a Poisson process with rate −ln(1 − p_i) fall into each entry: it holds at least one with probability
    p_i, so that the cost is that of the active entries instead of all.
    """
    cumulative = np.cumsum(-np.log1p(-probabilities(options.features, options.decay)))
    events = rng.poisson(count * cumulative[-1])
    feature = np.searchsorted(cumulative, rng.random(events) * cumulative[-1])
    x = np.zeros((count, options.features), np.float32)
    x[rng.integers(count, size=events), feature] = LARGEST * rng.random(events, np.float32)
    return x, x


def stratified(options: SparseFeaturesOptions, rng: np.random.Generator, count: int) -> np.ndarray:
    """`count` examples [count, features] float32 with the marginals of `stream`, and far less noise in sums over them.

    Feature i is active in ⌊count·p_i⌋ or one more of them, by systematic sampling, so that any tail of rare features
    has its number of events to within one; the values of consecutive events fill their range evenly.
    """
    expected = np.cumsum(count * probabilities(options.features, options.decay))
    events = np.searchsorted(expected, rng.random() + np.arange(np.floor(expected[-1])))
    times = np.minimum(np.bincount(events, minlength=options.features)[: options.features], count)
    feature = np.repeat(np.arange(options.features), times)
    row = np.concatenate([rng.choice(count, each, replace=False) for each in times])
    x = np.zeros((count, options.features), np.float32)
    x[row, feature] = LARGEST * ((rng.random() + GOLDEN * np.arange(len(feature))) % 1)
    return x


def build(options: SparseFeaturesOptions) -> Raw:
    """Both splits stratified; the targets are the inputs."""
    train, heldout = (
        stratified(options, np.random.default_rng(child), count)
        for child, count in zip(
            np.random.SeedSequence(options.seed).spawn(2), (options.train, options.heldout), strict=True
        )
    )
    return Raw(Arrays(train, train, heldout, heldout))


DATASETS.register("sparse_features")(
    Dataset(
        summary="Sparse features of power-law frequency, drawn afresh at every step, to be reconstructed",
        options=SparseFeaturesOptions,
        dimensions=lambda options: Dimensions(options.features, options.features, "regression"),
        build=build,
        licence="MIT (muster's own code)",
        source="generated",
        axes=("features", "decay"),
        standardise=False,
        stream=stream,
    )
)
