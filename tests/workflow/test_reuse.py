"""What Snakemake is told to make again is made again: never copied from the store of finished cells."""

import shutil
from pathlib import Path

import pytest

from tests.workflow.conftest import Workflow, copy_workflow
from tests.workflow.studies import SAMPLED

SCRIPT = """\
import json, sys
from helper import loss
open(sys.argv[3], "w").write(json.dumps({"final_train_loss": loss(float(sys.argv[2]))}))
"""

OWN = """\
study: tiny-own
title: Tiny script
paper: "Nobody 2003, Nothing"
slug: tiny-own
experiment: command
settings: {command: "python own/train.py {width} {log2_lr} {output}", log2_lr: [-3, -1]}
scales:
  smoke:
    grid:
      - {width: [4, 8], seeds: 1}
fits:
  size: {estimator: mean, response: final_train_loss, along: width}
claims: []
figures: {}
"""


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Six sampled cells and two of a script, made once, with all of them in the store."""
    folder = tmp_path_factory.mktemp("reuse")
    made = copy_workflow(folder, "scale: smoke\n", tiny_sample=SAMPLED, tiny_own=OWN)
    (folder / "own").mkdir()
    (folder / "own/train.py").write_text(SCRIPT)
    (folder / "own/helper.py").write_text("def loss(rate):\n    return 1 + rate**2\n")
    assert copied(made) == (0, 8)
    return made


def copied(workflow: Workflow, *arguments: str) -> tuple[int, int]:
    """Run up to the tables; how many cells were copied from the store, and how many were made."""
    logs = workflow.folder / "results/logs"
    for experiment in ("matrix_product", "command"):
        shutil.rmtree(logs / experiment, ignore_errors=True)
    done = workflow.run(*(arguments if arguments[:1] == ("--force",) else ("tables", *arguments)))
    assert done.returncode == 0, done.stdout + done.stderr
    texts = [path.read_text() for name in ("matrix_product", "command") for path in (logs / name).glob("*.log")]
    taken = sum("taken from the store" in text for text in texts)
    return taken, len(texts) - taken


def cells(workflow: Workflow) -> list[Path]:
    return sorted((workflow.folder / "results/runs/matrix_product").iterdir())


def test_forced_cells_are_made_anew(workflow: Workflow) -> None:
    assert copied(workflow, "--forceall") == (0, 8)
    assert copied(workflow, "--forcerun", "sample") == (0, 6)
    assert copied(workflow, "--force", f"results/runs/matrix_product/{cells(workflow)[0].name}/runs.parquet") == (0, 1)
    assert copied(workflow) == (0, 0)


def test_deleted_cells_are_made_anew(workflow: Workflow) -> None:
    first, second, *_ = cells(workflow)
    (first / "runs.parquet").unlink()
    shutil.rmtree(second)
    assert copied(workflow) == (0, 2)


def test_code_that_was_there_before_finds_its_cells_again(workflow: Workflow) -> None:
    """Of six cells the experiment's, of two a module beside their script."""
    source, helper = (workflow.folder / name for name in ("src/muster/sampling/matrix_product.py", "own/helper.py"))
    before, beside = source.read_text(), helper.read_text()
    source.write_text(before + "\n# a comment\n")
    assert workflow.jobs("tables") == {}
    source.write_text(before.replace("def run(cell: MatrixProductCell, context: Context) -> Outcome:", OTHER))
    assert source.read_text() != before
    helper.write_text(beside.replace("**2", "**4"))
    assert copied(workflow) == (0, 8)
    source.write_text(before)
    helper.write_text(beside)
    assert copied(workflow) == (8, 0)


OTHER = "def run(cell: MatrixProductCell, context: Context, other: int = 1) -> Outcome:"


def test_a_forced_cell_begins_without_its_old_checkpoint(workflow: Workflow) -> None:
    """Seen by jobs that fail, since a finished cell leaves none."""
    helper, rule = workflow.folder / "own/helper.py", ("tables", "--allowed-rules", "command", "collect")
    before = helper.read_text()
    (cell, _) = (workflow.folder / "results/runs/command").iterdir()
    old = workflow.folder / "results/checkpoints/command" / cell.name / "old"
    old.parent.mkdir(parents=True, exist_ok=True)
    old.touch()
    helper.write_text("def loss(rate):\n    raise OSError\n")
    assert workflow.run(*rule).returncode != 0
    assert old.exists()
    assert workflow.run(*rule, "--forcerun", "command").returncode != 0
    assert not old.exists()
    helper.write_text(before)
