"""No number in README.md or docs/ is typed by hand: their tables equal the files that were built."""

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
