"""What a change makes due, job by job: the table in README, and what a job does whose submitter planned otherwise."""

import shutil
from pathlib import Path

import pytest

from muster.jobs.planned import VARIABLE, name_planned, write_planned
from tests.workflow.conftest import Workflow

TRAIN, SAMPLE = "config/studies/tiny-train.yaml", "config/studies/tiny-sample.yaml"
FROM_CELLS = {"collect": 1, "fit": 1, "judge": 1, "plot": 1, "overview": 1}


def test_one_figure(restored: Workflow) -> None:
    figure = "results/figures/tiny-train/sweep.svg"
    assert restored.jobs(figure) == {}
    restored.edit("src/muster/plots/style.py", 'INK = "#1f2430"', 'INK = "#202430"')
    assert restored.jobs(figure) == {"plot": 1}


def test_one_study(restored: Workflow) -> None:
    restored.edit(TRAIN, "width: [8, 16]", "width: [8, 16, 32]")
    restored.edit(SAMPLE, "width: [4, 6, 8]", "width: [4, 6, 8, 10]")
    assert restored.jobs("--config", "studies=[tiny-sample]") == {"sample": 2} | FROM_CELLS
    assert restored.jobs("--config", "studies=[tiny-train]") == {"train": 1} | FROM_CELLS


def test_one_claim(restored: Workflow) -> None:
    restored.edit(TRAIN, "margin: 0.1", "margin: 0.2")
    assert restored.jobs() == {"judge": 1, "overview": 1, "plot": 1}


def test_one_more_seed(restored: Workflow) -> None:
    restored.edit(TRAIN, "seeds: 1", "seeds: 2")
    assert restored.jobs() == {"train": 2} | FROM_CELLS


def test_other_learning_rates(restored: Workflow) -> None:
    """All cells of that study, since rates train side by side, and no cell of another."""
    restored.edit(TRAIN, "{from: -9, to: -5, step: 2}", "{from: -11, to: -5, step: 2}")
    assert restored.jobs() == {"train": 2} | FROM_CELLS


@pytest.mark.parametrize(
    ("planned", "rule", "target", "log"),
    [
        ("tiny-train:another", "fit", "fits/tiny-train/fits.parquet", "fit/tiny-train.log"),
        ("code:another", "train", "runs/{cell}/runs.parquet", "{cell}.log"),
    ],
    ids=["study", "code"],
)
def test_a_job_refuses_what_its_submitter_did_not_plan_from(finished, monkeypatch, planned, rule, target, log) -> None:
    """As a job on a cluster is started, which plans anew: told of the rule and of what was planned from."""
    results = finished.folder / "results"
    cell = f"train/{next((results / 'runs/train').iterdir()).name}"
    target = str(results / target.format(cell=cell)).removeprefix(f"{finished.folder}/")
    with monkeypatch.context() as job:
        job.setenv(VARIABLE, "")
        name_planned(results)
        write_planned([planned], [])
        refused = finished.run(target, "--force", "--allowed-rules", rule)
    said = (results / "logs" / log.format(cell=cell)).read_text()
    again = finished.run()
    assert refused.returncode != 0
    assert "edited since this run was planned" in said
    assert again.returncode == 0, again.stdout + again.stderr


def test_the_ledger_minds_edits_of_the_studies_that_run_not_of_others(finished: Workflow, tmp_path: Path) -> None:
    """As its job ends a run of one study, during which its own file is edited, or another one's."""
    flow = Workflow(shutil.copytree(finished.folder, tmp_path / "flow"))
    log, command = flow.folder / "results/logs/judge.log", '"muster judge'

    def judged_after(edit: str) -> int:
        flow.edit("workflow/rules/judge.smk", command, f'"{edit} && muster judge')
        found = flow.run("ledger", "--config", "studies=[tiny-train]", "--forcerun", "judge").returncode
        flow.edit("workflow/rules/judge.smk", f"{edit} && ", "")
        return found

    assert judged_after(f"sed -i s/Uniform/Even/ {SAMPLE}") == 0, log.read_text()
    assert "Even" in (flow.folder / "results/ledger/claims.csv").read_text()
    assert judged_after(f"sed -i s/Flat/Level/ {TRAIN}") != 0
    assert "edited since this run was planned" in log.read_text()
