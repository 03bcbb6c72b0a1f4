"""Data sets by name: `DATASETS`, and the functions that make, write, load and describe them.

Adding one: a module of this package with an `Options` model and a `build` function, which registers a `Dataset`; one
whose bytes come from elsewhere has an `Origin` too.
"""

from muster.data.base import DATASETS, Arrays, Dataset, Dimensions, Options, Origin, Places, Raw, validate
from muster.data.prepared import (
    dataset_key,
    describe,
    dimensions,
    load_dataset,
    load_manifest,
    prepare,
    state,
    write_dataset,
)

__all__ = [
    "DATASETS",
    "Arrays",
    "Dataset",
    "Dimensions",
    "Options",
    "Origin",
    "Places",
    "Raw",
    "dataset_key",
    "describe",
    "dimensions",
    "load_dataset",
    "load_manifest",
    "prepare",
    "state",
    "validate",
    "write_dataset",
]
