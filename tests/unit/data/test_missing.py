"""Every data set and every published table that a machine may lack, one at a time: the ledger is made, its claims say
why and how to get them, and nothing else stops.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from muster import data
from muster.claims.ledger import judge
from muster.cli import main
from muster.config.load import load_study
from muster.config.models import FitConfig, StudyConfig
from muster.data import fashion_mnist, python_text
from muster.digests import unsealed
from muster.errors import DamagedError, MusterError, Unavailable
from muster.experiments import Outcome
from muster.jobs.availability import planned_state
from muster.plan.cells import dataset_of
from muster.plan.plan import load_plan
from muster.tables.collect import collect, write_cell
from muster.tables.missing import Missing, describe_missing, explain_missing, read_missing
from tests.workflow.studies import IMPORTED, SAMPLED, TINY, write_config

ROOT = Path(__file__).parents[3]
MADE_HERE = {"mnist1d", "digits", "teacher", "modular_addition", "sparse_features"}  # of code and installed packages
SMALL = "train: 40, heldout: 10"

# data set → its options, words of the reason, and of the remedies
LACKING = {
    "fashion_mnist": (
        f"{{{SMALL}, pool: 4}}",
        ["no train-images-idx3-ubyte.gz on this machine", "cannot be reached: no route to host", "github.com"],
        ["muster fetch fashion_mnist", "apt-get install dataset-fashion-mnist", "results/sources/fashion-mnist"],
    ),
    "hf_text": (
        f"{{{SMALL}, dataset: a/b}}",
        ["the package `datasets` is not installed"],
        ["pip install datasets", "muster fetch hf_text", "results/sources/hf_text/a--b-"],
    ),
    "text_file": (
        f"{{{SMALL}, path: no/corpus.txt}}",
        ["no/corpus.txt cannot be read (No such file or directory)"],
        ["put the file at no/corpus.txt", "data_options.path"],
    ),
    "python_text": (
        f"{{{SMALL}}}",
        ["no source of its standard library in /nowhere"],
        ["make PYTHON=", "data: text_file"],
    ),
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without a network, Debian's package, the package `datasets` and the library's source."""

    def refuse(address: str, **limits: float) -> bytes:
        raise Unavailable("its address cannot be reached: no route to host")

    for module in ("muster.data.fashion_mnist", "muster.published.source"):
        monkeypatch.setattr(f"{module}.download", refuse)
    monkeypatch.setattr(fashion_mnist, "PACKAGE_DIRECTORY", Path("/nowhere"))
    monkeypatch.setattr(python_text.sysconfig, "get_paths", lambda: {"stdlib": "/nowhere"})
    monkeypatch.setitem(sys.modules, "datasets", None)
    for variable in ("MUSTER_SOURCES", "MUSTER_STORE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def on(name: str, options: str) -> str:
    """The tiny study on another data set."""
    old = "data: mnist1d, data_options: {train: 400, heldout: 100}"
    assert old in TINY
    study = TINY.replace(old, f"data: {name}, data_options: {options}")
    return study.replace("[sp, mup]", "[mup]").replace("seeds: 2", "seeds: 1")


def through_the_stages(*studies: str, lacking: tuple[str, ...] = ()) -> pd.DataFrame:
    """Run every stage of some studies from the command line, one job after another; returns the ledger by claim.

    lacking: studies whose figures must say that there is nothing to draw.
    """
    plan = load_plan()
    for dataset in {dataset_of(cell) for cell in plan.cells.values()} - {None}:
        arguments = ["--sources", "results/sources", "--options", dataset.options]
        assert main(["data", dataset.name, *arguments]) == 0
    for cell in plan.cells.values():
        assert main([cell.stage, "--cell", cell.text, "--results", "results"]) == 0
    for study in studies:
        assert main(["collect", study]) == main(["fit", study]) == main(["specify", study]) == 0
    assert main(["judge", "--studies", *studies]) == 0
    for study in studies:
        for figure in list(plan.studies[study].study.figures)[:1]:
            assert main(["plot", study, figure]) == 0
            drawn = Path(f"results/figures/{study}/{figure}.svg").read_text()
            words = " ".join(re.findall(r"<!-- (.*?) -->", drawn))
            assert ("says why, and how to get it" in words) == (study in lacking)
    return pd.read_csv("results/ledger/claims.csv").set_index("claim")


def test_every_data_set_that_comes_from_elsewhere_says_how_to_get_it() -> None:
    assert {name for name in data.DATASETS if data.DATASETS[name].origin} == set(LACKING)
    assert set(data.DATASETS) == MADE_HERE | set(LACKING)
    assert {data.state(name, {}, ()) for name in MADE_HERE} == {"made here"}  # a word: Snakemake cannot quote none


@pytest.mark.parametrize("name", LACKING)
def test_a_missing_data_set_leaves_its_claims_not_run_and_stops_nothing(name: str) -> None:
    options, reason, remedies = LACKING[name]
    sampled = SAMPLED.replace("smoke:", "laptop:").replace("seeds: 2", "seeds: 1")
    write_config(Path(), "scale: laptop\n", tiny_train=on(name, options), tiny_sample=sampled)
    ledger = through_the_stages("tiny-train", "tiny-sample", lacking=("tiny-train",))
    assert ledger.loc["tiny-flat", "verdict"] == "not run"
    assert ledger.loc["tiny-flat", ["n_cells", "n_runs"]].tolist() == [0, 0]
    assert ledger.loc["tiny-uniform", "verdict"] in ("supported", "refuted", "inconclusive")
    said = ledger.loc["tiny-flat", "reason"]
    for part in [f"data set {name} not available", *reason, *remedies, "then run snakemake again"]:
        assert part in said
    block = describe_missing(Path("results"), ["tiny-train", "tiny-sample"])
    for part in [f"tiny-train: data set {name}", *reason, *remedies, "exclude: [tiny-train]"]:
        assert part in block
    assert "tiny-sample" not in block
    kept = [json.loads(path.read_text())["identity"]["cell"] for path in Path("results/store").rglob("manifest.json")]
    assert {cell.split("/")[0] for cell in kept} == {"matrix_product"}


IMPORTS = sorted(
    path.stem for path in (ROOT / "config/studies").glob("*.yaml") if "experiment: import" in path.read_text()
)


@pytest.mark.parametrize("name", IMPORTS)
def test_each_study_of_published_tables_is_judged_without_them(name: str) -> None:
    study = load_study(ROOT / "config" / "studies" / f"{name}.yaml")
    write_config(Path(), "scale: laptop\n")
    shutil.copy(ROOT / "config" / "studies" / f"{name}.yaml", "config/studies")
    ledger = through_the_stages(name, lacking=(name,))
    assert set(ledger["verdict"]) == {"not run"}
    assert len(ledger) == len(study.claims)
    missing = read_missing(Path("results"), name)
    tables = study.settings["sources"]
    assert {lacking.what for lacking in missing} == {f"source {source}" for source in tables}
    for lacking in missing:
        table = tables[lacking.what.removeprefix("source ")]
        place = f"results/sources/{table['file']}"
        if "address" not in table:
            assert lacking.reason == f"no {table['file']} in results/sources"
            assert lacking.remedy == f"put your table at {place}"
            continue
        fetch, again = f"muster fetch {name}", ""
        if table["reader"] == "pickled_table":
            assert "MUSTER_PICKLES=allow" in lacking.reason
            fetch, again = (
                f"MUSTER_PICKLES=allow {fetch}",
                ", then run again with MUSTER_PICKLES=allow in the environment",
            )
        else:
            assert lacking.reason == "its address cannot be reached: no route to host"
        assert lacking.remedy == f"run `{fetch}`, or put {table['address']} at {place}{again}"


def both(data_options: str, where: str = "{parameterization: mup, optimizer: adam, data: digits}") -> str:
    """The tiny study on two data sets, of which fashion_mnist is missing; its claim is about one of them."""
    study = on("digits", data_options).replace("data: digits, ", "").replace("depth: 2", "depth: 1")
    study = study.replace("parameterization: [mup],", "parameterization: [mup], data: [digits, fashion_mnist],")
    study = study.replace("by: [parameterization, optimizer]", "by: [parameterization, optimizer, data]")
    return study.replace("where: {parameterization: mup, optimizer: adam}", f"where: {where}")


def test_claims_about_cells_that_lack_nothing_are_decided() -> None:
    write_config(Path(), "scale: laptop\n", tiny_train=both(f"{{{SMALL}}}"))
    row = through_the_stages("tiny-train").loc["tiny-flat"]
    assert row["verdict"] != "not run"
    assert row["n_cells"] > 0
    (missing,) = read_missing(Path("results"), "tiny-train")
    assert {cell["data"] for cell in missing.cells} == {"fashion_mnist"}
    assert len(missing.cells) == 3


def a_fit(**fields: object) -> FitConfig:
    return FitConfig.model_validate({"estimator": "power_law", "response": "value", **fields})


@pytest.mark.parametrize(
    ("select", "where", "concerned"),
    [
        ({}, {}, True),
        ({"data": "here"}, {}, False),
        ({"data": ["here", "gone"]}, {}, True),
        ({}, {"data": "here"}, False),
        ({}, {"data": "gone", "width": 8}, True),
        ({"probe": "x"}, {"data": "gone"}, True),
        ({"width": [16, 32]}, {}, False),
    ],
)
def test_a_claim_is_concerned_unless_an_axis_keeps_the_cells_out(select: dict, where: dict, concerned: bool) -> None:
    missing = Missing("data set gone", "lost", "look for it", [{"data": "gone", "width": 8}])
    assert missing.concerns(a_fit(select=select), where) is concerned


def test_a_claim_that_would_be_decided_from_a_part_of_its_cells_is_not_run() -> None:
    study = StudyConfig.model_validate(
        {
            "study": "s", "title": "t", "paper": "p", "slug": "s", "experiment": "train",
            "scales": {"laptop": {"grid": [{"width": 8}]}}, "fits": {"f": a_fit()},
            "claims": [{"claim": "c", "statement": "x", "source": "y", "provenance": "paper", "fit": "f",
                        "test": "less", "predicted": 1}],
        }
    )  # fmt: skip
    numbers = {"estimate": 0.0, "se": 0.1, "dof": 9, "ci_low": -0.2, "ci_high": 0.2, "n_cells": 4, "n_runs": 9}
    fits = pd.DataFrame(
        [{"fit": "f", "group": "{}", "parameter": "b", "primary": True, "status": "ok", "note": ""} | numbers]
    )
    gone = Missing("data set gone", "lost", "look for it", [{"data": "gone"}])
    whole, part = (judge([study], {"s": fits}, "laptop", {"s": missing}).iloc[0] for missing in ([], [gone]))
    assert (whole["verdict"], whole["n_cells"]) == ("supported", 4)
    assert (part["verdict"], part["n_cells"]) == ("not run", 0)
    assert part["reason"] == "data set gone not available, lost: look for it; then run snakemake again"
    assert explain_missing([gone, gone._replace(what="source b")]).count("look for it") == 1


def test_a_run_table_without_rows_is_accepted_from_a_cell_that_lacks_its_data_alone(tmp_path: Path) -> None:
    write_config(Path(), "scale: laptop\n", tiny_train=on("python_text", f"{{{SMALL}}}"))
    through_the_stages("tiny-train", lacking=("tiny-train",))
    plan = load_plan().studies["tiny-train"]
    cell = plan.cells[0]
    folder = Path("results/runs") / cell.key
    record = unsealed((folder / "provenance.json").read_text())
    assert record["notes"].pop("unavailable")
    (folder / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(MusterError, match="0 runs for 7 members"):
        collect(plan, Path("results"))
    nothing = pd.DataFrame()
    with pytest.raises(MusterError):
        write_cell(Outcome(nothing, nothing, nothing), cell, tmp_path / "cell", {})


def test_a_data_set_is_planned_anew_when_its_origin_appears_and_outlives_it() -> None:
    write_config(Path(), "scale: laptop\n", tiny_train=on("text_file", f"{{{SMALL}, context: 16, path: corpus.txt}}"))
    (dataset,) = {dataset_of(cell) for cell in load_plan().cells.values()}
    results, corpus = Path("results"), Path("corpus.txt")

    def state() -> str:
        return planned_state(dataset, results, (results / "sources",))

    def made() -> dict:
        assert main(["data", dataset.name, "--options", dataset.options, "--state", state()]) == 0
        return data.load_manifest(results / "data" / dataset.key)

    assert state() == "absent"
    assert "corpus.txt cannot be read" in made()["unavailable"]
    assert state() == "absent"
    with pytest.raises(MusterError, match=r"not available, corpus\.txt cannot be read"):
        data.load_dataset(results / "data" / dataset.key)
    corpus.write_text("".join(f"{i} times {i} is {i * i}\n" for i in range(400)))
    there = state()
    assert there != "absent"
    assert "unavailable" not in made()
    assert state() == there
    corpus.unlink()
    assert state() == there
    (results / "data" / dataset.key / "manifest.json").write_text("damaged")
    assert state() == "absent"


@pytest.mark.parametrize("name", LACKING)
def test_the_state_changes_when_a_copy_appears(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {
        "fashion_mnist": {},
        "hf_text": {"dataset": "a/b", "path": "rows.jsonl"},
        "text_file": {"path": "corpus.txt"},
        "python_text": {},
    }[name]
    before = data.state(name, options, (tmp_path,))
    copy = {
        "fashion_mnist": "fashion-mnist/t10k-labels-idx1-ubyte.gz",
        "hf_text": "rows.jsonl",
        "text_file": "corpus.txt",
        "python_text": "abc.py",
    }[name]
    monkeypatch.setattr(python_text.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    (tmp_path / copy).parent.mkdir(exist_ok=True)
    (tmp_path / copy).write_text("there")
    after = data.state(name, options, (tmp_path,))
    assert before != after
    assert after == data.state(name, options, (tmp_path,))


def test_a_damaged_record_of_what_is_missing_is_set_aside() -> None:
    path = Path("results/tables/s/missing.json")
    path.parent.mkdir(parents=True)
    path.write_text('[{"what": 1}]')
    with pytest.raises(DamagedError, match="damaged"):
        read_missing(Path("results"), "s")


def studies_on_data() -> None:
    tiny = on("fashion_mnist", f"{{{SMALL}}}")
    write_config(Path(), "scale: laptop\n", tiny_train=tiny, tiny_import=IMPORTED, tiny_sample=SAMPLED)


def test_fetch_tries_all_and_fails_only_for_what_was_named(capsys: pytest.CaptureFixture[str]) -> None:
    studies_on_data()
    assert main(["fetch"]) == 0
    said = capsys.readouterr().out
    for part in ("failed   fashion_mnist: no train-images", "failed   a/runs.csv: its address cannot", "by hand: 2"):
        assert part.lower() in said.lower().replace("not available here: 2. by hand:", "by hand: 2")
    assert "apt-get install dataset-fashion-mnist" in said.rpartition("By hand:")[2]
    assert "put http://127.0.0.1:9/runs.csv at results/sources/a/runs.csv" in said.rpartition("By hand:")[2]
    for name in ("fashion_mnist", "tiny-train", "tiny-import"):
        assert main(["fetch", name]) == 1
    assert main(["fetch", "tiny-sample"]) == 0
    assert capsys.readouterr().out.endswith("nothing is needed from elsewhere\n")
    assert main(["fetch", "mnist1d"]) == main(["fetch", "fashion_mnits"]) == 2
    refused = capsys.readouterr().err
    assert "mnist1d is made here" in refused
    assert "Did you mean 'fashion_mnist'" in refused


def test_fetch_leaves_out_what_is_excluded(capsys: pytest.CaptureFixture[str]) -> None:
    studies_on_data()
    Path("config/config.yaml").write_text("exclude: [tiny-import]\n")
    assert main(["fetch"]) == 0
    assert "runs.csv" not in capsys.readouterr().out


def test_fetch_says_what_the_last_run_lacked(capsys: pytest.CaptureFixture[str]) -> None:
    studies_on_data()
    assert main(["fetch", "--missing"]) == 0
    assert capsys.readouterr().out == "nothing was missing\n"
    path = Path("results/tables/tiny-import/missing.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([Missing("source runs", "lost", "look for it", [])._asdict()]))
    assert main(["fetch", "--missing"]) == 0
    said = capsys.readouterr().out
    assert "claims of 1 study are `not run`" in said
    assert "tiny-import: source runs\n  why: lost\n  how to get it: look for it" in said
