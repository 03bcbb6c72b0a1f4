"""A margin that was chosen after the run is told to be: by the run's end, the ledger and what is published."""

from pathlib import Path

import pandas as pd

from tests.workflow.conftest import Workflow, copy_workflow
from tests.workflow.studies import SAMPLED

STUDY = "config/studies/tiny-sample.yaml"
TOLD = "changed since its tables were first made: margin 0.1, now 0.4"


def reason(workflow: Workflow, ledger: str = "results/laptop") -> str:
    return str(pd.read_csv(workflow.folder / ledger / "ledger/claims.csv").loc[0, "reason"])


def test_a_margin_of_after_the_run(tmp_path: Path) -> None:
    study = SAMPLED.replace("  smoke:", "  laptop:")
    workflow = copy_workflow(tmp_path, "scale: laptop\nresults: results/{scale}\n", tiny_sample=study)
    assert workflow.run().returncode == 0
    assert "first made" not in reason(workflow)

    workflow.edit(STUDY, "margin: 0.1", "margin: 0.4")
    done = workflow.run("run", "tiny-sample", program="muster")
    assert done.returncode == 0, done.stdout + done.stderr
    assert TOLD in done.stdout
    assert reason(workflow).endswith(TOLD)

    workflow.edit(STUDY, "width: [4, 6, 8]", "width: [4, 6, 8, 10]")  # more cells make no other first
    assert workflow.run().returncode == 0
    assert reason(workflow).endswith(TOLD)

    done = workflow.run("publish", "tiny-sample", "--yes", program="muster")
    assert done.returncode == 0, done.stdout + done.stderr
    assert reason(workflow, "results/published").endswith(TOLD)
