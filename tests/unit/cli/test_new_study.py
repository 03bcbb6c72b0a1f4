"""Every experiment's template: valid as written and with its claim, and run at smoke from cell to figure."""

import dataclasses
import hashlib
import re
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from muster.cli import main
from muster.cli.check import check_study
from muster.cli.new_study import study_text
from muster.config.load import load_study, reserved
from muster.experiments import EXPERIMENTS
from muster.plan.cells import dataset_of
from muster.plan.grid import plan_study
from muster.plan.study import StudyPlan
from muster.published.import_table import Table
from tests.unit.test_examples import ROOT
from tests.workflow.studies import write_config


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with the example trainer, which the template of `command` calls."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    write_config(tmp_path, "scale: smoke\nstore: false\ngroups: {mine: []}\n")
    return tmp_path


def written(experiment: str, change: tuple[str, str] = ("", "")) -> Path:
    name = f"my-{experiment.replace('_', '-')}"
    assert main(["new-study", name, "--experiment", experiment]) == 0
    path = Path("config/studies", f"{name}.yaml")
    path.write_text(path.read_text().replace(*change))
    return path


@pytest.mark.parametrize("experiment", list(EXPERIMENTS))
def test_a_template_validates_as_written_and_uncommented(
    experiment: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(experiment)
    for text in (path.read_text(), uncommented(path.read_text())):
        path.write_text(text)
        assert main(["validate", path.stem]) == 0, capsys.readouterr().err
        study = load_study(path)
        for scale in study.scales:
            check_study(plan_study(study, scale, path=path), path)
    assert [claim.headline for claim in study.claims] in ([True], [True, False])
    assert max(map(len, path.read_text().splitlines())) <= 120


def uncommented(text: str) -> str:
    """The claims, and what else is commented out by `#` and two spaces."""
    return re.sub("^#(?=  )", "", text.replace("claims: []\n", "claims:\n"), flags=re.MULTILINE)


def test_the_first_template_can_judge_its_claims(project: Path) -> None:
    """An exponent of five widths, and the difference of its two groups."""
    path = written("train")
    assert "headline: true  # the default" in path.read_text()
    assert "rule: constant" in path.read_text().partition("grid:")[0]
    path.write_text(uncommented(path.read_text()))
    study = load_study(path)
    first, second = study.claims
    assert first.regime[0].options == {"axis": "width"}
    assert study.fits[second.fit].estimator == "lr_transfer_difference"
    assert study.fits[second.fit].options == {
        "a": {"parameterization": "sp", "rule": "constant"},
        "b": {"parameterization": "mup", "rule": "full_alignment"},
    }
    widths = {cell.cell.width for cell in plan_study(study, "laptop", path=path).cells}
    assert len(widths) == 5
    run_stages(plan_study(study, "smoke", path=path))
    fits = pd.read_parquet("results/fits/my-train/fits.parquet")
    assert set(fits["fit"]) == {"exponent", "difference"}


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name != "command"])  # that by Snakemake
def test_a_template_runs_at_smoke_from_cell_to_figure(experiment: str, project: Path) -> None:
    path = written(experiment)
    plan = plan_study(load_study(path), "smoke", path=path)
    start = time.process_time()
    run_stages(plan)
    assert time.process_time() - start < 30
    fits = pd.read_parquet(f"results/fits/{plan.study.study}/fits.parquet")
    assert set(fits["status"]) <= ({"no_rows"} if experiment == "import" else {"ok", "no_se", "too_few", "few_optima"})
    assert Path(f"results/figures/{plan.study.study}/first.svg").exists()


def test_the_template_of_an_import_brings_a_published_table_once_its_hints_are_filled_in(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a newcomer fills them in: all of them, with an address and a checksum of theirs."""
    monkeypatch.setenv("MUSTER_SOURCES", "theirs")
    table = "N,loss\n" + "".join(f"{4**i},{2.0**-i!r}\n" for i in range(1, 7)) + "4,0.5\n5,-1\n6,\n7,11\n"
    Path("theirs/my-study").mkdir(parents=True)
    Path("theirs/my-study/runs.csv").write_text(table)
    path = written("import")
    text, options = re.subn(r"^ {6}# (\w+: .*)$", r"      \1", path.read_text(), flags=re.MULTILINE)
    assert options == 7
    text = re.sub("e3b0c4[0-9a-f]*", hashlib.sha256(table.encode()).hexdigest(), text)
    path.write_text(text.replace("https://example.org", "http://127.0.0.1:9"))
    assert yaml.safe_load(text)["settings"]["sources"]["runs"].keys() == Table.model_fields.keys() - {"alternatives"}
    plan = plan_study(load_study(path), "laptop", path=path)
    check_study(plan, path)
    run_stages(plan)
    runs = pd.read_parquet(f"results/tables/{plan.study.study}/runs.parquet")
    assert sorted(runs["parameters"]) == [4**i for i in range(1, 7)]
    (fit,) = pd.read_parquet(f"results/fits/{plan.study.study}/fits.parquet").query("primary").to_dict("records")
    assert fit["estimate"] == pytest.approx(-0.5)


def run_stages(plan: StudyPlan) -> None:
    for planned in plan.cells:
        if dataset := dataset_of(planned):
            assert main(["data", dataset.name, "--options", dataset.options, "--results", "results"]) == 0
        assert main([planned.stage, "--cell", planned.text, "--results", "results", "--device", "cpu"]) == 0
    for stage in ("collect", "fit"):
        assert main([stage, plan.study.study]) == 0
    assert main(["plot", plan.study.study, "first"]) == 0


def test_the_first_template_compares_sp_at_one_rate_with_mup_at_per_layer_rates() -> None:
    """[sp, mup] under one per-layer rule would not be SP."""
    study = yaml.safe_load(study_text("x", "train"))
    for preset in study["scales"].values():
        rules = {block["parameterization"]: block["rule"] for block in preset["grid"]}
        assert rules == {"sp": "constant", "mup": "full_alignment"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [("all", "means every study"), ("overview", "names the figure of the whole ledger"),
     ("mine", "names a group of config/config.yaml"), ("no", "is read as False"), ("2024-01-01", "is read as")],
)  # fmt: skip
def test_names_that_mean_something_else_are_refused(
    name: str, reason: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-study", name]) == 2
    assert reason in capsys.readouterr().err
    assert not Path("config/studies", f"{name}.yaml").exists()
    assert not reserved("mup-width-transfer")


def test_an_experiment_without_an_example_says_where_to_start(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = dataclasses.replace(EXPERIMENTS["siren"], example=None)
    monkeypatch.setitem(EXPERIMENTS._entries, "bare", bare)
    assert main(["new-study", "x", "--experiment", "bare"]) == 2
    assert "bare' has no example. Start from one of: " in capsys.readouterr().err
