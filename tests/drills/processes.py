"""Faults of processes: signals, dead parents, servers that are stopped or cannot fork, odd environments."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from muster.jobs import warm
from tests.drills.faults import fault
from tests.drills.flow import MARK, PATIENCE, Bench, running, text, wait_for
from tests.drills.users import chain, made, project, undisturbed
from tests.unit.jobs.test_warm import SERVER, ask

JOBS = 1000


SNAKEMAKE = ("snakemake", "--cores", "1", "tables")
MUSTER_RUN = ("muster", "run", "tiny-train", "--cores", "1", "--", "tables")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL)
KEYS = (signal.SIGINT, signal.SIGQUIT)  # those of a terminal, which reach all that it has started


def signalled(command: tuple[str, ...], group: bool, signals: tuple[signal.Signals, ...], bench: Bench) -> str:
    """One signal after the other, each while a job of the warm server's is at work and others have finished: nothing is
    orphaned, nothing lost, and the run after the last one makes equal bytes.

    Snakemake alone cannot tidy up after −9: its lock stays, and the job that it alone knew goes on.
    """
    flow, finished = bench.served(), 0
    for number in signals:
        with running(flow, *command, until=lambda: flow.finished_cells() and flow.served_at_work()) as process:
            kept = flow.finished_cells()
            (os.killpg if group else os.kill)(process.pid, number)
            said = MARK.sub("", process.communicate(timeout=PATIENCE)[0])
            assert process.returncode != 0, said
            assert "Traceback" not in said, said
            wait_for(lambda: not flow.processes())
        finished += len(flow.written_cells()) > len(kept)
        logs = " ".join(path.read_text() for path in (flow.results / "logs").rglob("*.log"))
        assert "Traceback" not in logs, logs
        if number == signal.SIGKILL and command == SNAKEMAKE:
            assert "if it was killed: snakemake --unlock" in text(flow.run("status", program="muster"))
            assert "cannot be locked" in flow.fail()
            flow.unlock()
        assert not list((flow.folder / ".snakemake/locks").glob("*")), f"{number.name}: the folder is locked"
        now = flow.finished_cells()
        assert kept.items() <= now.items(), f"{number.name}: a finished cell is gone"
    flow.finish()
    assert now.items() <= flow.finished_cells().items(), "a finished cell was made anew"
    assert finished == len(signals) or flow.resumed(), "a job at work neither ended nor was resumed"
    others = "" if finished == len(signals) else ", that of the others was resumed from its checkpoint"
    lock = " (after −9 by `snakemake --unlock`)" if command == SNAKEMAKE else ""
    return f"after each no traceback, no process was left, the folder was unlocked{lock}, finished cells stayed; \
{finished} of {len(signals)} let the job at work finish{others}; {bench.equal(flow, bench.many)}"


for command, group, whom, signals in (
    (MUSTER_RUN, False, "`muster run` alone", SIGNALS),
    (MUSTER_RUN, True, "all that `muster run` has started, as a terminal's keys", KEYS),
    (SNAKEMAKE, False, "Snakemake alone", SIGNALS),
    (SNAKEMAKE, True, "Snakemake's process group", SIGNALS),
):
    words = ", ".join(number.name for number in signals)
    fault(f"{words} to {whom}")(partial(signalled, command, group, signals))


@contextmanager
def server(folder: Path, code: str = SERVER) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """The warm server with commands that a drill can watch, and its socket."""
    path = folder / "socket" / "jobs"
    path.parent.mkdir()
    process = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE)
    try:
        wait_for(path.exists, 120)
        yield process, path
    finally:
        process.send_signal(signal.SIGCONT)
        process.stdin.close()  # type: ignore[union-attr]
        process.wait(60)


@fault("SIGSTOP of the warm server, and its end")
def stopped_server(bench: Bench) -> str:
    with server(bench.empty()) as (process, path):
        for number, waits in ((signal.SIGSTOP, True), (signal.SIGKILL, False)):
            process.send_signal(number)
            start = time.monotonic()
            jobs = [ask(path, "sample", "0", patience=2) for _ in range(3)]
            for job in jobs:
                job.communicate(timeout=120)
                assert job.returncode == 99, job.returncode
            if waits:
                assert time.monotonic() - start > 2
                process.send_signal(signal.SIGCONT)
                again = ask(path, "sample", "0")
                again.communicate(timeout=120)
                assert again.returncode == 0
    return "jobs that it did not answer were run by their callers; after SIGCONT it served again, and ran none of those"


@fault("the warm server cannot fork")
def no_fork(bench: Bench) -> str:
    code = SERVER.replace("serve(Path", "os.fork = lambda: os.open('/nowhere', 0)\nserve(Path")
    with server(bench.empty(), code) as (process, path):
        for _ in range(3):
            job = ask(path, "sample", "0")
            job.communicate(timeout=120)
            assert job.returncode == 99
        assert process.poll() is None
    return "its callers ran their jobs themselves; it went on listening"


@fault("1,000 jobs of one warm server")
def many_jobs(bench: Bench) -> str:
    calls = "import os, sys\nfrom muster.jobs import warm\nos.environ.update(OMP_NUM_THREADS='1')\n"
    calls += "sys.exit(sum(warm.forward(['sample', '0']) != 0 for _ in range(int(sys.argv[1]))))"

    def work(path: Path, count: int) -> None:
        environment = os.environ | {warm.VARIABLE: str(path)}
        done = subprocess.run([sys.executable, "-c", calls, str(count)], env=environment, stdout=subprocess.DEVNULL)
        assert done.returncode == 0

    with server(bench.empty()) as (process, path):
        work(path, 50)
        watched = psutil.Process(process.pid)
        before = watched.memory_info().rss
        work(path, JOBS)
        growth = watched.memory_info().rss / before - 1
        handles, left = watched.num_fds(), watched.children()
        assert growth <= 0.1, growth
        assert handles < 20, handles
        assert not left, left
    return f"its memory grew by {growth:.1%}, it held {handles} open files, and no process was left"


@fault("TMPDIR too long for a socket, no /dev/shm, OMP_NUM_THREADS=4,2")
def odd_environment(bench: Bench) -> str:
    expected, folder = undisturbed(bench), project(bench.empty())
    long = bench.empty() / ("x" * 150)
    long.mkdir()
    own = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
           'set -e; mount -t tmpfs -o size=4k,mode=000,ro none /dev/shm; exec "$@"', "sh")  # fmt: skip
    said = chain(folder, before=own, TMPDIR=str(long), OMP_NUM_THREADS="4,2")
    assert "Traceback" not in said
    assert made(folder / "results") == expected
    record = next((folder / "results/runs").rglob("provenance.json")).read_text()
    assert '"threads": 4' in record, record
    return f"all stages ran, with 4 threads on record; {len(expected)} files equal an undisturbed run's"
