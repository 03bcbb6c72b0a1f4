"""`snakemake --lint` on the project's own workflow."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_snakemake_finds_nothing_to_mend() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert "Congratulations, your workflow is in a good condition!" in done.stderr, done.stdout + done.stderr
