"""The command line: fast, one line on mistakes, plans and new studies that hold."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from muster.cli import inspect, main
from muster.cli.entries import FIELDS
from muster.cli.parser import KINDS, SHOWN, divided, parser
from muster.cli.run import split_settings
from muster.columns import COLUMNS
from muster.config.models import StudyConfig
from muster.experiments import EXPERIMENTS
from muster.fitting.base import ESTIMATORS
from muster.fitting.study import check_fit
from muster.models import SHAPES
from muster.plots import PLOTS
from muster.published.mapping import ColumnMapping, Documented
from muster.published.readers import READERS
from muster.published.source import Source
from muster.published.transforms import TRANSFORMS, RowTransform
from muster.registry import REGISTRIES, find_registry
from muster.settings import settings_of
from muster.training.cell import TrainCell
from tests.workflow.studies import IMPORTED, SAMPLED, TINY, write_config


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, "scale: smoke\n", tiny_train=TINY, tiny_sample=SAMPLED)
    return tmp_path


def test_help_imports_nothing_heavy() -> None:
    """That is what makes it quick; a time would depend on what else the machine does."""
    code = "import sys; from muster.cli.parser import parser; parser().format_help()\n"
    code += "print({'torch', 'pandas', 'pydantic', 'numpy', 'yaml'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_job_that_is_handed_on_loads_no_more_than_it_needs() -> None:
    code = "import sys, muster.cli; print({'argparse', 'importlib.metadata', 'muster.registry'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_interrupt_is_one_line_and_ends_as_a_signal() -> None:
    code = "import signal; from muster import cli; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "cli.forward = lambda words: signal.raise_signal(signal.SIGINT); cli.main()"
    done = subprocess.run([sys.executable, "-c", code, "train"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "muster train: interrupted\n")


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
    assert "different values (no product: blocks are a union)" in out
    assert "width 3, parameterization 2, seed 2, log2_lr 7" in out
    assert "×" not in out


@pytest.mark.parametrize(("by", "where"), [(", by: [parameterization, optimizer]", ""), ("", "adam")])
def test_where_a_claim_is_measured_is_told_if_its_fit_has_groups(
    by: str, where: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if by:
        path = project / "config/studies/tiny-train.yaml"
        text = path.read_text().replace(by, "").replace("where: {parameterization: mup, optimizer: adam}, ", "")
        path.write_text(text)
    assert main(["show", "claim", "tiny-flat"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("measured by")]
    assert line.endswith("where parameterization mup, optimizer adam" if where else "final_train_loss along width")


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


def test_a_new_study_validates_as_written(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-study", "my-study"]) == 0
    assert main(["validate", "my-study"]) == 0, capsys.readouterr().err
    text = (project / "config/studies/my-study.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=")


@pytest.mark.parametrize(
    ("words", "own", "passed"),
    [
        ("run a b -- --dry-run fits", "run a b", "--dry-run fits"),
        ("run a --cores 2 --", "run a --cores 2", ""),
        ("run a", "run a", ""),
        ("show study -- a", "show study -- a", ""),
    ],
)
def test_what_follows_two_dashes_is_snakemakes(words: str, own: str, passed: str) -> None:
    assert divided(words.split()) == (own.split(), passed.split())


@pytest.mark.parametrize(
    ("words", "others", "settings"),
    [
        ("fits --config mode=replay seeds=2 -n", "fits -n", "mode=replay seeds=2"),
        ("-C mode=replay --forcerun train", "--forcerun train", "mode=replay"),
        ("--config=mode=replay fits", "fits", "mode=replay"),
        ("fits a=b", "fits a=b", ""),
    ],
)
def test_settings_for_snakemake_join_those_of_the_command(words: str, others: str, settings: str) -> None:
    """Snakemake takes the last `--config` alone."""
    assert split_settings(words.split()) == (others.split(), settings.split())


def test_another_configuration_than_snakemakes_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_config(project / "other", "scale: smoke\n", tiny_train=TINY)
    for command in (["run", "tiny-train"], ["report"]):
        assert main([*command, "--config", str(other)]) == 2
        assert "Snakemake reads config/config.yaml, not " in capsys.readouterr().err


@pytest.mark.parametrize("name", list(PLOTS))
def test_a_plot_shows_its_options_and_an_example(name: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "plot", name]) == 0
    text, _, rest = capsys.readouterr().out.partition("\noptions\n")
    options, _, example = rest.partition("\nin a study\n")
    assert len(text) > 40
    for option, info in PLOTS[name].options.model_fields.items():
        assert info.description, f"{name}.{option} has no description"
        (line,) = [line for line in options.splitlines() if line.split()[0] == option]
        assert line.endswith(info.description)
        assert ("default" in line.removesuffix(info.description)) == bool(info.get_default())
    (figure,) = yaml.safe_load(example)["figures"].values()
    assert figure["plot"] == name


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_an_estimators_snippet_is_a_fit_of_a_study(
    name: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "estimator", name]) == 0
    snippet = yaml.safe_load(capsys.readouterr().out.partition("\nin a study\n")[2])
    study = StudyConfig.model_validate({**yaml.safe_load(TINY), **snippet, "claims": [], "figures": {}})
    ((fit, written),) = study.fits.items()
    assert written.estimator == name
    assert written.options.keys() == {*ESTIMATORS[name].required_options}
    check_fit(study, fit)
    for column in ESTIMATORS[name].needs:
        tables = [table for table, columns in COLUMNS.items() if column in columns]
        assert written.table in (tables or COLUMNS), f"{column} stands in {tables}"


def test_whatever_can_be_shown_is_listed_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = {name.removeprefix("_show_") for name in vars(inspect) if name.startswith("_show_")}
    assert own <= {*SHOWN}
    assert {kind for what, kind in SHOWN.items() if what not in own} <= {
        "readers",
        "transforms",
        "closed_forms",
        *FIELDS,
    }
    assert {kind for kind in SHOWN.values() if kind} == {*KINDS}, "whatever is listed can be shown"
    for what, kind in SHOWN.items():
        assert main(["show", what]) == (2 if kind else 0)
        told = capsys.readouterr()
        assert ("no name given" in told.err) == bool(kind)
        assert kind is None or f"muster list {kind}" in told.err


def example_of(kind: str, name: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, Any]:
    """What `muster show` says of an entry, and its example."""
    (what,) = [what for what, plural in SHOWN.items() if plural == kind]
    assert main(["show", what, name]) == 0
    said, _, example = capsys.readouterr().out.partition("\nin a study\n")
    return said, yaml.safe_load(example)


@pytest.mark.parametrize("name", list(READERS))
def test_a_readers_snippet_is_a_source(name: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said, example = example_of("readers", name, capsys)
    (source,) = example["settings"]["sources"].values()
    assert Source.model_validate(source).reader == name
    assert READERS[name].summary in said
    assert ("MUSTER_PICKLES=allow" in said.partition("reader_options")[0].split("only if")[-1]) == (
        READERS[name].permission is not None
    )
    for option, field in READERS[name].options.model_fields.items():
        assert re.search(rf"^  {option} .*{re.escape(field.description or '')}$", said, re.MULTILINE)


@pytest.mark.parametrize("name", list(TRANSFORMS))
def test_a_transforms_snippet_is_a_mapping(name: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said, example = example_of("transforms", name, capsys)
    mapping = {"columns": {"width": "N"}, "documented": dict.fromkeys(Documented.model_fields, "unknown")}
    mapped = ColumnMapping.model_validate(mapping | example)
    if isinstance(TRANSFORMS[name], RowTransform):
        assert [*mapped.rows[0]] == [name]
        assert "a step under `rows`" in said
    else:
        assert [*mapped.columns["my_column"]] == [name]
        assert "an expression of" in said


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in FIELDS if kind not in ("datasets", "parameterizations") for name in find_registry(kind)],
)
def test_what_a_setting_chooses_shows_what_it_brings(
    kind: str, name: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, example = example_of(kind, name, capsys)
    assert example["settings"][FIELDS[kind]] in (name, [name])
    entry = find_registry(kind)[name]
    assert said.startswith("is ")
    assert " ".join((entry.__doc__ or "").split())[:60] in said
    for setting in settings_of(SHAPES[name] if kind == "families" else entry).model_fields:
        assert re.search(rf"^  {setting} ", said.partition("settings that it brings")[2], re.MULTILINE)
    if kind in ("optimizers", "families", "activations", "schedules", "losses"):
        cell = {
            "parameterization": "mup",
            "seed": 0,
            "steps": 1,
            "log2_lr": [0.0],
            "width": 64,
            **SHAPES["mlp"].example,
        }
        TrainCell.model_validate(cell | example["settings"])


def test_studies_that_name_an_entry_are_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = IMPORTED.replace("parameters: N", "parameters: {ratio: [N, 2]}")
    write_config(project, "scale: smoke\n", tiny_import=text)
    users = r"^studies +tiny-{}$"
    assert re.search(users.format("train"), example_of("losses", "cross_entropy", capsys)[0], re.MULTILINE), "settings"
    assert re.search(users.format("train"), example_of("optimizers", "adam", capsys)[0], re.MULTILINE), "a grid"
    assert re.search(r"^studies +none$", example_of("optimizers", "lion", capsys)[0], re.MULTILINE)
    said, example = example_of("readers", "csv", capsys)
    assert re.search(users.format("import"), said, re.MULTILINE)
    assert example["settings"]["sources"]["my_table"]["file"] == "a/runs.csv"
    said, example = example_of("transforms", "ratio", capsys)
    assert re.search(users.format("import"), said, re.MULTILINE)
    assert example == {"columns": {"my_column": {"ratio": ["N", 2]}}}


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_an_experiment_shows_every_setting(name: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "experiment", name]) == 0
    text, _, settings = capsys.readouterr().out.partition("\nsettings")
    assert EXPERIMENTS[name].summary in text
    assert f"--experiment {name}" in text
    shown = {line.split()[0]: line for line in settings.splitlines()[1:]}
    assert shown.keys() == EXPERIMENTS[name].cell.model_fields.keys()
    for setting, field in EXPERIMENTS[name].cell.model_fields.items():
        assert ("required" in shown[setting].split()[:2]) == field.is_required()
        assert shown[setting].endswith(field.description or setting)


def test_a_plots_example_is_one_of_a_study(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "plot", "probe_scaling"]) == 0
    out = capsys.readouterr().out
    assert "# as in tiny-sample" in out
    assert "select: {probe: ks_uniform}" in out


@pytest.mark.parametrize("command", [["list", "claims"], ["plan"], ["status"], ["show", "claim", "tiny-uniform"]])
def test_commands_do_without_a_broken_study(
    command: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(project, "scale: smoke\n", tiny_train="study: [\n")
    assert main(command) == 0
    done = capsys.readouterr()
    assert "tiny-" in done.out
    if command[0] != "show":
        assert done.err.startswith("left out: config/studies/tiny-train.yaml:2: malformed YAML")


def test_show_config_merges_the_command_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "config", "--scale", "laptop", "--seeds", "2"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["scale"], shown["seeds"], shown["results"]) == ("laptop", 2, "results")
