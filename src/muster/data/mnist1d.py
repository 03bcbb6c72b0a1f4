"""MNIST-1D: ten short curves, padded, dilated, shifted, scaled, drowned in noise, sheared and resampled.

The construction follows S. Greydanus, "Scaling down deep learning" (2020, arXiv 2011.14439) and the ranges of its
default settings. The code and the ten template curves are our own, so accuracies are comparable in kind, not digit for
digit.
"""

import numpy as np
from pydantic import Field

from muster.data.base import DATASETS, Arrays, Dataset, Dimensions, Options, Raw

# Our own drawing: the horizontal position of a pen that writes the digit, at twelve equal steps along its stroke.
TEMPLATES = np.array(
    [
        [0.0, -1.2, -2.0, -2.2, -1.9, -1.0, 0.2, 1.3, 2.1, 2.2, 1.7, 0.6],
        [-1.6, -0.7, 0.3, 1.0, 0.9, 0.8, 0.8, 0.7, 0.6, 0.6, 0.5, 0.4],
        [-2.0, -0.5, 1.0, 2.0, 1.8, 0.8, -0.4, -1.4, -2.2, -0.8, 0.7, 2.2],
        [-1.8, 0.0, 1.8, 1.9, 0.6, -0.6, 0.6, 1.9, 2.3, 1.4, -0.2, -2.0],
        [0.4, -0.6, -1.4, -2.2, -1.0, 0.2, 1.4, 2.2, 0.8, 0.8, 0.8, 0.8],
        [2.2, 0.6, -1.0, -2.0, -1.9, -1.7, 0.0, 1.6, 2.3, 1.8, 0.2, -2.0],
        [2.0, 0.8, -0.6, -1.6, -2.2, -2.3, -1.6, 0.2, 1.8, 2.0, 0.6, -1.2],
        [-2.2, -0.8, 0.8, 2.2, 1.7, 1.2, 0.7, 0.2, -0.2, -0.6, -0.9, -1.1],
        [1.6, -0.4, -1.9, -1.0, 0.8, 2.1, 0.9, -1.0, -2.1, -0.7, 1.0, 1.8],
        [1.8, 0.2, -1.6, -2.0, -0.6, 1.5, 2.1, 1.9, 1.7, 1.5, 1.2, 0.9],
    ]
)
CLASSES, KNOTS = TEMPLATES.shape
CANVAS = 72  # points before the last resampling: a template of 12 with the widest padding, 60
DIGIT_LENGTH = (12.0, 18.0)  # 12 of 12 + padding points, padding 36 ... 60, dilated to the canvas
MAX_SHIFT = 48.0
SMOOTHING = 2.0  # standard deviation, in canvas points, of the kernel that correlates the background noise
CHUNK = 8192


class Mnist1dOptions(Options):
    """Options of `mnist1d`."""

    train: int = Field(40000, ge=10, le=2_000_000, description="Training examples")
    heldout: int = Field(4000, ge=10, le=2_000_000, description="Held-out examples")
    points: int = Field(40, ge=8, le=CANVAS, description="Points of a resampled curve: the input features")
    scale: float = Field(0.4, ge=0, le=1, description="Range of the random amplitude around 1")
    shear: float = Field(0.75, ge=0, le=2, description="Range of the random linear trend")
    correlated_noise: float = Field(0.25, ge=0, le=5, description="Standard deviation of the smooth background noise")
    noise: float = Field(0.02, ge=0, le=5, description="Standard deviation of the white noise")


def _smooth(white: np.ndarray) -> np.ndarray:
    """Circular Gaussian smoothing of [examples, CANVAS] white noise, rescaled to keep unit variance."""
    offsets = np.arange(-3 * int(SMOOTHING), 3 * int(SMOOTHING) + 1)
    kernel = np.exp(-0.5 * (offsets / SMOOTHING) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    pad = len(offsets) // 2
    wrapped = np.concatenate([white[:, -pad:], white, white[:, :pad]], axis=1)
    return sum(weight * wrapped[:, i : i + CANVAS] for i, weight in enumerate(kernel))


def _resample(curves: np.ndarray, points: int) -> np.ndarray:
    """Linear interpolation of [examples, CANVAS] at `points` equally spaced positions."""
    position = np.linspace(0, CANVAS - 1, points)
    left = np.minimum(position.astype(int), CANVAS - 2)
    weight = position - left
    return curves[:, left] * (1 - weight) + curves[:, left + 1] * weight


def _curves(labels: np.ndarray, options: Mnist1dOptions, rng: np.random.Generator) -> np.ndarray:
    """One random curve per label: [examples, points] float32."""
    count = len(labels)
    length = rng.uniform(*DIGIT_LENGTH, (count, 1))
    shift = rng.uniform(0, MAX_SHIFT, (count, 1))
    amplitude = 1 + options.scale * (rng.random((count, 1)) - 0.5)
    trend = options.shear * (rng.random((count, 1)) - 0.5)

    knot = (np.arange(CANVAS) - shift) * ((KNOTS - 1) / length)
    inside = (knot >= 0) & (knot <= KNOTS - 1)
    left = np.clip(knot.astype(int), 0, KNOTS - 2)
    weight = knot - left
    row = labels[:, None]
    digit = amplitude * (TEMPLATES[row, left] * (1 - weight) + TEMPLATES[row, left + 1] * weight)

    background = options.correlated_noise * _smooth(rng.standard_normal((count, CANVAS)))
    curve = np.where(inside, digit, background) + options.noise * rng.standard_normal((count, CANVAS))
    return _resample(curve - trend * np.linspace(-0.5, 0.5, CANVAS), options.points).astype(np.float32)


def _split(count: int, options: Mnist1dOptions, stream: np.random.SeedSequence) -> tuple[np.ndarray, np.ndarray]:
    """Balanced classes in random order, generated in chunks of bounded memory."""
    rng = np.random.default_rng(stream)
    labels = rng.permutation(np.arange(count) % CLASSES)
    chunks = [_curves(labels[start : start + CHUNK], options, rng) for start in range(0, count, CHUNK)]
    return np.concatenate(chunks), labels.astype(np.int64)


def build(options: Mnist1dOptions) -> Raw:
    """Train and held-out curves from two independent streams: the held-out set does not depend on `train`."""
    train, heldout = np.random.SeedSequence(options.seed).spawn(2)
    return Raw(Arrays(*_split(options.train, options, train), *_split(options.heldout, options, heldout)))


DATASETS.register("mnist1d")(
    Dataset(
        summary="MNIST-1D, generated: ten curves under noise, shift, scale and shear; no network, any size",
        options=Mnist1dOptions,
        dimensions=lambda options: Dimensions(options.points, CLASSES, "classification"),
        build=build,
        licence="MIT (muster's own code and templates)",
        source="construction of Greydanus 2020, arXiv 2011.14439, re-implemented with our own template curves",
    )
)
