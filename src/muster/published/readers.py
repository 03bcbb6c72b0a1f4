"""Readers: the bytes of a published file become a table with the publisher's own columns.

Nothing that was downloaded is ever executed or extracted: Python sources are parsed, archives are read in memory.
"""

import ast
import hashlib
import io
import itertools
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, ValidationError

from muster.config.models import Section
from muster.digests import parse_json
from muster.errors import MusterError
from muster.published.unpack import archive_files, files_checksum, pack, text_of, unreadable
from muster.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

LIST_LIMIT = 100_000  # entries of a list written as [x] * n
VALUE_LIMIT = 1_000_000  # values of a column, however its lists are nested


class NoOptions(Section):
    """Options of a reader that has none."""


class CsvOptions(Section):
    """Options of `csv`."""

    delimiter: str = Field(",", min_length=1, max_length=1, description="Character between cells")
    member: str | None = Field(None, description="The file of a zip archive that is read; its only one if absent")


class TsvOptions(CsvOptions):
    """Options of `tsv`."""

    delimiter: str = Field("\t", min_length=1, max_length=1, description="Character between cells")


class PythonOptions(Section):
    """Options of `python_lists`."""

    variables: dict[str, str] = Field(min_length=1, description="Column → variable that holds it, as (nested) lists")


class Axis(Section):
    """One axis of an array."""

    column: str = Field(min_length=1, description="Name of the column it becomes")
    values: list[float] | int = Field(description="Values along it; a number n means 0 … n − 1")


class NpyOptions(Section):
    """Options of `npy`."""

    axes: list[Axis] = Field(min_length=1, description="The array's axes in order: column and values of each")


class NotebookOptions(Section):
    """Options of `datablations_notebook`."""

    cell: int = Field(ge=0, description="Index of the cell that holds the losses by name of run")
    replicates: bool = Field(False, description="Only runs whose name ends in seedK, as config, seed, val_loss")


class OpenLmOptions(Section):
    """Options of `open_lm_archive`."""

    folder: str = Field("exp_data", description="Folder of the archive that holds models/ and evals/")
    tasks: list[str] = Field(default_factory=list, description="Tasks whose mean error becomes err_avg_subset")


def _whole_file(data: bytes, options: Any) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Reader:
    """A registered reader. read, checksum: (bytes, options) → table, checksum.

    wanted: (options, path) → whether a file of a folder is read, for a reader of archives: it then takes folders, too.
    permission: the environment variable that must be `allow` for it to read at all.
    """

    summary: str
    read: Callable[[bytes, Any], "pd.DataFrame"]
    options: type[Section] = NoOptions
    digest: Callable[[bytes, Any], str] = _whole_file
    wanted: Callable[[Any, str], bool] | None = None
    permission: str | None = None

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self.summary

    def parse(self, options: dict[str, Any]) -> Section:
        """Options as the reader's model. Raises ValueError naming the first that is wrong, and those allowed."""
        try:
            return self.options.model_validate(options)
        except ValidationError as error:
            first = error.errors()[0]
            fields = "; ".join(f"{name}: {field.description}" for name, field in self.options.model_fields.items())
            raise ValueError(f"reader_options {first['loc'][0]}: {first['msg']}. Options: {fields or 'none'}") from None

    def __call__(self, data: bytes, options: dict[str, Any]) -> "pd.DataFrame":
        """The table: plain cells in columns of different names. Raises MusterError saying what of the file cannot be
        read."""
        from muster.published.foreign import check_plain

        if why := self.forbidden():
            raise unreadable(why)
        with _foreign():
            frame = self.read(data, self.parse(options))
            check_plain(frame)
        return frame

    def checksum(self, data: bytes, options: dict[str, Any]) -> str:
        """What `sha256` of a source means. Raises MusterError for an archive that cannot be opened."""
        with _foreign():
            return self.digest(data, self.parse(options))

    def forbidden(self) -> str:
        """Why no file is read here; empty where files are."""
        if self.permission is None or os.environ.get(self.permission) == "allow":
            return ""
        return f"a pickle is read only where the environment has {self.permission}=allow"

    def packed(self, folder: Path, options: dict[str, Any]) -> bytes:
        """A folder's files as the archive that is read in its place. Raises MusterError if there are too many."""
        chosen, wanted = self.parse(options), self.wanted
        assert wanted is not None
        return pack(folder, lambda path: wanted(chosen, path))


READERS: Registry[Reader] = Registry(
    "reader", modules=("muster.published.records", "muster.published.run_files", "muster.published.pickles")
)


@contextmanager
def _foreign() -> Iterator[None]:
    """Bytes of other people may raise anything: whatever it is, they cannot be read as what they were meant for."""
    try:
        yield
    except MusterError:
        raise
    except Exception as error:
        found = " ".join(str(error).split())[:200]
        raise unreadable(f"not as expected ({type(error).__name__}{f': {found}' if found else ''})") from None


def read_csv(data: bytes, options: CsvOptions) -> "pd.DataFrame":
    """Comma-separated values with a header, also compressed (.gz, .bz2, .xz, .zip)."""
    import pandas as pd

    from muster.published import foreign

    data = text_of(data, options.member)
    columns = re.split(rb"[\r\n]", data, maxsplit=1)[0].count(options.delimiter.encode())
    if columns >= foreign.MOST_COLUMNS:
        raise unreadable(f"not readable as CSV ({columns} columns)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows that are longer than the header
            frame = pd.read_csv(io.BytesIO(data), sep=options.delimiter, encoding="utf-8", index_col=False)
    except (
        ValueError,
        pd.errors.ParserError,
        pd.errors.ParserWarning,
    ) as error:
        raise unreadable(f"not readable as CSV ({str(error).strip()})") from None
    return frame.rename(columns=str)


def read_parquet(data: bytes, options: NoOptions) -> "pd.DataFrame":
    """A Parquet file."""
    import pyarrow as pa

    from muster.published import foreign

    try:
        return foreign.read_parquet(data).to_pandas().rename(columns=str)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise unreadable(f"not readable as Parquet ({error})") from None


def read_npy(data: bytes, options: NpyOptions) -> "pd.DataFrame":
    """An array saved by NumPy, as one row an entry: the columns of its axes, and `value`."""
    import pandas as pd

    array = _array(data)
    levels = [range(axis.values) if isinstance(axis.values, int) else axis.values for axis in options.axes]
    if array.shape != (shape := tuple(len(values) for values in levels)):
        raise unreadable(f"the array has shape {array.shape}, the axes have {shape}")
    index = pd.MultiIndex.from_product(levels, names=[axis.column for axis in options.axes])
    return pd.DataFrame({"value": array.ravel()}, index=index).reset_index()


def _array(data: bytes) -> np.ndarray:
    """The array of an npy file: its header is held against the bytes that are there before any memory is asked for."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, by_column, dtype = header(stream)
        count = math.prod(shape)
        if dtype.kind not in "biuf" or count * dtype.itemsize != len(data) - stream.tell():
            raise ValueError(f"it declares {count} values of type {dtype}, which are not what follows")
        return np.frombuffer(data, dtype, count, stream.tell()).reshape(shape, order="F" if by_column else "C")
    except (ValueError, KeyError, EOFError, OSError) as error:
        raise unreadable(f"not readable as an array of NumPy ({error})") from None


def _assignments(text: str) -> dict[str, list[ast.expr]]:
    """Every `name = expression` of a Python text, in all its blocks, by name."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise unreadable(f"not readable as Python ({error})") from None
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return found


def _literal(node: ast.expr) -> Any:
    """The value of an expression of literals; lists may be repeated, as in `[1] * 6`."""
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        items, count = _literal(node.left), _literal(node.right)
        if isinstance(items, list) and isinstance(count, int) and 0 <= len(items) * count <= LIST_LIMIT:
            return items * count
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise unreadable(f"line {node.lineno} is not made of literals") from None


def _variable(found: dict[str, list[ast.expr]], name: str) -> Any:
    written = found.get(name, [])
    if len(written) != 1:
        raise unreadable(f"variable {name!r} is assigned {len(written)} times, not once")
    return _literal(written[0])


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def read_python_lists(data: bytes, options: PythonOptions) -> "pd.DataFrame":
    """Columns typed as lists in a Python program, which is parsed, not run; nested lists count row by row."""
    import pandas as pd

    found = _assignments(data.decode("utf-8", "replace"))
    columns = {}
    for column, name in options.variables.items():
        columns[column] = list(itertools.islice(_flat(_variable(found, name)), VALUE_LIMIT + 1))
        if len(columns[column]) > VALUE_LIMIT:
            raise unreadable(f"variable {name!r} holds more than {VALUE_LIMIT} values")
    lengths = {column: len(values) for column, values in columns.items()}
    if len(set(lengths.values())) != 1:
        raise unreadable(f"columns of different length: {lengths}")
    return pd.DataFrame(columns)


def read_datablations(data: bytes, options: NotebookOptions) -> "pd.DataFrame":
    """Runs of Muennighoff et al. 2023, from the cell of their notebook that lists the final losses by name of run.

    A name such as 2b855b9b is parameters, tokens, unique tokens; two tables of the same cell give the sizes that the
    name rounds. A loss of 0 marks a run that did not finish; names in `dedup` are runs on other data. Columns: name, N,
    D, U, val_loss.
    """
    import pandas as pd

    try:
        source = "".join(parse_json(data)["cells"][options.cell]["source"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise unreadable(f"no notebook with a cell {options.cell} ({error!r})") from None
    written = _assignments(source)
    losses = {name: loss for name, loss in _variable(written, "NAMES_TO_VAL_LOSSES").items() if loss}
    if options.replicates:
        named = [(re.fullmatch(r"(.+)seed(\d+)", name), loss) for name, loss in losses.items()]
        split = [(found[1], int(found[2]), loss) for found, loss in named if found]
        return pd.DataFrame(split, columns=["config", "seed", "val_loss"])
    parameters, tokens = _variable(written, "PARAMS_MAP"), _variable(written, "TOKENS_MAP")
    rows = [
        (name, *_datablations_sizes(name, parameters, tokens), loss)
        for name, loss in losses.items()
        if not name.endswith("dedup")
    ]
    return pd.DataFrame(rows, columns=["name", "N", "D", "U", "val_loss"])


def _datablations_sizes(name: str, parameters: dict[str, float], tokens: dict[str, float]) -> tuple[float, ...]:
    """N, D and U of a name, by the rules of the notebook: the shortest known prefix of two characters or more is N; the
    last four characters, cut from the left until they hold one unit, are U; what lies between is D."""
    head = next((i for i in range(2, len(name)) if name[:i] in parameters), None)
    if head is None:
        raise unreadable(f"the run {name!r} does not start with a known number of parameters")
    with_unit = name[-1] in "bm" or name[-2] not in "bm"
    tail = len(name) - (4 if with_unit else 3)
    while name.count("b", tail) > 1 or name.count("m", tail) > 1:
        tail += 1

    def billions(text: str) -> float:
        try:
            return tokens[text] if text in tokens else float(text.replace("b", ".").strip("."))
        except ValueError:
            raise unreadable(f"the run {name!r} holds no number of tokens at {text!r}") from None

    return parameters[name[:head]], billions(name[head:tail]) * 1e9, billions(name[tail:]) * 1e9


def _archive(data: bytes, folder: str) -> dict[str, bytes]:
    """The files below a folder of an archive, by path."""
    return archive_files(data, lambda path: PurePosixPath(path).is_relative_to(folder))


def _open_lm_wants(options: OpenLmOptions, path: str) -> bool:
    return PurePosixPath(path).is_relative_to(options.folder)


def archive_checksum(data: bytes, options: OpenLmOptions) -> str:
    """That of the files below the folder."""
    return files_checksum(_archive(data, options.folder))


def read_open_lm(data: bytes, options: OpenLmOptions) -> "pd.DataFrame":
    """Models of Gadre et al. 2024, from the archive of their repository: one JSON file a model, one a model's tasks.

    Columns: settings of the run, `loss_<set>` with its 95 % interval over sequences for each validation set, err_avg
    (mean error over all tasks), n_err of them, and err_avg_subset over the tasks of the option. Sorted by name.
    """
    import pandas as pd

    files = _archive(data, options.folder)
    rows = []
    for path, content in sorted(files.items()):
        if not path.startswith(f"{options.folder}/models/") or not path.endswith(".json"):
            continue
        name = PurePosixPath(path).stem
        try:
            tasks = parse_json(files[f"{options.folder}/evals/evaluation_{name}_heavy.json"])
            rows.append(_open_lm_row(parse_json(content), tasks["eval_metrics"]["icl"], options.tasks))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise unreadable(f"{path} or its evaluation is not as expected ({error!r})") from None
    if not rows:
        raise unreadable(f"the archive has no {options.folder}/models/*.json")
    return pd.DataFrame(rows)


def _open_lm_row(model: dict[str, Any], accuracy: dict[str, float], tasks: list[str]) -> dict[str, Any]:
    chosen, arguments = model["hyperparameters"], model["open_lm_args"]
    row = {
        "name": model["name"],
        "dataset": model["dataset_name"],
        "model": PurePosixPath(chosen["model"]).stem,
        "N": chosen["params"],
        "N_no_embed": chosen["params_no_embed"],
        "D": chosen["tokens"],
        "cc_mult": chosen["chinchilla_multiplier"],
        "lr": chosen["lr"],
        "global_bs": chosen["global_bs"],
        "wd": chosen["wd"],
        "warmup": chosen["warmup"],
        "cooldown_end": chosen["cd"],
        "seed": int(arguments[arguments.index("--seed") + 1]),
    }
    for result in model["results"]:
        path = PurePosixPath(result["val_data"][0])
        split = path.stem if path.parent.name == "de-en" else path.parent.name
        row[f"loss_{split}"] = result["loss"]
        row[f"loss_lo95_{split}"] = result["loss_sequences_lower_95"]
        row[f"loss_hi95_{split}"] = result["loss_sequences_upper_95"]
    errors = {task: 1 - value for task, value in accuracy.items()}
    row["err_avg"], row["n_err"] = float(np.mean(list(errors.values()))), len(errors)
    if tasks:
        row["err_avg_subset"] = float(np.mean([errors[task] for task in tasks]))
    return row


for _name, _reader in {
    "csv": Reader("Comma-separated values with a header, plain or compressed", read_csv, CsvOptions),
    "tsv": Reader("Tab-separated values with a header, plain or compressed", read_csv, TsvOptions),
    "parquet": Reader("A Parquet file", read_parquet),
    "npy": Reader("An array saved by NumPy, one row an entry", read_npy, NpyOptions),
    "python_lists": Reader(
        "Columns typed as lists in a Python program, parsed, not run", read_python_lists, PythonOptions
    ),
    "datablations_notebook": Reader(
        "The notebook of Muennighoff et al. 2023, whose runs are named by their sizes",
        read_datablations,
        NotebookOptions,
    ),
    "open_lm_archive": Reader(
        "The repository of Gadre et al. 2024 as an archive of JSON files",
        read_open_lm,
        OpenLmOptions,
        archive_checksum,
        _open_lm_wants,
    ),
}.items():
    READERS.register(_name)(_reader)
