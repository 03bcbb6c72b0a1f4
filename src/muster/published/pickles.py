"""A reader of pickled tables, which is off unless the environment variable MUSTER_PICKLES is `allow`.

A pickle is a program, and holds a state that NumPy and pandas were not written to doubt. So neither is called: the few
names that plain values, arrays, series and data frames need are answered by stand-ins of our own, which take in numbers
and texts, and every other name is refused. The whole pickle is looked through before it is loaded.
"""

import functools
import io
import math
import pickle
import pickletools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from muster.published.readers import READERS, Reader
from muster.published.records import KEY, RecordsOptions, step_into, table_of_document
from muster.published.unpack import text_of, unreadable

if TYPE_CHECKING:
    import pandas as pd

PERMISSION = "MUSTER_PICKLES"
MOST_VALUES = 20_000_000  # of all arrays
# Opcodes that instantiate by other ways than names, reach outside of the file, or that no table needs.
_FORBIDDEN = {"INST", "OBJ", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
_PLACES = {"PUT", "BINPUT", "LONG_BINPUT"}  # memory for as many entries as they count is asked for at once


class PickleOptions(RecordsOptions):
    """Options of `pickled_table`: those of `json_records`. A path also leads through a column of tables: all of them
    are read, each with the plain cells of its row."""


class _Kind:
    """Stand-in for a dtype of plain numbers, texts or objects: its name, then its byte order."""

    def __init__(self, name: Any = "", *_: Any):
        if not isinstance(name, str) or not re.fullmatch(r"[<>=|]?([biufSUO]\d*)", name):
            raise ValueError(f"it holds values of the type {str(name)[:40]!r}")
        self.name, self.order = name.lstrip("<>=|"), "="

    def __setstate__(self, state: Any) -> None:
        order, inner, names = state[1], state[2], state[3]
        if order not in ("<", ">", "=", "|") or inner is not None or names is not None:
            raise ValueError("it holds values of a compound type")
        self.order = "=" if order == "|" else order

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.name if self.order == "=" else f"{self.order}{self.name}")


class _Budget:
    """How many values the arrays of one pickle may still have, the same bytes counted as often as they are used."""

    def __init__(self) -> None:
        self.left = MOST_VALUES

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise ValueError(f"its arrays have more than {MOST_VALUES} values")


class _Array(list[Any]):
    """Stand-in for an array: nested lists of its values, and the array itself."""

    array: np.ndarray

    def __init__(self, budget: _Budget):
        super().__init__()
        self.budget = budget

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_column, content = state
        self.fill(content, kind, shape, "F" if by_column else "C")

    def fill(self, content: Any, kind: _Kind, shape: Any, order: str) -> "_Array":
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        dtype, count = kind.dtype, math.prod(shape)
        self.budget.spend(max(count, 1))
        if dtype.kind == "O":
            if not isinstance(content, list) or len(content) != count:
                raise ValueError("an array of objects has another number of them than it says")
            flat = np.empty(count, object)
            flat[:] = content
        elif isinstance(content, bytes | bytearray) and len(content) == count * dtype.itemsize:
            flat = np.frombuffer(bytes(content), dtype, count)
        else:
            raise ValueError("an array has another number of bytes than it says")
        self.array = flat.reshape(shape, order="F" if order == "F" else "C")
        self[:] = self.array.tolist() if shape else [self.array.tolist()]
        return self


def _encode(text: str, encoding: str) -> bytes:
    return text.encode("latin1" if encoding == "latin1" else "ascii")


class _Index:
    """Stand-in for the labels of a table's rows or columns: a list of them for each level, with its name."""

    levels: dict[str, Sequence[Any]]

    def __init__(self, kind: Any = None, state: Any = None):
        self.numbered = False
        if not isinstance(state, dict):
            raise ValueError("it holds a table whose labels are no numbers or texts")
        if "start" in state:
            labels: Sequence[Any] = range(state["start"], state["stop"], state["step"])
            self.numbered = state.get("name") is None
        elif isinstance(state.get("data"), _Array):
            labels = [*state["data"]]
        elif isinstance(state.get("levels"), list) and isinstance(state.get("codes"), list):
            self.levels = dict(map(_level, range(len(state["names"])), state["names"], state["levels"], state["codes"]))
            return
        else:
            raise ValueError("it holds a table whose labels are no numbers or texts")
        name = state.get("name")
        self.levels = {"index" if name is None else str(name): labels}

    @property
    def labels(self) -> Sequence[Any]:
        if len(self.levels) != 1:
            raise ValueError("it holds a data frame whose columns have names of several levels")
        return next(iter(self.levels.values()))

    def beside(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """A table with its rows' labels as its first columns, unless they are its rows' numbers."""
        for place, (name, labels) in enumerate(() if self.numbered else self.levels.items()):
            table.insert(place, name, [*labels])
        return table


def _level(place: int, name: Any, labels: _Index, codes: _Array) -> tuple[str, list[Any]]:
    """One of several levels of labels: its name, and the label of each row. -1 says that there is none."""
    known = labels.labels
    return f"level_{place}" if name is None else str(name), [known[code] if code >= 0 else None for code in codes]


class _Blocks:
    """Stand-in for the cells of a table: arrays with the places of their columns, and its labels."""

    def __init__(self, blocks: Any = (), axes: Any = ()):
        self.blocks, self.axes = blocks, axes

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 4:  # series, and data frames as pandas before 1.3 wrote them
            found = state[3]["0.14.1"]
            self.axes = found["axes"]
            self.blocks = [(block["values"], block["mgr_locs"]) for block in found["blocks"]]


def _block(values: Any, places: Any, ndim: Any) -> tuple[Any, Any]:
    return values, places


class _Table(ABC):
    """Stand-in for a data frame or a series."""

    state: dict[str, Any]
    axes: int

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def table(self) -> "pd.DataFrame":
        """Its cells, of any kind, with its rows' labels."""
        manager = self.state.get("_mgr", self.state.get("_data"))
        if not isinstance(manager, _Blocks) or len(manager.axes) != self.axes:
            raise ValueError("it holds no data frame of rows and columns, and no series")
        if not all(isinstance(values, _Array) and values.array.ndim == self.axes for values, _ in manager.blocks):
            raise ValueError("it holds a column that is no plain array")
        return manager.axes[-1].beside(self.cells(manager))

    @abstractmethod
    def cells(self, manager: _Blocks) -> "pd.DataFrame":
        """Its columns by name, without labels of rows."""


class _Frame(_Table):
    """Stand-in for a data frame."""

    axes = 2

    def cells(self, manager: _Blocks) -> "pd.DataFrame":
        import pandas as pd

        columns = manager.axes[0].labels
        cells: dict[int, list[Any]] = {}
        for values, places in manager.blocks:
            at = [*range(*places.indices(len(columns)))] if isinstance(places, slice) else [*places]
            if len(at) != len(values) or not all(isinstance(place, int) for place in at):
                raise ValueError("it holds columns without a place")
            cells |= dict(zip(at, values, strict=True))
        if len(cells) != len(columns) or sorted(cells) != [*range(len(cells))]:
            raise ValueError("it holds columns without a place")
        frame = pd.DataFrame({str(name): cells[i] for i, name in enumerate(columns)})
        if len(frame.columns) < len(cells):
            raise ValueError("two columns have one name")
        return frame


class _Series(_Table):
    """Stand-in for a series: one column, of its name or `value`."""

    axes = 1

    def cells(self, manager: _Blocks) -> "pd.DataFrame":
        import pandas as pd

        (values, _), name = manager.blocks[0], self.state.get("_name", self.state.get("name"))
        return pd.DataFrame({"value" if name is None else str(name): [*values]})


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Kind,
    ("pandas", "DataFrame"): _Frame,
    ("pandas", "Series"): _Series,
    ("pandas", "BlockManager"): _Blocks,
    ("pandas", "SingleBlockManager"): _Blocks,
    ("pandas", "_unpickle_block"): _block,
    ("pandas", "_new_Index"): _Index,
    ("_codecs", "encode"): _encode,
    ("builtins", "slice"): slice,
    ("__builtin__", "slice"): slice,
    ("collections", "OrderedDict"): dict,
}
_ARRAYS: dict[tuple[str, str], Callable[..., Any]] = {  # of the budget, then what the pickle gives
    ("numpy", "_reconstruct"): lambda budget, *_: _Array(budget),
    ("numpy", "_frombuffer"): lambda budget, content, kind, shape, order: _Array(budget).fill(
        content, kind, shape, order
    ),
    ("numpy", "scalar"): lambda budget, kind, content: _Array(budget).fill(content, kind, 1, "C")[0],
}
_NAMED = {  # beside what is called
    ("numpy", "ndarray"), ("pandas", "Index"), ("pandas", "RangeIndex"), ("pandas", "Int64Index"),
    ("pandas", "Float64Index"), ("pandas", "MultiIndex"),
}  # fmt: skip


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO):
        super().__init__(stream)
        self.budget = _Budget()

    def find_class(self, module: str, name: str) -> Any:
        root = module.partition(".")[0]
        if (root, name) in _NAMED:
            return name
        if (root, name) in _ARRAYS:
            return functools.partial(_ARRAYS[root, name], self.budget)
        if (root, name) not in _STAND_INS or (root not in ("numpy", "pandas") and module != root):
            raise unreadable(
                f"it holds a {module}.{name}: only plain values, arrays, series and data frames are read from a pickle"
            )
        return _STAND_INS[root, name]


def _check_program(data: bytes) -> None:
    """Read a pickle through without loading it. Raises MusterError for what no table needs."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _FORBIDDEN or (opcode.name in _PLACES and int(argument or 0) > len(data)):
            raise unreadable(f"not readable as a pickled table (it uses {opcode.name})")


def _tables(found: Any, path: Sequence[str]) -> Iterator[tuple[dict[str, Any], "pd.DataFrame"]]:
    """The tables that a path leads to, each with the cells that stand beside it: those of its row where the path names
    a column of tables, and its `key` in a dictionary or its place in a list of tables."""
    if path and isinstance(found, _Table):
        table = found.table()
        rows = _plain(table).to_dict("records")
        for beside, cell in zip(rows, step_into(dict(table.items()), path[0]), strict=True):
            for inner, each in _tables(cell, path[1:]):
                yield {str(name): value for name, value in beside.items()} | inner, each
    elif path:
        yield from _tables(step_into(found, path[0]), path[1:])
    elif isinstance(found, _Table):
        yield {}, _plain(found.table())
    elif isinstance(found, dict | list | tuple):
        for key, each in found.items() if isinstance(found, dict) else enumerate(found):
            if not isinstance(each, _Table):
                raise unreadable(f"`path` leads to a {type(each).__name__} at {key!r} where a table is meant")
            yield {KEY: str(key)}, _plain(each.table())
    elif not (found is None or found != found):  # a cell without a table
        raise unreadable(f"`path` leads to a {type(found).__name__} where a table is meant")


def _plain(table: "pd.DataFrame") -> "pd.DataFrame":
    """A table without its columns of lists and tables: one without other columns stays as it is, to be refused."""
    nested = (_Table, dict, list, tuple)
    return table[[name for name in table if not any(isinstance(cell, nested) for cell in table[name])]]


def _stacked(parts: Iterable[tuple[dict[str, Any], "pd.DataFrame"]]) -> "pd.DataFrame":
    """Tables below one another, each with the cells beside it in all of its rows. Raises MusterError before they are
    laid out if they have more cells than a table of runs."""
    import pandas as pd

    from muster.published import foreign

    frames, cells = [], 0
    for beside, table in parts:
        if twice := beside.keys() & {*table}:
            raise unreadable(f"column {min(twice)!r} stands in a table and beside it")
        cells += len(table) * (len(table.columns) + len(beside))
        if cells > foreign.MOST_CELLS:
            raise unreadable(f"its tables have more than {foreign.MOST_CELLS} cells")
        frames.append(table.assign(**beside))
    if not frames:
        raise unreadable("`path` leads to no table")
    return pd.concat(frames, ignore_index=True)


def _holds_tables(document: Any, path: Sequence[str]) -> bool:
    """Whether there is a table on the path, or at its end."""
    if isinstance(document, _Table):
        return True
    if path:
        return isinstance(document, dict) and _holds_tables(document.get(path[0]), path[1:])
    inner = document.values() if isinstance(document, dict) else document
    return isinstance(document, dict | list | tuple) and any(isinstance(each, _Table) for each in inner)


def read_pickled_table(data: bytes, options: PickleOptions) -> "pd.DataFrame":
    """A pickled data frame or series, lists or dictionaries of them, or what holds a table as a JSON document does."""
    data = text_of(data, options.member)
    _check_program(data)
    document = _Unpickler(io.BytesIO(data)).load()
    if _holds_tables(document, options.path):
        return _stacked(_tables(document, options.path))
    return table_of_document(document, options)


READERS.register("pickled_table")(
    Reader(
        "Pickled data frames and series, or lists and dictionaries of plain values; off unless MUSTER_PICKLES=allow",
        read_pickled_table,
        PickleOptions,
        permission=PERMISSION,
    )
)
