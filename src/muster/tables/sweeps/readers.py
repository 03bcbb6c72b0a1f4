"""File formats of run tables: text with any delimiter, JSON, Parquet, gzip around them; a DataFrame."""

import ast
import csv
import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from muster.errors import MusterError
from muster.files import read_regular
from muster.published.foreign import MOST_COLUMNS, read_parquet
from muster.tables.sweeps.cells import Cells
from muster.tables.sweeps.notation import understood
from muster.tables.sweeps.stores import DATABASES, is_address, read_store

DELIMITERS = (",", "\t", ";", "|")
JSON_LINES = (".jsonl", ".ndjson")
LEVELS = 20  # of dictionaries in cells
SNIFFED = 50  # lines from which a delimiter is told
LARGEST_FIELD = 2**27


def read_cells(source: "Path | str | pd.DataFrame") -> Cells:
    """Read a table of runs, with dictionaries in cells unfolded into columns.

    Raises MusterError naming file and line when it is no table of rows.
    """
    raw = _from_frame(source) if isinstance(source, pd.DataFrame) else _read(source)
    if not len(raw.cells):
        raise MusterError(raw.path, "no row below the header", "Give a table with one row a run")
    _check_columns(raw.path, len(raw.cells.columns))
    raw = _unfolded(raw)
    _check_columns(raw.path, len(raw.cells.columns))
    return raw


def _check_columns(path: str, number: int) -> None:
    if number > MOST_COLUMNS:
        remedy = f"Give those that matter: at most {MOST_COLUMNS} are read"
        raise MusterError(path, f"{number} columns, more than a table of runs has", remedy)


MOST_FILE = 256 * 2**20  # bytes, packed or unpacked


def _read(source: Path | str) -> Cells:
    if is_address(str(source)) or Path(source).is_dir():
        return _from_frame(read_store(str(source)))._replace(path=str(source))
    path = Path(source)
    if not path.is_file():
        raise MusterError(str(path), "no such file", "Give a CSV, JSON or Parquet file with one row a run")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] and suffixes[-1] in DATABASES:
        return _from_frame(read_store(str(path)))._replace(path=str(path))
    try:
        data = read_regular(path, MOST_FILE)
    except OSError as error:
        raise MusterError(
            str(path), f"cannot be read ({error.strerror or error})", "Give a smaller file of rows"
        ) from None
    if data[:2] == b"\x1f\x8b":
        data, suffixes = _unpacked(path, data), [suffix for suffix in suffixes if suffix not in (".gz", ".gzip")]
    kind = suffixes[-1] if suffixes else ""
    if kind in (".parquet", ".pq") or data[:4] == b"PAR1":
        return _from_parquet(str(path), data)
    text = _decoded(path, data)
    if kind in (*JSON_LINES, ".json"):
        return _from_json(str(path), text, kind in JSON_LINES)
    return _from_text(str(path), text, "\t" if kind == ".tsv" else None)


def _unpacked(path: Path, data: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            content = file.read(MOST_FILE + 1)
        if len(content) > MOST_FILE:
            raise OSError(f"larger than {MOST_FILE} bytes unpacked")
        return content
    except (OSError, EOFError) as error:
        raise MusterError(str(path), f"not readable as gzip ({error})", "Pack it again, or give it unpacked") from None


def _decoded(path: Path, data: bytes) -> str:
    """Text as UTF-8 or UTF-16 with its mark, else as Western spreadsheets write it."""
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", data):
            try:
                return data.decode("cp1252")
            except UnicodeDecodeError:
                pass
        remedy = "Give CSV in UTF-8, or a .parquet file"
        raise MusterError(str(path), f"not a table of text ({error})", remedy) from None


def _from_text(path: str, text: str, delimiter: str | None) -> Cells:
    csv.field_size_limit(LARGEST_FIELD)
    text, skipped = _body(text)
    if text[:4].lower() == "sep=":  # as spreadsheets say it
        head, _, text = text.partition("\n")
        delimiter, skipped = head[4:5], skipped + 1
    delimiter = delimiter or _delimiter(text)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        lines = [(reader.line_num + skipped, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise MusterError(path, f"not a table of text ({error})", "Give CSV in UTF-8, or a .parquet file") from None
    if not lines:
        raise MusterError(path, "the file is empty", "Give a CSV with a header and one row a run")
    header = [name.strip() for name in lines[0][1]]
    if not header[-1] and all(len(row) == len(header) and not row[-1].strip() for _, row in lines):
        header, lines = header[:-1], [(number, row[:-1]) for number, row in lines]  # a delimiter at each line's end
    if len(header) == 1:
        remedy = "Separate cells by commas, semicolons or tabs"
        raise MusterError(path, f"one column, {header[0]!r}", remedy)
    _check_columns(path, len(header))
    twice = next((name for name, number in Counter(header).items() if number > 1), None)
    if twice is not None:
        raise MusterError(path, f"two columns are called {twice!r}", "Give every column its own name")
    for number, row in lines[1:]:
        if len(row) != len(header):
            found = f"{len(row)} cells, but the header has {len(header)}"
            raise MusterError(f"{path} line {number}", found, "Quote texts that hold commas; give every row all cells")
    rows = [[cell.strip() or None for cell in row] for _, row in lines[1:]]
    cells, ambiguous, commas = understood(pd.DataFrame(rows, columns=header, dtype=object))
    return Cells(path, cells, [f"line {number}" for number, _ in lines[1:]], ambiguous, commas)


def _body(text: str) -> tuple[str, int]:
    """The text below comments at its head, and how many lines those are."""
    lines = text.splitlines(keepends=True)
    skipped = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
    return "".join(lines[skipped:]), skipped


def _delimiter(text: str) -> str:
    """The delimiter that cuts the first lines into as many cells as the header has; of several, into the most."""
    head = "\n".join(text.splitlines()[:SNIFFED])

    def fit(delimiter: str) -> tuple[float, int]:
        try:
            rows = [row for row in csv.reader(io.StringIO(head), delimiter=delimiter) if row]
        except csv.Error:
            return 0.0, 0
        cells = len(rows[0]) if rows else 0
        same = sum(len(row) == cells for row in rows) / max(len(rows), 1)
        return (same if cells > 1 else 0.0), cells

    best = max(DELIMITERS, key=fit)
    if fit(best)[0] == 0 and fit(" ")[0] == 1:
        return " "
    return best


def _from_json(path: str, text: str, lines: bool) -> Cells:
    """Objects one a line; a list of objects, alone or as the only list of an object; or an object of columns."""
    numbered = [(f"line {i}", line) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    parts = numbered if lines else [("", text)]
    found, at = [], ""
    try:
        for place, part in parts:
            at = f" {place}" if place else ""
            found.append(json.loads(part))
        records = found if lines else _records(found[0])
    except (ValueError, TypeError, RecursionError) as error:
        told = f"not readable as JSON ({str(error).splitlines()[0]})"
        raise MusterError(f"{path}{at}", told, "Give one object a run, in a list or one a line") from None
    wrong = [row for row in records if not isinstance(row, dict)]
    if wrong:
        raise MusterError(path, f"found {type(wrong[0]).__name__} where a run should be", "Give one object a run")
    names = list(dict.fromkeys(name for row in records for name in row))
    cells = pd.DataFrame({str(name): _values([row.get(name) for row in records]) for name in names})
    where = [place for place, _ in numbered] if lines else [f"row {i + 1}" for i in range(len(records))]
    return Cells(path, cells, where)


def _records(tree: Any) -> list[Any]:
    """The runs of a JSON tree; whatever is none of its known forms stands alone."""
    if isinstance(tree, list):
        return tree
    if not isinstance(tree, dict):
        return [tree]
    lists = [value for value in tree.values() if isinstance(value, list)]
    if len(lists) == 1 and all(isinstance(row, dict) for row in lists[0]):
        return lists[0]
    return pd.DataFrame(tree).to_dict("records")


def _from_parquet(path: str, data: bytes) -> Cells:
    try:
        table = read_parquet(data)
        columns = [_values(column.to_pylist()) for column in table.columns]
    except Exception as error:  # whatever the file makes pyarrow raise
        found = f"not a readable Parquet file ({' '.join(str(error).split())[:200] or type(error).__name__})"
        raise MusterError(path, found, "Write it again, or give CSV") from None
    cells = pd.DataFrame(dict(zip(table.column_names, columns, strict=True)))
    return Cells(path, cells, [f"row {i + 1}" for i in range(len(cells))])


def _values(cells: Sequence[Any]) -> pd.Series:
    """Values as they are; a null stays None, unlike NaN."""
    return pd.Series([(cell.strip() or None) if isinstance(cell, str) else cell for cell in cells], dtype=object)


def _from_frame(frame: pd.DataFrame) -> Cells:
    """A DataFrame, whose NaN means that nothing was logged, as in the histories that trackers give."""
    plain = frame.reset_index(drop=True)
    if not plain.columns.is_unique:
        twice = plain.columns[plain.columns.duplicated()][0]
        raise MusterError("the table", f"two columns are called {twice!r}", "Give every column its own name")
    cells = {
        str(name): _values(
            [None if missing else cell for cell, missing in zip(plain[name].tolist(), gone, strict=True)]
        )
        for name, gone in ((name, plain[name].isna().tolist()) for name in plain.columns)
    }
    return Cells("the table", pd.DataFrame(cells), [f"row {i}" for i in frame.index])


def _unfolded(raw: Cells) -> Cells:
    """Dictionaries in cells as columns: `config` with {"lr": 0.1} becomes `config.lr`."""
    columns: dict[str, pd.Series] = {}
    for name in raw.cells:
        found = _dictionaries(raw.cells[name].tolist())
        if found is None:
            columns[str(name)] = raw.cells[name]
            continue
        flat = [_flat(row) for row in found]
        for key in dict.fromkeys(key for row in flat for key in row):
            columns.setdefault(f"{name}.{key}", _values([row.get(key) for row in flat]))
    return raw if list(columns) == list(raw.cells) else raw._replace(cells=pd.DataFrame(columns))


def _dictionaries(cells: Sequence[Any]) -> list[Mapping[str, Any]] | None:
    """A column of dictionaries, or of texts that hold them; None for any other."""
    first = next((cell for cell in cells if cell is not None), None)
    if not (isinstance(first, Mapping) or (isinstance(first, str) and first.startswith("{"))):
        return None
    found: list[Mapping[str, Any]] = []
    for cell in cells:
        row = _dictionary(cell) if isinstance(cell, str) else {} if cell is None else cell
        if not isinstance(row, Mapping):
            return None
        found.append(row)
    return found


def _dictionary(text: str) -> Any:
    """JSON, or a dictionary as Python prints it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _flat(row: Mapping[str, Any], prefix: str = "", levels: int = LEVELS) -> dict[str, Any]:
    """Nested keys joined by dots; W&B's {"value": …, "desc": …} is its value; lists and what is deeper stay text."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping) and set(value) <= {"value", "desc"} and "value" in value:
            value = value["value"]
        if isinstance(value, Mapping) and levels > 1:
            flat |= _flat(value, f"{prefix}{key}.", levels - 1)
        else:
            flat[f"{prefix}{key}"] = _text(value) if isinstance(value, Mapping | list | tuple) else value
    return flat


def _text(value: Any) -> str:
    try:
        return str(value)
    except RecursionError:
        return "…"
