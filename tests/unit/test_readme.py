"""No number in README.md is typed by hand: its tables equal the files that the workflow and the benchmarks built."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_readme_tables_are_those_of_the_built_files():
    done = subprocess.run(
        [sys.executable, str(ROOT / "workflow/scripts/readme.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_readme_names_files_and_targets_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("reproduce", "test", "smoke", "bench", "readme"):
        assert f"make {target}" in text
        assert f"\n{target}:" in makefile
    for path in ("results/published/ledger/LEDGER.md", "CONTRIBUTING.md", "CITATION.cff"):
        assert path in text
        assert (ROOT / path).exists(), path
