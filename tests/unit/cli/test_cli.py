"""The command line: fast, one line on mistakes, plans and new studies that hold."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from muster.cli import main, parser
from muster.registry import REGISTRIES
from tests.workflow.studies import SAMPLED, TINY, write_config


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, "scale: smoke\n", tiny_train=TINY, tiny_sample=SAMPLED)
    return tmp_path


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = "import sys; from muster.cli.parser import parser; parser().format_help()\n"
    code += "print({'torch', 'pandas', 'pydantic'} & {*sys.modules})"
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - start)
    assert done.stdout.strip() == "set()"
    assert min(times) < 0.3


def test_every_command_explains_itself() -> None:
    (commands,) = [action for action in parser()._actions if hasattr(action, "choices") and action.choices]
    for name, command in commands.choices.items():  # type: ignore[union-attr]
        text = command.format_help()
        assert text.startswith(f"usage: muster {name}")
        assert len(command.description) > 20


@pytest.mark.parametrize("kind", ["studies", "claims", *REGISTRIES])
def test_list_prints_names_with_a_line_each(kind: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(len(line.split()) >= 2 for line in lines), lines


def test_plan_counts_cells_and_runs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "tiny-train", "--scale", "laptop"]) == 0
    out = capsys.readouterr().out
    assert "tiny-train  train       12     84" in out
    assert "width×3" in out


def test_plan_lists_cells_that_train_accepts(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "tiny-train", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert json.loads(lines[0])["experiment"] == "train"
    assert main(["train", "--cell", lines[0], "--results", "r"]) == 2
    assert "the data set has not been made" in capsys.readouterr().err


def test_one_cell_end_to_end_by_digest(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "tiny-sample", "--cells"]) == 0
    key = capsys.readouterr().out.splitlines()[1].split()[0]
    assert main(["sample", key[-10:]]) == 0
    folder = project / "results" / "runs" / key
    assert json.loads((folder / "cell.json").read_text())["experiment"] == "matrix_product"
    assert json.loads((folder / "provenance.json").read_text())["cell"] == key
    assert main(["train", key[-10:]]) == 2
    assert "muster sample" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "tiny-trian"], "Did you mean 'tiny-train'"),
        (["show", "study", "tiny-trian"], "Did you mean 'tiny-train'"),
        (["show", "claim", "tiny-flt"], "Did you mean 'tiny-flat'"),
        (["show", "parameterization", "mupp"], "Did you mean 'mup'"),
        (["show", "study"], "no name given"),
        (["run", "tiny-trian"], "Did you mean 'tiny-train'"),
        (["fit", "tiny-train"], "no such table"),
        (["collect", "tiny-train"], "no such table"),
        (["judge", "--studies", "tiny-train"], "no such fits"),
        (["data", "mnist2d"], "Did you mean 'mnist1d'"),
        (["data", "mnist1d", "--options", "{"], "not JSON"),
        (["new-study", "Not A Slug"], "lower-case"),
        (["new-study", "tiny-train"], "exists already"),
        (["new-study", "x", "--experiment", "trian"], "Did you mean 'train'"),
        (["run", "tiny-train"], "no Snakefile here"),
        (["plan", "--config", "nowhere/config.yaml"], "no such file"),
    ],
)
def test_mistakes_are_one_line_and_status_two(
    arguments: list[str], message: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("experiment", ["train", "command", "relu_chain", "matrix_product"])
def test_a_new_study_validates_as_written(experiment: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-study", "my-study", "--experiment", experiment]) == 0
    assert main(["validate"]) == 0, capsys.readouterr().err
    text = (project / "config/studies/my-study.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=")


def test_validate_reports_every_mistake(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(
        project,
        "scale: smoke\n",
        tiny_train=TINY.replace("depth: 2", "depth: two"),
        tiny_sample=SAMPLED.replace("width: [4", "widht: [4"),
    )
    assert main(["validate"]) == 2
    err = capsys.readouterr().err
    assert "settings.depth" in err
    assert "widht" in err


def test_show_config_merges_the_command_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "config", "--scale", "laptop", "--seeds", "2"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["scale"], shown["seeds"], shown["results"]) == ("laptop", 2, "results")
