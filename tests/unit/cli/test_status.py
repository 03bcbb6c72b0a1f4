"""What `muster status` says of cells in every state, and the time that it thinks is left."""

import json
import os
import re
import sys
from argparse import Namespace
from base64 import urlsafe_b64encode
from pathlib import Path

import pandas as pd
import pytest

from muster.cli import main
from muster.cli.job import check_planned
from muster.digests import unsealed
from muster.errors import MusterError
from muster.files import write_text
from muster.jobs import progress
from muster.jobs.fingerprint import cell_fingerprint, stage_fingerprint
from muster.plan.cells import PlannedCell
from muster.plan.plan import Plan, load_plan
from muster.tables.io import write_table
from tests.workflow.studies import SAMPLED, TINY, write_config

LOG = "to repeat: cd /some/folder && OMP_NUM_THREADS=1 muster train --cell '{}'\nmuster train: it said this\n\n"


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Six cells of matrix products and two of training, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, "scale: smoke\n", tiny_train=TINY, tiny_sample=SAMPLED)
    return load_plan()


def finish(cell: PlannedCell, seconds: float = 2.0, code: str | None = None, at: float | None = None) -> Path:
    folder = Path("results/runs", cell.key)
    record = {"code": code or cell_fingerprint(cell.experiment, cell.cell), "seconds": seconds}
    write_text(folder / "provenance.json", json.dumps(record))
    write_text(folder / "runs.parquet", "")
    if at is not None:
        os.utime(folder / "runs.parquet", (at, at))
    return folder


def begin(cell: PlannedCell) -> None:
    """Mark a cell as Snakemake marks a job that has begun: long names are cut into folders that start with @."""
    name = urlsafe_b64encode(f"results/runs/{cell.key}/runs.parquet".encode()).decode()
    write_text(Path(".snakemake/incomplete", f"@{name[:40]}", name[40:]), "{}")


def test_every_state_of_a_cell(plan: Plan) -> None:
    done, stale, begun, failed, damaged, waiting, *_ = plan.cells.values()
    finish(done)
    finish(stale, code="0123456789ab")
    begin(begun)
    write_text(Path("results/logs", f"{failed.key}.log"), LOG)
    write_text(finish(damaged) / "provenance.json", "{")
    found = progress.survey(plan, running=True)
    states = {cell.key: found[cell.key].state for cell in (done, stale, begun, failed, damaged, waiting)}
    assert list(states.values()) == ["done", "stale", "running", "failed", "stale", "waiting"]
    assert progress.survey(plan, running=False)[begun.key].state == "interrupted"
    assert found[stale.key].reason.startswith("made by other code (0123456789ab, now ")
    assert found[failed.key].reason == "muster train: it said this"
    assert progress.to_repeat(found[failed.key].log) == LOG.split("\n")[0].removeprefix("to repeat: ")


def test_an_empty_log_is_no_failure(plan: Plan) -> None:
    """As `snakemake --touch` leaves one of each cell that has not run: a job's own opens with its command."""
    touched, failed, *_ = plan.cells.values()
    write_text(Path("results/logs", f"{touched.key}.log"), "")
    write_text(Path("results/logs", f"{failed.key}.log"), LOG)
    found = progress.survey(plan, running=False)
    assert (found[touched.key].state, found[failed.key].state) == ("waiting", "failed")


def test_a_cell_that_runs_again_is_running_whatever_its_first_log_said(plan: Plan) -> None:
    cell = next(iter(plan.cells.values()))
    write_text(Path("results/logs", f"{cell.key}.log"), LOG)
    begin(cell)
    assert progress.survey(plan, running=True)[cell.key].state == "running"


def test_a_cell_that_starts_while_others_are_looked_at_has_not_failed(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log is there, its mark was not when the marks were read."""
    started, finished, failed, *_ = plan.cells.values()
    for cell in (started, finished, failed):
        write_text(Path("results/logs", f"{cell.key}.log"), LOG)
    begin(started)
    read = progress.started_outputs
    answers = iter([set, read])

    def marks() -> set[str]:
        if (answer := next(answers)) is read:
            finish(finished)
        return answer()

    monkeypatch.setattr(progress, "started_outputs", marks)
    found = progress.survey(plan, running=True)
    assert [found[cell.key].state for cell in (started, finished, failed)] == ["running", "done", "failed"]


def test_work_left_follows_the_measured_ratio_of_each_experiment(plan: Plan) -> None:
    cells = list(plan.cells.values())
    train = [cell for cell in cells if cell.experiment == "train"]
    sample = [cell for cell in cells if cell.experiment != "train"]
    planned = sum(cell.cost.seconds for cell in cells)
    left, measured = progress.core_seconds_left(progress.survey(plan, running=False).values())
    assert (left, measured) == (pytest.approx(planned), False)
    finish(train[0], seconds=7 * train[0].cost.seconds)
    for cell in sample[:2]:
        finish(cell, seconds=3 * cell.cost.seconds)
    left, measured = progress.core_seconds_left(progress.survey(plan, running=False).values())
    expected = 7 * train[1].cost.seconds + 3 * sum(cell.cost.seconds for cell in sample[2:])
    assert (left, measured) == (pytest.approx(expected), True)


def test_time_left_is_work_left_at_the_present_rate(plan: Plan) -> None:
    sample = [cell for cell in plan.cells.values() if cell.experiment != "train"]
    for i, cell in enumerate(sample[:2]):
        finish(cell, at=1000.0 + 10 * i)
    assert progress.wall_seconds_left(progress.survey(plan, running=True).values(), now=1030.0) is None
    for i, cell in enumerate(sample[:4]):
        finish(cell, at=1000.0 + 10 * i)
    found = progress.survey(plan, running=True).values()
    rate = sum(cell.cost.seconds for cell in sample[1:4]) / 40.0
    left = sum(cell.cost.seconds for cell in plan.cells.values()) - sum(cell.cost.seconds for cell in sample[:4])
    assert progress.wall_seconds_left(found, now=1040.0) == pytest.approx(left / rate)


def test_status_prints_counts_reasons_and_the_command_that_retries(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    done, stale, begun, failed, *_ = (cell for cell in plan.cells.values() if cell.experiment != "train")
    finish(done)
    finish(stale, code="0123456789ab")
    begin(begun)
    write_text(Path("results/logs", f"{failed.key}.log"), LOG)
    assert main(["status"]) == 1
    said = capsys.readouterr().out
    assert "scale smoke, results in results: nothing is running" in said
    assert re.search(r"tiny-sample +█+·+ +1/6 +1 +– +1 +1 +2 ", said)
    assert "1 of 8 cells are done" in said
    assert re.search(r"matrix_product +1 cells +made by other code .0123456789ab, now", said)
    assert f"failed: {failed.key}\n  said   muster train: it said this\n" in said
    assert "  retry  cd /some/folder && OMP_NUM_THREADS=1 muster train --cell '{}'\n" in said


def test_a_finished_study_has_no_time_left(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    for cell in plan.cells.values():
        finish(cell)
    assert main(["status", "tiny-sample"]) == 0
    assert "6 of 6 cells are done\n" in capsys.readouterr().out


def test_a_lock_without_a_snakemake_is_explained(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    write_text(Path(".snakemake/locks/0.output.lock"), "results/a")
    main(["status"])
    assert "if it was killed: snakemake --unlock, then run again" in capsys.readouterr().out


def test_the_log_of_a_stage_opens_with_the_command_that_repeats_it(
    plan: Plan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cell = next(cell for cell in plan.cells.values() if cell.experiment == "matrix_product")
    assert main(["sample", "--cell", cell.text, "--planned", "0123456789ab"]) == 2
    said = capsys.readouterr()
    assert "edited since this run was planned. Run again" in said.err
    first = said.out.splitlines()[0]
    assert first == f"to repeat: cd {Path.cwd()} && OMP_NUM_THREADS=1 muster sample --cell '{cell.text}'"
    assert main(["sample", "--cell", cell.text, "--planned", cell_fingerprint(cell.experiment, cell.cell)]) == 0


def curves(folder: Path) -> pd.DataFrame:
    frame = pd.DataFrame(
        [(w, lr, step, 2.0 - step, 3.0) for w in (8, 16) for lr in (-9.0, -7.0) for step in (0, 1)],
        columns=["width", "log2_lr", "step", "train_loss", "eval_loss"],
    )
    write_table(frame, folder / "results/tables/tiny-train/curves.parquet", "curves")
    return frame


def test_export_without_curves_or_without_the_package_says_what_to_do(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "tiny-train"]) == 2
    assert "curves.parquet: no such table" in capsys.readouterr().err
    curves(tmp_path)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    assert main(["export", "tiny-train"]) == 2
    assert "pip install 'muster[tensorboard]'" in capsys.readouterr().err


def test_export_writes_a_folder_a_run(plan: Plan, tmp_path: Path) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    frame = curves(tmp_path)
    assert main(["export", "tiny-train", "--output", "out"]) == 0
    assert len(list(Path("out").iterdir())) == 4
    events = loader.EventAccumulator("out/width=16 log2_lr=-7.0").Reload()
    read = [(event.step, event.value) for event in events.Scalars("train_loss")]
    own = frame[(frame["width"] == 16) & (frame["log2_lr"] == -7)]
    assert read == list(zip(own["step"], own["train_loss"], strict=True))


def test_a_planned_stamp_follows_every_word_of_the_study(plan: Plan, tmp_path: Path) -> None:
    before = plan.studies["tiny-train"].stamp
    write_config(tmp_path, "scale: smoke\n", tiny_train=TINY.replace("title: Tiny", "title: Small"))
    assert load_plan().studies["tiny-train"].stamp != before
    with pytest.raises(MusterError, match="edited since"):
        check_planned(Namespace(planned=before), "study", load_plan().studies["tiny-train"].stamp)
    check_planned(Namespace(planned=None), "study", before)


def test_tables_of_several_versions_say_so(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    train = [cell for cell in plan.cells.values() if cell.experiment == "train"]
    for cell, torch, device in zip(train, ("2.4.0", "2.5.1"), ("cpu", "cuda"), strict=True):
        folder = finish(cell)
        record = unsealed((folder / "provenance.json").read_text())
        record |= {"versions": {"torch": torch, "numpy": "2.1.0", "scipy": torch}, "device": device}
        write_text(folder / "provenance.json", json.dumps(record))
    for cell in plan.cells.values():
        if cell.experiment != "train":  # one loaded torch and the others did not: nothing was mixed
            finish(cell)
    write_text(Path("results/tables/tiny-train/runs.parquet"), "")
    record = {"config": {"cells": plan.studies["tiny-train"].digest}, "code": stage_fingerprint("collect")}
    for mixed in ([], ["torch 2.4.0 (1 cells), 2.5.1 (1 cells)"]):
        write_text(Path("results/provenance/tables/tiny-train.json"), json.dumps(record | {"mixed": mixed}))
        assert main(["status"]) == 0
        said = capsys.readouterr().out
        assert re.search(rf"tiny-train .* {'mixed' if mixed else 'made'} ", said)
        assert re.search(r"mixed: the cells of these studies .*\n +tiny-train +torch 2.4.0 \(1 cells\), 2.5.1 ", said)
        assert re.search(r"tiny-train +device cpu \(1 cells\), cuda \(1 cells\)", said)
        assert not re.search(r"tiny-sample +torch|scipy|numpy", said)


def test_collect_records_what_made_its_cells(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    for i, cell in enumerate(plan.studies["tiny-sample"].cells):
        assert main(["sample", "--cell", cell.text]) == 0
        path = Path("results/runs", cell.key, "provenance.json")
        made = unsealed(path.read_text())
        made["versions"] = {"numpy": "1.0" if i == 0 else "2.0", "muster": "0.1"} | ({"torch": "2.5"} if i else {})
        path.write_text(json.dumps(made))
    capsys.readouterr()
    assert main(["collect", "tiny-sample"]) == 0
    assert "the cells are not of one make: numpy 1.0 (1 cells), 2.0 (5 cells)" in capsys.readouterr().out
    record = json.loads(Path("results/provenance/tables/tiny-sample.json").read_text())
    assert record["mixed"] == ["numpy 1.0 (1 cells), 2.0 (5 cells)"]
    assert record["cells_made_by"]["torch"] == {"2.5": 5}
    assert record["cells_made_by"]["device"] == {"cpu": 6}
