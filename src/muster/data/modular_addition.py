"""Addition modulo p: every pair (a, b) as two one-hot vectors, the class (a + b) mod p."""

import numpy as np
from pydantic import Field

from muster.data.base import DATASETS, Arrays, Dataset, Dimensions, Options, Raw, check_size


class ModularAdditionOptions(Options):
    """Options of `modular_addition`."""

    modulus: int = Field(29, ge=2, le=997, description="p: there are p² pairs and p classes")
    train: int = Field(673, ge=2, description="Training pairs")
    heldout: int = Field(168, ge=1, description="Held-out pairs")


def build(options: ModularAdditionOptions) -> Raw:
    """Pairs without repetition in random order: the held-out ones first, so that a longer training split adds to a
    shorter one and is judged on the same pairs."""
    p = options.modulus
    check_size("train", options.train + options.heldout, p * p, f"modular_addition (train + heldout, modulus {p})")
    order = np.random.default_rng(options.seed).permutation(p * p)
    a, b = np.divmod(order, p)
    x = np.concatenate([np.eye(p, dtype=np.float32)[a], np.eye(p, dtype=np.float32)[b]], axis=1)
    y = ((a + b) % p).astype(np.int64)
    heldout = slice(0, options.heldout)
    train = slice(options.heldout, options.heldout + options.train)
    return Raw(Arrays(x[train], y[train], x[heldout], y[heldout]))


DATASETS.register("modular_addition")(
    Dataset(
        summary="Addition modulo p as classification: pairs of one-hot vectors, the task of grokking",
        options=ModularAdditionOptions,
        dimensions=lambda options: Dimensions(2 * options.modulus, options.modulus, "classification"),
        build=build,
        licence="MIT (muster's own code)",
        source="generated",
        standardise=False,
    )
)
