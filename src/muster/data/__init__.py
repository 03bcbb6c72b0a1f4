"""Data sets by name: `DATASETS`, and the functions that make, write, load and describe them.

Adding one: a module of this package with an `Options` model and a `build` function, which registers a `Dataset`.
"""

from muster.data.base import DATASETS, Arrays, Dataset, Dimensions, Options, Raw, validate
from muster.data.prepared import dataset_key, describe, dimensions, load_dataset, load_manifest, prepare, write_dataset

__all__ = [
    "DATASETS",
    "Arrays",
    "Dataset",
    "Dimensions",
    "Options",
    "Raw",
    "dataset_key",
    "describe",
    "dimensions",
    "load_dataset",
    "load_manifest",
    "prepare",
    "validate",
    "write_dataset",
]
