"""Data sets by name: `DATASETS`, and the functions that make, write, load and describe them.

Adding one: a module with an `Options` model and a `build` function that registers a `Dataset`, imported below.
One whose bytes come from elsewhere has an `Origin` too.
"""

from muster.data import (
    digits,
    fashion_mnist,
    hf_text,
    mnist1d,
    modular_addition,
    python_text,
    sparse_features,
    teacher,
    text_file,
)
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
    "digits",
    "dimensions",
    "fashion_mnist",
    "hf_text",
    "load_dataset",
    "load_manifest",
    "mnist1d",
    "modular_addition",
    "prepare",
    "python_text",
    "sparse_features",
    "state",
    "teacher",
    "text_file",
    "validate",
    "write_dataset",
]
