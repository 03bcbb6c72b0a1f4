"""Fuzzers: bytes that nobody meant, at random but the same each time. Each counts what came of so many of them.

A few run with the tests, a thousand each with `make drill`. Whatever a fuzzer is fed ends in a value or in one
printable line: any other exception, and whatever takes longer than ten seconds, fails.
"""

import gzip
import hashlib
import io
import itertools
import json
import os
import pickle
import random
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from muster.claims.ledger import COLUMNS as LEDGER
from muster.claims.ledger import NUMBERS, read_ledger, write_ledger
from muster.cli.stages import _missing_data
from muster.columns import CELL_FILES, COLUMNS, MISSING_FILE, SOURCES_FILE
from muster.config.load import load_study
from muster.data import load_dataset, write_dataset
from muster.digests import sealed, unsealed
from muster.errors import MusterError
from muster.files import write_sums, write_text
from muster.jobs.planned import VARIABLE, read_planned
from muster.jobs.store import Store, address
from muster.jobs.tracking import withheld
from muster.published.mapping import ColumnMapping, Documented, apply
from muster.published.readers import READERS
from muster.script.run import _checksum, _kept
from muster.tables.collect import KINDS, write_tables
from muster.tables.io import read_frame, read_table, write_frame
from muster.tables.missing import Missing, read_missing
from muster.tables.sweeps import Columns, read_sweep
from muster.training import checkpoint
from tests.workflow.studies import IMPORTED, SAMPLED, TINY

SECONDS = 10.0  # of this process: others may use the machine
TOKENS = [
    b"", b"\x00", b"\xff", b"\n", b"[", b"{", b"]", b"}", b": ", b"- ", b"&a ", b"*a", b"<<: ", b"!!int ", b"!!float ",
    b"!!timestamp ", b"? ", b"'", b'"', b".inf", b".nan", b"1e999", b"9" * 5000, b"2026-13-45", b"true", b"null",
    b"[" * 500, b"- " * 500, b"\xe2\x80\xa8", b"$", b",", b";", b"\t", b"\r", b"-", b"=1+1", b"()", b"*9999999",
    b"PK\x03\x04", b"\x1f\x8b\x08", b"PAR1", b"\x93NUMPY",
]  # fmt: skip


def mutated(content: bytes, draw: random.Random) -> bytes:
    """One to four places overwritten, cut, repeated or flipped."""
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(len(content) + 1)
        end = min(len(content), start + draw.choice((0, 1, 4, 40)))
        action = draw.randrange(5)
        if action == 0:
            content = content[:start] + draw.choice(TOKENS) + content[end:]
        elif action == 1:
            content = content[:start] + content[end:]
        elif action == 2:
            content = content[:end] + content[start:end] * draw.choice((1, 2, 50)) + content[end:]
        elif action == 3:
            content = content[:start]
        elif content:
            content = flipped(content, draw)
    return content


def flipped(content: bytes, draw: random.Random) -> bytes:
    """One bit flipped."""
    place = draw.randrange(8 * len(content))
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


@contextmanager
def watched(tally: dict[str, int], kind: str) -> Iterator[None]:
    """Count what came of one case. Raises AssertionError for a line that cannot be printed, and for what took long."""
    start, said = time.process_time(), None
    try:
        yield
    except MusterError as error:
        said = str(error)
    assert said is None or (said.isprintable() and len(said) < 20_000), kind
    tally["taken" if said is None else "refused"] += 1
    seconds = time.process_time() - start
    assert seconds < SECONDS, f"{kind}: {seconds:.0f} s"


def fuzz_yaml(folder: Path, count: int) -> dict[str, int]:
    """Study files, changed as text."""
    tally = {"taken": 0, "refused": 0}
    draw = random.Random(1)
    texts = {"tiny-train": TINY, "tiny-sample": SAMPLED, "tiny-import": IMPORTED}
    for i in range(count):
        name = draw.choice([*texts])
        path = folder / f"{name}.yaml"
        path.write_bytes(mutated(texts[name].encode(), draw))
        with watched(tally, f"study {i}"):
            load_study(path)
    return tally


def sweep_bytes(parquet: bool) -> bytes:
    """A table of 40 runs as `muster fit-table` reads it."""
    runs = itertools.product((64, 128), range(-9, -4), range(4))
    rows = [(width, 2.0**rate, seed, (rate + 7) ** 2 / 10 + seed / 100 + 1) for width, rate, seed in runs]
    frame = pd.DataFrame(rows, columns=["width", "lr", "seed", "loss"])
    buffer = io.BytesIO()
    if parquet:
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), buffer)
    else:
        frame.to_csv(buffer, index=False)
    return buffer.getvalue()


def fuzz_tables(folder: Path, count: int) -> dict[str, int]:
    """Tables of runs for `muster fit-table`, CSV and Parquet."""
    tally = {"taken": 0, "refused": 0}
    draw = random.Random(2)
    for i in range(count):
        suffix = draw.choice(("csv", "parquet"))
        path = folder / f"sweep.{suffix}"
        path.write_bytes(mutated(sweep_bytes(suffix == "parquet"), draw))
        with watched(tally, f"table {i}"):
            read_sweep(path, Columns("lr", "loss", "width", "seed"))
    return tally


def notebook() -> bytes:
    """A notebook as the reader of Muennighoff et al. 2023 takes it."""
    cell = 'PARAMS_MAP = {"2b8": 2.8e9}\nTOKENS_MAP = {"55b": 55.0}\n'
    cell += 'NAMES_TO_VAL_LOSSES = {"2b855b55b": 2.5, "2b855b9b": 2.6}\n'
    return json.dumps({"cells": [{"source": [cell]}]}).encode()


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip archive of the files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def reader_files() -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Reader → a file that it reads, and the options for it."""
    from tests.unit.published.test_readers import archive, files

    array = io.BytesIO()
    np.save(array, np.arange(6.0).reshape(2, 3))
    runs = {f"top/w{width}/log.csv": b"N,loss\n1,2.5\n2,2.25\n" for width in (8, 16)}
    lines = b'{"N": 1, "loss": 2.5, "config": {"lr": 0.1}}\n{"N": 2, "loss": 2.25, "betas": [0.9, 0.99]}\n'
    log = b"step:1/9 val_loss:2.5\nother\nstep:2/9 val_loss:2.25\n"
    return {
        "tsv": (gzip.compress(b"N\tloss\n1\t2.5\n2\t2.25\n"), {}),
        "json_lines": (lines, {}),
        "json_records": (
            b'{"runs": {"a": {"N": 1, "loss": 2.5}, "b": {"N": 2}}}',
            {"path": ["runs"], "orient": "index"},
        ),
        "run_files": (zipped(runs), {"files": "w(?P<width>[0-9]+)/"}),
        "log_files": (
            archive({"a.log": log, "b.log": log}),
            {"line": "step:(?P<N>[0-9]+).* val_loss:(?P<loss>[0-9.]+)"},
        ),
        "pickled_table": (pickle.dumps([{"N": 1, "loss": np.float64(2.5), "x": np.arange(2)}, {"N": 2}]), {}),
        "csv": (b"N,loss\n1,2.5\n2,2.25\n4,2.125\n", {}),
        "parquet": (sweep_bytes(True), {}),
        "npy": (array.getvalue(), {"axes": [{"column": "a", "values": 2}, {"column": "b", "values": [1.0, 2.0, 3.0]}]}),
        "python_lists": (b"a = [1, 2, [3]] * 2\nb = [[0.5] * 3] * 2\n", {"variables": {"N": "a", "loss": "b"}}),
        "datablations_notebook": (notebook(), {"cell": 0}),
        "open_lm_archive": (archive(files("m-1", "m-2")), {}),
    }


def fuzz_readers(count: int) -> dict[str, int]:
    """So many files of other people through each reader, and on through a mapping of columns."""
    tally = {"taken": 0, "refused": 0}
    draw = random.Random(3)
    files = reader_files()
    documented = dict.fromkeys(Documented.model_fields, "unknown")
    columns = {"parameters": "N", "final_eval_loss": "loss"}
    mapping = ColumnMapping.model_validate({"columns": columns, "documented": documented})
    os.environ["MUSTER_PICKLES"] = "allow"
    for name, i in itertools.product(files, range(count)):
        data, options = files[name]
        content = mutated(data, draw)
        with watched(tally, f"{name} {i}"):
            READERS[name].checksum(content, options)
            rows = READERS[name](content, options)
            if {"N", "loss"} <= {*rows}:
                apply(mapping, rows, "file")
    return tally


def ledger_of_one() -> pd.DataFrame:
    """A ledger with one claim."""
    row: dict[str, Any] = dict.fromkeys(LEDGER, "text") | dict.fromkeys(NUMBERS, 0.5) | {"n_cells": 3, "n_runs": 9}
    row |= {
        "verdict": "supported",
        "agrees": "yes",
        "test": "equivalence",
        "regime": "",
        "family": "p: headline",
        "same_as": "",
    }
    row |= {"stance": "holds", "scale": "laptop", "provenance": "paper", "criterion": "paper", "asserts": "empirical"}
    return pd.DataFrame([row])[list(LEDGER)]


class Kind(NamedTuple):
    """A kind of result that is read again.

    patterns: where its files lie below a folder of results. read: the values, comparable. refusal: what `read` raises
    beside MusterError, where the caller takes it for damage and says so.
    """

    patterns: tuple[str, ...]
    files: list[Path]
    read: Callable[[], Any]
    refusal: tuple[type[Exception], ...] = ()


SEALED = (OSError, ValueError, KeyError)
UNREAD = (  # by nobody, or only by people
    "logs/*", "benchmarks/*", "figures/*", "runs/*/cell.json", "provenance/runs/*", "*.damaged", "ledger/index.html",
)  # fmt: skip


def kinds_of_results(folder: Path) -> dict[str, Kind]:
    """Every kind of result that is read again, and what reads it."""
    frame = pd.DataFrame({"study": ["a", "b"], "estimate": [0.25, np.nan], "n": [1, 2], "primary": [True, False]})
    fits = [folder / f"{name}.parquet" for name in ("fits", "optima", "regime", "specification")]
    for i, path in enumerate(fits):
        write_frame(frame.assign(i=i), path)
    write_ledger(ledger_of_one(), folder / "ledger")
    record = folder / "provenance.json"
    write_text(record, sealed({"code": "0123", "seconds": 1.5, "notes": {"a": 1}, "device": "cpu"}))
    stamp = folder / "fits.json"
    write_text(stamp, sealed({"scale": "laptop", "code": "0123", "tables": {"runs": "ab"}}))
    plan = folder / "planned.json"
    write_text(plan, sealed({"found": ["a:1"], "anew": ["train/w8"]}))
    lacking = Missing("source runs", "gone", "bring it", [{"width": 4}])
    tables = folder / "tables" / "one"
    values = {
        kind: pd.DataFrame(
            {
                name: pd.Series([1]).astype("str" if dtype == "string" else dtype)
                for name, dtype in COLUMNS[kind].items()
            }
        )
        for kind in KINDS
    }
    write_tables(values, tables, {"runs": {"licence": "none stated", "file": "a.csv"}}, [lacking])
    data = folder / "data"
    write_dataset("modular_addition", {}, data)
    write_sums(data, {"manifest.json": (data / "manifest.json").read_bytes()})
    cell = folder / "cell"
    cell.mkdir()
    for name in CELL_FILES:
        (cell / name).write_bytes(hashlib.sha256(name.encode()).digest() * 9)
    made = {"cell": "c", "code": "0"}
    store = Store(folder / "store")
    store.put(made, cell, print)
    object_ = store.object(address(made))
    for path in object_.path.iterdir():
        path.chmod(0o644)
    state = folder / "stack.pt"
    checkpoint.save(state, "me", {"step": 7, "weights": torch.arange(99.0)})
    script = folder / "script" / "run.json"
    ran = {"metrics": {"final_train_loss": 0.5, "curves": []}, "seconds": 1.0}
    write_text(script, json.dumps(ran | {"sha256": _checksum(ran)}))
    return {
        "fits": Kind(("fits/*/*.parquet",), fits, lambda: [read_frame(path).to_json() for path in fits]),
        "tables": Kind(
            ("tables/*/*.parquet", "runs/*/*.parquet"),
            [tables / f"{kind}.parquet" for kind in KINDS],
            lambda: [read_table(tables / f"{kind}.parquet", kind).to_json() for kind in KINDS],
        ),
        "ledger": Kind(
            ("ledger/*",), sorted((folder / "ledger").iterdir()), lambda: read_ledger(folder / "ledger").to_json()
        ),
        "record": Kind(("runs/*/provenance.json", "provenance/*.json"), [record], lambda: _unsealed(record), SEALED),
        "stamp": Kind(("fits/*/fits.json",), [stamp], lambda: _unsealed(stamp), SEALED),
        "planned": Kind(("planned/*.json",), [plan], lambda: _planned(plan)),
        "missing": Kind(
            ("tables/*/missing.json", "tables/*/SHA256SUMS"),
            [tables / MISSING_FILE, tables / "SHA256SUMS"],
            lambda: read_missing(folder, "one"),
        ),
        "sources": Kind(("tables/*/sources.json",), [tables / SOURCES_FILE], lambda: withheld(folder)),
        "data": Kind(
            ("data/*",),
            [data / "data.npz", data / "manifest.json", data / "SHA256SUMS"],
            lambda: (_missing_data(data), [part.tolist() for part in load_dataset(data)]),
        ),
        "store": Kind(("store/*",), sorted(object_.path.iterdir()), lambda: object_.files()),
        "checkpoint": Kind(("checkpoints/*",), [state], lambda: _loaded(state)),
        "script": Kind(("checkpoints/*/*.json",), [script], lambda: _ran(script)),
    }


def _unsealed(path: Path) -> dict[str, Any]:
    """The fields of a record that are asked for; more of them change nothing."""
    record = unsealed(path.read_bytes())
    return {name: record[name] for name in ("code", "seconds", "notes", "device", "scale", "tables") if name in record}


def _planned(path: Path) -> Any:
    os.environ[VARIABLE] = str(path)
    try:
        return read_planned()
    finally:
        del os.environ[VARIABLE]


def _loaded(path: Path) -> Any:
    state = checkpoint.load(path, "me")
    if state is None:
        raise MusterError(str(path), "not resumed", "")
    return state["step"], state["weights"].tolist()


def _ran(path: Path) -> Any:
    kept = _kept(path.parent, path.stem)
    if kept is None:
        raise MusterError(str(path), "run anew", "")
    return kept.metrics.model_dump_json(), kept.seconds


def unknown_files(results: Path) -> list[str]:
    """Files of a finished run that are of no kind whose bits are flipped here, and not known to be read by nobody."""
    with tempfile.TemporaryDirectory() as folder:
        patterns = [
            *UNREAD,
            *(pattern for kind in kinds_of_results(Path(folder)).values() for pattern in kind.patterns),
        ]
    names = [str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()]
    return [name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)]


def flip_bits(folder: Path, count: int) -> dict[str, int]:
    """One bit at a time in any result that is read again: the values are those that were written, or none."""
    tally = {"taken": 0, "refused": 0}
    draw = random.Random(4)
    kept = folder / "kept"
    kept.mkdir()
    kinds = kinds_of_results(kept)
    expected = {name: kind.read() for name, kind in kinds.items()}
    for i in range(count):
        name = draw.choice([*kinds])
        kind = kinds[name]
        path = draw.choice(kind.files)
        before = path.read_bytes()
        path.write_bytes(flipped(before, draw))
        with watched(tally, f"{name} {path.name} {i}"):
            try:
                with redirect_stdout(None):  # some say in a job's log what they do without
                    found = kind.read()
            except kind.refusal as error:
                raise MusterError(path.name, " ".join(str(error).split()), "") from None
            assert found == expected[name], f"{name} {path.name} {i}: another value was read"
        path.write_bytes(before)
    shutil.rmtree(kept)
    return tally
