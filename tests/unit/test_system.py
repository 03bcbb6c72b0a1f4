"""Systems on which muster does not run: one line each time, whatever is tried."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINE = "not on Windows itself. Run it there in WSL: https://learn.microsoft.com/windows/wsl"
# The libraries are loaded first: they look at the system, too.
WINDOWS = (
    "import platformdirs, snakemake.cli, sys; "
    "sys.platform = 'win32'; sys.modules |= {'fcntl': None, 'resource': None}; "
)


@pytest.mark.parametrize("call", [
    "from muster.cli import main; main(['list', 'studies'])",
    "import muster.__main__",
    "snakemake.cli.main(['--dry-run', '--cores', '1'])",
])  # fmt: skip
def test_windows_is_refused_in_one_line(call: str) -> None:
    done = subprocess.run([sys.executable, "-c", WINDOWS + call], cwd=ROOT, capture_output=True, text=True, timeout=120)
    said = [line for line in done.stderr.splitlines() if not line.startswith("Using workflow specific profile")]
    assert done.returncode == 1
    assert [line.endswith(LINE) for line in said] == [True], done.stderr


def test_a_notebook_on_windows_is_told_the_same() -> None:
    call = "from muster.api import fit_table"
    done = subprocess.run([sys.executable, "-c", WINDOWS + call], capture_output=True, text=True, timeout=120)
    assert done.stderr.splitlines()[-1].startswith("ImportError: muster runs on Linux")
    assert done.stderr.splitlines()[-1].endswith(LINE)


def test_everywhere_else_nothing_is_said() -> None:
    from muster.system import UNSUPPORTED

    assert UNSUPPORTED == ""
