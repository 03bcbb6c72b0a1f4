"""What jobs are told by their run, through one file that the environment names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from muster.errors import MusterError
from muster.jobs.planned import VARIABLE, forget_planned, name_planned, read_planned, write_planned


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")


def test_jobs_read_what_the_run_wrote(tmp_path: Path) -> None:
    assert name_planned(tmp_path)
    path = write_planned({"one:1", "code:2"}, {"train/w8"})
    told = read_planned()
    assert told is not None
    assert told.found == {"one:1", "code:2"}
    assert told.anew == {"train/w8"}
    forget_planned()
    assert not path.exists()


def test_a_job_that_plans_anew_leaves_the_file_of_its_run_alone(tmp_path: Path) -> None:
    name_planned(tmp_path)
    assert not name_planned(tmp_path / "elsewhere")


def test_the_environment_has_room_for_any_number_of_cells(tmp_path: Path) -> None:
    """Linux lets no string of an environment be longer than 128 KiB: as words, these cells are three times that."""
    keys = {f"train/w{index}-{'a' * 40}-0123456789" for index in range(5000)}
    codes = {f"code:{index:012x}" for index in range(5000)}
    assert sum(map(len, keys)) > 2 * 131072
    name_planned(tmp_path)
    write_planned(codes, keys)
    script = "from muster.jobs.planned import read_planned as r; print(len(r().found), len(r().anew))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["5000", "5000"]
    assert len(os.environ[VARIABLE]) < 4096


@pytest.mark.parametrize("value", [None, ""])
def test_a_job_that_no_run_started_is_told_nothing(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv(VARIABLE)
    assert read_planned() is None


@pytest.mark.parametrize("content", [None, "", "{}", "[]"])
def test_a_job_without_its_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None) -> None:
    path = tmp_path / "planned.json"
    monkeypatch.setenv(VARIABLE, str(path))
    if content is not None:
        path.write_text(content)
    with pytest.raises(MusterError, match=r"planned\.json: cannot be read .*Start Snakemake again"):
        read_planned()
