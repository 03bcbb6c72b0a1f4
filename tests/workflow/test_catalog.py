"""What the catalog of Snakemake looks for: a test configuration that runs, from another folder as a module does."""

import shutil
from pathlib import Path

from muster.claims.ledger import read_ledger
from tests.workflow import forked
from tests.workflow.conftest import ROOT, Workflow


def test_the_test_configuration_runs_to_ledger_and_figures(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / ".test", tmp_path / "test", ignore=shutil.ignore_patterns("results", ".snakemake"))
    snakefile = ROOT / "workflow/Snakefile"
    command = ["snakemake", "--snakefile", str(snakefile), "--directory", str(folder), "--cores", "2"]
    done = forked.run(command, tmp_path, Workflow(ROOT).environment(), Workflow.patience)
    assert done.returncode == 0, done.stdout + done.stderr
    results = folder / "results/smoke"
    assert set(read_ledger(results / "ledger").claim) == {"tiny-flat", "tiny-uniform"}
    assert {path.stem for path in results.glob("figures/*/*.svg")} == {"sweep", "scaling", "forest"}
