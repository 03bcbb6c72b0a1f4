"""Jobs forked from a preloaded process: they do what a new process does, and die with who asked for them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from muster.jobs import warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux only")

# The server without its libraries and with commands that a test can watch.
SERVER = """
import os, sys, time
import muster.cli.parser, muster.jobs.warm
from pathlib import Path

def main(argv):
    if argv[1] == "sleep":
        Path(argv[2]).write_text(str(os.getpid()))
        time.sleep(60)
    if argv[1] == "fail":
        raise RuntimeError("no luck")
    print(os.getcwd(), os.environ.get("MARK"), *argv[1:])
    return int(argv[1])

muster.jobs.warm.LIBRARIES = ()
muster.jobs.warm.rehearse = lambda: None
muster.cli.parser.main = main
muster.jobs.warm.serve(Path(sys.argv[1]))
"""


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs: one that waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def server(tmp_path_factory):
    socket = tmp_path_factory.mktemp("w") / "jobs"
    process = subprocess.Popen([sys.executable, "-c", SERVER, socket], stdin=subprocess.PIPE)
    wait_for(socket.exists)
    yield process, socket
    process.stdin.close()
    process.wait(20)


def ask(socket, *argv, threads="1", **kwargs):
    # A shell that puts the tests into the background makes them ignore Ctrl-C: the caller must not inherit that.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from muster.jobs.warm import forward; s = forward(sys.argv[1:]); sys.exit(99 if s is None else s)"
    env = {**os.environ, warm.VARIABLE: str(socket), "OMP_NUM_THREADS": threads, "MARK": "here"}
    command = [sys.executable, "-c", code, *map(str, argv)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)


def test_a_job_has_the_callers_folder_environment_output_and_status(server, tmp_path):
    job = ask(server[1], "sample", "3", "a b", cwd=tmp_path)
    out, err = job.communicate(timeout=20)
    assert (out, err, job.returncode) == (f"{tmp_path} here 3 a b\n", "", 3)


def test_a_crash_shows_its_traceback_and_leaves_the_server_alive(server):
    job = ask(server[1], "sample", "fail")
    assert "RuntimeError: no luck" in job.communicate(timeout=20)[1]
    assert job.returncode == 1
    again = ask(server[1], "sample", "0")
    again.communicate(timeout=20)
    assert again.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_caller_takes_its_job_with_it(server, tmp_path, number):
    note = tmp_path / "pid"
    job = ask(server[1], "sample", "sleep", note)
    wait_for(lambda: note.exists() and note.read_text())
    pid = int(note.read_text())
    assert alive(pid)
    job.send_signal(number)
    job.communicate(timeout=20)
    wait_for(lambda: not alive(pid))


def test_a_killed_job_is_a_failure(server, tmp_path):
    note = tmp_path / "pid"
    job = ask(server[1], "sample", "sleep", note)
    wait_for(lambda: note.exists() and note.read_text())
    os.kill(int(note.read_text()), signal.SIGKILL)
    assert "killed" in job.communicate(timeout=20)[1]
    assert job.returncode == 137


def test_the_server_ends_with_its_stdin_and_removes_its_socket(server):
    process, socket = server
    process.stdin.close()
    assert process.wait(20) == 0
    assert not socket.parent.exists()
    job = ask(socket, "sample", "0")
    job.communicate(timeout=20)
    assert job.returncode == 99  # the caller has to run it itself


def test_other_commands_and_jobs_of_several_threads_start_anew(server):
    for argv, threads in ((["plan", "0"], "1"), (["sample", "0"], "2")):
        job = ask(server[1], *argv, threads=threads)
        job.communicate(timeout=20)
        assert job.returncode == 99


def test_every_library_is_there():
    import importlib.util

    assert all(importlib.util.find_spec(name) for name in warm.LIBRARIES)


def test_a_rehearsal_leaves_no_trace_in_a_figure(tmp_path):
    from matplotlib.figure import Figure

    from muster.plots import save

    def draw(name):
        fig = Figure()
        fig.subplots().loglog([1, 100], [1, 100])
        save(fig, tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
        return [(tmp_path / f"{name}.{kind}").read_bytes() for kind in ("svg", "png")]

    before = draw("before")
    warm.rehearse()
    assert draw("after") == before
