"""Data sets under Snakemake: a missing one stops nothing, is said at the end, made once it appears, and then kept."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.workflow.conftest import Workflow, copy_workflow
from tests.workflow.studies import SAMPLED, TINY

SAMPLED_LAPTOP = SAMPLED.replace("smoke:", "laptop:").replace("seeds: 2", "seeds: 1")
ON_TEXT = (
    TINY.replace("data: mnist1d", "data: text_file")
    .replace("train: 400, heldout: 100", "train: 200, heldout: 20, context: 16, path: corpus.txt")
    .replace("[sp, mup]", "[mup]")
    .replace("seeds: 2", "seeds: 1")
)
LEDGER_OF_ONE_STUDY = {"train": 3, "collect": 1, "fit": 1, "judge": 1, "ledger": 1}


def verdicts(workflow: Workflow) -> dict[str, str]:
    ledger = pd.read_csv(workflow.folder / "results" / "ledger" / "claims.csv")
    return dict(zip(ledger["claim"], ledger["verdict"], strict=True))


def run(workflow: Workflow, *targets: str) -> subprocess.CompletedProcess[str]:
    done = workflow.run(*targets)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    return copy_workflow(tmp_path, "scale: laptop\n", tiny_train=ON_TEXT, tiny_sample=SAMPLED_LAPTOP)


def test_a_missing_data_set_stops_nothing_is_made_once_it_appears_and_is_kept(workflow: Workflow) -> None:
    said = run(workflow).stderr
    assert verdicts(workflow)["tiny-flat"] == "not run"
    assert verdicts(workflow)["tiny-uniform"] in ("supported", "refuted", "inconclusive")
    assert "tiny-train: data set text_file\n  why: corpus.txt cannot be read" in said
    assert workflow.jobs() == {}
    missing = workflow.run("fetch", "--missing", program="muster").stdout
    assert missing.strip() in said

    corpus = workflow.folder / "corpus.txt"
    corpus.write_text("".join(f"{i} times {i} is {i * i}\n" for i in range(400)))
    assert workflow.jobs("ledger") == {"data": 1} | LEDGER_OF_ONE_STUDY
    assert "NOT AVAILABLE" not in run(workflow, "ledger").stderr
    assert verdicts(workflow)["tiny-flat"] != "not run"

    corpus.unlink()
    assert workflow.jobs("ledger") == {}
