"""Teacher and student: Gaussian inputs, targets from a random bias-free MLP."""

import itertools
from collections.abc import Callable
from typing import Literal

import numpy as np
from pydantic import Field

from muster.data.base import DATASETS, Arrays, Dataset, Dimensions, Options, Raw

Activation = Callable[[np.ndarray], np.ndarray]
# Function, and the weight variance times fan-in at which signals keep their size.
ACTIVATIONS: dict[str, tuple[Activation, float]] = {"tanh": (np.tanh, 1.0), "relu": (lambda z: np.maximum(z, 0), 2.0)}


class TeacherOptions(Options):
    """Options of `teacher`."""

    train: int = Field(40000, ge=10, le=2_000_000, description="Training examples")
    heldout: int = Field(4000, ge=1, le=2_000_000, description="Held-out examples")
    features: int = Field(32, ge=1, le=4096, description="Input dimension")
    outputs: int = Field(10, ge=1, le=4096, description="Classes, or targets of the regression")
    task: Literal["classification", "regression"] = Field(
        "classification", description="argmax of the outputs, or them"
    )
    teacher_width: int = Field(32, ge=1, le=4096, description="Hidden units of the teacher")
    teacher_depth: int = Field(2, ge=0, le=64, description="Hidden layers of the teacher")
    activation: Literal["tanh", "relu"] = Field("tanh", description="Activation of the teacher")
    noise: float = Field(0.0, ge=0, description="Gaussian noise on the outputs, in their standard deviations")


def build(options: TeacherOptions) -> Raw:
    """Inputs N(0, 1) and the teacher's outputs.

    Each output is centred and scaled by its training statistics before the argmax, since a random ReLU teacher would
    otherwise name one class nearly always.
    """
    streams = np.random.SeedSequence(options.seed).spawn(3)
    weights, *splits = (np.random.default_rng(stream) for stream in streams)
    activate, variance = ACTIVATIONS[options.activation]
    sizes = [options.features] + [options.teacher_width] * options.teacher_depth + [options.outputs]
    matrices = [
        weights.standard_normal((fan_in, fan_out)) * np.sqrt((variance if layer else 1.0) / fan_in)
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes))
    ]

    def outputs(x: np.ndarray) -> np.ndarray:
        h = x @ matrices[0]
        for matrix in matrices[1:]:
            h = activate(h) @ matrix
        return h

    sizes_of_splits = (options.train, options.heldout)
    inputs = [rng.standard_normal((n, options.features)) for rng, n in zip(splits, sizes_of_splits, strict=True)]
    clean = [outputs(x) for x in inputs]
    centre, spread = clean[0].mean(axis=0), clean[0].std(axis=0)
    noisy = []
    for y, rng in zip(clean, splits, strict=True):
        noisy.append((y - centre) / spread + options.noise * rng.standard_normal(y.shape))
    if options.task == "classification":
        targets = [y.argmax(axis=1).astype(np.int64) for y in noisy]
    else:
        targets = [y.astype(np.float32) for y in noisy]
    (train_x, heldout_x), (train_y, heldout_y) = (x.astype(np.float32) for x in inputs), targets
    return Raw(Arrays(train_x, train_y, heldout_x, heldout_y))


DATASETS.register("teacher")(
    Dataset(
        summary="Synthetic teacher and student: Gaussian inputs, targets or classes from a random MLP",
        options=TeacherOptions,
        dimensions=lambda options: Dimensions(options.features, options.outputs, options.task),
        build=build,
        licence="MIT (muster's own code)",
        source="generated",
        axes=("features",),
    )
)
