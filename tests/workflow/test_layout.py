"""The three ways into the workflow: the root Snakefile, workflow/Snakefile, and a module of another workflow."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.workflow.conftest import ROOT, Workflow, copy_workflow
from tests.workflow.studies import SAMPLED, TINY

# As snakedeploy writes it for a workflow of Snakemake's catalog, but for the address.
DEPLOYED = """\
configfile: "config/config.yaml"

module muster:
    snakefile: {snakefile!r}
    config: config

use rule * from muster
"""


def elsewhere(folder: Path, snakefile: str) -> Workflow:
    """A folder that holds its own configuration and takes the rules from this repository."""
    (folder / "config/studies").mkdir(parents=True)
    shutil.copy(ROOT / "config/studies/relu-kurtosis.yaml", folder / "config/studies")
    (folder / "config/config.yaml").write_text("scale: smoke\nresults: mine\n")
    (folder / "workflow").mkdir()
    (folder / "workflow/Snakefile").write_text(DEPLOYED.format(snakefile=str(ROOT / snakefile)))
    (folder / "src").symlink_to(ROOT / "src")
    return Workflow(folder)


def test_a_study_runs_as_a_module_of_another_workflow(tmp_path: Path) -> None:
    workflow = elsewhere(tmp_path, "workflow/Snakefile")
    done = workflow.run("ledger", "mine/figures/relu-kurtosis/kurtosis.svg")
    assert done.returncode == 0, done.stdout + done.stderr
    ledger = pd.read_csv(tmp_path / "mine/ledger/claims.csv")
    assert set(ledger["study"]) == {"relu-kurtosis"}
    assert (tmp_path / "mine/figures/relu-kurtosis/kurtosis.svg").exists()
    cell = next((tmp_path / "mine/runs/relu_chain").iterdir())
    assert json.loads((cell / "cell.json").read_text())["experiment"] == "relu_chain"
    again = workflow.run("ledger", "mine/figures/relu-kurtosis/kurtosis.svg")
    assert "Nothing to be done" in again.stdout + again.stderr
    report = workflow.run("--report", "report.html", "mine/figures/relu-kurtosis/kurtosis.svg")
    assert report.returncode == 0, report.stdout + report.stderr
    assert "kurtosis" in (tmp_path / "report.html").read_text()


def test_handlers_of_the_outer_workflow_run_beside_those_of_the_module(tmp_path: Path) -> None:
    workflow = elsewhere(tmp_path, "workflow/Snakefile")
    snakefile = tmp_path / "workflow/Snakefile"
    snakefile.write_text('onstart:\n    print("the outer one starts")\n\n' + snakefile.read_text())
    done = workflow.run("mine/tables/relu-kurtosis/runs.parquet")
    assert "the outer one starts" in done.stdout + done.stderr
    assert not list((tmp_path / "mine/planned").iterdir())


@pytest.mark.parametrize("snakefile", ["workflow/Snakefile", "Snakefile"])
def test_a_module_has_the_default_target_of_either_file(tmp_path: Path, snakefile: str) -> None:
    jobs = elsewhere(tmp_path, snakefile).jobs()
    assert jobs["sample"] == 7
    assert jobs["judge"] == jobs["overview"] == 1


def test_both_files_have_the_same_default_target(tmp_path: Path) -> None:
    workflow = copy_workflow(tmp_path, "scale: smoke\n", tiny_train=TINY, tiny_sample=SAMPLED)
    jobs = workflow.jobs()
    assert jobs == {"train": 2, "sample": 6, "data": 1, "collect": 2, "fit": 2, "judge": 1, "plot": 2, "overview": 1}
    assert workflow.jobs("--snakefile", "workflow/Snakefile") == jobs
    assert workflow.jobs("all") == jobs


def test_without_a_configuration_here_the_one_beside_the_workflow_is_taken(tmp_path: Path) -> None:
    project, here = tmp_path / "project", tmp_path / "here"
    project.mkdir()
    here.mkdir()
    copy_workflow(project, "scale: smoke\n", tiny_sample=SAMPLED)
    (here / "src").symlink_to(project / "src")
    jobs = Workflow(here).jobs(
        "--snakefile", "../project/workflow/Snakefile", "--workflow-profile", "../project/profiles/default"
    )
    assert jobs == {"sample": 6, "collect": 1, "fit": 1, "judge": 1, "plot": 1, "overview": 1}
