"""What README's first command does, but for the environment that it makes."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.workflow.conftest import ROOT, copy_workflow
from tests.workflow.studies import SAMPLED


def test_reproduce_ends_with_all_that_it_names(tmp_path: Path) -> None:
    workflow = copy_workflow(
        tmp_path, "scale: laptop\nresults: results/{scale}\n", tiny_sample=SAMPLED.replace("smoke:", "laptop:")
    )
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    given = [f"--old-file={sys.prefix}/.runtime", f"VENV={sys.prefix}", "CORES=2", "STUDIES=all"]
    done = subprocess.run(
        ["make", "--no-print-directory", *given, "reproduce"], cwd=tmp_path, env=workflow.environment(),
        capture_output=True, text=True, timeout=workflow.patience,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cells" in done.stdout.partition("snakemake")[0], "what it will take is said before it starts"
    named = [line.split()[1] for line in done.stdout.splitlines()[-3:]]
    assert [Path(name).name for name in named] == ["LEDGER.md", "figures", "report.html"]
    assert all((tmp_path / name).exists() for name in named), named


def test_a_figure_without_a_published_table_says_what_makes_it() -> None:
    given = [f"--old-file={sys.prefix}/.runtime", f"VENV={sys.prefix}", "STUDY=chinchilla-replication", "FIGURE=law"]
    done = subprocess.run(["make", "--no-print-directory", *given, "figure"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "muster run chinchilla-replication" in done.stderr
    assert "Published: abc-feature-exponent" in done.stderr
