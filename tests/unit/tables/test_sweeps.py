"""Anybody's table as it is: formats, notations, words of trackers, histories, columns that nobody named."""

import gzip
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muster.errors import MusterError
from muster.tables.sweeps import Columns, Sweep, read_sweep

Row = dict[str, Any]
PLAIN = Columns("lr", "loss", "width")
RATES = [2.0**k for k in range(-10, -3)]


def rows(widths: Sequence[int] = (64, 128), seeds: int = 1) -> list[Row]:
    """A parabola in log2 lr with its bottom at 2^-7, whatever the width."""
    return [
        {"width": w, "lr": lr, "seed": seed, "loss": 2 + 0.01 * seed + 0.05 * (math.log2(lr) + 7) ** 2}
        for w in widths for seed in range(seeds) for lr in RATES
    ]  # fmt: skip


def expected() -> pd.DataFrame:
    return read_sweep(pd.DataFrame(rows()).drop(columns="seed"), PLAIN).runs


def text(table: Sequence[Row], delimiter: str = ",", number: Callable[[Any], str] = repr) -> str:
    lines = [delimiter.join(table[0])]
    lines += [
        delimiter.join(number(v) if isinstance(v, float | int) else str(v) for v in row.values()) for row in table
    ]
    return "\n".join(lines) + "\n"


def without_seed() -> list[Row]:
    return [{k: v for k, v in row.items() if k != "seed"} for row in rows()]


def comma(value: Any) -> str:
    return repr(float(value)).replace(".", ",") if isinstance(value, float) else str(value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.csv", text(without_seed())),
        ("s.csv", text(without_seed(), ";")),
        ("s.txt", text(without_seed(), "\t")),
        ("s.csv", text(without_seed(), "|")),
        ("s.txt", text(without_seed(), " ")),
        ("s.csv", "sep=;\n" + text(without_seed(), ";", comma)),
        ("s.csv", "# made by hand\n\n" + text(without_seed(), ";", comma)),
        ("s.csv", "﻿" + text(without_seed())),
        ("s.csv", text(without_seed()).replace("\n", "\r\n")),
        ("s.csv", text(without_seed()).replace("\n", ",\n")),
        ("s.jsonl", "\n".join(map(json.dumps, without_seed()))),
        ("s.json", json.dumps(without_seed())),
        ("s.json", json.dumps({"data": without_seed()})),
        ("s.json", pd.DataFrame(without_seed()).to_json()),
    ],
)
@pytest.mark.parametrize("pack", [False, True])
def test_every_text_format_is_the_same_sweep(name: str, content: str, pack: bool, tmp_path: Path) -> None:
    path = tmp_path / (f"{name}.gz" if pack else name)
    path.write_bytes(gzip.compress(content.encode()) if pack else content.encode())
    pd.testing.assert_frame_equal(read_sweep(path, PLAIN).runs, expected(), check_exact=False, rtol=1e-9)


def test_western_and_wide_encodings_are_read(tmp_path: Path) -> None:
    for encoding in ("cp1252", "utf-16"):
        path = tmp_path / f"{encoding}.csv"
        path.write_bytes(text([{"Größe": row.pop("width"), **row} for row in without_seed()]).encode(encoding))
        found = read_sweep(path, Columns("lr", "loss", "Größe")).runs
        assert found["loss"].tolist() == expected()["loss"].tolist()


def numbers(tmp_path: Path, widths: Sequence[str], rates: Sequence[str], losses: Sequence[str]) -> Sweep:
    path = tmp_path / "s.csv"
    table = zip(widths, rates, losses, strict=True)
    path.write_text("width;lr;loss\n" + "\n".join(";".join(row) for row in table) + "\n")
    return read_sweep(path, PLAIN)


def test_separators_of_thousands_are_understood_by_the_other_columns(tmp_path: Path) -> None:
    english = numbers(tmp_path, ["1,024", "2,048", "512"], ["0.1", "0.1", "0.1"], ["2.5", "2.4", "2.6"])
    german = numbers(tmp_path, ["1.024", "2.048", "512"], ["0,1", "0,1", "0,1"], ["2,5", "2,4", "2,6"])
    swiss = numbers(tmp_path, ["1'024", "2'048", "512"], ["0.1", "0.1", "0.1"], ["2.5", "2.4", "2.6"])
    for found in (english, german, swiss):
        assert found.runs["width"].tolist() == [512, 1024, 2048]
        assert found.runs["loss"].tolist() == [2.6, 2.5, 2.4]


def test_a_number_that_may_be_two_is_refused_with_its_column(tmp_path: Path) -> None:
    with pytest.raises(MusterError, match=r"column 'width': '1,024' may be 1024 or 1.024"):
        numbers(tmp_path, ["1,024", "2,048", "512"], ["1", "2", "3"], ["2", "3", "4"])


def test_a_decimal_comma_is_said_beside_what_may_be_a_slip(tmp_path: Path) -> None:
    found = numbers(tmp_path, ["1,28", "1,024"], ["0,1", "0,1"], ["2,5", "2,4"])
    assert found.runs["width"].tolist() == [1.024, 1.28]
    assert "'width' has decimal commas: '1,28' is 1.28" in found.notes
    assert not numbers(tmp_path, ["1024", "128"], ["0.1", "0.1"], ["2.5", "2.4"]).notes


@pytest.mark.parametrize(
    ("name", "asked", "base"),
    [
        ("log2_lr", None, 2.0),
        ("config.log10_lr", None, 10.0),
        ("ln_learning_rate", None, math.e),
        ("log2_decay", "log2_decay", 2.0),
    ],
)
def test_a_logarithm_of_the_rate_is_read_as_the_rate(name: str, asked: str | None, base: float) -> None:
    table = pd.DataFrame(without_seed())
    logarithm = table["lr"].map(lambda lr: math.log(lr, base))
    found = read_sweep(table.drop(columns="lr").assign(**{name: logarithm}), Columns(asked))
    np.testing.assert_allclose(found.runs["log2_lr"], expected()["log2_lr"], rtol=1e-12)
    assert found.columns.x == name.rpartition(".")[2].partition("_")[2]


def test_a_rate_goes_before_its_logarithm_and_an_empty_cell_stays_empty() -> None:
    table = pd.DataFrame(without_seed()).assign(log2_lr=1.0)
    assert read_sweep(table, Columns()).runs["log2_lr"].tolist() == expected()["log2_lr"].tolist()
    holes = pd.DataFrame({"width": [64, 128], "log2_lr": [-3.0, None], "loss": [1.0, 2.0]})
    with pytest.raises(MusterError, match=r"column 'lr': the cell is empty"):
        read_sweep(holes, Columns())


NAMES = {
    "wandb": {"width": "config.width", "lr": "config.lr", "loss": "summary.loss"},
    "optuna": {"width": "params_width", "lr": "params_lr", "loss": "value"},
    "mlflow": {"width": "params.width", "lr": "params.lr", "loss": "metrics.loss"},
    "ray": {"width": "config/width", "lr": "config/lr", "loss": "loss"},
    "hydra": {"width": "model.d_model", "lr": "optimizer.lr", "loss": "val/loss"},
    "plain": {"width": "hidden size", "lr": "Learning Rate", "loss": "Val Loss"},
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_words_of_trackers_are_found_without_options(names: dict[str, str]) -> None:
    found = read_sweep(pd.DataFrame(without_seed()).rename(columns=names), Columns())
    assert found.runs[found.columns.scale].tolist() == expected()["width"].tolist()
    assert found.runs[found.columns.y].tolist() == expected()["loss"].tolist()
    assert found.runs["log2_lr"].tolist() == expected()["log2_lr"].tolist()


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("state", "finished", "crashed"),
        ("state", "COMPLETE", "PRUNED"),
        ("state", "TrialState.COMPLETE", "TrialState.FAIL"),
        ("status", "FINISHED", "RUNNING"),
        ("status", "TERMINATED", "ERROR"),
        ("done", True, False),
    ],
)
def test_unfinished_runs_are_left_out_and_counted(column: str, good: Any, bad: Any) -> None:
    table = [{**row, column: bad if i in (0, 9) else good} for i, row in enumerate(without_seed())]
    found = read_sweep(pd.DataFrame(table), PLAIN)
    assert len(found.runs) == len(table) - 2
    assert any("2" in note and note.startswith("left out") for note in found.notes)


def test_an_unknown_state_is_named_and_does_not_count() -> None:
    table = [{**row, "state": "stopped" if i == 3 else "finished"} for i, row in enumerate(without_seed())]
    found = read_sweep(pd.DataFrame(table), PLAIN)
    assert len(found.runs) == len(table) - 1
    assert "no known state: stopped (--finished stopped counts such runs)" in found.notes
    assert len(read_sweep(pd.DataFrame(table), Columns("lr", "loss", "width", finished=("stopped",))).runs) == len(
        table
    )


@pytest.mark.parametrize("depth", [30, 4000])
def test_what_is_nested_deeper_than_anybody_reads_stays_text(depth: int) -> None:
    nested = '{"a": ' * depth + "1" + "}" * depth
    found = read_sweep(pd.DataFrame([{**row, "config": nested} for row in without_seed()]), PLAIN)
    pd.testing.assert_frame_equal(found.runs, expected())


def test_dictionaries_in_cells_are_columns(tmp_path: Path) -> None:
    for spell in (json.dumps, repr):
        table = [
            {"name": f"r{i}", "config": spell({"lr": {"value": row["lr"], "desc": 0}, "m": {"n_embd": row["width"]}}),
             "summary": spell({"loss": row["loss"]})}
            for i, row in enumerate(rows())
        ]  # fmt: skip
        path = tmp_path / "s.csv"
        pd.DataFrame(table).to_csv(path, index=False)
        found = read_sweep(path, Columns())
        assert (found.columns.x, found.columns.y, found.columns.scale) == ("lr", "loss", "n_embd")
        assert found.runs["loss"].tolist() == expected()["loss"].tolist()


def history(named: bool = True, step: str = "step", ends: int = 3) -> list[Row]:
    """Steps 0 to `ends`: the training loss and, in a row of its own at the same step, the evaluation loss."""
    table = []
    for i, row in enumerate(rows()):
        for k in range(ends + 1):
            head = {"run_id": f"r{i}"} if named else {}
            head |= {"width": row["width"], "lr": row["lr"], step: k}
            table.append(head | {"train_loss": row["loss"] + ends - k, "loss": None})
            table.append(head | {"train_loss": None, "loss": row["loss"] + ends - k})
    return table


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("step", ["step", "_step", "epoch", "trainer/global_step", "training_iteration"])
def test_rows_of_one_step_are_merged(named: bool, step: str) -> None:
    found = read_sweep(pd.DataFrame(history(named, step)), PLAIN)
    assert found.runs["loss"].tolist() == expected()["loss"].tolist()
    assert "112 rows are the history of 14 runs" in found.notes[0]


def test_of_a_step_that_a_resumed_run_logged_twice_the_later_row_counts() -> None:
    table = history()
    again = [
        {**row, "loss": row["loss"] - 0.5}
        for row in table
        if row["run_id"] == "r0" and row["step"] == 3 and row["loss"]
    ]
    found = read_sweep(pd.DataFrame(table + again), PLAIN)
    assert found.runs["loss"].iloc[0] == pytest.approx(expected()["loss"].iloc[0] - 0.5)


def test_a_run_that_goes_on_without_a_loss_diverged() -> None:
    table = [row for row in history() if row["train_loss"] is None]
    for row in table:
        if row["run_id"] == "r6" and row["step"] >= 1:
            row["loss"] = None
    found = read_sweep(pd.DataFrame(table), PLAIN)
    assert found.runs["diverged"].tolist() == [i == 6 for i in range(14)]
    assert "1 runs go on without a loss where others of their shape have one: diverged" in found.notes


def test_a_run_that_ends_far_before_the_others_is_left_out() -> None:
    table = [row for row in history(ends=8) if not (row["run_id"] == "r2" and row["step"] > 3)]
    found = read_sweep(pd.DataFrame(table), PLAIN)
    assert len(found.runs) == 13
    assert any(note.startswith("left out, as they end at step 3 where others of their shape end at 8: 1 runs")
               for note in found.notes)  # fmt: skip
    assert len(read_sweep(pd.DataFrame(table), Columns("lr", "loss", "width", any_end=True)).runs) == 14


def test_a_logged_schedule_is_no_hyperparameter() -> None:
    table = [{**row, "config.lr": row["lr"], "lr": row["lr"] * (1 - row["step"] / 9)} for row in history()]
    with pytest.raises(MusterError, match="column 'lr': it varies within run_id r0"):
        read_sweep(pd.DataFrame(table), PLAIN)
    found = read_sweep(pd.DataFrame(table), Columns("config.lr", "loss", "width"))
    assert found.runs["log2_lr"].tolist() == expected()["log2_lr"].tolist()


def test_a_name_that_many_runs_share_is_no_run() -> None:
    table = [{"name": "mlp", "run": i % 3, **row} for i, row in enumerate(without_seed())]
    assert len(read_sweep(pd.DataFrame(table), PLAIN).runs) == 14


def test_one_rate_written_by_two_programs_is_one() -> None:
    table = [
        {**row, "lr": float(np.float32(0.3 * row["lr"])) if row["seed"] else 0.3 * row["lr"]} for row in rows(seeds=2)
    ]
    found = read_sweep(pd.DataFrame(table), Columns("lr", "loss", "width", "seed"))
    assert found.runs["log2_lr"].nunique() == 7
    assert found.notes == []


def test_a_column_of_seeds_tells_repeated_runs_apart() -> None:
    found = read_sweep(pd.DataFrame(rows(seeds=3)), PLAIN)
    assert found.columns.seed == "seed"
    assert "--seed is taken to be 'seed'" in found.notes


def test_named_runs_of_one_setting_are_repetitions() -> None:
    table = [{"run_id": f"r{i}", **row} for i, row in enumerate(without_seed() + without_seed())]
    assert read_sweep(pd.DataFrame(table), PLAIN).runs["seed"].nunique() == 2


def test_columns_that_vary_unused_are_listed_and_those_that_follow_the_axis_flagged() -> None:
    table = [
        {**row, "optimizer": "adam" if i % 2 else "sgd", "wd": 0.1 * i, "batch": 2 * row["width"],
         "heads": row["width"], "norm": "rms" if i % 2 else "layer", "train_loss": i, "same": 1}
        for i, row in enumerate(without_seed())
    ]  # fmt: skip
    found = read_sweep(pd.DataFrame(table), PLAIN)
    assert [(other.column, other.values, other.follows) for other in found.others] == [
        ("batch", 2, True), ("optimizer", 2, False), ("wd", 14, False), ("norm", 2, False),
    ]  # fmt: skip
    assert (
        "vary and are not used: optimizer (2 values), wd (14 values), norm (2 values); --by, --select or --adjust them"
        in found.notes
    )


def test_a_score_is_maximized_or_a_word_is_said() -> None:
    table = pd.DataFrame(without_seed()).assign(accuracy=lambda frame: 1 / frame["loss"])
    assert any("--maximize" in note for note in read_sweep(table, Columns("lr", "accuracy", "width")).notes)
    found = read_sweep(table, Columns("lr", "accuracy", "width", maximize=True))
    assert found.runs["accuracy"].tolist() == pytest.approx(expected()["loss"].tolist())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.jsonl", '{"a": 1}\nnot\n', "not readable as JSON"),
        ("s.json", "3", "found int where a run should be"),
        ("s.json", "[1, 2]", "found int where a run should be"),
        ("s.csv.gz", "width,lr\n1,2\n", "not readable as gzip"),
        ("s.db", "no database", "not a database of SQLite"),
        ("s.csv", ",".join(map(str, range(200_000))), "200000 columns, more than a table of runs has"),
        ("s.json", json.dumps([dict.fromkeys(map(str, range(10_001)), 1)]), "10001 columns, more than"),
    ],
    ids=range(7),
)
def test_what_cannot_be_read_says_why(name: str, content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x1f\x8bxx" if name.endswith(".gz") else content.encode())
    with pytest.raises(MusterError, match=message):
        read_sweep(path, PLAIN)


def test_a_time_that_python_cannot_hold_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    times = pa.array([2**62, 1], pa.timestamp("ms"))
    pq.write_table(pa.table({"width": [1, 2], "lr": [0.5, 0.5], "loss": [1.0, 1.0], "at": times}), path)
    with pytest.raises(MusterError, match="not a readable Parquet file"):
        read_sweep(path, PLAIN)


def test_mistakes_of_several_columns_come_at_once() -> None:
    frame = pd.DataFrame({"width": [64, 64, -1], "lr": [0.1, "x", 0.3], "loss": [1.0, 2.0, 3.0]})
    with pytest.raises(MusterError) as caught:
        read_sweep(frame, Columns("rate", "losses", "width", by=("kind",)))
    assert [mistake.found for mistake in caught.value.mistakes] == [
        "no column 'rate'", "no column 'losses'", "no column 'kind'"
    ]  # fmt: skip
    with pytest.raises(MusterError) as caught:
        read_sweep(frame, Columns("lr", "loss", "width"))
    assert [mistake.found for mistake in caught.value.mistakes] == ["'x' is no number", "found -1"]
