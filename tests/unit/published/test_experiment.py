"""A study of published tables from its YAML to its ledger, with and without the tables."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from muster.cli import main
from muster.cli.check import check_study
from muster.config.load import load_study
from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Context
from muster.plan.cells import read_cell
from muster.plan.grid import plan_study
from muster.plan.study import StudyPlan
from muster.tables.collect import collect, collect_missing, collect_sources, write_cell, write_tables
from muster.tables.missing import explain_missing, read_missing
from tests.workflow.studies import IMPORTED, imported_table, write_config

SECOND = """\
    other:
      licence: mine
      file: other.csv
      columns: {parameters: N, final_eval_loss: loss, tokens: D, dataset: name}
      documented: {parameter_count: unknown, flop_formula: unknown, schedule_end: unknown, tuned_per_size: unknown,
                   checkpoint: unknown, split: unknown}
"""


def study_file(folder: Path, text: str = IMPORTED) -> Path:
    write_config(folder, "scale: laptop\n", tiny_import=text)
    return folder / "config" / "studies" / "tiny-import.yaml"


def planned(folder: Path, text: str = IMPORTED) -> StudyPlan:
    path = study_file(folder, text)
    plan = plan_study(load_study(path), "laptop", path=path)
    check_study(plan, path)
    return plan


def two_sources(grid: str = "[runs, other]") -> str:
    return IMPORTED.replace("scales:\n", f"{SECOND}scales:\n").replace("{source: runs}", f"{{source: {grid}}}")


def make(plan: StudyPlan, folder: Path) -> dict[str, pd.DataFrame]:
    """Run all cells with tables from folder/sources, collect and write; returns the collected tables."""
    for cell in plan.cells:
        context = Context(source_dirs=(folder / "sources",), progress=lambda line: None)
        outcome = EXPERIMENTS[cell.experiment].run(cell.cell, context)
        write_cell(outcome, cell, folder / "runs" / cell.key, {"notes": outcome.notes})
    tables = collect(plan, folder)
    missing = collect_missing(plan, folder)
    write_tables(tables, folder / "tables" / "tiny-import", collect_sources(plan, folder), missing)
    return tables  # type: ignore[return-value]


def put(folder: Path, name: str, content: bytes) -> None:
    path = folder / "sources" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_the_plan_knows_the_columns_of_a_table_that_it_has_not_seen(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert plan.keys == ("study", "source", "run")
    assert plan.columns("runs") == ("source", "run", "parameters", "final_eval_loss")
    assert plan.cells[0].key.startswith("import/runs-")


def test_a_cell_reads_back_and_does_not_depend_on_other_sources(tmp_path: Path) -> None:
    alone = planned(tmp_path / "a").cells[0]
    beside = planned(tmp_path / "b", two_sources()).cells[0]
    assert alone.key == beside.key
    assert read_cell(alone.text).key == alone.key


def test_rows_become_runs_with_keys_and_the_record_of_their_source(tmp_path: Path) -> None:
    put(tmp_path, "a/runs.csv", imported_table())
    runs = make(planned(tmp_path), tmp_path)["runs"]
    assert list(runs.columns[:3]) == ["study", "source", "run"]
    assert runs["parameters"].dtype == "int64"
    assert not runs["diverged"].any()
    assert runs["flops"].isna().all()
    record = json.loads((tmp_path / "tables/tiny-import/sources.json").read_text())["runs"]
    assert record["sha256"] == hashlib.sha256(imported_table()).hexdigest()
    assert record["rows"] == len(runs)
    assert record["documented"]["split"] == "test"
    assert read_missing(tmp_path, "tiny-import") == []


def test_sources_with_other_columns_stand_in_one_table(tmp_path: Path) -> None:
    put(tmp_path, "a/runs.csv", imported_table())
    put(tmp_path, "other.csv", b"N,loss,D,name\n10,2.5,100,c4\n20,2.0,200,c4\n")
    runs = make(planned(tmp_path, two_sources()), tmp_path)["runs"]
    assert runs.groupby("source")["tokens"].count().to_dict() == {"other": 2, "runs": 0}
    assert set(runs.loc[runs["source"] == "other", "dataset"]) == {"c4"}


def test_a_table_without_a_training_loss_may_have_steps(tmp_path: Path) -> None:
    steps = IMPORTED.replace("final_eval_loss: loss", "final_eval_loss: loss, steps: N")
    put(tmp_path, "a/runs.csv", imported_table())
    assert (make(planned(tmp_path, steps), tmp_path)["runs"]["steps"] > 0).all()


@pytest.mark.parametrize("text", [IMPORTED, two_sources(), two_sources("[other]")], ids=["one", "both", "second"])
def test_without_its_tables_a_study_has_empty_ones_with_every_column(tmp_path: Path, text: str) -> None:
    plan = planned(tmp_path, text)
    tables = make(plan, tmp_path)
    assert set(plan.columns("runs")) < set(tables["runs"].columns)
    assert all(table.empty for table in tables.values())
    reason = explain_missing(read_missing(tmp_path, "tiny-import"))
    assert ("muster fetch tiny-import" in reason) == ("runs" in {cell.cell.source for cell in plan.cells})
    assert "put your table at" in reason or text == IMPORTED


def test_one_missing_source_of_two_leaves_the_other_with_all_columns(tmp_path: Path) -> None:
    put(tmp_path, "a/runs.csv", imported_table())
    plan = planned(tmp_path, two_sources())
    runs = make(plan, tmp_path)["runs"]
    assert set(runs["source"]) == {"runs"}
    assert {"tokens", "dataset"} <= set(runs.columns)
    (missing,) = read_missing(tmp_path, "tiny-import")
    assert (missing.what, missing.cells) == ("source other", [{"source": "other"}])
    assert missing.remedy == f"put your table at {tmp_path}/sources/other.csv"


def through_the_stages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> pd.Series:
    """Run import, collect, fit and judge from the command line; returns the ledger's row of the study's claim."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MUSTER_SOURCES", raising=False)
    cell = planned(folder).cells[0]
    assert main(["import", cell.key.split("/")[1]]) == 0
    assert main(["collect", "tiny-import"]) == 0
    assert main(["fit", "tiny-import"]) == 0
    assert main(["judge", "--studies", "tiny-import"]) == 0
    return pd.read_csv("results/ledger/claims.csv").set_index("claim").loc["tiny-slope"]


def test_a_claim_is_decided_from_a_published_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "results", "a/runs.csv", imported_table())
    row = through_the_stages(tmp_path, monkeypatch)
    assert (row["verdict"], row["n_runs"]) == ("supported", 8)
    assert row["estimate"] == pytest.approx(-0.5, abs=0.02)


def test_a_claim_about_a_missing_table_is_not_run_and_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = through_the_stages(tmp_path, monkeypatch)
    assert row["verdict"] == "not run"
    for part in ("cannot be reached", "muster fetch tiny-import", "http://127.0.0.1:9/runs.csv", "sources/a/runs.csv"):
        assert part in row["reason"]


def test_a_wrong_cell_of_the_table_fails_the_job_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = imported_table().replace(b"\n", b"\n5,-1\n", 1)
    study = IMPORTED.replace(hashlib.sha256(imported_table()).hexdigest(), hashlib.sha256(bad).hexdigest())
    put(tmp_path / "results", "a/runs.csv", bad)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MUSTER_SOURCES", raising=False)
    cell = planned(tmp_path, study).cells[0]
    assert main(["import", cell.key.split("/")[1]]) == 2
    said = capsys.readouterr().err
    assert "results/sources/a/runs.csv: columns.final_eval_loss: -1 in row 1 is not positive" in said
    assert len(said.splitlines()) == 1


MISTAKES = {
    "source": ("{source: runs}", "{source: rums}", "grid[0].source: unknown source 'rums'. Did you mean"),
    "address": ("address: http:", "address: ftp:", "settings.sources.runs.address: found 'ftp:"),
    "transform": ("parameters: N", "parameters: {time: N}", "settings.sources.runs.columns.parameters: found"),
    "documented": ("split: test", "spilt: test", "runs.documented.spilt: unknown field 'spilt'. Did you mean 'split'"),
    "column": ("along: parameters", "along: tokens", "fits.slope.along: 'tokens' is no column of the runs table"),
    "response": ("response: final_eval_loss", "response: final_train_loss", "'final_train_loss' is no column"),
    "seeds": ("{source: runs}", "{source: runs, seeds: 2}", "unknown axis 'seeds'. Known: source"),
    "parameter": ("test: equivalence", "test: equivalence, parameter: slope", "returns no 'slope'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_study_is_found_before_any_job(tmp_path: Path, mistake: str) -> None:
    old, new, said = MISTAKES[mistake]
    assert old in IMPORTED
    with pytest.raises(MusterError) as error:
        planned(tmp_path, IMPORTED.replace(old, new))
    assert said in str(error.value)
    assert "tiny-import.yaml:" in str(error.value)


def test_show_study_prints_what_is_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["show", "study", "tiny-import"]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert {"tuned per size unknown", "split test", "licence none stated", "file a/runs.csv"} <= set(shown)


def fetched(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, *arguments: str) -> int:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MUSTER_SOURCES", raising=False)
    monkeypatch.setattr("muster.published.source.download", lambda address, *, timeout: answer)
    return main(["fetch", *arguments])


def test_fetch_puts_a_verified_table_where_a_run_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study_file(tmp_path)
    assert fetched(tmp_path, monkeypatch, b"something else", "tiny-import") == 1
    assert "failed   a/runs.csv: what its address sends has checksum" in capsys.readouterr().out
    assert fetched(tmp_path, monkeypatch, imported_table()) == 0
    assert (tmp_path / "results/sources/a/runs.csv").read_bytes() == imported_table()
    assert fetched(tmp_path, monkeypatch, b"not asked") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("there ")
    assert fetched(tmp_path, monkeypatch, imported_table(), "--sources", "mine") == 0
    assert fetched(tmp_path, monkeypatch, imported_table(), "tiny-imprt") == 2
    assert "Did you mean 'tiny-import'" in capsys.readouterr().err
