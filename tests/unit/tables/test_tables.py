"""The frozen tables: checked columns, atomic and reproducible bytes, errors that name the cell."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from muster.errors import MusterError
from muster.experiments import Outcome
from muster.plan.cells import PlannedCell
from muster.plan.grid import plan_study
from muster.plan.study import StudyPlan
from muster.tables.collect import collect, write_cell, write_tables
from muster.tables.io import read_table, write_table
from tests.unit.plan.test_plan import study


def outcome(planned: PlannedCell) -> Outcome:
    rates = planned.cell.log2_lr  # type: ignore[attr-defined]
    runs = pd.DataFrame({"log2_lr": rates}).assign(
        diverged=False, final_train_loss=0.5, final_eval_loss=0.6, steps=4, parameters=9, flops=1e6, seconds=0.1
    )
    curves = pd.DataFrame(
        [{"log2_lr": r, "step": s, "train_loss": 1.0, "eval_loss": 1.0} for r in rates for s in (4, 0)]
    )
    probes = pd.DataFrame(
        [
            {"log2_lr": r, "step": 0, "probe": "activation_rms", "layer": l, "value": 1.0, "se": np.nan}
            for r in rates
            for l in (2, 1)
        ]
    )
    return Outcome(runs, curves, probes)


@pytest.fixture
def plan() -> StudyPlan:
    return plan_study(study({"width": [16, 8], "seeds": 2, "log2_lr": [-4, -5]}), "laptop")


def folder(results: Path, planned: PlannedCell) -> Path:
    return results / "runs" / planned.key


@pytest.fixture
def results(tmp_path: Path, plan: StudyPlan) -> Path:
    for planned in plan.cells:
        write_cell(outcome(planned), planned, folder(tmp_path, planned), {"code": "abc"})
    return tmp_path


def test_collect_adds_keys_and_sorts_rows(plan: StudyPlan, results: Path) -> None:
    tables = collect(plan, results)
    assert {kind: len(frame) for kind, frame in tables.items()} == {"runs": 8, "curves": 16, "probes": 16}
    runs = tables["runs"]
    assert list(runs.columns[:8]) == list(plan.keys)
    assert list(zip(runs["width"], runs["seed"], runs["log2_lr"], strict=True)) == [
        (w, s, r) for w in (8, 16) for s in (0, 1) for r in (-5.0, -4.0)
    ]
    assert list(tables["probes"]["layer"][:4]) == [1, 2, 1, 2]


def test_same_rows_same_bytes_and_no_metadata_but_a_checksum(plan: StudyPlan, results: Path) -> None:
    tables = collect(plan, results)
    write_tables(tables, results / "a")
    write_tables(collect(plan, results), results / "b")
    for kind in tables:
        assert (results / "a" / f"{kind}.parquet").read_bytes() == (results / "b" / f"{kind}.parquet").read_bytes()
    assert list(pq.read_schema(results / "a" / "runs.parquet").metadata) == [b"muster.sha256"]
    pd.testing.assert_frame_equal(read_table(results / "a" / "probes.parquet", "probes"), tables["probes"])


def test_an_axis_of_horizons_keeps_runs_that_diverged_in_theirs(tmp_path: Path) -> None:
    plan = plan_study(study({"width": 8, "steps": [8, 16], "seeds": 1, "log2_lr": [-4, -5]}), "laptop")
    for planned in plan.cells:  # every run stopped at step 4
        write_cell(outcome(planned), planned, folder(tmp_path, planned), {})
    assert list(collect(plan, tmp_path)["runs"]["steps"]) == [8, 8, 16, 16]


def test_the_cell_stands_beside_its_tables(plan: StudyPlan, results: Path) -> None:
    names = {path.name for path in folder(results, plan.cells[0]).iterdir()}
    assert names == {"runs.parquet", "curves.parquet", "probes.parquet", "cell.json", "provenance.json"}


def test_a_missing_cell_is_named(plan: StudyPlan, results: Path) -> None:
    (folder(results, plan.cells[1]) / "curves.parquet").unlink()
    with pytest.raises(MusterError, match=plan.cells[1].key):
        collect(plan, results)


def test_a_damaged_cell_is_named(plan: StudyPlan, results: Path) -> None:
    (folder(results, plan.cells[1]) / "runs.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(MusterError, match=plan.cells[1].key):
        collect(plan, results)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda runs: runs[:1], "1 runs for 2 members"),
        (lambda runs: runs.assign(log2_lr=[-4.0, -3.0]), "no run at log2_lr = -5"),
        (lambda runs: runs.assign(log2_lr=-4.0), "repeat the keys"),
        (lambda runs: runs.drop(columns="flops"), "lacks flops"),
        (lambda runs: runs.drop(columns="log2_lr"), "member axis log2_lr"),
        (lambda runs: runs.assign(final_train_loss=np.nan), "not marked diverged"),
        (lambda runs: runs.assign(final_train_loss=np.inf), "infinities"),
        (lambda runs: runs.assign(steps=np.nan), "missing values"),
        (lambda runs: runs.assign(parameters="many"), "not int64"),
    ],
)
def test_a_wrong_run_table_is_refused_and_nothing_is_written(
    change, message: str, plan: StudyPlan, tmp_path: Path
) -> None:
    planned = plan.cells[0]
    good = outcome(planned)
    with pytest.raises(MusterError, match=message) as caught:
        write_cell(Outcome(change(good.runs), good.curves, good.probes), planned, folder(tmp_path, planned), {})
    assert planned.key in str(caught.value)
    assert not list(tmp_path.rglob("*.parquet"))


def test_diverged_runs_may_lack_a_loss(plan: StudyPlan, tmp_path: Path) -> None:
    good = outcome(plan.cells[0])
    runs = good.runs.assign(diverged=True, final_train_loss=np.nan, final_eval_loss=np.nan)
    write_cell(Outcome(runs, good.curves, good.probes), plan.cells[0], tmp_path, {})
    assert read_table(tmp_path / "runs.parquet", "runs")["diverged"].all()


def test_empty_curves_are_allowed(plan: StudyPlan, tmp_path: Path) -> None:
    for planned in plan.cells:
        good = outcome(planned)
        write_cell(Outcome(good.runs, good.curves[:0], good.probes), planned, folder(tmp_path, planned), {})
    curves = collect(plan, tmp_path)["curves"]
    assert len(curves) == 0
    assert {*plan.keys, "step", "train_loss"} <= set(curves.columns)


def test_a_failed_write_keeps_the_old_file(plan: StudyPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "runs.parquet"
    runs = outcome(plan.cells[0]).runs
    write_table(runs, path, "runs")
    before = path.read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("muster.tables.io.pq.write_table", full)
    with pytest.raises(MusterError, match="No space left"):
        write_table(runs.assign(steps=5), path, "runs")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["runs.parquet"]


def test_an_unwritable_place_is_named(plan: StudyPlan, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MusterError, match="cannot be written"):
        write_table(outcome(plan.cells[0]).runs, tmp_path / "file" / "runs.parquet", "runs")


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(MusterError, match="no such table"):
        read_table(tmp_path / "runs.parquet", "runs")
