"""Any data set of text on the Hugging Face hub, through the package `datasets`, which is imported when it is used."""

import itertools
from typing import Any

from pydantic import Field

from muster.data.base import DATASETS, Dataset, Raw
from muster.data.text import TextOptions, split, text_dimensions
from muster.errors import MusterError


class HubTextOptions(TextOptions):
    """Options of `hf_text`."""

    dataset: str | None = Field(None, description="Name on the hub, e.g. roneneldan/TinyStories")
    subset: str | None = Field(None, description="Configuration of the data set; its default if absent")
    split: str = Field("train", description="Split on the hub from which training and held-out text are taken")
    column: str = Field("text", description="Column that holds the text")
    revision: str | None = Field(None, description="Commit on the hub; the newest if absent, which may change")
    documents: int = Field(10_000, ge=2, description="Rows that are read, from the first on")


def rows(options: HubTextOptions) -> list[bytes]:
    """Text of the first rows, each distinct one once. Raises MusterError if it cannot be had."""
    if options.dataset is None:
        remedy = "Name one, e.g. dataset: roneneldan/TinyStories"
        raise MusterError("data_options.dataset", "no data set is named", remedy)
    try:
        import datasets
    except ImportError:
        remedy = 'Install it: pip install "muster[hub]", or pip install datasets'
        raise MusterError("data hf_text", "the package `datasets` is not installed", remedy) from None
    place = f"data_options.dataset {options.dataset}"
    try:
        stream: Any = datasets.load_dataset(
            options.dataset, options.subset, split=options.split, revision=options.revision, streaming=True
        )
        found = list(itertools.islice(stream, options.documents))
    except Exception as error:  # the package raises many kinds, of its own and of its network clients
        remedy = "Check name, subset, split and revision, and that the hub can be reached"
        raise MusterError(place, f"not loaded ({error})", remedy) from None
    if found and options.column not in found[0]:
        raise MusterError("data_options.column", f"no column {options.column!r}", f"Columns: {', '.join(found[0])}")
    return list(dict.fromkeys(row[options.column].encode() for row in found))


def build(options: HubTextOptions) -> Raw:
    """Windows of bytes of the rows, a tenth of which is held out."""
    return split(rows(options), options, "hf_text", "rows", {})


DATASETS.register("hf_text")(
    Dataset(
        summary="Next-byte prediction on a text data set of the Hugging Face hub (options dataset, column)",
        options=HubTextOptions,
        dimensions=text_dimensions,
        build=build,
        licence="that of the data set: see its card on the hub",
        source="the Hugging Face hub: the data set named in data_options.dataset",
        axes=("context",),
    )
)
