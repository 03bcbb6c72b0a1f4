"""Faults of processes: signals, dead parents, servers that are stopped or cannot fork, odd environments."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from muster.jobs import warm
from tests.drills.faults import fault
from tests.drills.flow import MARK, PATIENCE, Bench, Flow, wait_for
from tests.drills.users import chain, made, project, undisturbed
from tests.unit.jobs.test_warm import SERVER, ask

JOBS = 1000


def of_folder(flow: Flow) -> list[psutil.Process]:
    """Processes that work in the folder of a flow."""
    return [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(flow.folder)]


@contextmanager
def muster_run(flow: Flow) -> Iterator["subprocess.Popen[str]"]:
    """`muster run` with a training job that has left a checkpoint; nothing of it is left afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "muster", "run", "tiny-train", "--cores", "2", "--", "tables"],
        cwd=flow.folder, env=flow.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(flow.jobs_at_work)
        yield process
    finally:
        for left in of_folder(flow):
            left.kill()
        process.communicate()


def ended_by(flow: Flow, number: signal.Signals) -> None:
    """A signal to `muster run` alone: it ends, nothing goes on behind it, the folder is free."""
    with muster_run(flow) as process:
        process.send_signal(number)
        said = MARK.sub("", process.communicate(timeout=PATIENCE)[0])
        assert "Traceback" not in said, said
        wait_for(lambda: not of_folder(flow), 120)
    assert not list((flow.folder / ".snakemake/locks").glob("*")), "the folder is locked"


@fault("SIGTERM to `muster run` alone")
def terminated_muster(bench: Bench) -> str:
    flow = bench.flow()
    ended_by(flow, signal.SIGTERM)
    flow.finish()
    return f"it ended without a traceback, no process was left, the folder was unlocked; {bench.equal(flow)}"


@fault("the terminal of `muster run` goes away (SIGHUP)")
def hung_up_muster(bench: Bench) -> str:
    flow = bench.flow()
    ended_by(flow, signal.SIGHUP)
    flow.finish()
    return f"it ended without a traceback, no process was left, the folder was unlocked; {bench.equal(flow)}"


@fault("kill −9 of `muster run` alone: a dead parent")
def killed_muster(bench: Bench) -> str:
    flow = bench.flow()
    ended_by(flow, signal.SIGKILL)
    flow.finish()
    return f"Snakemake ended, too, no process was left, the folder was unlocked; {bench.equal(flow)}"


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
