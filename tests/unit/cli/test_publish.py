"""`muster publish`: what it takes, what it refuses, what it leaves alone."""

import builtins
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from muster.claims.ledger import read_ledger, write_ledger
from muster.cli import main
from muster.config.load import load_config
from muster.config.models import Config, shared_folder
from muster.digests import unsealed
from muster.errors import MusterError
from muster.files import replaced
from muster.plan.plan import load_plan
from muster.tables.io import read_frame, write_frame
from tests.workflow.studies import IMPORTED, SAMPLED, write_config

CONFIG = "scale: laptop\nresults: results/{scale}\nstore: false\n"
FIRST = SAMPLED.replace("smoke:", "laptop:")
SECOND = FIRST.replace("tiny-", "tiny-other-").replace("aspect: 1", "aspect: 2")
PUBLISHED = Path("results/published")
WORK = Path("results/laptop")


def finish(study: str) -> None:
    """Run a study to its fits, without Snakemake."""
    for cell in load_plan(studies=[study]).cells.values():
        assert main(["sample", "--cell", cell.text, "--results", str(WORK)]) == 0
    assert main(["collect", study]) == 0
    assert main(["fit", study]) == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies run."""
    folder = tmp_path_factory.mktemp("project")
    write_config(folder, CONFIG, tiny_sample=FIRST, tiny_other_sample=SECOND)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MUSTER_STORE", raising=False)
        finish("tiny-sample")
        finish("tiny-other-sample")
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(finished, tmp_path / "p")
    monkeypatch.chdir(tmp_path / "p")
    monkeypatch.setattr(builtins, "input", lambda question: pytest.fail("it asked"))
    return tmp_path / "p"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows() -> pd.DataFrame:
    return read_ledger(PUBLISHED / "ledger").set_index("claim")


def test_a_study_is_published_whole_and_the_same_bytes_each_time(project: Path) -> None:
    assert main(["publish", "tiny-sample", "--yes"]) == 0
    first = tree(PUBLISHED)
    assert set(first) == {
        *(f"tables/tiny-sample/{kind}.parquet" for kind in ("runs", "curves", "probes")),
        *(f"fits/tiny-sample/{name}.parquet" for name in ("fits", "optima", "predictions", "regime")),
        "fits/tiny-sample/fits.json",
        *(
            f"ledger/{name}"
            for name in ("claims.csv", "claims.json", "LEDGER.md", "index.html", "metrics.json", "SHA256SUMS")
        ),
        "figures/tiny-sample/scaling.png",
        "figures/overview/forest.png",
        "figures/overview/forest.svg",
        "records/tiny-sample.json",
    }
    for part in ("tables/tiny-sample/runs.parquet", "fits/tiny-sample/fits.parquet"):
        assert first[part] == (WORK / part).read_bytes()
    record = json.loads(first["records/tiny-sample.json"])
    assert record["scale"] == "laptop"
    assert set(record["cells"]) == set(load_plan(studies=["tiny-sample"]).cells)
    assert record["versions"]["numpy"]
    assert rows()["verdict"].to_dict() == {"tiny-uniform": rows().loc["tiny-uniform", "verdict"],
                                           "tiny-other-uniform": "not run"}  # fmt: skip
    assert rows().loc["tiny-other-uniform", "reason"] == "the study was not run"
    assert main(["publish", "tiny-sample", "--yes"]) == 0
    assert tree(PUBLISHED) == first
    assert not [path for path in project.joinpath("results").glob(".published.*") if path.suffix != ".lock"]


def test_it_shows_what_changes_and_asks(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = []

    def answer(text: str) -> Callable[[str], str]:
        return lambda question: (questions.append(question), text)[1]

    monkeypatch.setattr(builtins, "input", answer(""))
    assert main(["publish", "tiny-sample"]) == 1
    assert not PUBLISHED.exists()
    said = capsys.readouterr().out
    assert "tiny-sample at scale laptop: 1 of 1 verdicts change" in said
    assert re.search(r"tiny-uniform +no claim → (supported|refuted|inconclusive|no measurement)", said)
    assert re.search(r"not run +0 → 1", said)
    assert said.endswith("nothing was published\n")
    monkeypatch.setattr(builtins, "input", answer("y"))
    assert main(["publish", "tiny-sample"]) == 0
    assert len(questions) == 2
    assert main(["publish", "tiny-sample"]) == 0
    assert "tiny-sample at scale laptop: 0 of 1 verdicts change" in capsys.readouterr().out


def test_nobody_to_ask_is_an_error(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nobody(question: str) -> str:
        raise EOFError

    monkeypatch.setattr(builtins, "input", nobody)
    assert main(["publish", "tiny-sample"]) == 2
    assert "Give --yes not to be asked" in capsys.readouterr().err
    assert not PUBLISHED.exists()


def first_cell() -> Path:
    return sorted((WORK / "runs").rglob("runs.parquet"))[0].parent


def edit_json(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(unsealed(path.read_text()) | fields))


def other_values(path: Path) -> None:
    frame = read_frame(path)
    write_frame(frame.assign(value=frame["value"] + 1), path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def edit(old: str, new: str) -> None:
    path = Path("config/studies/tiny-sample.yaml")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


SECOND_FIT = """\
fits:
  second: {estimator: power_law, table: probes, select: {probe: ks_uniform}, response: value, along: width}
"""

SPOILED = {
    "a cell is missing": (
        lambda: shutil.rmtree(first_cell()),
        "of its 6 cells 5 done, 1 waiting. Run: muster run tiny-sample --scale laptop",
    ),
    "a cell of other code": (
        lambda: edit_json(first_cell() / "provenance.json", code="abcdef"),
        "of its 6 cells 5 done, 1 stale: made by other code (abcdef, now",
    ),
    "another grid": (lambda: edit("seeds: 2", "seeds: 3"), "of its 9 cells 6 done, 3 waiting"),
    "no tables": (
        lambda: (WORK / "tables/tiny-sample/runs.parquet").unlink(),
        "its tables are not those of its cells (runs). Make them with: muster collect tiny-sample --scale laptop",
    ),
    "tables of other cells": (
        lambda: other_values(WORK / "tables/tiny-sample/probes.parquet"),
        "its tables are not those of its cells (probes)",
    ),
    "optima that are damaged": (lambda: truncate(WORK / "fits/tiny-sample/optima.parquet"), "optima.parquet: damaged"),
    "no fits": (
        lambda: shutil.rmtree(WORK / "fits/tiny-sample"),
        "it has no fits. Make them with: muster fit tiny-sample --scale laptop",
    ),
    "fits of other tables": (
        lambda: edit_json(WORK / "fits/tiny-sample/fits.json", tables={}),
        "its fits were made from other tables. Make them with: muster fit tiny-sample",
    ),
    "fits by other code": (
        lambda: edit_json(WORK / "fits/tiny-sample/fits.json", code="abcdef"),
        "its fits were made from other code.",
    ),
    "fits of other models": (
        lambda: edit("fits:\n", SECOND_FIT),
        "its fits were made from other models.",
    ),
    "fits that are damaged": (lambda: truncate(WORK / "fits/tiny-sample/fits.parquet"), "fits.parquet: damaged"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_an_incomplete_or_stale_run_is_refused_with_what_mends_it(
    project: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    spoil, said = SPOILED[what]
    assert main(["publish", "tiny-sample", "--yes"]) == 0
    before = tree(PUBLISHED)
    spoil()
    assert main(["publish", "tiny-sample", "tiny-other-sample", "--yes"]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.startswith("muster publish: tiny-sample at scale laptop")
    assert "tiny-other-sample" not in told
    assert len(told.splitlines()) == 1
    assert tree(PUBLISHED) == before


def test_the_problems_of_all_studies_are_said_at_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(WORK / "fits/tiny-sample")
    shutil.rmtree(WORK / "runs")
    assert main(["publish", "--yes"]) == 2
    assert [line.split(" at ")[0] for line in capsys.readouterr().err.splitlines()] == [
        "muster publish: tiny-other-sample",
        "muster publish: tiny-sample",
    ]
    assert not PUBLISHED.exists()


def test_what_mends_a_study_does_mend_it(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other_values(WORK / "tables/tiny-sample/probes.parquet")
    for _ in range(2):
        capsys.readouterr()
        if main(["publish", "tiny-sample", "--yes"]) == 0:
            break
        for command in capsys.readouterr().err.strip().partition("Make them with: ")[2].split(" && "):
            assert main(command.split()[1:]) == 0
    else:
        pytest.fail("not mended")


def test_scale_smoke_is_not_published(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit("laptop:", "smoke:")
    assert main(["publish", "tiny-sample", "--scale", "smoke", "--yes"]) == 2
    assert "scale smoke: judges nothing" in capsys.readouterr().err


def test_a_study_without_its_published_table_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("config/studies/tiny-import.yaml").write_text(IMPORTED)
    for cell in load_plan(studies=["tiny-import"]).cells.values():
        assert main(["import", "--cell", cell.text, "--results", str(WORK)]) == 0
    assert main(["collect", "tiny-import"]) == main(["fit", "tiny-import"]) == 0
    capsys.readouterr()
    assert main(["publish", "--yes"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("muster publish: tiny-import at scale laptop: source runs not available")
    assert "muster fetch tiny-import" in said
    assert "put http://127.0.0.1:9/runs.csv at results/sources/a/runs.csv" in said


def test_only_the_rows_of_the_study_change_and_what_its_family_adjusts(project: Path) -> None:
    """One study published by this command, and one that stands in a ledger from before it."""
    assert main(["publish", "--yes"]) == 0
    ledger = read_ledger(PUBLISHED / "ledger")
    of_other = ledger["study"] == "tiny-other-sample"
    numbers = {
        "estimate": -1.25,
        "ci_low": -1.3,
        "ci_high": -1.2,
        "p_support": 0.03,
        "p_refute": 0.9,
        "p_adjusted": 0.06,
    }
    ledger.loc[of_other, list(numbers)] = list(numbers.values())
    write_ledger(ledger, PUBLISHED / "ledger")
    (PUBLISHED / "records/tiny-other-sample.json").unlink()
    shutil.rmtree(PUBLISHED / "fits/tiny-other-sample")
    shutil.rmtree(WORK / "fits/tiny-other-sample")
    assert main(["publish", "tiny-sample", "--yes"]) == 0
    after = read_ledger(PUBLISHED / "ledger")
    kept, was = (frame[of_other].iloc[0] for frame in (after, ledger))
    adjusted = ["p_adjusted", "verdict", "agrees", "reason"]
    assert kept.drop(adjusted).to_dict() == was.drop(adjusted).to_dict()
    assert kept["p_adjusted"] == 0.03  # the only claim of its own paper's family


def test_a_study_published_before_is_judged_from_its_published_fits(project: Path) -> None:
    assert main(["publish", "--yes"]) == 0
    before = rows().loc["tiny-other-uniform"]
    shutil.rmtree(WORK / "fits/tiny-other-sample")
    path = Path("config/studies/tiny-other-sample.yaml")
    path.write_text(path.read_text().replace("predicted: -1, margin: 0.1", "predicted: -1, margin: 40"))
    assert main(["publish", "tiny-sample", "--yes"]) == 0
    after = rows().loc["tiny-other-uniform"]
    assert after["estimate"] == before["estimate"]
    assert (before["margin"], after["margin"], after["verdict"]) == (0.1, 40, "supported")


def test_a_study_whose_models_changed_since_keeps_its_rows(project: Path) -> None:
    assert main(["publish", "--yes"]) == 0
    before = rows().loc["tiny-other-uniform"]
    path = Path("config/studies/tiny-other-sample.yaml")
    path.write_text(path.read_text().replace("uniform: {estimator", "renamed: {estimator")
                    .replace("fit: uniform", "fit: renamed").replace("margin: 0.1", "margin: 40"))  # fmt: skip
    assert main(["publish", "tiny-sample", "--yes"]) == 0
    assert rows().loc["tiny-other-uniform"].to_dict() == before.to_dict()


def test_a_study_that_is_no_more_leaves_the_publication(project: Path) -> None:
    assert main(["publish", "--yes"]) == 0
    Path("config/studies/tiny-other-sample.yaml").unlink()
    assert main(["publish", "tiny-sample", "--yes"]) == 0
    assert list(rows().index) == ["tiny-uniform"]
    assert not [name for name in tree(PUBLISHED) if "tiny-other" in name]


def test_the_ledger_links_published_figures_alone(project: Path) -> None:
    def links() -> list[str]:
        return re.findall(r"\]\(([^)]*)\)", (PUBLISHED / "ledger/LEDGER.md").read_text())

    assert main(["publish", "tiny-sample", "--yes"]) == 0
    assert links() == ["../figures/tiny-sample/scaling.png"]
    waiting = "| tiny-other-sample | Nobody 2001, Nothing | tiny-other-uniform |"
    assert waiting in (PUBLISHED / "ledger/LEDGER.md").read_text()
    assert main(["publish", "--yes"]) == 0
    assert sorted(links()) == ["../figures/tiny-other-sample/scaling.png", "../figures/tiny-sample/scaling.png"]


@pytest.mark.parametrize("at", ["muster.claims.ledger.write_ledger", "muster.plots.save"])
def test_an_interrupted_publish_leaves_what_was_there(project: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    assert main(["publish", "tiny-sample", "--yes"]) == 0
    before = tree(project / "results")

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(at, interrupt)
    with pytest.raises(KeyboardInterrupt):
        main(["publish", "--yes"])
    assert tree(project / "results") == before


def test_a_kill_between_the_last_two_steps_is_mended_by_the_next_call(tmp_path: Path) -> None:
    folder = tmp_path / "shown"
    with replaced(folder) as new:
        (new / "a").write_text("old")
    folder.rename(tmp_path / ".shown.old")
    (tmp_path / ".shown.new").mkdir()
    with replaced(folder) as new:
        assert {path.name: path.read_text() for path in new.iterdir()} == {"a": "old"}
    assert (folder / "a").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"shown", ".shown.lock"}


def test_two_that_publish_at_once_do_not_mix(tmp_path: Path) -> None:
    with replaced(tmp_path / "shown") as new:
        (new / "a").write_text("first")
        with pytest.raises(MusterError, match="another process holds this lock"), replaced(tmp_path / "shown"):
            pytest.fail("it went on")
    assert (tmp_path / "shown/a").read_text() == "first"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MusterError, match=r"file/shown: cannot be written"), replaced(tmp_path / "file" / "shown"):
        pytest.fail("it went on")


def test_show_claim_tells_the_workbench_from_the_publication(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "tiny-sample", "--yes"]) == 0
    capsys.readouterr()
    assert main(["show", "claim", "tiny-uniform"]) == 0
    said = capsys.readouterr().out
    assert "(results/published/ledger/LEDGER.md)" in said
    assert "(results/laptop/ledger/LEDGER.md)" not in said


@pytest.mark.parametrize("folder", ["results/published", "results/{scale}/../published", "./results/published/deeper"])
def test_no_run_may_write_where_the_publication_is(
    project: Path, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    Path("config/config.yaml").write_text(f"scale: laptop\nresults: '{folder}'\n")
    with pytest.raises(MusterError, match=r"config\.yaml:2 results: .* written by `muster publish` alone"):
        load_config()
    Path("config/config.yaml").write_text(CONFIG)
    plain = folder.replace("{scale}", "laptop")
    assert main(["judge", "--results", plain]) == 2
    assert f"--results: found {Path(plain)}: " in capsys.readouterr().err.replace(". results/", ": results/")


def test_the_folder_of_results_follows_the_scale() -> None:
    assert Config().results == "results/laptop"
    assert Config(scale="smoke").results == "results/smoke"
    assert Config(scale="smoke", results="there/{scale}/x").results == "there/smoke/x"
    assert Config(results="there").results == "there"
    with pytest.raises(ValueError, match=r"\{scale\} is the only placeholder"):
        Config(results="results/{scal}")


def test_scales_share_what_does_not_depend_on_them() -> None:
    assert shared_folder("results/laptop") == shared_folder("results/smoke") == Path("results")
    assert shared_folder("/tmp/mine") == Path("/tmp/mine")
