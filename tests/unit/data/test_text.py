"""Text that the user names: a file, and a stand-in for the package of the Hugging Face hub."""

import hashlib
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from muster import data
from muster.errors import MusterError

TEXT = "".join(f"{i:04d}: größer als {i * i % 97}\n" for i in range(400)).encode()
SMALL = {"train": 200, "heldout": 20, "context": 16, "encoding": "tokens"}


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(TEXT)
    return path


def test_windows_of_a_file_are_its_own_bytes_and_the_next_ones(corpus):
    arrays, manifest = data.prepare("text_file", {**SMALL, "path": str(corpus)})
    assert arrays.train_x.shape == arrays.train_y.shape == (200, 16)
    assert arrays.heldout_x.shape == (20, 16)
    for x, y in zip(arrays.train_x, arrays.train_y, strict=True):
        assert bytes([*x.tolist(), y[-1]]) in TEXT
        np.testing.assert_array_equal(x[1:], y[:-1])
    assert manifest["corpus_sha256"] == hashlib.sha256(TEXT).hexdigest()
    assert manifest["pieces"] == {"train": 90, "heldout": 10}
    assert (manifest["task"], manifest["outputs"]) == ("next_token", 256)


def test_heldout_windows_come_from_other_pieces(corpus):
    arrays, _ = data.prepare("text_file", {**SMALL, "path": str(corpus), "context": 32})  # holds a line's number
    size = -(-len(TEXT) // 100)

    def pieces(rows):
        return {TEXT.index(bytes(row.tolist())) // size for row in rows}

    assert not pieces(arrays.train_x) & pieces(arrays.heldout_x)


def test_the_checksum_is_held_against_the_file(corpus):
    options = {**SMALL, "path": str(corpus), "sha256": hashlib.sha256(TEXT).hexdigest()}
    data.prepare("text_file", options)
    corpus.write_bytes(TEXT + b"more")
    with pytest.raises(MusterError, match=r"has checksum .* expected .*or give data_options.sha256 its new value"):
        data.prepare("text_file", options)


@pytest.mark.parametrize(
    ("content", "options", "found"),
    [
        (None, {}, "cannot be read (No such file or directory). Put the file at"),
        (b"caf\xe9 " * 500, {}, "not UTF-8 from byte 3 on"),
        (b"too short", {}, "too few to split"),
        (TEXT, {"train": 10**6}, "1000000 examples asked of text_file"),
    ],
)
def test_a_file_that_does_not_serve_is_refused(tmp_path, content, options, found):
    path = tmp_path / "corpus.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MusterError, match=re.escape(found)):
        data.prepare("text_file", {**SMALL, "path": str(path), **options})


@pytest.mark.parametrize(("name", "found"), [("text_file", "no file is named"), ("hf_text", "no data set is named")])
def test_a_source_must_be_named_and_can_be_described_without(name, found):
    assert data.describe(name)["options"]["context"]["default"] == 32
    with pytest.raises(MusterError, match=found):
        data.prepare(name, SMALL)


def hub(monkeypatch, load_dataset):
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))


def test_rows_of_the_hub_are_documents(monkeypatch):
    lines = [hashlib.sha256(bytes([i])).hexdigest() for i in range(50)]  # no window occurs in two
    asked = {}

    def load_dataset(name, subset, **options):
        asked.update(name=name, subset=subset, **options)
        return iter([{"story": line} for line in lines] + [{"story": lines[0]}] * 100)

    hub(monkeypatch, load_dataset)
    options = {**SMALL, "dataset": "a/b", "column": "story", "documents": 60, "revision": "abc"}
    arrays, manifest = data.prepare("hf_text", options)
    assert asked == {"name": "a/b", "subset": None, "split": "train", "revision": "abc", "streaming": True}
    assert manifest["rows"] == {"train": 45, "heldout": 5}
    assert json.loads(json.dumps(manifest))["options"]["dataset"] == "a/b"
    for row in arrays.train_x:
        assert any(bytes(row.tolist()).decode() in line for line in lines)


def test_what_the_hub_refuses_has_a_remedy(monkeypatch):
    options = {**SMALL, "dataset": "a/b"}
    monkeypatch.setitem(sys.modules, "datasets", None)  # importing it raises ImportError
    with pytest.raises(
        MusterError, match=r"`datasets` is not installed\. Run `pip install datasets` and `muster fetch"
    ):
        data.prepare("hf_text", options)

    def refuses(*args, **kwargs):
        raise ConnectionError("no route\n to host")

    hub(monkeypatch, refuses)
    with pytest.raises(
        MusterError, match=r"the hub does not give a/b \(no route to host\)\..*results/sources/hf_text/a--b"
    ):
        data.prepare("hf_text", options)
    hub(monkeypatch, lambda *args, **kwargs: iter([{"body": "x"}]))
    with pytest.raises(MusterError, match=r"no column 'text'\. Columns: body"):
        data.prepare("hf_text", options)


def test_rows_that_were_fetched_once_need_no_hub(tmp_path, monkeypatch):
    lines = ["\u2028\r\n".join(hashlib.sha256(bytes([i, j])).hexdigest() for j in range(3)) for i in range(20)]
    hub(monkeypatch, lambda *args, **kwargs: iter([{"text": line, "id": i} for i, line in enumerate(lines)]))
    options = {**SMALL, "dataset": "a/b", "documents": 20}
    fetched, manifest = data.prepare("hf_text", options, data.Places(kept=tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", None)
    kept, same = data.prepare("hf_text", options, data.Places((tmp_path,)))
    np.testing.assert_array_equal(fetched.train_x, kept.train_x)
    (file,) = (tmp_path / "hf_text").iterdir()
    own, also = data.prepare("hf_text", {**options, "path": str(file)})
    np.testing.assert_array_equal(fetched.train_x, own.train_x)
    assert manifest == same == also
    with pytest.raises(MusterError, match="not on this machine"):
        data.prepare("hf_text", {**options, "revision": "other"}, data.Places((tmp_path,)))
    file.write_text("[1, 2]\n")
    with pytest.raises(MusterError, match="is refused: no readable JSON lines"):
        data.prepare("hf_text", options, data.Places((tmp_path,)))
