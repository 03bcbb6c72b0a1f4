"""Tables in the forms in which they are published: compressed, as records, as a file a run, as logs."""

import bz2
import gzip
import io
import json
import lzma
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from muster.errors import MusterError
from muster.published import foreign, run_files, unpack
from muster.published.import_table import Table
from muster.published.mapping import apply
from muster.published.readers import READERS
from muster.published.source import Source, obtain, state
from muster.published.transforms import TRANSFORMS

TABLE = pd.DataFrame({"N": [1, 2], "loss": [2.5, 1 / 3], "name": ["a", "b"]})
CSV, TSV = (TABLE.to_csv(index=False, sep=delimiter).encode() for delimiter in ",\t")


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


LINES = TABLE.to_json(orient="records", lines=True).encode()
SAME = {
    "csv, gzip": ("csv", gzip.compress(CSV), {}),
    "csv, xz": ("csv", lzma.compress(CSV), {}),
    "csv, bzip2": ("csv", bz2.compress(CSV), {}),
    "csv, zip": ("csv", zipped({"runs.csv": CSV}), {}),
    "csv, one of a zip": ("csv", zipped({"d/b.csv": CSV, "c.csv": b"x\n1\n"}), {"member": "d/b.csv"}),
    "tsv": ("tsv", TSV, {}),
    "tsv, gzip": ("tsv", gzip.compress(TSV), {}),
    "JSON lines": ("json_lines", LINES, {}),
    "JSON lines, xz": ("json_lines", lzma.compress(b"\n" + LINES + b"\n"), {}),
    "records": ("json_records", TABLE.to_json(orient="records").encode(), {}),
    "records, within": (
        "json_records", b'{"v": 1, "data": {"runs": %s}}' % TABLE.to_json(orient="records").encode(),
        {"path": ["data", "runs"]}),
    "columns as lists": ("json_records", json.dumps(TABLE.to_dict("list")).encode(), {"orient": "columns"}),
    "columns by row": ("json_records", TABLE.to_json().encode(), {"orient": "columns"}),
}  # fmt: skip


@pytest.mark.parametrize("form", SAME)
def test_the_same_table_in_another_form(form: str) -> None:
    reader, data, options = SAME[form]
    pd.testing.assert_frame_equal(READERS[reader](data, options), TABLE, check_exact=False)


def test_records_within_records_become_columns() -> None:
    records = [
        {"id": "a", "config": {"lr": 0.1, "betas": [0.9, 0.99]}, "curve": [1.0] * 33, "tags": {}},
        {"id": "b", "config": {"lr": 0.2, "wd": 1}, "loss": None},
    ]
    frame = READERS["json_records"](json.dumps(records).encode(), {})
    assert [*frame] == ["id", "config.lr", "config.betas.0", "config.betas.1", "config.wd", "loss"]
    assert frame["config.lr"].tolist() == [0.1, 0.2]
    assert frame["config.betas.1"].isna().tolist() == [False, True]


def test_names_with_their_values_become_keys_and_numbered_columns() -> None:
    frame = READERS["json_records"](b'{"012": [0.5, 0.25], "013": [1.0, 2.0]}', {"orient": "index"})
    assert frame.to_dict("list") == {"key": ["012", "013"], "0": [0.5, 1.0], "1": [0.25, 2.0]}


RUN = b"step,loss\n1,3.0\n2,2.0\n3,1.0\n"
FILES = {"runs/w8_s0.csv": RUN, "runs/w16_s0.csv": RUN.replace(b"1.0", b"0.5"), "notes.txt": b"\xff"}
NAMED = {"files": r"w(?P<width>\d+)_s(?P<seed>\d+)\.csv$"}
ARCHIVES = {
    "tar": tarred(FILES, "w"),
    "tar.gz in a top folder": tarred({f"top-abc/{name}": content for name, content in FILES.items()}),
    "zip": zipped(FILES),
    "with compressed files": zipped({n: gzip.compress(c) if n.endswith("csv") else c for n, c in FILES.items()}),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_file_a_run_gives_their_rows_and_what_their_paths_say(kind: str) -> None:
    reader = READERS["run_files"]
    frame = reader(ARCHIVES[kind], NAMED)
    assert [*frame] == ["step", "loss", "file", "width", "seed"]
    assert frame["width"].tolist() == [16, 16, 16, 8, 8, 8]
    assert frame["loss"].tolist() == [3.0, 2.0, 0.5, 3.0, 2.0, 1.0]
    assert set(frame["file"]) == {"runs/w8_s0.csv", "runs/w16_s0.csv"}
    assert reader.checksum(ARCHIVES[kind], NAMED) == reader.checksum(ARCHIVES["tar"], NAMED)


@pytest.mark.parametrize(
    ("form", "content"),
    [("json_records", b'{"loss": 1.5, "c": {"lr": 2}}'), ("json_lines", b'{"loss": 1.5, "c": {"lr": 2}}\n'),
     ("json_records", b'[{"loss": 1.5, "c.lr": 2}]'), ("tsv", b"loss\tc.lr\n1.5\t2\n")],
)  # fmt: skip
def test_the_file_of_a_run_may_have_other_forms(form: str, content: bytes) -> None:
    frame = READERS["run_files"](zipped({"a/x": content, "a/y": content}), {"format": form})
    assert frame.to_dict("list") == {"loss": [1.5, 1.5], "c.lr": [2, 2], "file": ["x", "y"]}


def test_a_folder_is_read_as_its_archive_is(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_bytes(content)
    (tmp_path / "mine" / "runs" / "w99_s0.csv").symlink_to("/etc/passwd")
    source = Source.model_validate({"file": "mine", "licence": "mine", "reader": "run_files", "reader_options": NAMED})
    found = obtain(source, [tmp_path], None)
    pd.testing.assert_frame_equal(READERS["run_files"](found.data, NAMED), READERS["run_files"](ARCHIVES["tar"], NAMED))
    assert found.sha256 == state(source, [tmp_path]) == READERS["run_files"].checksum(ARCHIVES["tar"], NAMED)
    (tmp_path / "mine" / "runs" / "w8_s0.csv").write_bytes(RUN + b"4,0.5\n")
    assert state(source, [tmp_path]) != found.sha256


def test_a_folder_of_too_much_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MOST_FILES", 2)
    for i in range(3):
        (tmp_path / f"{i}.csv").write_bytes(RUN)
    with pytest.raises(MusterError, match="more than 2 files"):
        READERS["run_files"].packed(tmp_path, {})


LOG = b"step:0/4 train_loss:9.0\nstep:2/4 val_loss:3.5 time\nstep:4/4 val_loss:3.25\nnan\xff\n"
VALIDATED = r"step:(?P<step>\d+)/\d+ val_loss:(?P<val_loss>[\d.]+)"


def test_lines_of_logs_that_hold_a_pattern_are_rows() -> None:
    archive = tarred({"logs/muon_1.txt": LOG, "logs/adam_2.txt": LOG.replace(b"3.25", b"3.5"), "logs/x.py": b"a"})
    frame = READERS["log_files"](archive, {"line": VALIDATED, "files": r"(?P<optimizer>[a-z]+)_(?P<draw>\d)\.txt"})
    assert [*frame] == ["step", "val_loss", "file", "optimizer", "draw"]
    assert frame["val_loss"].tolist() == [3.5, 3.5, 3.5, 3.25]
    assert frame["optimizer"].tolist() == ["adam"] * 2 + ["muon"] * 2
    for one in (LOG, gzip.compress(LOG)):
        alone = READERS["log_files"](one, {"line": VALIDATED})
        assert alone.to_dict("list") == {"step": [2, 4], "val_loss": [3.5, 3.25], "file": ["", ""]}


WRONG: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "two files in a zip": ("csv", zipped({"a": CSV, "b": CSV}), {}, "holds 'a', 'b': name one with `member`"),
    "no such member": ("csv", zipped({"a": CSV}), {"member": "b"}, "holds no 'b' but 'a'"),
    "a member of no zip": ("csv", CSV, {"member": "b"}, "no zip archive that could hold 'b'"),
    "an end that is missing": ("csv", gzip.compress(CSV)[:-9], {}, "not readable as a compressed file"),
    "a zip without its end": ("csv", zipped({"a": CSV})[:-9], {}, "not readable as a zip archive"),
    "a zip by another method": ("csv", zipped({"a": CSV}, zipfile.ZIP_BZIP2), {}, "otherwise than by deflate"),
    "a path that leaves": ("run_files", zipped({"../a": CSV}), {}, "leaves its folder"),
    "no file of that name": ("run_files", ARCHIVES["zip"], {"files": "w9"}, "no file's path holds 'w9'"),
    "a file that is no table": ("run_files", ARCHIVES["zip"], {}, "notes.txt: not readable as CSV"),
    "a column twice": ("run_files", ARCHIVES["zip"], {"files": r"w(?P<step>\d+)"}, "has a column 'step', which"),
    "a record that is no JSON": ("run_files", zipped({"a.json": b"{"}), {"format": "json_records"}, "a.json: Exp"),
    "no line": ("log_files", LOG, {"line": "los:(?P<a>.)"}, "no line holds"),
    "a line that is no JSON": ("json_lines", LINES + b"{\n", {}, "line 3 is no JSON"),
    "no lines": ("json_lines", b"\n", {}, "there is no record"),
    "no list": ("json_records", b'{"a": 1}', {}, "no list of records but a dict"),
    "no such key": ("json_records", b'{"a": 1}', {"path": ["b"]}, "has no 'b' where `path` says; it has 'a'"),
    "no names": ("json_records", b"[1]", {"orient": "index"}, "no names with their index but a list"),
    "uneven columns": ("json_records", b'{"a": [1], "b": [1, 2]}', {"orient": "columns"}, "no lists of one length"),
    "records without a bottom": (
        "json_lines", b'{"a":' * 40 + b"1" + b"}" * 40, {}, "nested more than 20 levels"),
    "text in place of numbers": ("json_records", b"{", {}, "not readable as JSON"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_one_line_says_what_cannot_be_read(what: str) -> None:
    reader, data, options, said = WRONG[what]
    with pytest.raises(MusterError) as error:
        READERS[reader](data, options)
    assert said in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("reader", "options", "said"),
    [
        ("log_files", {}, "line: Field required"),
        ("log_files", {"line": "loss"}, "name what it finds"),
        ("log_files", {"line": "(?P<a>"}, "no regular expression"),
        ("run_files", {"files": "x" * 501}, "500 characters at most"),
        ("run_files", {"format": "pickle"}, "format: Input should be 'csv'"),
        ("json_records", {"orient": "split"}, "orient: Input should be 'records'"),
    ],
)
def test_options_that_cannot_be_right_are_refused_with_the_form(reader: str, options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Source.model_validate({"file": "a", "licence": "b", "reader": reader, "reader_options": options})


def test_what_expands_to_too_much_is_refused_before_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "TEXT_LIMIT", 2**20)
    zeros = b"a\n" + b"0\n" * 2**20
    for data in (gzip.compress(zeros), lzma.compress(zeros), zipped({"a": zeros})):
        with pytest.raises(MusterError, match="unpacks to more than 1 MB"):
            READERS["csv"](data, {})
    monkeypatch.setattr(unpack, "ARCHIVE_LIMIT", 2**20)
    for data in (zipped({"a": zeros}), zipped({"a": gzip.compress(zeros)}), tarred({"a": gzip.compress(zeros)})):
        with pytest.raises(MusterError, match="unpacks to more than"):
            READERS["run_files"](data, {})


def test_a_zip_that_lies_about_its_size_is_refused() -> None:
    data = bytearray(zipped({"a": b"N\n" + b"1\n" * 5000}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(signature) + offset
        data[at : at + 4] = (5).to_bytes(4, "little")
    with pytest.raises(MusterError, match="not readable in its zip archive"):
        READERS["csv"](bytes(data), {})


def test_records_with_more_cells_than_a_table_has_are_refused_before_they_are_laid_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(foreign, "MOST_COLUMNS", 50)
    data = "\n".join(json.dumps({f"c{i}": 1}) for i in range(60)).encode()
    with pytest.raises(MusterError, match="51 records have 51 columns"):
        READERS["json_lines"](data, {})
    monkeypatch.setattr(run_files, "MOST_VALUES", 20)
    with pytest.raises(MusterError, match="6 rows with 5 columns"):
        READERS["run_files"](ARCHIVES["zip"], NAMED)


def test_a_pattern_is_looked_for_in_the_beginning_of_a_line_alone() -> None:
    line = b"x" * 3000 + b" loss:1.0\nloss:2.0\n"
    assert READERS["log_files"](line, {"line": r"loss:(?P<loss>[\d.]+)"})["loss"].tolist() == [2.0]


def test_the_example_of_the_page_is_a_table_that_a_study_may_name() -> None:
    page = (Path(__file__).parents[3] / "docs" / "published-tables.md").read_text()
    (block,) = re.findall(r"```yaml\n(settings:.*?)```", page, re.DOTALL)
    given = yaml.safe_load(block)["settings"]["sources"]["theirs"]
    table = Table.model_validate({**given, "sha256": "0" * 64})
    run = b"step,train_loss,val_loss,tokens,accuracy,lr\n1,4,3.5,10,0.25,0.5\n2,3,3.25,10,0.5,0.5\n"
    data = tarred({f"runs/w{width}_{name}/log.csv": run for width in (8, 16) for name in ("adam", "sgd")})
    runs = apply(table, READERS[table.reader](data, table.reader_options), "runs.tar.gz").runs
    assert runs.drop(columns="run").to_dict("list") == {
        "width": [16, 8], "tokens": [10, 10], "log2_lr": [-1, -1], "final_eval_loss": [3.25, 3.25], "error": [0.5, 0.5],
    }  # fmt: skip
    listed = {*re.findall(r"`([a-z_0-9]+)`", page.split("| reader |")[1].split("## Fits")[0])}
    steps = {*re.findall(r"`([a-z_0-9]+):", page.split("| step in `rows` |")[1].split("Expressions")[0])}
    assert {*READERS, *(name for name in TRANSFORMS if name not in steps)} <= listed
