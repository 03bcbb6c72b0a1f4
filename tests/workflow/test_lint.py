"""`snakemake --lint` on the project's own workflow."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# One environment holds the whole workflow: its rules call the installed package, not tools of their own.
ACCEPTED = {"Specify a conda environment or container for each rule."}


def test_snakemake_finds_nothing_else_to_mend() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    assert any(line.startswith("Lints for rule") for line in lines), "the linter did not run"
    assert {line[2:].removesuffix(":") for line in lines if line.startswith("* ")} <= ACCEPTED
