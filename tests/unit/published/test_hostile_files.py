"""Files that would fill the memory, or that are something else than they claim: refused by one line, in bounds."""

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muster.errors import MusterError
from muster.published import foreign
from muster.published.readers import READERS

MB = 2**20


def test_a_small_archive_that_expands_to_gigabytes_is_refused_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muster.published.unpack.ARCHIVE_LIMIT", 4 * MB)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("a" * 40 * MB))  # a header of 40 MB, as GNU writes long names
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        data = compress(buffer.getvalue())
        assert len(data) < MB
        tracemalloc.start()
        for work in (READERS["open_lm_archive"].checksum, READERS["open_lm_archive"]):
            with pytest.raises(MusterError, match="unpacks to more than 4 MB"):
                work(data, {})
        assert tracemalloc.get_traced_memory()[1] < 24 * MB
        tracemalloc.stop()


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_archive_may_have_several_parts_but_no_missing_end(compress: object) -> None:
    buffer = io.BytesIO()
    tarfile.open(fileobj=buffer, mode="w").close()
    raw = buffer.getvalue()
    whole = READERS["open_lm_archive"].checksum(raw, {})
    parts = compress(raw[:5000]) + compress(raw[5000:])  # type: ignore[operator]
    assert READERS["open_lm_archive"].checksum(parts, {}) == whole
    with pytest.raises(MusterError, match="not readable as a tar archive"):
        READERS["open_lm_archive"].checksum(parts[:-12], {})


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(3))
    return buffer.getvalue()


def parquet(**columns: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


AXES = {"axes": [{"column": "a", "values": 3}]}
NOT_A_TABLE = b'{"cells": [{"source": "NAMES_TO_VAL_LOSSES = [1]"}]}'
VARIABLES = {"variables": {"N": "a"}}
FILES = {
    "an npz": ("npy", npz(), AXES, "not readable as an array"),
    "an array of objects": ("npy", npy(np.array([{}, 1, 2], object)), AXES, "not readable as an array"),
    "a header of 10^12 values": (
        "npy", npy(np.arange(3)).replace(b"(3,), }" + b" " * 12, b"(1000000000000,), }"), AXES, "declares 10000000000"),
    "a list as cell": ("parquet", parquet(N=[[1], [2]], loss=[1.0, 2.0]), {}, "holds lists"),
    "a record as cell": ("parquet", parquet(N=[{"a": 1}]), {}, "holds lists, records"),
    "endless columns": ("csv", b"," * 20_000 + b"\n1\n", {}, "20000 columns"),
    "cells without a name": ("csv", b"a,b\n1,2,3\n4,5,6\n", {}, "not readable as CSV .Length of header"),
    "unary minuses": ("python_lists", b"a = " + b"-" * 100_000 + b"1", VARIABLES, "not readable as Python"),
    "lists of lists of lists": ("python_lists", b"a = [[[0] * 1000] * 1000] * 1000", VARIABLES, "than 1000 values"),
    "a list as key": ("python_lists", b"a = {[1]: 2}", VARIABLES, "not as expected"),
    "JSON without an end": ("datablations_notebook", b"[" * 100_000, {"cell": 0}, "no notebook with a cell 0"),
    "a list in place of a table": (
        "datablations_notebook", NOT_A_TABLE, {"cell": 0}, "not as expected"),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
def test_one_line_says_what_cannot_be_read(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muster.published.readers.VALUE_LIMIT", 1000)
    reader, data, options, found = FILES[what]
    with pytest.raises(MusterError, match=found) as error:
        READERS[reader](data, options)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


def test_a_value_that_parquet_repeats_is_not_expanded_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "MOST_BYTES", 32 * MB)
    data = parquet(N=pa.array(["x" * MB] * 200).dictionary_encode(), loss=np.arange(200.0))
    buffer = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(data)).cast(pa.schema({"N": pa.string(), "loss": pa.float64()})), buffer)
    assert len(buffer.getvalue()) < MB
    with pytest.raises(MusterError, match=r"expands to more than 32 MB|more than a table of runs"):
        READERS["parquet"](buffer.getvalue(), {})


def test_more_cells_than_a_table_of_runs_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "MOST_CELLS", 1000)
    with pytest.raises(MusterError, match="1001 rows, 1 columns"):
        READERS["parquet"](parquet(N=np.zeros(1001)), {})


def test_a_bounded_table_is_the_table() -> None:
    data = parquet(N=np.arange(70_000), loss=np.arange(70_000) / 3, name=["a", None] * 35_000)
    pd.testing.assert_frame_equal(READERS["parquet"](data, {}), pq.read_table(io.BytesIO(data)).to_pandas())
