"""A reader of pickled tables, which is off unless the environment variable MUSTER_PICKLES is `allow`.

A pickle is a program, and holds a state that NumPy and pandas were not written to doubt. So neither is called: the few
names that plain values, arrays and data frames need are answered by stand-ins of our own, which take in numbers and
texts, and every other name is refused. The whole pickle is looked through before it is loaded.
"""

import functools
import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from muster.published.readers import READERS, Reader
from muster.published.records import RecordsOptions, table_of_document
from muster.published.unpack import text_of, unreadable

if TYPE_CHECKING:
    import pandas as pd

PERMISSION = "MUSTER_PICKLES"
MOST_VALUES = 20_000_000  # of all arrays
# Opcodes that instantiate by other ways than names, reach outside of the file, or that no table needs.
_FORBIDDEN = {"INST", "OBJ", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
_PLACES = {"PUT", "BINPUT", "LONG_BINPUT"}  # memory for as many entries as they count is asked for at once


class PickleOptions(RecordsOptions):
    """Options of `pickled_table`: those of `json_records`, for what is no data frame."""


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
    """Stand-in for the labels of a frame's rows or columns."""

    labels: list[Any] | range

    def __init__(self, kind: Any = None, state: Any = None):
        if isinstance(state, dict) and "start" in state:
            self.labels = range(state["start"], state["stop"], state["step"])
        elif isinstance(state, dict) and isinstance(state.get("data"), _Array):
            self.labels = [*state["data"]]
        else:
            raise ValueError("it holds a frame whose labels are no numbers or texts")
        self.name = state.get("name")
        self.numbered = "start" in state and self.name is None


class _Blocks:
    """Stand-in for the cells of a frame: arrays with the places of their columns, and its labels."""

    def __init__(self, blocks: Any = (), axes: Any = ()):
        self.blocks, self.axes = blocks, axes

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 4:  # as pandas before 1.3 wrote it
            found = state[3]["0.14.1"]
            self.axes = found["axes"]
            self.blocks = [(block["values"], block["mgr_locs"]) for block in found["blocks"]]


def _block(values: Any, places: Any, ndim: Any) -> tuple[Any, Any]:
    return values, places


class _Frame:
    """Stand-in for a data frame."""

    state: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def table(self) -> "pd.DataFrame":
        import pandas as pd

        manager = self.state.get("_mgr", self.state.get("_data"))
        if not isinstance(manager, _Blocks) or len(manager.axes) != 2:
            raise ValueError("it holds no data frame of rows and columns")
        columns, rows = manager.axes
        cells: dict[int, list[Any]] = {}
        for values, places in manager.blocks:
            if not isinstance(values, _Array) or values.array.ndim != 2:
                raise ValueError("it holds a column that is no plain array")
            at = [*range(*places.indices(len(columns.labels)))] if isinstance(places, slice) else [*places]
            if len(at) != len(values) or not all(isinstance(place, int) for place in at):
                raise ValueError("it holds columns without a place")
            cells |= dict(zip(at, values, strict=True))
        if len(cells) != len(columns.labels) or sorted(cells) != [*range(len(cells))]:
            raise ValueError("it holds columns without a place")
        frame = pd.DataFrame({str(name): cells[i] for i, name in enumerate(columns.labels)})
        if len(frame.columns) < len(cells):
            raise ValueError("two columns have one name")
        if not rows.numbered and len(frame) == len(rows.labels):
            frame.insert(0, str(rows.name or "index"), [*rows.labels])
        return frame


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Kind,
    ("pandas", "DataFrame"): _Frame,
    ("pandas", "BlockManager"): _Blocks,
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
    ("pandas", "Float64Index"),
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
                f"it holds a {module}.{name}: only plain values, arrays and data frames are read from a pickle"
            )
        return _STAND_INS[root, name]


def _check_program(data: bytes) -> None:
    """Read a pickle through without loading it. Raises MusterError for what no table needs."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _FORBIDDEN or (opcode.name in _PLACES and int(argument or 0) > len(data)):
            raise unreadable(f"not readable as a pickled table (it uses {opcode.name})")


def read_pickled_table(data: bytes, options: PickleOptions) -> "pd.DataFrame":
    """A pickled data frame, or lists and dictionaries that hold a table as a JSON document does."""
    data = text_of(data, options.member)
    _check_program(data)
    document = _Unpickler(io.BytesIO(data)).load()
    for name in options.path:
        if isinstance(document, dict) and isinstance(document.get(name), _Frame):
            document = document[name]
            break
    return document.table() if isinstance(document, _Frame) else table_of_document(document, options)


READERS.register("pickled_table")(
    Reader(
        "A pickled data frame, or lists and dictionaries of plain values; off unless MUSTER_PICKLES=allow",
        read_pickled_table,
        PickleOptions,
        permission=PERMISSION,
    )
)
