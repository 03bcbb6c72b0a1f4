"""Readers of records: JSON lines, JSON documents, and what else is made of dictionaries and lists."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from muster.config.models import Section
from muster.digests import parse_json
from muster.published.readers import READERS, Reader
from muster.published.unpack import text_of, unreadable

if TYPE_CHECKING:
    import pandas as pd

LONGEST_LIST = 32  # entries of a list in a record that become columns; longer ones are curves, not cells
MOST_LEVELS = 20  # records within records
KEY = "key"
LEFT_OUT = object()  # in place of a long list, and of what holds nothing


class LinesOptions(Section):
    """Options of `json_lines`."""

    member: str | None = Field(None, description="The file of a zip archive that is read; its only one if absent")


class RecordsOptions(LinesOptions):
    """Options of `json_records`."""

    path: list[str] = Field(default_factory=list, description="Keys that lead to the table within the document")
    orient: Literal["records", "index", "columns"] = Field(
        "records",
        description="records: a list of rows; index: name → row, the name becomes the column `key`; columns: column → "
        "list of cells",
    )


def flat(record: Any, prefix: str = "", level: int = 0) -> Iterator[tuple[str, Any]]:
    """Cells of a record with the names of their columns: `config.lr`, `betas.0` for records and lists within it.

    Of lists of more than 32 entries LEFT_OUT is the cell. A record that is one value is the cell `value`.
    """
    if level > MOST_LEVELS:
        raise unreadable(f"records are nested more than {MOST_LEVELS} levels deep")
    if isinstance(record, Mapping) and record:
        inner: Iterable[tuple[Any, Any]] = record.items()
    elif isinstance(record, list | tuple) and 0 < len(record) <= LONGEST_LIST:
        inner = enumerate(record)
    else:
        yield prefix or "value", LEFT_OUT if isinstance(record, list | tuple | Mapping) else record
        return
    for name, value in inner:
        yield from flat(value, f"{prefix}.{name}" if prefix else str(name), level + 1)


def table_of_records(records: Iterable[Any]) -> "pd.DataFrame":
    """One row a record, a column for every cell that any of them has. Raises MusterError for more cells than a table of
    runs has, before they are laid out."""
    import pandas as pd

    from muster.published import foreign

    rows: list[dict[str, Any]] = []
    columns: dict[str, None] = {}
    for record in records:
        cells = dict(itertools.islice(flat(record), foreign.MOST_COLUMNS + 1))
        if len(cells) > foreign.MOST_COLUMNS:
            raise unreadable(f"a record has more than {foreign.MOST_COLUMNS} cells")
        rows.append({name: cell for name, cell in cells.items() if cell is not LEFT_OUT})
        columns |= dict.fromkeys(rows[-1])
        if len(columns) > foreign.MOST_COLUMNS or len(rows) * len(columns) > foreign.MOST_CELLS:
            raise unreadable(f"{len(rows)} records have {len(columns)} columns: more than a table of runs has")
    if not rows:
        raise unreadable("there is no record")
    return pd.DataFrame(rows, columns=[*columns])


def step_into(document: Any, name: str) -> Any:
    """What a document has of that name. Raises MusterError saying which names it has."""
    if not isinstance(document, Mapping) or name not in document:
        known = ", ".join(map(repr, [*document][:10])) if isinstance(document, Mapping) else "no keys"
        raise unreadable(f"the document has no {name!r} where `path` says; it has {known}")
    return document[name]


def table_of_document(document: Any, options: RecordsOptions) -> "pd.DataFrame":
    """The table that lies in a document of dictionaries and lists, as the options say."""
    for name in options.path:
        document = step_into(document, name)
    if options.orient == "records":
        if not isinstance(document, list | tuple):
            raise unreadable(f"no list of records but a {type(document).__name__}: see `path` and `orient`")
        return table_of_records(document)
    if not isinstance(document, Mapping):
        raise unreadable(f"no names with their {options.orient} but a {type(document).__name__}: see `path`")
    if options.orient == "index":
        return table_of_records(_with_key(name, record) for name, record in document.items())
    return _table_of_columns(document)


def _with_key(name: Any, record: Any) -> dict[str, Any]:
    """A record with its name; its own cells if it is a record or a list, else its one value."""
    inner = dict(enumerate(record)) if isinstance(record, list | tuple) else record
    cells = inner if isinstance(inner, Mapping) else {"value": inner}
    return {KEY: str(name), **{str(column): cell for column, cell in cells.items()}}


def _table_of_columns(document: Mapping[Any, Any]) -> "pd.DataFrame":
    """Column → list of cells, or cells by row as `DataFrame.to_json` writes them."""
    columns = {str(k): [*v.values()] if isinstance(v, Mapping) else v for k, v in document.items()}
    lists = {name: values for name, values in columns.items() if isinstance(values, list | tuple)}
    lengths = {name: len(values) for name, values in lists.items()}
    if len(lists) < len(columns) or len(set(lengths.values())) != 1:
        raise unreadable(f"columns are no lists of one length: {str(lengths)[:200]}")
    return table_of_records(dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True))


def read_json_lines(data: bytes, options: LinesOptions) -> "pd.DataFrame":
    """One JSON object a line, also compressed; objects within it become columns such as `config.lr`."""
    return table_of_records(_lines(text_of(data, options.member)))


def _lines(text: bytes) -> Iterator[Any]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield parse_json(line)
            except ValueError as error:
                raise unreadable(f"line {number} is no JSON ({error})") from None


def read_json_records(data: bytes, options: RecordsOptions) -> "pd.DataFrame":
    """A JSON document that holds a list of objects, or names or columns with their values; also compressed."""
    try:
        document = parse_json(text_of(data, options.member))
    except ValueError as error:
        raise unreadable(f"not readable as JSON ({error})") from None
    return table_of_document(document, options)


for _name, _reader in {
    "json_lines": Reader("One JSON object a line, plain or compressed", read_json_lines, LinesOptions),
    "json_records": Reader(
        "A JSON document of records, by row, by name or by column", read_json_records, RecordsOptions
    ),
}.items():
    READERS.register(_name)(_reader)
