"""What may be passed on, what may not, and published tables back in the workbench."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from muster.cli import main
from muster.errors import MusterError
from muster.jobs.tracking import records, shareable, withheld
from muster.tables.io import content_digest, write_frame
from tests.workflow.studies import SAMPLED, write_config


@pytest.mark.parametrize("licence", ["MIT", "Apache-2.0", "CC-BY-4.0; see LICENSE", "CC0-1.0, as the authors state"])
def test_a_named_permissive_licence_may_be_passed_on(licence: str) -> None:
    assert shareable(licence)


@pytest.mark.parametrize(
    "licence", ["none stated", "unknown", "", "None", "proprietary", "CC-BY-NC-4.0", "MIT?", "not MIT", "mit-like"]
)
def test_anything_else_may_not(licence: str) -> None:
    assert not shareable(licence)


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_tables_without_such_a_licence_are_withheld(tmp_path: Path) -> None:
    write(tmp_path / "tables/own/runs.parquet", {})
    write(tmp_path / "tables/free/sources.json", {"a": {"licence": "MIT"}})
    write(tmp_path / "tables/mixed/sources.json", {"a": {"licence": "MIT"}, "b": {"licence": "none stated"}})
    write(tmp_path / "tables/silent/sources.json", {"a": {}})
    assert withheld(tmp_path) == {"mixed": "none stated", "silent": "None"}


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_an_unreadable_record_stops_with_the_command_that_mends_it(tmp_path: Path, text: str) -> None:
    for path, read in (("tables/broken/sources.json", withheld), ("records/broken.json", records)):
        write(tmp_path / path, {})
        (tmp_path / path).write_text(text)
        with pytest.raises(MusterError, match=rf"{path}: cannot be read .*muster publish broken"):
            read(tmp_path)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose study is published at scale laptop, as a clone has it after `dvc pull`; its tables."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, "scale: laptop\nresults: results/{scale}\n", tiny_sample=SAMPLED)
    folder = Path("results/published/tables/tiny-sample")
    digests = {}
    for kind in ("runs", "curves", "probes"):
        write_frame(pd.DataFrame({"x": [1.0, 2.0], "kind": kind}), folder / f"{kind}.parquet")
        digests[kind] = content_digest(folder / f"{kind}.parquet")
    record = {"scale": "laptop", "made_from": {"tables": digests}}
    write(Path("results/published/records/tiny-sample.json"), record)
    return folder


def test_published_tables_come_back_byte_for_byte_and_equal_ones_keep_their_time(published: Path) -> None:
    assert main(["restore"]) == 0
    target = Path("results/laptop/tables/tiny-sample")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in target.iterdir()}
    assert {name: content for name, (content, _) in before.items()} == {
        path.name: path.read_bytes() for path in published.iterdir()
    }
    assert main(["restore", "tiny-sample"]) == 0
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in target.iterdir()} == before


def test_restoring_overwrites_nothing(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = Path("results/laptop/tables/tiny-sample/runs.parquet")
    write(own, {})
    assert main(["restore"]) == 2
    assert f"{own}: differs from the published one" in capsys.readouterr().err
    assert own.read_text() == "{}"
    assert not own.with_name("probes.parquet").exists()
    assert main(["restore", "--results", "elsewhere"]) == 0


def test_only_what_was_published_is_restored(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_frame(pd.DataFrame({"x": [3.0]}), published / "runs.parquet")
    assert main(["restore"]) == 2
    said = capsys.readouterr().err
    assert "runs.parquet: is not what was published. Bring back" in said
    assert "dvc checkout --force results/published/tables/tiny-sample.dvc" in said
    (published / "runs.parquet").unlink()
    assert main(["restore"]) == 2
    assert "runs.parquet: not here. Bring it with: dvc pull results/published/tables/" in capsys.readouterr().err
    assert not Path("results/laptop").exists()


def test_what_was_not_pulled_is_named(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables of one study of two: the other's can be pulled, a third's cannot, and its fits are not here either."""
    record = json.loads(Path("results/published/records/tiny-sample.json").read_text())
    for name in ("other", "third"):
        write(Path(f"results/published/records/{name}.json"), record)
    Path("results/published/tables/other.dvc").touch()
    assert main(["restore"]) == 0
    said = capsys.readouterr()
    assert said.out.split() == ["results/laptop/tables/tiny-sample"]
    assert said.err == "muster restore: not here, so not restored: other, third. Bring them with: dvc pull\n"
    for name, file in (("other", "tables/other/runs.parquet"), ("third", "fits/third/fits.parquet")):
        assert main(["restore", name]) == 2
        folder = f"results/published/{Path(file).parent}"
        assert f"results/published/{file}: not here. Bring it with: dvc pull {folder}.dvc" in capsys.readouterr().err


def test_fits_are_restored_whole_or_not(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(published)
    fits = Path("results/published/fits/tiny-sample")
    for name in ("fits", "optima"):
        write_frame(pd.DataFrame({"x": [1.0]}), fits / f"{name}.parquet")
    assert main(["restore"]) == 2
    assert f"{fits}/regime.parquet: not here. Bring it with: dvc pull {fits}.dvc" in capsys.readouterr().err
    write_frame(pd.DataFrame({"x": [1.0]}), fits / "regime.parquet")
    write(fits / "fits.json", {})
    assert main(["restore"]) == 0
    assert Path("results/laptop/fits/tiny-sample/regime.parquet").exists()


def test_a_part_of_a_study_is_not_tracked(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path(".git").mkdir()
    (published / "probes.parquet").unlink()
    assert main(["track"]) == 2
    assert "probes.parquet: not here. Bring it with: dvc pull" in capsys.readouterr().err
    assert not Path(".dvc").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["restore", "tiny-sampel"], "'tiny-sampel' is not published. Did you mean 'tiny-sample'?"),
        (["restore", "tiny-sample", "--scale", "smoke"], "published at scale laptop, not smoke. Give --scale laptop"),
        (["restore", "--scale", "paper"], "no published tables of scale paper are here. Bring them with: dvc pull"),
    ],
)
def test_what_is_not_published_is_named(
    published: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_tracking_needs_git_and_something_published(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track"]) == 2
    assert "not the top of a git repository" in capsys.readouterr().err
    Path(".git").mkdir()
    shutil.rmtree(published)
    assert main(["track"]) == 2
    assert "results/published: it has no tables. Publish a study with: muster publish STUDY" in capsys.readouterr().err
