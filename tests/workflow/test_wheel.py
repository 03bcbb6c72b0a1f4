"""An installed wheel, outside the repository: the library's names, studies, ledger and commands are all there."""

import math
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT

SHIPPED = ("src", "config", "results/published/ledger")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel; what it needs comes from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    source, built, venv = folder / "source", folder / "built", folder / "venv"
    for name in SHIPPED:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    built.mkdir()
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(built)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True, timeout=120)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=60)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "parent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-index", *map(str, built.glob("*.whl"))], check=True, timeout=120)
    return venv / "bin"


def run(program: Path, *words: str, cwd: Path) -> str:
    found = subprocess.run(
        [str(program), *words], cwd=cwd, env={"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_the_library_is_all_there(installed: Path, tmp_path: Path) -> None:
    lines = (
        "import muster, muster.api; print(muster.__file__)",
        "print(*[getattr(muster.api, name).__name__ for name in muster.api.__all__])",
        "print(len(muster.api.read_ledger()))",
    )
    file, names, rows = run(installed / "python", "-c", "\n".join(lines), cwd=tmp_path).splitlines()
    assert Path(file).is_relative_to(installed.parent)
    assert {"fit_table", "law", "coordinate_check", "parameter_groups"} <= set(names.split())
    assert int(rows) > 100


def test_commands_find_studies_and_ledger(installed: Path, tmp_path: Path) -> None:
    shown = run(installed / "muster", "show", "claim", "relu-kurtosis-closed-form", cwd=tmp_path)
    assert "relu-kurtosis" in shown
    assert str(installed.parent / "share/muster/results/published/ledger") in shown
    rows = [f"{n},{2.0**k},{2 + 9 / n + 0.02 * (k + 6) ** 2}" for n in (64, 128, 256) for k in range(-10, -2)]
    (tmp_path / "sweep.csv").write_text("\n".join(["width,lr,loss", *rows]) + "\n")
    fitted = run(installed / "muster", "fit-table", "sweep.csv", cwd=tmp_path)
    assert math.log2(float(fitted.splitlines()[3].split()[1])) == pytest.approx(-6, abs=0.01)
