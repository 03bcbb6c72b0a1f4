"""Faults of shared places: several users of one store, folders that are full, foreign, read-only or oddly named."""

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import yaml

from muster.claims.ledger import read_ledger
from muster.columns import CELL_FILES
from muster.jobs.store import MANIFEST, Store, address
from tests.drills.faults import fault
from tests.drills.flow import PATIENCE, Bench, text
from tests.workflow.conftest import ROOT, copy_workflow
from tests.workflow.studies import IMPORTED, SAMPLED, imported_table, write_config

NOBODY = 65534


def cell(folder: Path, content: bytes = b"x") -> Path:
    """A folder with the files of a cell."""
    folder.mkdir(exist_ok=True)
    for name in CELL_FILES:
        (folder / name).write_bytes(content * 1000)
    return folder


def filled(folder: Path) -> tuple[Store, dict[str, str], Path]:
    """A store with one object, its identity, and the files that it was made from."""
    made = {"cell": "c", "code": "0"}
    store, source = Store(folder / "store"), cell(folder / "source")
    said: list[str] = []
    store.put(made, source, said.append)
    assert said == []
    return store, made, source


def as_nobody(work: Callable[[], str]) -> str:
    """What a function says in a process of another user; root alone can ask for that."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            said = work()
        except BaseException as error:
            said = f"FAILED {error!r}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        said = stream.read()
    os.waitpid(child, 0)
    assert not said.startswith("FAILED"), said
    return said


def opened(bench: Bench) -> Path:
    """A new folder that every user may write to."""
    folder = bench.empty()
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o755)
    folder.chmod(0o777)
    return folder


@fault("a store that another user may not read")
def unreadable_store(bench: Bench) -> str:
    folder = opened(bench)
    store, made, source = filled(folder)
    place = store.object(address(made)).path
    (place / "runs.parquet").chmod(0)
    before = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}

    def work() -> str:
        said: list[str] = []
        assert not store.take(made, folder / "target", said.append)
        assert store.put(made, source, said.append) == []
        return "; ".join(said)

    said = as_nobody(work) if os.getuid() == 0 else work()
    assert said.count("Permission denied") == 2, said
    assert "damaged" not in said
    assert {path.name: path.stat().st_mtime_ns for path in place.iterdir()} == before
    return (
        "its cell was made anew, with one line each that named the object and “Permission denied”; the object stayed \
where it was"
    )


@fault("pipes and folders in place of a store's files")
def strange_store(bench: Bench) -> str:
    tried = 0
    for name in (MANIFEST, *CELL_FILES):
        for change in (os.mkfifo, os.mkdir):
            folder = bench.empty()
            store, made, source = filled(folder)
            place = store.object(address(made)).path
            place.chmod(0o755)
            (place / name).unlink()
            change(place / name)
            said: list[str] = []
            start = time.monotonic()
            assert not store.take(made, folder / "target", said.append)
            assert store.put(made, source, said.append) == []
            assert time.monotonic() - start < 10
            assert len(said) == 2
            assert "damaged" not in "".join(said), said
            assert place.exists()
            tried += 1
    return f"{tried} of {tried} were named, not waited for, not called damaged and not moved"


@fault("a store shared by a group, each user with umask 077")
def shared_store(bench: Bench) -> str:
    folder = opened(bench)
    (folder / "store").mkdir()
    (folder / "store").chmod(0o2777 if os.getuid() == 0 else 0o2775)
    before = os.umask(0o077)
    try:
        store, made, _ = filled(folder)
    finally:
        os.umask(before)

    def work() -> str:
        os.umask(0o077)
        said: list[str] = []
        assert store.take(made, folder / "target", said.append), said
        other = made | {"code": "1"}
        store.put(other, folder / "target", lambda line: said.append(f"refused {line}"))
        return "; ".join(said)

    said = as_nobody(work) if os.getuid() == 0 else work()
    assert "taken from the store" in said, said
    assert "refused" not in said, said
    said_here: list[str] = []
    assert store.take(made | {"code": "1"}, folder / "back", said_here.append), said_here
    modes = {oct(stat.S_IMODE(path.stat().st_mode)) for path in (folder / "store").rglob("*") if path.is_dir()}
    return f"each took what the other had made: all folders have the modes of the store's own ({', '.join(modes)})"


@fault("gc while others take and keep cells")
def gc_beside_runs(bench: Bench) -> str:
    folder = bench.empty()
    store, source = Store(folder / "store"), cell(folder / "source")
    identities = [{"cell": f"c{i}", "code": "0"} for i in range(20)]
    end, wrong, counts = time.monotonic() + 5, [], {"taken": 0, "absent": 0, "removed": 0}

    def user(number: int) -> None:
        i = 0
        while time.monotonic() < end:
            i += 1
            said: list[str] = []
            target = folder / f"user-{number}"
            if store.take(identities[i % 20], target, said.append):
                counts["taken"] += 1
                wrong.extend(n for n in CELL_FILES if (target / n).read_bytes() != (source / n).read_bytes())
            else:
                counts["absent"] += 1
                store.put(identities[i % 20], source, said.append)
            wrong.extend(line for line in said if "taken from" not in line)

    def collector() -> None:
        while time.monotonic() < end:
            for found in store.objects():
                counts["removed"] += store.remove(found, -1.0)

    threads = [threading.Thread(target=user, args=(i,)) for i in range(3)] + [threading.Thread(target=collector)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]
    assert not list(store.faulty())
    return f"in 5 s {counts['taken']} cells were taken whole, {counts['absent']} were absent, {counts['removed']} were \
removed; nothing was called damaged, no job failed"


CHAIN = """\
import sys
from muster.cli import main
from muster.plan.plan import load_plan
plan = load_plan()
for cell in plan.cells.values():
    assert main(["sample", "--cell", cell.text, *sys.argv[1:]]) == 0
for words in (["collect", "tiny-sample"], ["fit", "tiny-sample"], ["judge", "--studies", "tiny-sample"]):
    assert main([*words, *sys.argv[1:]]) == 0, words
"""


def run_chain(
    folder: Path, *options: str, before: tuple[str, ...] = (), **environment: str
) -> "subprocess.CompletedProcess[str]":
    """All stages of a study of samples by hand, in one process."""
    return subprocess.run(
        [*before, sys.executable, "-c", CHAIN, *options],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "MUSTER_STORE": "", **environment},
        capture_output=True,
        text=True,
    )


def chain(folder: Path, *options: str, before: tuple[str, ...] = (), **environment: str) -> str:
    """The same, which must end well; returns what was said."""
    done = run_chain(folder, *options, before=before, **environment)
    assert done.returncode == 0, text(done)[-2000:]
    return text(done)


def project(folder: Path, config: str = "scale: smoke\nresults: results\n") -> Path:
    write_config(folder, config, tiny_sample=SAMPLED)
    return folder


def made(results: Path) -> dict[str, bytes]:
    """Tables, fits and ledger."""
    files = [path for top in ("tables", "fits", "ledger") for path in sorted((results / top).rglob("*.*"))]
    return {str(path.relative_to(results)): path.read_bytes() for path in files}


@cache
def undisturbed(bench: Bench) -> dict[str, bytes]:
    folder = project(bench.empty())
    chain(folder)
    return made(folder / "results")


@fault("a store that is full, or read-only")
def full_store(bench: Bench) -> str:
    expected = undisturbed(bench)
    for mount in ("mount -t tmpfs -o size=4k none store", "mount -t tmpfs none store && mount -o remount,ro store"):
        folder = project(bench.empty())
        (folder / "store").mkdir()
        script = f'set -e; {mount}; exec "$@"'
        own = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh")
        said = chain(folder, before=own, MUSTER_STORE=str(folder / "store"))
        assert "not kept in the store" in said, said
        assert "damaged" not in said
        assert made(folder / "results") == expected
    return f"every job finished and said “not kept in the store”; {len(expected)} files equal an undisturbed run's"


@fault("folders of results with spaces, braces, dashes, tildes, or no name")
def odd_results(bench: Bench) -> str:
    expected, taken, refused = undisturbed(bench), [], []
    for name in ("my results (1) & $HOME", "it's; 实验", "", "-rf", "~", "{}", "a\\nb"):
        folder = project(bench.empty(), f'scale: smoke\nresults: "{name}"\n')
        before = {path for path in folder.rglob("*")}
        done = run_chain(folder)
        if done.returncode:
            assert "config.yaml:2 results: found" in text(done), text(done)
            assert {path for path in folder.rglob("*")} == before
            refused.append(name)
        else:
            assert made(folder / name) == expected
            taken.append(name)
    assert len(taken) == 2
    return (
        f"{len(taken)} were taken as they are, with equal bytes; {len(refused)} were refused, and nothing was written"
    )


@fault("a read-only checkout, results elsewhere")
def read_only_checkout(bench: Bench) -> str:
    expected, folder, results = undisturbed(bench), project(bench.empty()), bench.empty()
    script = 'set -e; mount --bind . .; mount -o remount,ro,bind .; cd "$PWD"; ! touch probe 2> /dev/null; exec "$@"'
    own = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh")
    chain(folder, "--results", str(results), before=own)
    assert made(results) == expected
    assert not (folder / "results").exists()
    return f"all stages ran; {len(expected)} files equal an undisturbed run's, nothing was written into the checkout"


@fault("a git worktree")
def git_worktree(bench: Bench) -> str:
    expected, folder = undisturbed(bench), project(bench.empty())
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"], ["worktree", "add", "-q", "../tree"]):
        subprocess.run([*git, *words], cwd=folder, check=True, capture_output=True)
    tree = folder.parent / "tree"
    chain(tree)
    assert made(tree / "results") == expected
    shutil.rmtree(tree)
    return f"all stages ran in it; {len(expected)} files equal an undisturbed run's"


PUBLISH = """\
import subprocess, sys
from muster.cli import main
from muster.plan.plan import load_plan
plan = load_plan()
for cell in plan.cells.values():
    assert main([cell.stage, "--cell", cell.text, "--results", plan.config.results]) == 0
for study in plan.studies:
    assert main(["collect", study]) == main(["fit", study]) == 0
assert main(["judge", "--studies", *plan.studies]) == main(["publish", "--yes"]) == main(["track"]) == 0
"""
OF_DVC = (
    ".gitignore",
    "results/.gitignore",
    "results/published/.gitignore",
    ".dvcignore",
    ".dvc/config",
    ".dvc/.gitignore",
)
REPLAY = ("--cores", "1", "ledger", "--config", "mode=replay", "results=results/replay")


def call(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "MUSTER_STORE": ""}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def published(folder: Path) -> None:
    """A repository with three published studies, one of them of a table that may not be passed on, but its fits."""
    drawn = SAMPLED.replace("  smoke:", "  laptop:")
    studies = {
        "tiny_sample": drawn,
        "tiny_second": drawn.replace("tiny-", "second-").replace("second-sample", "tiny-second"),
    }
    config = "scale: laptop\nsources: sources\nresults: results/{scale}\n"
    copy_workflow(folder, config, tiny_import=IMPORTED, **studies)
    (folder / "sources/a").mkdir(parents=True)
    (folder / "sources/a/runs.csv").write_bytes(imported_table())
    for name in OF_DVC:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / ".git/info").mkdir(parents=True)
    git = ("git", "-c", "user.name=n", "-c", "user.email=e@example.org")
    kept = ("Snakefile", "workflow", "src", "config", "results", ".dvc", "dvc.yaml", ".gitignore", ".dvcignore")
    make = (sys.executable, "-c", PUBLISH)
    for command in ((*git, "init", "-q"), make, (*git, "add", *kept), (*git, "commit", "-qm", "Results")):
        done = call(folder, *command)
        assert done.returncode == 0, text(done)


def object_of(folder: Path, study: str, name: str) -> Path:
    """Where the remote inside the repository keeps a published table."""
    remote = folder / "results/artifacts/files/md5"
    (listed,) = yaml.safe_load((folder / f"results/published/tables/{study}.dvc").read_text())["outs"]
    entries = json.loads((remote / listed["md5"][:2] / listed["md5"][2:]).read_text())
    (found,) = (entry["md5"] for entry in entries if entry["relpath"] == name)
    return remote / found[:2] / found[2:]


@fault("a partial `dvc pull`: of some studies, and one that breaks off")
def partial_pull(bench: Bench) -> str:
    """Nothing is silently missing: not a study that was not pulled, not a file of one that was."""
    first, folder = bench.empty(), bench.empty() / "clone"
    published(first)
    call(first, "git", "clone", "-q", str(first), str(folder))
    pull, restore = (
        (sys.executable, "-m", *words)
        for words in (("dvc", "pull"), ("muster", "restore", "--results", "results/replay"))
    )
    assert call(folder, *pull, "results/published/tables/tiny-sample.dvc").returncode == 0
    done = call(folder, *restore)
    assert done.returncode == 0, text(done)
    assert "not here, so not restored: tiny-import, tiny-second. Bring them with: dvc pull" in text(done), text(done)
    done = call(folder, sys.executable, "-m", "snakemake", *REPLAY)
    assert done.returncode != 0
    assert "tables/tiny-second/runs.parquet: missing, and mode: replay does not make it" in text(done), text(done)
    done = call(folder, sys.executable, "-m", "snakemake", *REPLAY, "studies=[tiny-sample]")
    assert done.returncode == 0, text(done)
    alone = {row["claim"]: row for row in read_ledger(folder / "results/replay/ledger").to_dict("records")}
    assert [row["verdict"] for row in alone.values()].count("not run") == 2
    shutil.rmtree(folder / "results/replay/ledger")

    lost = object_of(folder, "tiny-second", "runs.parquet")
    content = lost.read_bytes()
    lost.unlink()
    broken = call(folder, *pull)
    assert broken.returncode != 0
    said = text(call(folder, *restore))
    assert "tiny-second" in said, said
    lost.write_bytes(content)
    assert call(folder, *pull).returncode == 0
    done = call(folder, *restore)
    assert done.returncode == 0, text(done)
    assert "not here" not in text(done), text(done)
    done = call(folder, sys.executable, "-m", "snakemake", *REPLAY)
    assert done.returncode == 0, text(done)
    for name in ("claims.csv", "claims.json", "metrics.json"):
        again, before = (place / "ledger" / name for place in (folder / "results/replay", first / "results/published"))
        assert again.read_bytes() == before.read_bytes(), name
    return (
        "`muster restore` brought what was here and named the two studies that were not; `mode: replay` refused to run \
without their tables, named the pull, and alone judged the study that was here, the others' claims “not run”; a pull \
that broke off failed, and what it left was named; after a whole one the ledger was the published one, byte for byte"
    )
