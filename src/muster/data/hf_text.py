"""Any data set of text on the Hugging Face hub, through the package `datasets`, which is imported when it is used."""

import hashlib
import importlib.util
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from muster.data.base import DATASETS, Dataset, Origin, Places, Raw, stamp
from muster.data.text import TextOptions, split, text_dimensions
from muster.errors import MusterError, Unavailable
from muster.files import write_text


class HubTextOptions(TextOptions):
    """Options of `hf_text`."""

    dataset: str | None = Field(None, description="Name on the hub, e.g. roneneldan/TinyStories")
    subset: str | None = Field(None, description="Configuration of the data set; its default if absent")
    split: str = Field("train", description="Split on the hub from which training and held-out text are taken")
    column: str = Field("text", description="Column that holds the text")
    revision: str | None = Field(None, description="Commit on the hub; the newest if absent, which may change")
    documents: int = Field(10_000, ge=2, description="Rows that are read, from the first on")
    path: str | None = Field(None, description="File of the rows as JSON lines, looked at before the hub is asked")


def _file(options: HubTextOptions) -> Path:
    """The name of the rows on disk, below a folder of sources: it changes with everything that chooses them."""
    chosen = [options.dataset, options.subset, options.split, options.column, options.revision, options.documents]
    tag = hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:8]
    return Path("hf_text", f"{(options.dataset or '').replace('/', '--')}-{tag}.jsonl")


def _paths(options: HubTextOptions, folders: Iterable[Path]) -> list[Path]:
    own = [Path(options.path).expanduser()] if options.path else []
    return [*own, *(folder / _file(options) for folder in folders)]


def obtain(options: HubTextOptions, places: Places) -> list[bytes]:
    """Text of the first rows, each distinct one once: from a file of JSON lines, else from the hub.

    Raises MusterError if no data set is named, or rows lack the column; Unavailable if they cannot be had.
    """
    if options.dataset is None:
        found, remedy = "no data set is named", "Name one, e.g. dataset: roneneldan/TinyStories"
        raise MusterError("data_options.dataset", found, remedy)
    path = next((path for path in _paths(options, places.all) if path.is_file()), None)
    rows = _from_file(path) if path else _from_hub(options)
    if rows and options.column not in rows[0]:
        raise MusterError("data_options.column", f"no column {options.column!r}", f"Columns: {', '.join(rows[0])}")
    if path is None and places.kept:
        lines = (json.dumps({options.column: row[options.column]}, ensure_ascii=False) for row in rows)
        write_text(places.kept / _file(options), "".join(f"{line}\n" for line in lines))
    return list(dict.fromkeys(row[options.column].encode() for row in rows[: options.documents]))


def _from_file(path: Path) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("a line is no JSON object")
    except (OSError, ValueError) as error:
        raise Unavailable(f"{path} is refused: no readable JSON lines ({error})") from None
    return rows


def _from_hub(options: HubTextOptions) -> list[dict[str, Any]]:
    try:
        import datasets
    except ImportError:
        raise Unavailable("its rows are not on this machine and the package `datasets` is not installed") from None
    try:
        stream: Any = datasets.load_dataset(
            options.dataset, options.subset, split=options.split, revision=options.revision, streaming=True
        )
        return list(itertools.islice(stream, options.documents))
    except Exception as error:  # the package raises many kinds, of its own and of its network clients
        said = " ".join(str(error).split())
        raise Unavailable(f"the hub does not give {options.dataset} ({said or type(error).__name__})") from None


def state(options: HubTextOptions, folders: tuple[Path, ...]) -> str:
    """Changes when a file of the rows appears or changes, and when the package that asks the hub is installed."""
    package = "" if importlib.util.find_spec("datasets") else "no package, "
    return f"{package}{stamp(_paths(options, folders))}"


def by_hand(options: HubTextOptions, folder: Path) -> str:
    """Where the rows may be put."""
    return f'put the rows as JSON lines, {{"{options.column}": "…"}}, at {folder / _file(options)}'


def build(options: HubTextOptions, rows: list[bytes]) -> Raw:
    """Windows of bytes of the rows, a tenth of which is held out."""
    return split(rows, options, "hf_text", "rows", {})


DATASETS.register("hf_text")(
    Dataset(
        summary="Next-byte prediction on a text data set of the Hugging Face hub (options dataset, column)",
        options=HubTextOptions,
        dimensions=text_dimensions,
        build=build,
        origin=Origin(obtain, state, by_hand, "run `pip install datasets` and `muster fetch hf_text`"),
        local=frozenset({"path"}),
        licence="that of the data set: see its card on the hub",
        source="the Hugging Face hub: the data set named in data_options.dataset",
        axes=("context",),
    )
)
