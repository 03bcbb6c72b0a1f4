"""Finished cells by content: what goes in comes out, or is named as damaged; several users do not harm each other."""

import dataclasses
import errno
import json
import os
import shutil
import stat
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

import muster.jobs.store
from muster.cli import main
from muster.columns import CELL_FILES
from muster.config.models import Config
from muster.experiments import EXPERIMENTS, Context, Outcome
from muster.jobs.planned import VARIABLE, name_planned, write_planned
from muster.jobs.store import MANIFEST, Identity, Store, address, identity, store_folder
from muster.plan.cells import name_cell
from muster.sampling.matrix_product import MatrixProductCell
from muster.script.cell import CommandCell
from tests.workflow.studies import SAMPLED, write_config

CELL = name_cell("matrix_product", MatrixProductCell(width=4, seed=0))


def made(**changed: object) -> Identity:
    return identity(CELL, "0123456789ab", None) | changed


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A cell's folder."""
    folder = tmp_path / "source"
    folder.mkdir()
    for i, name in enumerate(CELL_FILES):
        (folder / name).write_bytes(os.urandom(500 + i))
    return folder


@pytest.fixture
def store(tmp_path: Path, source: Path) -> Store:
    """A store that holds the cell."""
    filled = Store(tmp_path / "store with spaces")
    filled.put(made(), source, lambda line: pytest.fail(line))
    return filled


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def test_what_was_put_comes_out_byte_for_byte(store: Store, source: Path, tmp_path: Path) -> None:
    said: list[str] = []
    assert store.take(made(), tmp_path / "target", said.append)
    assert content(tmp_path / "target") == content(source)
    assert "taken from the store" in said[0]
    assert not list((store.folder / "partial").iterdir())


def test_an_object_that_gc_removes_as_another_is_kept_is_no_failure(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meets_another(partial: Path, target: Path) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty", str(target))

    shutil.rmtree(store.object(address(made())).path)  # removed since the rename met it
    monkeypatch.setattr(Path, "rename", meets_another)
    assert store.put(made(), source, lambda line: pytest.fail(line)) == []


@pytest.mark.parametrize(
    "other", [{"code": "ba9876543210"}, {"data": "0" * 64}, {"versions": {"numpy": "0"}}, {"job": {}}], ids=str
)
def test_other_settings_code_data_or_versions_are_another_cell(store: Store, tmp_path: Path, other: dict) -> None:
    assert not store.take(made(**other), tmp_path / "target", lambda line: pytest.fail(line))
    assert not (tmp_path / "target").exists()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def forge(path: Path) -> None:
    """The manifest of another cell, sound in itself."""
    manifest = json.loads(path.with_name(MANIFEST).read_text())
    manifest["identity"]["code"] = "another"
    path.with_name(MANIFEST).write_text(json.dumps(manifest))


def escape(path: Path) -> None:
    """A manifest that names a file outside."""
    manifest = json.loads(path.with_name(MANIFEST).read_text())
    manifest["files"]["../../../escaped"] = manifest["files"].pop("cell.json")
    path.with_name(MANIFEST).write_text(json.dumps(manifest))


def link(path: Path) -> None:
    outside = path.parents[3] / "outside"
    path.rename(outside)
    path.symlink_to(outside)


DAMAGES = {
    "bit flipped": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "a link to elsewhere": link,
    "manifest of another cell": forge,
    "manifest that leaves its folder": escape,
    "manifest no JSON": lambda path: path.with_name(MANIFEST).write_text("{"),
    "manifest nested without end": lambda path: path.with_name(MANIFEST).write_text("[" * 100_000),
    "manifest flipped": lambda path: flip(path.with_name(MANIFEST)),
}


@pytest.mark.parametrize("name", CELL_FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_set_aside_and_never_taken(store: Store, tmp_path: Path, damage: str, name: str) -> None:
    path = store.object(address(made())).path
    path.chmod(0o755)
    for file in path.iterdir():
        file.chmod(0o644)
    DAMAGES[damage](path / name)
    said: list[str] = []
    assert not store.take(made(), tmp_path / "target", said.append)
    assert content(tmp_path / "target") == {}
    assert str(path) in said[0]
    assert "damaged" in said[0]
    assert not path.exists()
    assert len(list((store.folder / "damaged").iterdir())) == 1
    assert not store.take(made(), tmp_path / "target", lambda line: pytest.fail(line))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def file_in_its_place(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"")


@pytest.mark.parametrize("unusable", [fifo, folder_in_its_place, file_in_its_place], ids=lambda each: each.__name__)
@pytest.mark.parametrize("name", [MANIFEST, "curves.parquet"])
def test_what_cannot_be_read_is_not_damaged_and_stays(
    store: Store, source: Path, tmp_path: Path, unusable: Callable[[Path], None], name: str
) -> None:
    place = store.object(address(made()))
    place.path.chmod(0o755)
    unusable(place.path / name)
    said: list[str] = []
    assert not store.take(made(), tmp_path / "target", said.append)
    assert store.put(made(), source, said.append) == []
    assert len(said) == 2
    assert all(str(place.path) in line and "damaged" not in line for line in said), said
    assert os.path.lexists(place.path)
    assert [found.path for found, _ in store.faulty()] == [place.path]
    assert not (store.folder / "damaged").exists()


@pytest.mark.parametrize("refused", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE], ids=errno.errorcode.get)
def test_what_the_system_refuses_to_read_is_not_damaged_and_stays(
    store: Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    opened = os.open

    def refuse(path: object, *more: object, **named: object) -> int:
        if str(path) == "runs.parquet" and named.get("dir_fd") is not None:
            raise OSError(refused, os.strerror(refused), path)
        return opened(path, *more, **named)

    before = content(store.object(address(made())).path)
    monkeypatch.setattr(os, "open", refuse)
    said: list[str] = []
    assert not store.take(made(), tmp_path / "target", said.append)
    assert store.put(made(), source, said.append) == []
    monkeypatch.undo()
    assert len(said) == 2
    assert all(os.strerror(refused) in line and "damaged" not in line for line in said), said
    assert content(store.object(address(made())).path) == before


def test_an_object_that_vanishes_while_it_is_read_is_absent_even_if_another_takes_its_place(
    store: Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = store.object(address(made())).path
    read = muster.jobs.store.read_regular

    def collected(path: Path, *more: object) -> bytes:
        if str(path) == "runs.parquet" and not (tmp_path / "gone").exists():
            place.rename(tmp_path / "gone")
            (tmp_path / "gone").chmod(0o755)
            (tmp_path / "gone" / "runs.parquet").unlink()
            store.put(made(), source, lambda line: pytest.fail(line))
        return read(path, *more)

    monkeypatch.setattr(muster.jobs.store, "read_regular", collected)
    assert not store.take(made(), tmp_path / "target", lambda line: pytest.fail(line))
    assert store.take(made(), tmp_path / "target", lambda line: None)
    assert content(tmp_path / "target") == content(source)


def test_a_sound_object_that_came_in_place_of_a_damaged_one_is_not_set_aside(store: Store) -> None:
    place = store.object(address(made()))
    before = content(place.path)
    assert store.set_aside(place) == "somebody else has replaced it"
    assert content(place.path) == before
    assert not list((store.folder / "damaged").iterdir())


@pytest.mark.parametrize(("mode", "folders", "files"), [(0o2775, 0o2775, 0o444), (0o750, 0o750, 0o440)])
def test_all_of_a_store_has_the_modes_of_its_folder_whatever_the_umask(
    source: Path, tmp_path: Path, mode: int, folders: int, files: int
) -> None:
    shared = Store(tmp_path / "shared")
    shared.folder.mkdir()
    shared.folder.chmod(mode)
    before = os.umask(0o077)
    try:
        shared.put(made(), source, lambda line: pytest.fail(line))
    finally:
        os.umask(before)
    paths = list(shared.folder.rglob("*"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_dir()} == {folders}
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()} == {files}


def test_what_was_used_since_gc_looked_stays(store: Store) -> None:
    (found,) = store.objects()
    assert not store.remove(found, 90.0)
    os.utime(found.path / MANIFEST, (0, 0))
    assert store.remove(found, 90.0)
    assert not store.remove(found, 90.0)
    assert not list((store.folder / "partial").iterdir())


def test_a_cell_made_anew_takes_the_place_of_the_damaged_one(store: Store, source: Path, tmp_path: Path) -> None:
    path = store.object(address(made())).path / "runs.parquet"
    path.chmod(0o644)
    flip(path)
    store.take(made(), tmp_path / "target", lambda line: None)
    store.put(made(), source, lambda line: pytest.fail(line))
    assert store.take(made(), tmp_path / "target", lambda line: None)
    assert content(tmp_path / "target") == content(source)


def test_many_users_at_once_see_whole_objects_only(source: Path, tmp_path: Path) -> None:
    shared = Store(tmp_path / "shared")
    identities = [made(code=f"{i % 3:012d}") for i in range(60)]
    start = threading.Barrier(8)
    said: list[str] = []

    def user(number: int) -> int:
        start.wait()
        hits = 0
        for i, each in enumerate(identities):
            target = tmp_path / f"user{number}-{i}"
            if shared.take(each, target, lambda line: None if "taken" in line else said.append(line)):
                assert content(target) == content(source)
                hits += 1
            else:
                shared.put(each, source, said.append)
        return hits

    with ThreadPoolExecutor(8) as pool:
        hits = list(pool.map(user, range(8)))
    assert not said
    assert sum(hits) >= 8 * 60 - 8 * 3
    assert len(list(shared.objects())) == 3
    assert not list(shared.faulty())
    assert not list((shared.folder / "partial").iterdir())


def test_an_object_that_appears_while_it_is_looked_for_is_absent_not_damaged(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Store(tmp_path / "shared")
    opened = os.open

    def others_finish_first(path: Path, flags: int, **where: int) -> int:
        try:
            return opened(path, flags, **where)
        except FileNotFoundError:
            monkeypatch.setattr("os.open", opened)
            shared.put(made(), source, lambda line: pytest.fail(line))
            raise

    monkeypatch.setattr("os.open", others_finish_first)
    assert not shared.take(made(), tmp_path / "target", lambda line: pytest.fail(line))
    assert shared.take(made(), tmp_path / "target", lambda line: None)


def test_objects_cannot_be_written_by_accident(store: Store) -> None:
    assert all(file.stat().st_mode & 0o222 == 0 for file in store.object(address(made())).path.iterdir())


def test_a_store_that_cannot_be_written_costs_a_line_and_nothing_else(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    said: list[str] = []
    Store(tmp_path / "file").put(made(), source, said.append)
    assert len(said) == 1
    assert "not kept in the store" in said[0]


def test_an_object_stays_when_a_rerun_makes_other_bytes_and_these_are_named(store: Store, source: Path) -> None:
    (kept,) = store.objects()
    before, said = content(kept.path), []
    assert store.put(made(), source, said.append) == []
    (source / "provenance.json").write_bytes(b"another day")
    assert store.put(made(), source, said.append) == []
    assert said == []
    flip(source / "curves.parquet")
    assert store.put(made(), source, said.append) == ["curves.parquet"]
    assert content(kept.path) == before
    assert len(said) == 1
    assert "other bytes in curves.parquet" in said[0]
    assert str(kept.path) in said[0]


def test_a_rerun_takes_the_place_of_a_damaged_object(store: Store, source: Path, tmp_path: Path) -> None:
    (kept,) = store.objects()
    kept.path.chmod(0o755)
    (kept.path / "runs.parquet").chmod(0o644)
    flip(kept.path / "runs.parquet")
    said: list[str] = []
    assert store.put(made(), source, said.append) == []
    assert len(said) == 1
    assert "set aside" in said[0]
    assert store.take(made(), tmp_path / "target", said.append)
    assert content(tmp_path / "target") == content(source)


def test_a_forced_rerun_with_other_numbers_says_so_in_log_and_provenance(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = sample(project, capsys)
    run = EXPERIMENTS["matrix_product"].run

    def other(cell: MatrixProductCell, context: Context) -> Outcome:
        outcome = run(cell, context)
        return dataclasses.replace(outcome, probes=outcome.probes.assign(value=outcome.probes["value"] + 1))

    changed = dataclasses.replace(EXPERIMENTS["matrix_product"], run=other)
    monkeypatch.setitem(EXPERIMENTS._entries, "matrix_product", changed)
    code = json.loads(before["provenance.json"])["code"]
    monkeypatch.setattr("muster.jobs.fingerprint.cell_fingerprint", lambda experiment, cell, dtype: code)
    monkeypatch.setenv(VARIABLE, "")
    name_planned(project / "results")
    write_planned([], [CELL.key])
    after, said = sample(project, capsys)
    assert after["probes.parquet"] != before["probes.parquet"]
    assert "other bytes in probes.parquet" in said
    assert json.loads(after["provenance.json"])["differs_from_store"] == ["probes.parquet"]
    assert "differs_from_store" not in json.loads(before["provenance.json"])
    (kept,) = Store(project / "results" / "store").objects()
    assert kept.files() == before


def test_a_put_that_fails_midway_leaves_nothing(source: Path, tmp_path: Path) -> None:
    (source / "runs.parquet").unlink()
    said: list[str] = []
    half = Store(tmp_path / "half")
    half.put(made(), source, said.append)
    assert said
    assert not list(half.objects())
    assert not list((half.folder / "partial").iterdir())


def test_where_the_store_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSTER_STORE", raising=False)
    assert store_folder(Config(results="here")) == Path("here/store")
    assert store_folder(Config(store="/shared")) == Path("/shared")
    assert store_folder(Config(store=False)) is None
    monkeypatch.setenv("MUSTER_STORE", "/from/environment")
    assert store_folder(Config(store="/shared")) == Path("/from/environment")
    monkeypatch.setenv("MUSTER_STORE", "")
    assert store_folder(Config()) is None


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one planned study, outside Snakemake."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MUSTER_STORE", raising=False)
    write_config(tmp_path, "scale: smoke\n", tiny_sample=SAMPLED)
    return tmp_path


def sample(project: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, bytes], str]:
    assert main(["sample", "--cell", CELL.text]) == 0
    return content(project / "results" / "runs" / CELL.key), capsys.readouterr().out


def test_a_spurious_rerun_takes_the_cell_from_the_store(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, said = sample(project, capsys)
    assert "taken from the store" not in said
    again, said = sample(project, capsys)
    assert "taken from the store" in said
    assert again == first
    assert json.loads(first["provenance.json"])["versions"]["numpy"]


@pytest.mark.parametrize("gone", ["runs.parquet", ""])
def test_a_deleted_result_is_made_anew_and_one_that_was_never_here_is_taken(
    project: Path, capsys: pytest.CaptureFixture[str], gone: str
) -> None:
    sample(project, capsys)
    deleted = project / "results" / "runs" / CELL.key / gone
    shutil.rmtree(deleted) if deleted.is_dir() else deleted.unlink()
    _, said = sample(project, capsys)
    assert "taken from the store" not in said
    assert main(["sample", "--cell", CELL.text, "--results", "others", "--config", "config/config.yaml"]) == 0
    assert "taken from the store" not in capsys.readouterr().out  # its store is another, too
    os.environ["MUSTER_STORE"] = "results/store"
    try:
        assert main(["sample", "--cell", CELL.text, "--results", "third"]) == 0
    finally:
        del os.environ["MUSTER_STORE"]
    assert "taken from the store" in capsys.readouterr().out


@pytest.mark.parametrize("anew", [False, True])
def test_a_job_takes_from_the_store_what_its_run_does_not_want_anew_and_goes_on_from_a_checkpoint_all_the_same(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    sample(project, capsys)
    checkpoint = project / "results" / "checkpoints" / CELL.key / "part"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("")
    seen: list[bool] = []
    made = EXPERIMENTS["matrix_product"]

    def watched(cell: MatrixProductCell, context: Context) -> Outcome:
        seen.append(checkpoint.exists())
        return made.run(cell, context)

    monkeypatch.setitem(EXPERIMENTS._entries, "matrix_product", dataclasses.replace(made, run=watched))
    monkeypatch.setattr("muster.jobs.fingerprint.cell_fingerprint", lambda experiment, cell, dtype: code)
    code = json.loads((project / "results" / "runs" / CELL.key / "provenance.json").read_text())["code"]
    monkeypatch.setenv(VARIABLE, "")
    name_planned(project / "results")
    write_planned([], [CELL.key] if anew else ["matrix_product/another"])
    (project / "results" / "runs" / CELL.key / "runs.parquet").unlink()  # as Snakemake does before a job starts
    assert main(["sample", "--cell", CELL.text]) == 0
    assert ("taken from the store" in capsys.readouterr().out) != anew
    assert seen == ([True] if anew else [])


def test_a_command_that_cannot_be_followed_is_not_kept_and_one_that_can_stays_in_its_folder(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "import sys\nopen(sys.argv[1], 'w').write('{\"final_train_loss\": %s}')\n"
    (project / "train.py").write_text(script % 1)
    monkeypatch.setenv("MUSTER_STORE", str(project / "shared"))

    def losses(command: str) -> tuple[float, bool]:
        text = name_cell(
            "command", CommandCell(width=4, seed=0, log2_lr=[-1], command=f"{command} {{output}} {{log2_lr}} {{width}}")
        ).text
        assert main(["command", "--cell", text]) == 0, capsys.readouterr().err
        (folder,) = Path("results/runs/command").iterdir()
        loss = pd.read_parquet(folder / "runs.parquet")["final_train_loss"].item()
        shutil.rmtree("results")
        return loss, "taken from the store" in capsys.readouterr().out

    python = f"{sys.executable} train.py"
    assert [losses(python), losses(python)] == [(1, False), (1, True)]
    (project / "train.py").write_text(script % 2)
    assert losses(python) == (2, False)
    shell = f"sh -c '{sys.executable} train.py $0'"
    assert [losses(shell), losses(shell)] == [(2, False), (2, False)]
    shutil.copytree("config", "other/config")
    shutil.copy("train.py", "other")
    monkeypatch.chdir("other")
    assert [losses(python), losses(python)] == [(2, False), (2, True)]


def test_a_store_switched_off_keeps_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "config" / "config.yaml").write_text("scale: smoke\nstore: false\n")
    sample(project, capsys)
    assert not (project / "results" / "store").exists()
    assert main(["store", "list"]) == 2
    assert "switched off" in capsys.readouterr().err


def test_list_verify_and_gc_say_what_they_found(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample(project, capsys)
    (kept,) = Store(project / "results" / "store").objects()
    assert main(["store", "list"]) == 0
    listed = capsys.readouterr().out
    assert kept.address[:12] in listed
    assert CELL.key in listed
    assert main(["store", "verify"]) == 0
    assert "0 damaged, 1 sound" in capsys.readouterr().out
    (kept.path / "curves.parquet").chmod(0o644)
    flip(kept.path / "curves.parquet")
    assert main(["store", "verify"]) == 1
    said = capsys.readouterr().out
    assert f"{kept.path.relative_to(project)}/curves.parquet" in said
    assert "1 damaged, 0 sound" in said
    assert main(["store", "gc"]) == 0
    assert "and 1 leftovers" in capsys.readouterr().out
    assert not list((project / "results" / "store" / "damaged").iterdir())


def test_gc_keeps_what_the_plan_wants_and_what_was_used_lately(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unplanned = name_cell("matrix_product", MatrixProductCell(width=5, seed=0))
    from muster.plan.plan import load_plan

    planned = next(iter(load_plan(Path("config/config.yaml")).cells.values()))
    for cell in (unplanned, planned):
        assert main(["sample", "--cell", cell.text]) == 0
    held = Store(project / "results" / "store")
    assert main(["store", "gc"]) == 0
    assert len(list(held.objects())) == 2
    for kept in held.objects():
        os.utime(kept.path / MANIFEST, (0, 0))
    capsys.readouterr()
    assert main(["store", "gc", "--dry-run"]) == 0
    assert "would remove 1 unused" in capsys.readouterr().out
    assert len(list(held.objects())) == 2
    assert main(["store", "gc"]) == 0
    (left,) = held.objects()
    assert left.manifest()["identity"]["cell"] == planned.key


def test_taking_a_cell_counts_as_use(store: Store, tmp_path: Path) -> None:
    kept = store.object(address(made()))
    os.utime(kept.path / MANIFEST, (0, 0))
    store.take(made(), tmp_path / "target", lambda line: None)
    assert kept.used > 1e9


def test_a_data_set_that_was_remade_with_the_same_settings_is_another_identity(tmp_path: Path) -> None:
    def of(manifest: str) -> str:
        (tmp_path / "manifest.json").write_text(manifest)
        return address(identity(CELL, "0123456789ab", tmp_path))

    first = of('{"settings": {"train": 9}, "files": {"x.npy": "aa"}}')
    assert of('{"settings": {"train": 9}, "files": {"x.npy": "bb"}}') != first
    assert of('{"settings": {"train": 9}, "files": {"x.npy": "aa"}}') == first
    assert address(identity(CELL, "0123456789ab", None)) != first


@pytest.mark.parametrize("changed", ["code", "seed", "width"])
def test_another_cell_or_other_code_is_another_identity(changed: str) -> None:
    code = "ba9876543210" if changed == "code" else "0123456789ab"
    settings = {"width": 4, "seed": 0} | ({} if changed == "code" else {changed: 5})
    other = identity(name_cell("matrix_product", MatrixProductCell.model_validate(settings)), code, None)
    assert address(other) != address(identity(CELL, "0123456789ab", None))
