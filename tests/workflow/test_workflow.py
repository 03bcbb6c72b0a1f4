"""Snakemake itself on studies of seconds: what runs, what reruns, what is refused before anything runs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.workflow.conftest import Workflow, copy_workflow
from tests.workflow.studies import SAMPLED, TINY


def test_every_stage_leaves_its_artifacts(finished: Workflow) -> None:
    results = finished.folder / "results"
    for study, figure in (("tiny-train", "sweep"), ("tiny-sample", "scaling")):
        assert {p.name for p in (results / "tables" / study).iterdir()} == {
            "runs.parquet",
            "curves.parquet",
            "probes.parquet",
        }
        assert (results / "fits" / study / "fits.parquet").exists()
        assert {p.suffix for p in (results / "figures" / study).glob(f"{figure}.*")} == {".svg", ".png"}
    ledger = pd.read_csv(results / "ledger" / "claims.csv")
    assert set(ledger["claim"]) == {"tiny-flat", "tiny-uniform"}
    assert set(ledger["verdict"]) == {"not judged"}
    assert len(pd.read_parquet(results / "tables/tiny-train/runs.parquet")) == 6
    assert not list((results / "checkpoints").rglob("*.pt"))
    cell = next((results / "runs/train").iterdir())
    assert {p.name for p in cell.iterdir()} == {
        "runs.parquet",
        "curves.parquet",
        "probes.parquet",
        "cell.json",
        "provenance.json",
    }


def test_second_run_has_nothing_to_do(finished: Workflow) -> None:
    assert finished.jobs() == {}


def test_a_dry_run_describes_its_jobs_if_asked(finished: Workflow) -> None:
    """Without --verbose jobs are only counted: describing 10,000 of them takes as long as planning them."""
    forced = ("--forcerun", "train")
    described = finished.run("--dry-run", *forced, "--verbose")
    assert (described.stdout + described.stderr).count("Would run train") == 2
    plain = finished.run("--dry-run", *forced)
    assert "Would run" not in plain.stdout + plain.stderr
    assert finished.jobs(*forced)["train"] == 2


def test_restyling_a_plot_reruns_figures_only(restored: Workflow) -> None:
    restored.edit("src/muster/plots/style.py", 'INK = "#1f2430"', 'INK = "#202430"')
    assert restored.jobs() == {"plot": 2, "overview": 1}


def test_comments_rerun_nothing(restored: Workflow) -> None:
    for module in (
        "plots/style.py",
        "training/engine.py",
        "statistics/linear.py",
        "claims/ledger.py",
        "data/mnist1d.py",
    ):
        path = restored.folder / "src/muster" / module
        path.write_text(path.read_text() + "\n# a comment\n")
    assert restored.jobs() == {}


def test_editing_one_figure_reruns_that_figure(restored: Workflow) -> None:
    restored.edit(
        "config/studies/tiny-train.yaml",
        "{plot: lr_sweep, fit: lr}",
        "{plot: lr_sweep, fit: lr, options: {title: New}}",
    )
    assert restored.jobs() == {"plot": 1}


def test_editing_the_engine_reruns_training_and_what_follows(restored: Workflow) -> None:
    restored.edit("src/muster/training/engine.py", "CHECK_EVERY = 16", "CHECK_EVERY = 8")
    jobs = restored.jobs()
    assert jobs["train"] == 2
    assert jobs["collect"] == 1
    assert "sample" not in jobs


def test_editing_a_fit_reruns_fits_not_training(restored: Workflow) -> None:
    restored.edit("src/muster/statistics/linear.py", "SLOPE_VARIANTS = (", 'SLOPE_VARIANTS = ("another", ')
    jobs = restored.jobs()
    assert jobs["fit"] == 2
    assert not {"train", "sample", "collect"} & set(jobs)


def test_changing_a_grid_reruns_that_study_only(restored: Workflow) -> None:
    restored.edit("config/studies/tiny-sample.yaml", "width: [4, 6, 8]", "width: [4, 6, 8, 10]")
    jobs = restored.jobs()
    assert jobs["sample"] == 2
    assert jobs["collect"] == jobs["fit"] == 1
    assert "train" not in jobs


def test_a_deleted_figure_is_rebuilt_alone(finished: Workflow) -> None:
    figure = finished.folder / "results/figures/tiny-train/sweep.svg"
    content = figure.read_bytes()
    figure.unlink()
    assert finished.jobs() == {"plot": 1}
    done = finished.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert figure.read_bytes() == content


def test_a_deleted_cell_is_missed_behind_standing_tables(finished: Workflow) -> None:
    cell = next((finished.folder / "results/runs/matrix_product").iterdir())
    saved = {path: path.read_bytes() for path in cell.iterdir()}
    stat = (cell / "runs.parquet").stat()
    for path in saved:
        path.unlink()
    assert finished.jobs().get("sample") == 1
    for path, content in saved.items():
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_report_is_one_page_with_the_figures(finished: Workflow) -> None:
    done = finished.run("report")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sweep" in (finished.folder / "results/report.html").read_text()


def test_replay_needs_tables_and_only_tables(finished: Workflow) -> None:
    arguments = ("--config", "mode=replay")
    assert not {"train", "sample", "collect", "data"} & set(finished.jobs(*arguments))
    table = finished.folder / "results/tables/tiny-train/probes.parquet"
    aside = table.with_suffix(".aside")
    table.rename(aside)
    try:
        done = finished.run(*arguments)
    finally:
        aside.rename(table)
    assert done.returncode != 0
    assert "results/tables/tiny-train/probes.parquet: missing" in done.stderr
    assert "Traceback" not in done.stderr


# One of reading and one of planning; what each kind says is tested where it is said.
MISTAKES = {
    "malformed YAML": ("title: Tiny\n", "title: [Tiny\n", "tiny-train.yaml:4"),
    "wrong type": ("depth: 2", "depth: two", "settings.depth"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_study_stops_with_one_line(tmp_path: Path, mistake: str) -> None:
    old, new, expected = MISTAKES[mistake]
    assert old in TINY
    workflow = copy_workflow(tmp_path, "scale: smoke\n", tiny_train=TINY.replace(old, new, 1))
    done = workflow.run()
    assert done.returncode != 0
    messages = [line for line in done.stderr.splitlines() if line.startswith("muster: ")]
    assert len(messages) == 1
    assert expected in messages[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "results").exists()


def test_a_mistake_in_config_yaml_or_on_the_command_line_stops_with_one_line(tmp_path: Path) -> None:
    workflow = copy_workflow(tmp_path, "scale: [smoke\n", tiny_sample=SAMPLED)
    done = workflow.run()
    assert done.returncode != 0
    assert "muster: config/config.yaml:" in done.stderr
    (tmp_path / "config/config.yaml").write_text("scale: smoke\n")
    done = workflow.run("--config", "studies=[tiny-sampel]")
    assert done.returncode != 0
    assert "Did you mean 'tiny-sample'" in done.stderr


def test_unwritable_results_are_one_message(tmp_path: Path) -> None:
    workflow = copy_workflow(tmp_path, "scale: smoke\n", tiny_sample=SAMPLED)
    (tmp_path / "blocked").write_text("a file where the folder should be")
    done = workflow.run("data", "mnist1d", "--results", "blocked", program="muster")
    assert done.returncode == 2
    assert "blocked" in done.stderr
    assert len(done.stderr.splitlines()) == 1


LONG = (
    TINY.replace("tiny-train", "tiny-long")
    .replace("tiny-flat", "long-flat")
    .replace("settings: {steps: 6}", "settings: {steps: 12000}")
)


def test_a_killed_training_resumes_and_finished_cells_are_kept(tmp_path: Path) -> None:
    workflow = copy_workflow(tmp_path, "scale: smoke\n", tiny_train=TINY, tiny_long=LONG)
    engine = (tmp_path / "src/muster/training/engine.py").read_text()
    (every,) = [line for line in engine.splitlines() if line.startswith("CHECKPOINT_SECONDS")]
    workflow.edit("src/muster/training/engine.py", every, "CHECKPOINT_SECONDS = 0.2")
    advance = "        stack.advance(CHECK_EVERY)\n"  # 750 of them: seconds on any machine
    workflow.edit("src/muster/training/engine.py", advance, advance + "        time.sleep(0.005)\n")
    assert workflow.run("tables", "--config", "studies=[tiny-train]").returncode == 0
    results = tmp_path / "results"
    kept = {path: path.stat().st_mtime_ns for path in (results / "runs").rglob("runs.parquet")}
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", "tables"],
        cwd=tmp_path,
        env=workflow.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(lambda: list((results / "checkpoints").rglob("*.pt")), seconds=60)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert workflow.run("--unlock").returncode == 0
    done = workflow.run("tables")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())
    resumed = [path for path in (results / "logs/train").glob("*.log") if "resumed at step" in path.read_text()]
    assert resumed
    _assert_equals_an_uninterrupted_run(workflow, resumed[0].stem)


def _assert_equals_an_uninterrupted_run(workflow: Workflow, cell: str) -> None:
    fresh = workflow.folder / "fresh"
    fresh.mkdir()
    (fresh / "data").symlink_to(workflow.folder / "results" / "data")
    text = (workflow.folder / "results/runs/train" / cell / "cell.json").read_text()
    done = workflow.run("train", "--cell", text, "--results", "fresh", program="muster")
    assert done.returncode == 0, done.stderr
    for table in ("runs", "curves"):
        pair = [
            pd.read_parquet(workflow.folder / top / f"runs/train/{cell}/{table}.parquet")
            for top in ("results", "fresh")
        ]
        pd.testing.assert_frame_equal(
            *[frame.drop(columns="seconds", errors="ignore") for frame in pair], check_exact=True
        )


def _wait_for(condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
