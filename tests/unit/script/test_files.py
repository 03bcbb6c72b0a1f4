"""Which files a command runs, and when these are all that it may run."""

import os
from pathlib import Path

import pytest

from muster.experiments import Files
from muster.jobs.fingerprint import cell_fingerprint
from muster.script.cell import CommandCell
from muster.script.files import followed


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    files = {
        "app/train.py": "import json, helper\nfrom package.inner import part\n\ndef late():\n    import lazy\n",
        "app/helper.py": "import numpy\n",
        "app/lazy.py": "import helper\n",
        "app/package/__init__.py": "from . import sibling\n",
        "app/package/inner.py": "from ..package import other\nfrom .deep.end import x\n",
        "app/package/sibling.py": "",
        "app/package/other.py": "",
        "app/package/deep/__init__.py": "",
        "app/package/deep/end.py": "import train\n",
        "app/unused.py": "",
        "app/settings.yaml": "a: 1\n",
        "run.sh": "python app/train.py\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


REACHED = {
    "train.py", "helper.py", "lazy.py", "package/__init__.py", "package/inner.py", "package/sibling.py",
    "package/other.py", "package/deep/__init__.py", "package/deep/end.py",
}  # fmt: skip


def names(files: Files) -> set[str]:
    return {name.removeprefix("app/") for name in files.hashes}


@pytest.mark.parametrize(
    "command", ["python app/train.py", "/usr/bin/python3.11 -u -W ignore app/train.py 1", "app/train.py 1"]
)
def test_local_imports_are_followed_to_the_end(command: str) -> None:
    files = followed(command.split())
    assert names(files) == REACHED
    assert files.whole


def test_a_module_is_found_from_here_and_through_pythonpath(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / "app")
    assert names(followed(["python", "-m", "train"])) == REACHED
    assert names(followed(["python", "-m", "package.inner"])) == REACHED
    (project / "library").mkdir()
    (project / "library/shared.py").write_text("")
    (project / "app/helper.py").write_text("import shared\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(project / "library")]))
    assert "../library/shared.py" in followed(["python", "train.py"]).hashes


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["sh", "run.sh"], {"run.sh"}),
        (["python", "-c", "import train"], set()),
        (["python", "app/nowhere.py"], set()),
        (["torchrun", "app/train.py"], REACHED),
        (["python", "-m", "torch.distributed.run", "app/train.py"], REACHED),
        (["/bin/true"], set()),
    ],
)
def test_what_cannot_be_followed_is_not_whole_unless_the_user_names_files(
    command: list[str], expected: set[str]
) -> None:
    files = followed(command)
    assert names(files) == expected
    assert not files.whole
    named = followed(command, ["app/unused.py"])
    assert names(named) == expected | {"unused.py"}
    assert named.whole


@pytest.mark.parametrize(
    "line",
    [
        "import importlib", "exec(open('x').read())", "import sys; sys.path.append('x')", "import subprocess",
        "import os; os.system('x')", "__import__('x')", "from importlib import util", "this is no Python",
    ],
)  # fmt: skip
def test_a_script_that_loads_or_starts_more_is_not_whole(project: Path, line: str) -> None:
    (project / "app/helper.py").write_text(f"{line}\n")
    assert names(followed(["python", "app/train.py"])) == REACHED
    assert not followed(["python", "app/train.py"]).whole


def test_settings_that_the_command_names_are_read() -> None:
    assert names(followed(["python", "app/helper.py", "--config", "app/settings.yaml"])) == {
        "helper.py",
        "settings.yaml",
    }


@pytest.mark.parametrize("edited", ["app/train.py", "app/package/deep/end.py", "app/settings.yaml", "app/unused.py"])
def test_a_cell_follows_what_its_command_runs(project: Path, edited: str) -> None:
    command = "python app/train.py app/settings.yaml {width} {log2_lr} {output}"
    cell = CommandCell(width=4, seed=0, log2_lr=[-5], command=command)
    before = cell_fingerprint("command", cell)
    (project / edited).write_text((project / edited).read_text() + "# edited\n")
    assert (cell_fingerprint("command", cell) != before) == (edited != "app/unused.py")
