"""A workflow of seconds to break, and the tables that it must end with whatever happens to it."""

import hashlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil

from tests.workflow.conftest import Workflow, copy_workflow
from tests.workflow.studies import IMPORTED, SAMPLED, TINY, imported_table

STUDIES = {
    "tiny_train": TINY.replace("settings: {steps: 6}", "settings: {steps: 6000}"),
    "tiny_sample": SAMPLED.replace("width: [4, 6, 8], seeds: 2", "width: [4, 6], seeds: 1"),
    "tiny_import": IMPORTED,
}
CONFIG = "scale: smoke\nsources: sources\nstore: false\n"
PATIENCE = 1800  # seconds for one run of seconds: others may use the machine
MARK = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Flow(Workflow):
    """A private copy of the project with studies of seconds; `tables` is the target unless another is named."""

    patience = PATIENCE

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Snakemake in the background, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "2", *(arguments or ("tables",))],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, *arguments: str) -> str:
        """Run to the end, which must be reached; returns what was said."""
        done = self.run(*(arguments or ("tables",)))
        said = text(done)
        assert done.returncode == 0, said
        return said

    def fail(self, *arguments: str) -> str:
        """Run to a failure, without any traceback; returns what was said."""
        done = self.run(*(arguments or ("tables",)))
        said = text(done)
        assert done.returncode != 0, said
        assert "Traceback" not in said, said
        return said

    def unlock(self) -> None:
        assert self.run("--unlock").returncode == 0

    def tables(self) -> dict[str, str]:
        """sha256 of every frozen table, fit and ledger: equal inputs give equal bytes."""
        files = [path for top in ("tables", "fits", "ledger") for path in sorted((self.results / top).rglob("*.*"))]
        return {str(path.relative_to(self.results)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def checkpoints(self) -> list[Path]:
        return list((self.results / "checkpoints").rglob("*.pt"))

    def resumed(self) -> list[str]:
        """Cells whose log says that a checkpoint was taken up."""
        return [log.stem for log in (self.results / "logs/train").glob("*.log") if "resumed at step" in log.read_text()]

    def jobs_at_work(self) -> dict[str, psutil.Process]:
        """Processes of this copy's training jobs that have left a checkpoint, by the cell that their log names."""
        saved = {path.parent.name for path in self.checkpoints()}
        if not saved:  # most of the waiting: looking at all processes would slow down what is waited for
            return {}
        found = {}
        for process in psutil.process_iter(["cmdline", "cwd"]):
            if process.info["cwd"] == str(self.folder) and "train" in (process.info["cmdline"] or [])[1:4]:
                with suppress(OSError):  # it has just ended
                    found[Path(f"/proc/{process.pid}/fd/1").readlink().stem] = process
        return {cell: process for cell, process in found.items() if cell in saved}


def text(done: "subprocess.CompletedProcess[str]") -> str:
    """Both streams without colours, and without the line breaks of a narrow terminal."""
    return " ".join(MARK.sub("", done.stdout + done.stderr).split())


def prepare(folder: Path, *studies: str) -> Flow:
    """A fresh copy with some of the studies, and with frequent checkpoints so that a kill finds one."""
    folder.mkdir(parents=True)
    copy = copy_workflow(folder, CONFIG, **{name: STUDIES[name] for name in studies or ("tiny_train",)})
    engine = folder / "src/muster/training/engine.py"
    source = engine.read_text()
    engine.write_text(re.sub(r"CHECKPOINT_SECONDS = [0-9.]+", "CHECKPOINT_SECONDS = 0.2", source))
    (folder / "sources/a").mkdir(parents=True)
    (folder / "sources/a/runs.csv").write_bytes(imported_table())
    return Flow(copy.folder)


class Bench:
    """The folder where drills work, with one undisturbed run to compare with."""

    def __init__(self, folder: Path):
        self.folder, self.numbers = folder, itertools.count(1)

    def flow(self, *studies: str) -> Flow:
        return prepare(self.folder / f"drill-{next(self.numbers)}", *studies)

    @cached_property
    def finished(self) -> Flow:
        """The undisturbed run, to the ledger."""
        flow = self.flow()
        flow.finish("ledger")
        return flow

    @cached_property
    def expected(self) -> dict[str, str]:
        return self.finished.tables()

    def copy(self) -> Flow:
        """A copy of the undisturbed run, times and Snakemake's records included."""
        target = self.folder / f"copy-{next(self.numbers)}"
        subprocess.run(["cp", "-a", str(self.finished.folder), str(target)], check=True)
        return Flow(target)

    def equal(self, flow: Flow) -> str:
        """What was made, the tables at least, is what the undisturbed run made, byte for byte; says so."""
        found = flow.tables()
        due = [name for name in self.expected if name.startswith("tables/") or name in found]
        different = [name for name in due if found.get(name) != self.expected[name]]
        assert not different, f"differ from the undisturbed run: {different}"
        return f"{len(due)} files equal the undisturbed run's, byte for byte"


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@contextmanager
def running(flow: Flow, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Snakemake at work with a checkpoint on disk; its whole group is gone afterwards."""
    process = flow.start(*arguments)
    try:
        wait_for(flow.jobs_at_work)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
