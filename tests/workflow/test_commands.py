"""Commands around Snakemake: how a run ends, what it does without, what a report needs, what `status` makes of it."""

from pathlib import Path

import pandas as pd
import pytest

from tests.workflow.conftest import ROOT, Workflow, copy_workflow
from tests.workflow.studies import SAMPLED, TINY

FAILING = """\
study: failing
title: A script that is not there
paper: "Nobody 2003, Nothing"
slug: failing
experiment: command
settings: {command: "python no_such.py {width} {learning_rate} {output}", log2_lr: [-8]}
scales:
  smoke:
    grid: [{width: [8, 16], seeds: 1}]
fits:
  exponent: {estimator: lr_transfer, response: final_train_loss}
"""


def test_a_run_ends_with_verdicts_ledger_and_figures(finished: Workflow) -> None:
    done = finished.run("run", "tiny-sample", program="muster")
    assert done.returncode == 0, done.stdout + done.stderr
    end = done.stdout[done.stdout.index("claim ") :].splitlines()
    assert end[1].split()[:3] == ["tiny-uniform", "not", "judged"]
    assert "tiny-flat" not in "\n".join(end), "a claim of a study that was not run"
    assert end[-2:] == ["ledger   results/ledger/LEDGER.md", "figures  results/figures/tiny-sample/scaling.svg"]


def test_what_follows_two_dashes_reaches_snakemake(finished: Workflow) -> None:
    """Targets, options and settings of Snakemake's own, beside those of muster."""
    words = ("run", "tiny-sample", "--", "fits", "--dry-run", "--forcerun", "sample", "--config", "seeds=1")
    done = finished.run(*words, program="muster")
    assert done.returncode == 0, done.stdout + done.stderr
    counted = [line.split() for line in (done.stdout + done.stderr).splitlines()]
    assert ["sample", "3"] in counted, "three widths with one seed"
    assert "judge" not in [words[0] for words in counted if words]
    assert "ledger" not in done.stdout


def test_a_failed_run_says_what_failed_and_where_its_log_is(tmp_path: Path) -> None:
    workflow = copy_workflow(tmp_path, "scale: smoke\n", failing=FAILING)
    done = workflow.run("run", "failing", "--cores", "1", "--", "--quiet", "all", program="muster")
    assert done.returncode != 0
    blocks = done.stderr.split("\nfailed: ")[1:]
    assert len(blocks) == 2
    for width, block in zip((8, 16), blocks, strict=True):
        key, *lines = block.splitlines()
        said = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[:3]}
        assert key.startswith(f"cell command/w{width}-")
        assert said["said"].startswith(f"muster command: command/w{width}-")
        assert (tmp_path / said["log"]).read_text().splitlines()[-1] == said["said"]
        assert "muster command --cell" in said["retry"]


def test_a_broken_or_stray_file_stops_only_itself(tmp_path: Path) -> None:
    workflow = copy_workflow(tmp_path, "scale: smoke\n", tiny_sample=SAMPLED, draft="study: draft\ntitle: [\n")
    studies = tmp_path / "config/studies"
    (studies / ".#tiny-sample.yaml").symlink_to("me@here.123")
    (studies / "._tiny-sample.yaml").write_bytes(b"\x00\x05\x16\x07")
    (studies / "tiny-sample.yaml~").write_text("study: [")
    (studies / "latin.yaml").write_bytes("title: \xe9".encode("latin-1"))
    (studies / "overview.yaml").write_text(SAMPLED.replace("study: tiny-sample", "study: overview"))
    done = workflow.run("run", "all", program="muster")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(pd.read_csv(tmp_path / "results/ledger/claims.csv")["claim"]) == ["tiny-uniform"]
    last = done.stderr[done.stderr.rindex("Complete log") :] if "Complete log" in done.stderr else done.stderr
    said = [line for line in last.splitlines() if line.startswith("muster: left out: ")]
    for name in (".#tiny-sample.yaml", "._tiny-sample.yaml", "draft.yaml:3", "latin.yaml", "overview.yaml:2"):
        assert any(name in line for line in said), name
    asked = workflow.run("--dry-run", "--config", "studies=[tiny-sample,draft]")
    assert asked.returncode != 0
    assert "muster: config/studies/draft.yaml:3: malformed YAML" in asked.stderr


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("studies=[tiny-sampel]", "muster: --config studies[0]: unknown study or group 'tiny-sampel'. Did you mean"),
        ("scale=paper", "muster: --config scale: no study has the scale 'paper'"),
        ("scale=lptop", "muster: --config scale: found 'lptop'. Allowed: 'smoke', 'laptop' or 'paper'"),
    ],
)
def test_what_was_typed_is_not_blamed_on_the_file(tmp_path: Path, typed: str, said: str) -> None:
    workflow = copy_workflow(tmp_path, "scale: smoke\nstudies: [all]\n", tiny_sample=SAMPLED)
    assert said in workflow.run("--dry-run", "--config", typed).stderr


def test_a_report_shows_what_exists_and_makes_nothing(finished: Workflow) -> None:
    results = finished.folder / "results"
    figure, cell = results / "figures/tiny-train/sweep.svg", next((results / "runs/matrix_product").iterdir())
    aside = [(figure, figure.with_suffix(".aside")), (cell, cell.with_suffix(".aside"))]
    for path, away in aside:
        path.rename(away)
    try:
        done = finished.run("report", "--output", "page.html", program="muster")
        assert not figure.exists()
        assert not cell.exists()
    finally:
        for path, away in aside:
            away.rename(path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "page.html: 2 of 3 figures" in done.stdout
    assert "scaling" in (finished.folder / "page.html").read_text()


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    workflow = copy_workflow(tmp_path, "scale: smoke\n", tiny_sample=SAMPLED)
    done = workflow.run("report", program="muster")
    assert (done.returncode, done.stderr) == (
        2,
        "muster report: results: holds no ledger and no figure. Make them first: muster run STUDY\n",
    )


def test_touching_is_no_failure(tmp_path: Path) -> None:
    workflow = copy_workflow(tmp_path, "scale: smoke\n", tiny_sample=SAMPLED)
    assert workflow.run("--touch").returncode == 0
    done = workflow.run("status", program="muster")
    assert done.returncode == 0, done.stdout
    assert "0 of 6 cells are done" in done.stdout
    assert "failed:" not in done.stdout


def test_templates_run_through_snakemake(tmp_path: Path) -> None:
    workflow = copy_workflow(tmp_path, "scale: smoke\n", tiny_train=TINY)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for experiment in ("train", "command", "import", "scaled_descent"):
        name = f"my-{experiment.replace('_', '-')}"
        assert workflow.run("new-study", name, "--experiment", experiment, program="muster").returncode == 0
    done = workflow.run("run", "my-train", "my-command", "my-import", "my-scaled-descent", program="muster")
    # The template of an import names a table that is not here: all else is made, and that is said.
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Workflow Finished" in done.stdout + done.stderr
    assert "Failed" not in done.stdout + done.stderr
    assert {path.parent.name for path in tmp_path.glob("results/figures/my-*/first.svg")} == {
        "my-train",
        "my-command",
        "my-import",
        "my-scaled-descent",
    }
