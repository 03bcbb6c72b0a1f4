"""Readers of many files: a folder, or an archive of it, in which every run has a file or a log of its own."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from muster.config.models import Section
from muster.digests import parse_json
from muster.published import unpack
from muster.published.patterns import LONGEST_TEXT, NamingPattern, Pattern, as_numbers, found_in
from muster.published.readers import READERS, Reader
from muster.published.records import table_of_records
from muster.published.unpack import archive_files, expanded, files_checksum, is_archive, text_of, unreadable

if TYPE_CHECKING:
    import pandas as pd

MOST_VALUES = 20_000_000  # of all files together
FILE = "file"


class RunFilesOptions(Section):
    """Options of `run_files`."""

    files: Pattern = Field(".", description="Regular expression that a file's path holds; named groups become columns")
    format: Literal["csv", "tsv", "json_lines", "json_records"] = Field("csv", description="Reader of each file")


class LogFilesOptions(Section):
    """Options of `log_files`."""

    files: Pattern = Field(".", description="Regular expression that a file's path holds; named groups become columns")
    line: NamingPattern = Field(description="Regular expression of the lines that count; named groups become columns")


def _wanted(options: Any, path: str) -> bool:
    return found_in(options.files, path) is not None


def _files(data: bytes, options: Any) -> dict[str, bytes]:
    """The files that the options mean, expanded where compressed; a file that is no archive is the only one."""
    if not is_archive(data):
        return {"": text_of(data)}
    files = archive_files(data, lambda path: _wanted(options, path))
    if not files:
        raise unreadable(f"no file's path holds {options.files!r}")
    left = unpack.ARCHIVE_LIMIT
    for path, content in files.items():
        files[path] = expanded(content, left)
        left -= len(files[path])
    return files


def _checksum(data: bytes, options: Any) -> str:
    return files_checksum(_files(data, options))


def _stacked(files: dict[str, bytes], pattern: str, read: Callable[[bytes], "pd.DataFrame"]) -> "pd.DataFrame":
    """All files' rows, with the columns `file` and those that the pattern finds in a path."""
    import pandas as pd

    from muster.published import foreign

    frames, columns, rows = [], dict[str, None](), 0
    for path, content in sorted(files.items()):
        try:
            frame = read(content)
        except Exception as error:  # whatever bytes of others may raise: which file they are of is worth knowing
            raise unreadable(f"{path}: {getattr(error, 'found', ' '.join(str(error).split())[:200])}") from None
        named = {FILE: path, **(found_in(pattern, path) or {})}
        if twice := [name for name in named if name in frame]:
            raise unreadable(f"{path} has a column {twice[0]!r}, which its path gives already")
        frames.append(frame.assign(**named))
        columns |= dict.fromkeys(map(str, frames[-1]))
        rows += len(frame)
        if len(columns) > foreign.MOST_COLUMNS or rows * len(columns) > MOST_VALUES:
            raise unreadable(f"{rows} rows with {len(columns)} columns: more than a table of runs has")
    whole = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    return as_numbers(whole, [*re.compile(pattern).groupindex])


def _reading(form: str) -> Callable[[bytes], "pd.DataFrame"]:
    """The reader of one file; a JSON document may also be the one record of a run."""
    if form == "json_records":
        return _read_record
    reader = READERS[form]
    return lambda data: reader.read(data, reader.parse({}))


def _read_record(data: bytes) -> "pd.DataFrame":
    """A file that holds one object, or a list of them."""
    document = parse_json(data)
    return table_of_records(document if isinstance(document, list) else [document])


def read_run_files(data: bytes, options: RunFilesOptions) -> "pd.DataFrame":
    """A folder, or its tar or zip archive, with a table a run: their rows, `file`, and what the path says of a run.

    One row a run is made by the transform `last_step`, with means over the last rows.
    """
    return _stacked(_files(data, options), options.files, _reading(options.format))


def read_log_files(data: bytes, options: LogFilesOptions) -> "pd.DataFrame":
    """Logs in a folder or its archive, or one log: a row for every line that holds the pattern, with its named groups.

    Columns also: `file`, and the named groups of `files`.
    """
    line = re.compile(options.line)
    table = _stacked(_files(data, options), options.files, lambda content: _matches(content, line))
    if table.empty:
        raise unreadable(f"no line holds {options.line!r}")
    return as_numbers(table, [*line.groupindex])


def _matches(content: bytes, line: "re.Pattern[str]") -> "pd.DataFrame":
    import pandas as pd

    def rows() -> Iterator[dict[str, Any]]:
        for text in content.decode("utf-8", "replace").splitlines():
            if found := line.search(text[:LONGEST_TEXT]):
                yield found.groupdict()

    found = [*rows()]
    return table_of_records(found) if found else pd.DataFrame(columns=[*line.groupindex])


for _name, _reader in {
    "run_files": Reader(
        "A folder or archive with one table a run: CSV, TSV or JSON",
        read_run_files,
        RunFilesOptions,
        _checksum,
        _wanted,
    ),
    "log_files": Reader(
        "Logs, in a folder, an archive or alone: lines that hold a pattern",
        read_log_files,
        LogFilesOptions,
        _checksum,
        _wanted,
    ),
}.items():
    READERS.register(_name)(_reader)
