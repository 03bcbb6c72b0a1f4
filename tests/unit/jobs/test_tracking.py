"""What may be published, what may not, and files whose times are made equal."""

import json
import os
from pathlib import Path

import pytest

from muster.errors import MusterError
from muster.jobs.tracking import settle_times, shareable, withheld, write_ignored


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


def test_tables_and_cells_without_such_a_licence_are_withheld(tmp_path: Path) -> None:
    write(tmp_path / "tables/own/runs.parquet", {})
    write(tmp_path / "tables/free/sources.json", {"a": {"licence": "MIT"}})
    write(tmp_path / "tables/mixed/sources.json", {"a": {"licence": "MIT"}, "b": {"licence": "none stated"}})
    write(tmp_path / "tables/silent/sources.json", {"a": {}})
    write(tmp_path / "runs/import/a-1/provenance.json", {"notes": {"licence": "MIT"}})
    write(tmp_path / "runs/import/b-2/provenance.json", {"notes": {"licence": "none stated"}})
    found = {str(path.relative_to(tmp_path)): licence for path, licence in withheld(tmp_path).items()}
    assert found == {"tables/mixed": "none stated", "tables/silent": "None", "runs/import/b-2": "none stated"}


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_an_unreadable_record_of_sources_stops_tracking(tmp_path: Path, text: str) -> None:
    write(tmp_path / "tables/broken/sources.json", {})
    (tmp_path / "tables/broken/sources.json").write_text(text)
    with pytest.raises(MusterError, match=r"broken/sources\.json"):
        withheld(tmp_path)


def test_dvcignore_keeps_its_other_lines_and_is_stable(tmp_path: Path) -> None:
    ignore = tmp_path / ".dvcignore"
    ignore.write_text("mine\n")
    write_ignored(ignore, [Path("results/tables/a"), Path("results/tables/b")])
    first = ignore.read_text()
    assert first.splitlines()[0] == "mine"
    assert "/results/tables/a" in first.splitlines()
    write_ignored(ignore, [Path("results/tables/b")])
    assert "/results/tables/a" not in ignore.read_text()
    write_ignored(ignore, [Path("results/tables/a"), Path("results/tables/b")])
    assert ignore.read_text() == first


def test_settled_files_share_a_time_no_later_than_what_was_made_from_them(tmp_path: Path) -> None:
    files = [tmp_path / "tables" / name for name in ("a", "b")]
    for path in files:
        write(path, {})
    write(tmp_path / "fits/f", {})
    os.utime(files[0], (3e9, 3e9))
    os.utime(tmp_path / "fits/f", (1e9, 1e9))
    assert settle_times(tmp_path, files) == 2
    assert {path.stat().st_mtime for path in files} == {1e9}
    assert (tmp_path / "fits/f").stat().st_mtime == 1e9


def test_links_are_settled_too(tmp_path: Path) -> None:
    write(tmp_path / "cache", {})
    (tmp_path / "tables").mkdir()
    link = tmp_path / "tables" / "link"
    link.symlink_to(tmp_path / "cache")
    os.utime(tmp_path / "cache", (1e9, 1e9))
    settle_times(tmp_path, [link])
    assert link.lstat().st_mtime == 1e9
    assert link.is_symlink()


def test_a_file_of_somebody_elses_cache_is_replaced_by_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tables" / "a"
    write(path, {"content": 1})
    os.link(path, tmp_path / "cache")
    os.utime(path, (3e9, 3e9))
    real, foreign = os.utime, path.stat().st_ino

    def utime(target, *arguments, **options) -> None:  # type: ignore[no-untyped-def]
        if os.stat(target).st_ino == foreign:
            raise PermissionError(1, "not yours")
        real(target, *arguments, **options)

    monkeypatch.setattr(os, "utime", utime)
    settle_times(tmp_path, [path])
    assert path.stat().st_ino != foreign
    assert json.loads(path.read_text()) == {"content": 1}
    assert (tmp_path / "cache").stat().st_mtime == 3e9
