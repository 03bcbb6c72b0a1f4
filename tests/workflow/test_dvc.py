"""Published tables and fits under DVC, and replaying them from a clone: pull, restore, figures, never any training."""

import getpass
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, Workflow, copy_workflow
from tests.workflow.studies import IMPORTED, SAMPLED, TINY, imported_table

CONFIG = "scale: laptop\nsources: sources\nresults: results/{scale}\n"
TRAINED = (
    TINY.replace("  laptop:", "  paper:")
    .replace("  smoke:", "  laptop:")
    .replace("width: [8, 16],", "width: [8, 16, 32],")
    .replace("to: -5, step: 2", "to: -5, step: 1")
)
DRAWN = SAMPLED.replace("  smoke:", "  laptop:")
REPLAY = ("--config", "mode=replay")
NEVER = {"data", "train", "sample"}
SSHD = shutil.which("sshd", path=os.pathsep.join([os.defpath, "/usr/sbin", "/usr/local/sbin"]))


def call(folder: Path, *command: str) -> str:
    """Run a program there; its output. Fails the test with what it said."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def git(folder: Path, *arguments: str) -> str:
    return call(folder, "git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments)


def dvc(folder: Path, *arguments: str) -> str:
    return call(folder, sys.executable, "-m", "dvc", *arguments)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workflow, str]:
    """Three tiny studies run, published, tracked and committed, the remote with them; and what was printed."""
    folder = tmp_path_factory.mktemp("home") / "project"
    folder.mkdir()
    workflow = copy_workflow(folder, CONFIG, tiny_train=TRAINED, tiny_sample=DRAWN, tiny_import=IMPORTED)
    (folder / "sources" / "a").mkdir(parents=True)
    (folder / "sources" / "a" / "runs.csv").write_bytes(imported_table())
    for name in (
        ".gitignore",
        "results/.gitignore",
        "results/published/.gitignore",
        ".dvcignore",
        ".dvc/config",
        ".dvc/.gitignore",
    ):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(ROOT / name, folder / name)
    with (folder / ".gitignore").open("a") as ignored:
        ignored.write("sources/\n")
    git(folder, "init", "--quiet", "--initial-branch=main")
    done = workflow.run()
    assert done.returncode == 0, done.stdout + done.stderr
    done = workflow.run("publish", "--yes", program="muster")
    assert done.returncode == 0, done.stdout + done.stderr
    done = workflow.run("track", program="muster")
    assert done.returncode == 0, done.stdout + done.stderr
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=Results")
    return workflow, done.stdout + done.stderr


def clone(published: Workflow, folder: Path) -> Workflow:
    """A fresh clone, without the first project's cache."""
    target = folder / "project"
    git(published.folder.parent, "clone", "--quiet", str(published.folder), str(target))
    return Workflow(target)


def test_track_makes_a_pointer_for_each_study_and_says_how_to_pass_it_on(published: tuple[Workflow, str]) -> None:
    workflow, said = published
    pointers = {str(path.relative_to(workflow.folder)) for path in workflow.folder.rglob("*.dvc")} - {".dvc"}
    assert pointers == {
        *(f"results/published/tables/{study}.dvc" for study in ("tiny-train", "tiny-sample")),
        *(f"results/published/fits/{study}.dvc" for study in ("tiny-train", "tiny-sample", "tiny-import")),
    }
    assert "git commit" in said
    assert "dvc push" not in said  # the remote is a folder of the repository
    assert "git push" in said
    kept = git(workflow.folder, "ls-files", "results").split()
    assert all(path.startswith(("results/published/", "results/artifacts/", "results/.gitignore")) for path in kept)
    assert "results/published/ledger/metrics.json" in kept
    assert "results/published/figures/tiny-train/sweep.png" in kept
    assert not [path for path in kept if path.endswith(".parquet")]
    assert git(workflow.folder, "status", "--porcelain") == ""


def test_numbers_of_third_parties_are_left_out_and_named(published: tuple[Workflow, str]) -> None:
    workflow, said = published
    assert "results/published/tables/tiny-import" in said
    assert "none stated" in said
    listed = dvc(workflow.folder, "list", "--recursive", "--dvc-only", ".", "results/published/tables")
    assert "tiny-train" in listed
    assert "tiny-import" not in listed


def test_after_tracking_there_is_nothing_to_do(published: tuple[Workflow, str]) -> None:
    assert published[0].jobs() == {}


def test_metrics_and_plots_are_compared_by_dvc(published: tuple[Workflow, str], tmp_path: Path) -> None:
    folder = published[0].folder
    metrics = folder / "results" / "published" / "ledger" / "metrics.json"
    before = metrics.read_text()
    changed = json.loads(before)
    changed["estimates"]["tiny-sample"]["tiny-uniform"] += 0.5
    metrics.write_text(json.dumps(changed))
    try:
        found = json.loads(dvc(folder, "metrics", "diff", "--json"))
    finally:
        metrics.write_text(before)
    change = found["results/published/ledger/metrics.json"]["estimates.tiny-sample.tiny-uniform"]["diff"]
    assert change == pytest.approx(0.5)
    dvc(folder, "plots", "show", "--out", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    assert "forest.svg" in page
    assert "sweep.png" in page
    assert "vega" in page


@pytest.mark.parametrize("links", ["copy", "hardlink", "symlink", "aged"])
def test_a_clone_replays_from_the_tables_alone(published: tuple[Workflow, str], tmp_path: Path, links: str) -> None:
    """aged: hard links into a shared cache whose files are read-only and years old."""
    there = clone(published[0], tmp_path / f"clone-{links}")
    dvc(there.folder, "config", "--local", "cache.type", "hardlink" if links == "aged" else links)
    if links == "aged":
        cache = tmp_path / "shared cache"
        shutil.copytree(published[0].folder / ".dvc" / "cache", cache)
        for path in cache.rglob("*"):
            os.utime(path, (978307200, 978307200))
        dvc(there.folder, "cache", "dir", "--local", str(cache))
    dvc(there.folder, "pull", "--recursive", "results/published/tables")
    restored = there.run("restore", program="muster")
    assert restored.returncode == 0, restored.stderr
    table = there.folder / "results" / "published" / "tables" / "tiny-train" / "runs.parquet"
    assert table.is_symlink() == (links == "symlink")
    assert (table.stat().st_nlink > 1) == (links in ("hardlink", "aged"))
    figure = "results/laptop/figures/tiny-train/sweep.svg"
    assert there.jobs(figure, *REPLAY) == {"fit": 1, "plot": 1}
    assert not NEVER & set(there.jobs("figures", *REPLAY, "studies=[tiny-train,tiny-sample]"))
    if links in ("symlink", "aged"):
        done = there.run(figure, *REPLAY)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (there.folder / figure).read_bytes() == (published[0].folder / figure).read_bytes()
        assert there.jobs(figure, *REPLAY) == {}
        assert dvc(there.folder, "data", "status", "--granular", "--json", "--not-in-remote").count("modified") == 0


def test_a_clone_without_a_network_has_the_published_ledger_again(
    published: tuple[Workflow, str], tmp_path: Path
) -> None:
    """As `make replay` does; a study whose table stays out is judged from its published fits."""
    there = clone(published[0], tmp_path)
    dvc(there.folder, "pull", "--quiet")
    elsewhere = ("--results", "results/replay")
    assert "results/replay/fits/tiny-import" in there.run("restore", *elsewhere, program="muster").stdout
    replay = (*REPLAY, "results=results/replay")
    jobs = there.jobs("ledger", "figures", *replay)
    assert jobs["fit"] == 2
    assert not {*NEVER, "import", "collect"} & set(jobs)
    done = there.run("ledger", "figures", *replay)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("claims.csv", "claims.json", "metrics.json"):
        again, first = (there.folder / f"results/{place}/ledger/{name}" for place in ("replay", "published"))
        assert again.read_bytes() == first.read_bytes(), name
    for name in ("fits.parquet", "optima.parquet", "regime.parquet", "fits.json"):
        again, first = (there.folder / f"results/{place}/fits/tiny-train/{name}" for place in ("replay", "published"))
        assert again.read_bytes() == first.read_bytes(), name


def test_a_missing_table_is_named_with_the_pull_that_brings_it(published: tuple[Workflow, str], tmp_path: Path) -> None:
    there = clone(published[0], tmp_path / "clone-bare")
    done = there.run("figures", *REPLAY, "studies=[tiny-train]")
    assert done.returncode != 0
    assert "results/laptop/tables/tiny-train/runs.parquet: missing" in done.stderr
    (remedy,) = re.findall("`(.*)`", done.stderr)
    assert remedy == (
        "dvc pull results/published/tables/tiny-train.dvc && "
        "muster restore tiny-train --scale laptop --results results/laptop"
    )
    for command in remedy.split(" && "):
        call(there.folder, sys.executable, "-m", *command.split())
    assert not (there.folder / "results" / "laptop" / "tables" / "tiny-sample").exists()
    assert there.jobs("figures", *REPLAY, "studies=[tiny-train]")["fit"] == 1
    shutil.copytree(published[0].folder / "sources", there.folder / "sources")
    fits = "results/laptop/fits/tiny-import/fits.parquet"
    assert there.jobs(fits, *REPLAY, "studies=[tiny-import]") == {"import": 1, "collect": 1, "fit": 1}


def test_equal_inputs_give_equal_bytes(published: tuple[Workflow, str], tmp_path: Path) -> None:
    """The whole flow again, in another folder: tables, fits, ledger and figures, byte for byte."""
    first = published[0].folder / "results" / "laptop"
    second_results = tmp_path / "results" / "laptop"
    second = copy_workflow(tmp_path, CONFIG, tiny_train=TRAINED, tiny_sample=DRAWN, tiny_import=IMPORTED)
    shutil.copytree(published[0].folder / "sources", tmp_path / "sources")
    for name in ("src", "workflow"):  # an edit since then is not what this test is about
        shutil.rmtree(tmp_path / name)
        shutil.copytree(published[0].folder / name, tmp_path / name)
    done = second.run()
    assert done.returncode == 0, done.stdout + done.stderr
    compared = 0
    for part in ("data", "tables", "fits", "ledger", "figures"):
        names = {path.relative_to(first) for path in (first / part).rglob("*") if path.is_file()}
        assert names == {p.relative_to(second_results) for p in (second_results / part).rglob("*") if p.is_file()}
        different = [str(name) for name in names if (first / name).read_bytes() != (second_results / name).read_bytes()]
        assert not different
        compared += len(names)
    assert compared > 20
    for run in first.glob("runs/*/*/*.parquet"):
        assert run.read_bytes() == (second_results / run.relative_to(first)).read_bytes()


def test_one_study_is_run_alone(published: tuple[Workflow, str]) -> None:
    jobs = published[0].jobs("--forceall", "--config", "studies=[tiny-sample]")
    assert jobs["sample"] == 6
    assert not {"train", "import", "data"} & set(jobs)


def test_a_forced_rerun_makes_equal_bytes_anew_and_copies_nothing(published: tuple[Workflow, str]) -> None:
    folder = published[0].folder
    runs = sorted((folder / "results" / "laptop" / "runs" / "train").glob("*/runs.parquet"))
    before = [path.read_bytes() for path in runs]
    done = published[0].run("tables", "--forcerun", "train", "--config", "studies=[tiny-train]")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.read_bytes() for path in runs] == before
    logs = [path.read_text() for path in (folder / "results" / "laptop" / "logs" / "train").glob("*.log")]
    assert len(logs) == 3
    assert not any("taken from the store" in log for log in logs)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A server of our own on loopback, for this user and one fresh key; its port and the key."""
    if SSHD is None or find_spec("dvc_ssh") is None:
        pytest.skip("needs openssh-server and the extra ssh")
    for name in ("host", "user"):
        call(tmp_path, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    config = tmp_path / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/user.pub\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    with (tmp_path / "sshd.log").open("w") as log:
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log)
    try:
        end = time.monotonic() + 20
        while not _answers(port):
            assert server.poll() is None, (tmp_path / "sshd.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield port, tmp_path / "user"
    finally:
        server.terminate()
        server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_remote_over_ssh(published: tuple[Workflow, str], sshd: tuple[int, Path], tmp_path: Path) -> None:
    port, key = sshd
    home, there = published[0].folder, clone(published[0], tmp_path / "clone-ssh")
    stored = tmp_path / "stored by ssh"
    address = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{stored}"
    for folder in (home, there.folder):
        dvc(folder, "remote", "add", "--local", "--force", "there", address)
        dvc(folder, "remote", "modify", "--local", "there", "keyfile", str(key))
    dvc(home, "push", "--remote", "there", "results/published/tables/tiny-train.dvc")
    assert list(stored.rglob("*.dir"))
    dvc(there.folder, "pull", "--remote", "there", "results/published/tables/tiny-train.dvc")
    tables = "results/published/tables/tiny-train/runs.parquet"
    assert (there.folder / tables).read_bytes() == (home / tables).read_bytes()
