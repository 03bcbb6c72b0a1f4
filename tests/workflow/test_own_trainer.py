"""examples/own_trainer as a new user would try it: somebody's script through the whole flow, and after an edit."""

import shutil

import pandas as pd
import pytest

from tests.workflow.conftest import ROOT, Workflow, copy_workflow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The example run to the end at smoke scale, in a scratch folder."""
    folder = tmp_path_factory.mktemp("own")
    example = ROOT / "examples/own_trainer"
    workflow = copy_workflow(folder, "scale: smoke\n", own_trainer=(example / "own-trainer.yaml").read_text())
    shutil.copytree(example, folder / "examples/own_trainer")
    done = workflow.run()
    assert done.returncode == 0, done.stdout + done.stderr
    return workflow


def test_the_script_reaches_tables_fits_ledger_and_figures(finished: Workflow) -> None:
    results = finished.folder / "results"
    runs = pd.read_parquet(results / "tables/own-trainer/runs.parquet")
    assert sorted(zip(runs["width"], runs["log2_lr"], strict=True)) == [(16, -9), (16, -7), (32, -9), (32, -7)]
    assert runs[["final_train_loss", "final_eval_loss"]].gt(0).all(axis=None)
    assert runs["steps"].eq(20).all()
    assert runs.groupby("width")["parameters"].first().to_dict() == {16: 970, 32: 2442}
    curves = pd.read_parquet(results / "tables/own-trainer/curves.parquet")
    assert sorted(curves["step"].unique()) == [0, 4, 8, 12, 16, 20]
    assert {p.name for p in (results / "figures/own-trainer").glob("*.svg")} == {"sweep.svg", "optimum.svg"}
    assert pd.read_csv(results / "ledger/claims.csv")["verdict"].tolist() == ["not run"]  # µP: not at this scale
    (log, _) = sorted((results / "logs/command").glob("*.log"))
    assert "'step': 20" in log.read_text()


def test_nothing_is_left_to_do(finished: Workflow) -> None:
    assert finished.jobs() == {}
    assert not list((finished.folder / "results/checkpoints").rglob("*.json"))


def test_an_edited_script_runs_again(finished: Workflow) -> None:
    script = finished.folder / "examples/own_trainer/train.py"
    before = script.read_text()
    script.write_text(before + "# edited\n")
    assert finished.jobs()["command"] == 2
    script.write_text(before)
    assert finished.jobs() == {}


def test_the_example_validates_at_every_scale(finished: Workflow) -> None:
    done = finished.run("validate", program="muster")
    assert done.returncode == 0, done.stderr
    assert "own-trainer.yaml: 1 claims, scales smoke, laptop: ok" in done.stdout


def test_a_script_that_fails_names_its_log(finished: Workflow) -> None:
    study = finished.folder / "config/studies/own-trainer.yaml"
    before = study.read_text()
    study.write_text(before.replace("python examples/own_trainer/train.py", "python examples/own_trainer/tarin.py"))
    done = finished.run()
    study.write_text(before)
    assert done.returncode != 0
    logs = "".join(path.read_text() for path in (finished.folder / "results/logs/command").glob("*.log"))
    assert "exit status 2, last line of its log: " in logs
    assert "tarin.py': [Errno 2] No such file or directory" in logs
    assert f"Retry by hand in {finished.folder}: python examples/own_trainer/tarin.py --width" in logs
