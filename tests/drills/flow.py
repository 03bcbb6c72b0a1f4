"""A workflow of seconds to break, and the tables that it must end with whatever happens to it."""

import hashlib
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil

from muster.jobs.progress import started_outputs
from tests.workflow.conftest import Workflow, copy_workflow
from tests.workflow.studies import IMPORTED, SAMPLED, TINY, imported_table

STUDIES = {
    "tiny_train": TINY.replace("settings: {steps: 6}", "settings: {steps: 6000}"),
    "tiny_sample": SAMPLED.replace("width: [4, 6, 8], seeds: 2", "width: [4, 6], seeds: 1"),
    "tiny_import": IMPORTED,
}
MANY = ("config/studies/tiny-train.yaml", "width: [8, 16]", f"width: {[8 * each for each in range(1, 15)]}")
CONFIG = "scale: smoke\nsources: sources\nstore: false\n"
PATIENCE = 1800  # seconds for one run of seconds: others may use the machine
MARK = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Flow(Workflow):
    """A private copy of the project with studies of seconds; `tables` is the target unless another is named."""

    def run(self, *arguments: str, program: str = "snakemake") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", program, *(["--cores", "2"] if program == "snakemake" else []), *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """A program of this Python in the background, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def processes(self) -> list[psutil.Process]:
        """All that works in this copy: Snakemake, jobs, the warm server and what it has forked."""
        return [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(self.folder)]

    def served_at_work(self) -> bool:
        """Whether the warm server runs a job that has left a checkpoint."""
        return bool(self.jobs_at_work()) and any(
            process.info["cwd"] == str(self.folder)
            and "muster.cli.serve" in (process.info["cmdline"] or [])
            and _forked(process)
            for process in psutil.process_iter(["cwd", "cmdline"])
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

    def finished_cells(self) -> dict[str, int]:
        """Cells whose jobs have ended well, with the times of their files in nanoseconds."""
        begun = started_outputs(self.folder / ".snakemake")
        return {
            p.parent.name: p.stat().st_mtime_ns for p in self._runs() if str(p.relative_to(self.folder)) not in begun
        }

    def written_cells(self) -> set[str]:
        """Cells whose runs are on disk, those of jobs that outlived their Snakemake among them: the next run makes
        these anew, because it cannot know that they are whole."""
        return {path.parent.name for path in self._runs()}

    def _runs(self) -> Iterator[Path]:
        return self.results.glob("runs/*/*/runs.parquet")

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

    def served(self) -> Flow:
        """A flow of many cells, which a warm server runs: jobs wait for it, and it loads no more than they need."""
        flow = self.flow()
        flow.edit(*MANY)
        flow.edit("src/muster/jobs/warm.py", "WORTHWHILE = 12", "WORTHWHILE = 1")
        named = "    os.environ[VARIABLE] = path\n"
        flow.edit(
            "src/muster/jobs/warm.py", named, f"{named}    while not os.path.exists(path):\n        time.sleep(0.1)\n"
        )
        flow.edit("src/muster/jobs/warm.py", "import threading", "import threading\nimport time")
        flow.edit("src/muster/cli/serve.py", "    prepare()\n", "    importlib.import_module(LIBRARIES[-1])\n")
        return flow

    def empty(self) -> Path:
        """A new folder."""
        folder = self.folder / f"empty-{next(self.numbers)}"
        folder.mkdir()
        return folder

    @cached_property
    def finished(self) -> Flow:
        """The undisturbed run, to the ledger."""
        flow = self.flow()
        flow.finish("ledger")
        return flow

    @cached_property
    def expected(self) -> dict[str, str]:
        return self.finished.tables()

    @cached_property
    def many(self) -> dict[str, str]:
        """Tables of an undisturbed run of the flow of many cells."""
        flow = self.served()
        flow.finish()
        return flow.tables()

    def copy(self) -> Flow:
        """A copy of the undisturbed run, times and Snakemake's records included."""
        target = self.folder / f"copy-{next(self.numbers)}"
        subprocess.run(["cp", "-a", str(self.finished.folder), str(target)], check=True)
        return Flow(target)

    def equal(self, flow: Flow, expected: dict[str, str] | None = None) -> str:
        """What was made, the tables at least, is what the undisturbed run made, byte for byte; says so."""
        found, expected = flow.tables(), self.expected if expected is None else expected
        due = [name for name in expected if name.startswith("tables/") or name in found]
        different = [name for name in due if found.get(name) != expected[name]]
        assert not different, f"differ from the undisturbed run: {different}"
        return f"{len(due)} files equal the undisturbed run's, byte for byte"


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def _forked(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.children())
    return False


@contextmanager
def running(flow: Flow, *command: str, until: Callable[[], object] | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Snakemake, or another program, at work with a checkpoint on disk, or what else is waited for; no process of it
    is left afterwards."""
    process = flow.start(*(command or ("snakemake", "--cores", "2", "tables")))
    try:
        caught = until or flow.jobs_at_work
        wait_for(lambda: caught() or process.poll() is not None)
        assert process.poll() is None, f"it ended before it was found at work: {process.communicate()[0]}"
        yield process
    finally:
        for left in flow.processes():
            with suppress(psutil.NoSuchProcess):
                left.kill()
        process.communicate()
