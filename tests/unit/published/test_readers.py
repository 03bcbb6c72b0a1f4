"""Readers on small files of our own, shaped like what is published: values, and refusals of what is not such a file."""

import hashlib
import io
import json
import tarfile
from typing import Any

import numpy as np
import pandas as pd
import pytest

from muster.errors import MusterError
from muster.published import unpack as module
from muster.published.readers import READERS


def test_csv_and_parquet_give_the_same_table() -> None:
    frame = pd.DataFrame({"N": [1, 2], "loss": [0.1, 1 / 3], "name": ["a", "b"]})
    parquet = io.BytesIO()
    frame.to_parquet(parquet)
    for name, data in {"csv": frame.to_csv(index=False).encode(), "parquet": parquet.getvalue()}.items():
        pd.testing.assert_frame_equal(READERS[name](data, {}), frame)
    semicolons = READERS["csv"](frame.to_csv(index=False, sep=";").encode(), {"delimiter": ";"})
    pd.testing.assert_frame_equal(semicolons, frame)


@pytest.mark.parametrize(
    ("reader", "data", "said"),
    [
        ("csv", b"", "not readable as CSV"),
        ("csv", b"a,b\n1,2\n1,2,3\n", "not readable as CSV"),
        ("csv", b"a\n\xff\xfe\n", "not readable as CSV"),
        ("parquet", b"a,b\n", "not readable as Parquet"),
        ("open_lm_archive", b"a,b\n", "not readable as a tar archive"),
        ("datablations_notebook", b"a,b\n", "no notebook with a cell 0"),
        ("datablations_notebook", b'{"cells": []}', "no notebook with a cell 0"),
    ],
)
def test_a_file_of_another_kind_is_refused(reader: str, data: bytes, said: str) -> None:
    options = {"cell": 0} if reader == "datablations_notebook" else {}
    with pytest.raises(MusterError, match=said):
        READERS[reader](data, options)


PROGRAM = b"""
import sys

def fit(sizes):
    best = [s for s in sizes]
    return best

if __name__ == "__main__":
    raise SystemExit("executed")
    sizes = [[10, 20], [11, 21]]
    streams = [[1] * 2, [2] * 2]
    loss = [[3.5, 3.25], [3.0, 2.75]] # , 9.9]
    fit(sizes)
"""


def read_lists(program: bytes, **variables: str) -> pd.DataFrame:
    return READERS["python_lists"](program, {"variables": variables})


def test_lists_of_a_program_are_read_and_the_program_is_not_run() -> None:
    table = read_lists(PROGRAM, N="sizes", P="streams", loss="loss")
    assert table.to_dict("list") == {"N": [10, 20, 11, 21], "P": [1, 1, 2, 2], "loss": [3.5, 3.25, 3.0, 2.75]}


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (b"x = [1, 2", "not readable as Python"),
        (b"x = [1]\nx = [2]", "'x' is assigned 2 times"),
        (b"y = [1]", "'x' is assigned 0 times"),
        (b"x = list(range(3))", "line 1 is not made of literals"),
        (b"x = [__import__('os').getpid()]", "line 1 is not made of literals"),
        (b"x = [1] * 10**9", "line 1 is not made of literals"),
        (b"x = [1] * 1000000", "line 1 is not made of literals"),
        (b"x = [1] * -1", "not made of literals"),
    ],
)
def test_a_program_that_would_have_to_be_run_is_refused(program: bytes, said: str) -> None:
    with pytest.raises(MusterError, match=said):
        read_lists(program, x="x")


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(MusterError, match=r"different length: \{'a': 2, 'b': 1\}"):
        read_lists(b"a = [1, 2]\nb = [1]", a="a", b="b")


CELL = """# final losses
NAMES_TO_VAL_LOSSES = {
    "2b84b4b": 3.25, # comment
    "2b812b4b": 2.875,
    "14m1b5100m": 4.5,
    "14m400m400m": 5.5,
    "1b1100m100m": 6.5,
    "7m100m400m": 8.125,
    "44m7b5100m": 0,
    "4b284b12bdedup": 2.5,
    "2b855b9b5c4seed2": 2.625,
}
TOKENS_MAP = {"100m": 0.1, "400m": 0.4, "1b5": 1.5}
PARAMS_MAP = {"7m": 7.1E+06, "14m": 1.41E+07, "2b8": 2.81E+09, "1b1": 1.1E+09, "44m": 4.4E+07}
"""


def notebook(text: str) -> bytes:
    cells = [{"source": ["import numpy\n"]}, {"source": text.splitlines(keepends=True)}]
    return json.dumps({"cells": cells}).encode()


def test_a_datablations_name_is_size_tokens_and_unique_tokens() -> None:
    text = CELL.replace('    "2b855b9b5c4seed2": 2.625,\n', "")
    table = READERS["datablations_notebook"](notebook(text), {"cell": 1})
    assert list(map(tuple, table.to_numpy())) == [
        ("2b84b4b", 2.81e9, 4e9, 4e9, 3.25),
        ("2b812b4b", 2.81e9, 12e9, 4e9, 2.875),
        ("14m1b5100m", 1.41e7, 1.5e9, 0.1e9, 4.5),
        ("14m400m400m", 1.41e7, 0.4e9, 0.4e9, 5.5),
        ("1b1100m100m", 1.1e9, 0.1e9, 0.1e9, 6.5),
        ("7m100m400m", 7.1e6, 0.1e9, 0.4e9, 8.125),
    ]


def test_datablations_replicates_are_the_seeds() -> None:
    table = READERS["datablations_notebook"](notebook(CELL), {"cell": 1, "replicates": True})
    assert list(map(tuple, table.to_numpy())) == [("2b855b9b5c4", 2, 2.625)]


@pytest.mark.parametrize(
    ("name", "said"), [("9b94b4b", "does not start with a known number"), ("2b8xxb4b", "no number of tokens at 'xxb'")]
)
def test_a_datablations_name_that_says_nothing_is_refused(name: str, said: str) -> None:
    with pytest.raises(MusterError, match=said):
        READERS["datablations_notebook"](notebook(CELL.replace("2b84b4b", name)), {"cell": 1})


def model(name: str, loss: float) -> dict[str, Any]:
    def result(path: str, value: float) -> dict[str, Any]:
        bounds = {"loss_sequences_lower_95": value - 0.1, "loss_sequences_upper_95": value + 0.1}
        return {"loss": value, "val_data": [path], **bounds}

    chosen = {
        "model": "configs/d=96.json", "params": 1000, "params_no_embed": 800, "tokens": 20000, "lr": 0.003, "wd": 0.1,
        "chinchilla_multiplier": 1.0, "global_bs": 64, "warmup": 100, "cd": 3e-5,
    }  # fmt: skip
    results = [result("eval_data/c4_val/shard.tar", loss), result("eval_data/de-en/val_de-en_100.tar", 2 * loss)]
    return {
        "name": name, "dataset_name": "c4", "hyperparameters": chosen, "open_lm_args": ["--lr", "1", "--seed", "124"],
        "results": results,
    }  # fmt: skip


def files(*names: str) -> dict[str, bytes]:
    """A repository with the given models; their tasks a, b, c have accuracies 0.25, 0.5, 1."""
    tree = {"exp_data/notes.csv": b"x", "README.md": b"read me"}
    tasks = {"eval_metrics": {"icl": {"a": 0.25, "b": 0.5, "c": 1.0}}}
    for loss, name in enumerate(names, start=2):
        tree[f"exp_data/models/{name}.json"] = json.dumps(model(name, float(loss))).encode()
        tree[f"exp_data/evals/evaluation_{name}_heavy.json"] = json.dumps(tasks).encode()
    return tree


def archive(tree: dict[str, bytes], top: str = "scaling-abc/", level: int = 9) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=level) as tar:
        for name, content in tree.items():
            info = tarfile.TarInfo(top + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_an_open_lm_archive_gives_one_row_a_model() -> None:
    table = READERS["open_lm_archive"](archive(files("m-2", "m-1")), {"tasks": ["a", "b"]})
    assert list(table["name"]) == ["m-1", "m-2"]
    assert list(table["loss_c4_val"]) == [3.0, 2.0]
    assert list(table["loss_val_de-en_100"]) == [6.0, 4.0]
    np.testing.assert_allclose(table["loss_hi95_c4_val"], [3.1, 2.1])
    first = table.iloc[0]
    assert (first["model"], first["N"], first["D"], first["seed"]) == ("d=96", 1000, 20000, 124)
    np.testing.assert_allclose([first["err_avg"], first["err_avg_subset"], first["n_err"]], [1.25 / 3, 0.625, 3])


def test_the_checksum_of_an_archive_is_that_of_its_files_not_of_its_compression() -> None:
    tree = files("m-1")
    digest = READERS["open_lm_archive"].checksum
    reference = digest(archive(tree), {})
    lines = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted(tree.items())
        if name.startswith("exp_data/")
    )
    assert reference == hashlib.sha256(lines.encode()).hexdigest()
    assert digest(archive(dict(reversed(tree.items())), top="other-top/", level=1), {}) == reference
    assert digest(archive({**tree, "README.md": b"other"}), {}) == reference
    assert digest(archive({**tree, "exp_data/notes.csv": b"y"}), {}) != reference


@pytest.mark.parametrize("top", ["/", "../", "scaling-abc/../../"])
def test_an_archive_with_a_path_that_leaves_its_folder_is_refused(top: str) -> None:
    with pytest.raises(MusterError, match="leaves its folder"):
        READERS["open_lm_archive"](archive(files("m-1"), top=top), {})


def test_links_of_an_archive_are_not_followed() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        link = tarfile.TarInfo("top/exp_data/models/m-1.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(MusterError, match=r"has no exp_data/models/\*\.json"):
        READERS["open_lm_archive"](buffer.getvalue(), {})


def test_an_archive_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ARCHIVE_LIMIT", 100)
    with pytest.raises(MusterError, match="unpacks to more than"):
        READERS["open_lm_archive"](archive(files("m-1")), {})


def test_a_model_without_its_evaluation_is_named() -> None:
    tree = files("m-1")
    del tree["exp_data/evals/evaluation_m-1_heavy.json"]
    with pytest.raises(MusterError, match=r"exp_data/models/m-1\.json or its evaluation"):
        READERS["open_lm_archive"](archive(tree), {})


SEEDS, DEPTHS = {"column": "seed", "values": 2}, {"column": "depth", "values": [2, 4, 8]}


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_an_array_becomes_one_row_an_entry() -> None:
    array = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan]])
    frame = READERS["npy"](npy(array), {"axes": [SEEDS, DEPTHS]})
    assert frame["seed"].tolist() == [0, 0, 0, 1, 1, 1]
    assert frame["depth"].tolist() == [2, 4, 8, 2, 4, 8]
    assert frame["value"].tolist()[:5] == [1, 2, 3, 4, 5]
    assert np.isnan(frame["value"].iloc[5])


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(MusterError, match=r"shape \(2, 3\), the axes have \(3, 2\)"):
        READERS["npy"](npy(np.zeros((2, 3))), {"axes": [DEPTHS, SEEDS]})


def test_no_pickle_is_opened() -> None:
    with pytest.raises(MusterError, match="not readable as an array of NumPy"):
        READERS["npy"](npy(np.array([{}], dtype=object)), {"axes": [SEEDS]})
