"""Pickled tables: read by stand-ins where it is allowed, and never run."""

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from muster.errors import MusterError, Unavailable
from muster.published import foreign, pickles
from muster.published.readers import READERS
from muster.published.source import Source, obtain, state


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_PICKLES", "allow")


def read(data: bytes, **options: Any) -> pd.DataFrame:
    return READERS["pickled_table"](data, options)


def plain_frame() -> pd.DataFrame:
    """Columns of four kinds in blocks of two, without pandas' own kind of texts."""
    names = pd.Series(["x", None, "z"], dtype=object)
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, np.nan, 2], "n": names, "c": [True, False, True], "d": [4, 5, 6]})
    return frame.set_axis(pd.Index([*frame], dtype=object), axis=1)


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
class TestAllowed:
    def test_a_frame_is_the_frame(self, protocol: int) -> None:
        frame = plain_frame()
        found = read(pickle.dumps(frame, protocol))
        assert found.to_csv() == frame.to_csv()
        assert found.dtypes.map(str).tolist() == ["int64", "float64", "str", "bool", "int64"]
        assert read(pickle.dumps(frame.set_index("a"), protocol)).to_csv() == frame.to_csv()

    def test_names_with_their_values_are_keys(self, protocol: int) -> None:
        grid = OrderedDict({"012": [0.5, 0.25], "013": np.array([1.0, 2.0])})
        found = read(pickle.dumps(grid, protocol), orient="index")
        assert found.to_dict("list") == {"key": ["012", "013"], "0": [0.5, 1.0], "1": [0.25, 2.0]}

    def test_records_hold_scalars_and_arrays(self, protocol: int) -> None:
        runs = [{"run": "a", "loss": np.float32(0.5), "n": np.int64(3), "x": np.array([[1, 2]], ">i4", order="F")}]
        found = read(pickle.dumps({"d": {"runs": runs}}, protocol), path=["d", "runs"])
        assert found.to_dict("list") == {"run": ["a"], "loss": [0.5], "n": [3], "x.0.0": [1], "x.0.1": [2]}
        inner = read(pickle.dumps({"d": {"deeper": plain_frame()}}, protocol), path=["d", "deeper"])
        assert len(inner) == 3

    def test_a_series_is_a_column_beside_its_labels(self, protocol: int) -> None:
        losses = pd.Series([3.0, 2.5], name="loss")
        assert read(pickle.dumps(losses, protocol)).to_dict("list") == {"loss": [3.0, 2.5]}
        steps = losses.set_axis(pd.Index([10, 20]))
        assert read(pickle.dumps(steps, protocol)).to_dict("list") == {"index": [10, 20], "loss": [3.0, 2.5]}
        unnamed = steps.rename(None).rename_axis("step")
        assert read(pickle.dumps(unnamed, protocol)).to_dict("list") == {"step": [10, 20], "value": [3.0, 2.5]}

    def test_each_level_of_labels_is_a_column(self, protocol: int) -> None:
        width = pd.Index([64, 128, 64], dtype="int64")
        kind = pd.Index(["sp", None, "mup"], dtype=object)
        labels = pd.MultiIndex.from_arrays([width, kind], names=["width", None])
        losses = pd.Series([3.0, 2.5, 2.0], labels, name="loss")
        found = read(pickle.dumps(losses, protocol))
        assert [*found] == ["width", "level_1", "loss"]
        assert found["width"].tolist() == [64, 128, 64]
        assert found["loss"].tolist() == [3.0, 2.5, 2.0]
        assert found["level_1"].isna().tolist() == [False, True, False]
        assert found["level_1"].dropna().tolist() == ["sp", "mup"]
        frame = losses.to_frame().set_axis(pd.Index(["loss"], dtype=object), axis=1)
        assert read(pickle.dumps(frame, protocol)).to_csv() == found.to_csv()

    def test_tables_stand_below_one_another(self, protocol: int) -> None:
        curves = {10: pd.Series([3.0, 2.5], name="loss"), 20: pd.Series([2.0], name="loss")}
        found = read(pickle.dumps(curves, protocol))
        assert found.to_dict("list") == {"loss": [3.0, 2.5, 2.0], "key": ["10", "10", "20"]}
        listed = read(pickle.dumps({"all": [*curves.values()]}, protocol), path=["all"])
        assert listed.to_dict("list") == {"loss": [3.0, 2.5, 2.0], "key": ["0", "0", "1"]}

    def test_a_path_leads_through_a_column_of_tables(self, protocol: int) -> None:
        """As Porian et al. 2024 publish their runs: data frames and series in the cells of a data frame."""
        inner = pd.DataFrame({"flops": [1.0, 2.0]}).set_axis(pd.Index(["flops"], dtype=object), axis=1)
        cells = {"lr": [0.5, 0.25, 0.125], "runs": [inner, inner * 4, None], "curve": [pd.Series([3.0])] * 3}
        outer = pd.DataFrame({name: pd.Series(cell, dtype=object) for name, cell in cells.items()})
        outer = outer.set_axis(pd.Index([*cells], dtype=object), axis=1)
        data = pickle.dumps(outer, protocol)
        assert read(data, path=["runs"]).to_dict("list") == {
            "flops": [1.0, 2.0, 4.0, 8.0],
            "lr": [0.5, 0.5, 0.25, 0.25],
        }
        assert read(data, path=["curve"]).to_dict("list") == {"value": [3.0] * 3, "lr": [0.5, 0.25, 0.125]}
        assert read(data).to_dict("list") == {"lr": [0.5, 0.25, 0.125]}, "columns of tables are no cells of one value"


class Runs:
    """What a crafted pickle would do."""

    def __reduce__(self) -> Any:
        return os.system, ("touch pickled",)


REFUSED: dict[str, tuple[bytes, str]] = {
    "a call of the system": (pickle.dumps(Runs()), r"it holds a (posix|os)\.system: only plain values"),
    "a name within numpy": (b"cnumpy.testing\nrunstring\n(S'x'\ntR.", r"it holds a numpy\.testing\.runstring"),
    "a name that only looks like numpy": (b"cnumpyx\ndtype\n.", r"it holds a numpyx\.dtype"),
    "a module below one that is known": (b"ccollections.abc\nOrderedDict\n.", r"holds a collections\.abc\.OrderedDict"),
    "a class of the publisher": (b"cxlstm.load\nRun\n)\x81.", r"it holds a xlstm\.load\.Run"),
    "a builtin": (b"cbuiltins\neval\n(S'1'\ntR.", r"it holds a builtins\.eval"),
    "an instance by name": (b"(S'x'\nios\nsystem\n.", "it uses INST"),
    "a place for billions": (b"]r\xff\xff\xff\x7f.", "it uses LONG_BINPUT"),
    "an extension": (b"\x82\x01.", "it uses EXT1"),
    "texts of pandas 3": (pickle.dumps(pd.DataFrame({"a": ["x"]})), "it holds a pandas"),
    "dates": (pickle.dumps(np.array(["2026-01-01"], "M8[D]")), "holds values of the type"),
    "a compound type": (pickle.dumps(np.zeros(2, "i4,O")), "holds values of (the type|a compound type)"),
    "a series of texts of pandas 3": (pickle.dumps(pd.Series(["x"])), "it holds a pandas"),
    "a series of categories": (pickle.dumps(pd.Series(["x"], dtype="category")), "it holds a pandas"),
    "columns by two names": (pickle.dumps(pd.DataFrame({(1, 2): [1], (1, 3): [2]})), "names of several levels"),
    "a table beside a number": (pickle.dumps([pd.Series([1.0]), 3]), "leads to a int at 1 where a table is meant"),
    "a series of a name of its labels": (pickle.dumps(pd.Series([1], pd.Index([2], name="a"), name="a")), "exists"),
    "no pickle": (b"N,loss\n1,2\n", "reader: not as expected|not readable"),
    "an end that is missing": (pickle.dumps(plain_frame())[:-20], "not as expected"),
    "one number": (pickle.dumps(3), "no list of records but a int"),
}


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("what", REFUSED)
def test_one_line_says_what_is_not_read(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, said = REFUSED[what]
    with pytest.raises(MusterError, match=said) as error:
        read(data)
    assert str(error.value).isprintable()
    assert not (tmp_path / "pickled").exists()


def array(shape: str, content: str) -> bytes:
    """An array of f8 as protocol 0 writes it: nothing but what is said here is in it."""
    made = "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    state = f"(I1\n(I{shape}\ntcnumpy\ndtype\n(S'f8'\ntRI00\nc_codecs\nencode\n(V{content}\nVlatin1\ntRtb"
    return f"(l{made}{state}a.".encode()


@pytest.mark.usefixtures("allowed")
def test_an_array_has_as_many_values_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(array("1", "\\u0000" * 6 + "\\u00f0?")).to_dict("list") == {"0": [1.0]}
    for shape in ("2", "1000000", "-3"):
        with pytest.raises(MusterError, match="another number of bytes"):
            read(array(shape, "abc"))
    with pytest.raises(MusterError, match="arrays have more than"):
        read(array("1000000000000", "abc"))
    monkeypatch.setattr(pickles, "MOST_VALUES", 500)
    shared = np.arange(300.0)
    with pytest.raises(MusterError, match="arrays have more than 500 values"):
        read(pickle.dumps([shared, shared.copy()]))


@pytest.mark.usefixtures("allowed")
def test_a_path_that_leads_to_no_table_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    column = pd.Series([pd.Series([1.0, 2.0], name="loss"), None], dtype=object)
    frame = pd.DataFrame({0: column, 1: [1, 2]}).set_axis(pd.Index(["runs", "loss"], dtype=object), axis=1)
    data = pickle.dumps(frame)
    with pytest.raises(MusterError, match="column 'loss' stands in a table and beside it"):
        read(data, path=["runs"])
    with pytest.raises(MusterError, match="no 'run' where `path` says; it has 'runs', 'loss'"):
        read(data, path=["run"])
    with pytest.raises(MusterError, match="leads to a int where a table is meant"):
        read(data, path=["loss"])
    with pytest.raises(MusterError, match="leads to no table"):
        read(pickle.dumps(frame[1:]), path=["runs"])
    monkeypatch.setattr(foreign, "MOST_CELLS", 50)
    one = pd.Series(np.arange(20.0))
    assert len(read(pickle.dumps([one]))) == 20
    with pytest.raises(MusterError, match="its tables have more than 50 cells"):
        read(pickle.dumps([one, one]))


@pytest.mark.usefixtures("allowed")
def test_lists_that_share_themselves_end() -> None:
    deep: list[Any] = []
    for _ in range(30):
        deep = [deep] * 30
    with pytest.raises(MusterError, match="nested more than 20 levels"):
        read(pickle.dumps(deep))
    with pytest.raises(MusterError, match="a record has more than 10000 cells"):
        read(pickle.dumps([[[[[0] * 40] * 30] * 30] * 30]))


def test_pickles_are_off_unless_the_environment_allows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSTER_PICKLES", raising=False)
    stream = io.BytesIO()
    pickle.dump({"a": [1.0]}, stream)
    (tmp_path / "t.pkl").write_bytes(stream.getvalue())
    source = Source.model_validate(
        {"file": "t.pkl", "licence": "mine", "reader": "pickled_table", "reader_options": {"orient": "index"}}
    )
    with pytest.raises(
        Unavailable, match=r"t\.pkl: a pickle is read only where the environment has MUSTER_PICKLES=allow"
    ):
        obtain(source, [tmp_path], None)
    with pytest.raises(MusterError, match="MUSTER_PICKLES=allow"):
        read(stream.getvalue())
    off = state(source, [tmp_path])
    monkeypatch.setenv("MUSTER_PICKLES", "allow")
    assert obtain(source, [tmp_path], None).data == stream.getvalue()
    assert state(source, [tmp_path]) != off, "a job that lacked the table is made anew once it may be read"
