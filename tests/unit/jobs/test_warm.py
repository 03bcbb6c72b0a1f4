"""Jobs forked from a preloaded process: they do what a new process does, and die with who asked for them."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from muster.cli import serve
from muster.cli.run import HANDED_ON, handing_on, wait_for_end
from muster.jobs import warm
from muster.jobs.provenance import made_by

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux only")

# The server without its libraries and with commands that a test can watch.
SERVER = """
import os, sys, time
from pathlib import Path
from muster.jobs.warm import serve

def main(argv):
    if argv[1] == "sleep":
        Path(argv[2]).write_text(str(os.getpid()))
        time.sleep(60)
    if argv[1] == "fail":
        raise RuntimeError("no luck")
    print(os.getcwd(), os.environ.get("MARK"), *argv[1:])
    return int(argv[1])

serve(Path(sys.argv[1]), main)
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


def ask(socket, *argv, threads="1", patience=60, **kwargs):
    # A shell that puts the tests into the background makes them ignore Ctrl-C: the caller must not inherit that.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += f"from muster.jobs import warm; warm.PATIENCE = {patience}; "
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


def test_a_stopped_server_hangs_no_job_and_runs_none_twice(server, tmp_path):
    process, socket = server
    process.send_signal(signal.SIGSTOP)
    job = ask(socket, "sample", "sleep", tmp_path / "pid", patience=1)
    job.communicate(timeout=20)
    assert job.returncode == 99  # the caller runs it itself
    process.send_signal(signal.SIGCONT)
    again = ask(socket, "sample", "0")
    again.communicate(timeout=20)
    assert again.returncode == 0
    assert not (tmp_path / "pid").exists()


def test_a_server_that_cannot_fork_loses_no_job(tmp_path):
    failing = SERVER.replace("serve(Path", "os.fork = lambda: os.open('/nowhere', 0)\nserve(Path")
    process = subprocess.Popen([sys.executable, "-c", failing, tmp_path / "jobs"], stdin=subprocess.PIPE)
    wait_for((tmp_path / "jobs").exists)
    for _ in range(2):
        job = ask(tmp_path / "jobs", "sample", "0")
        job.communicate(timeout=20)
        assert job.returncode == 99
    process.stdin.close()
    assert process.wait(20) == 0


def test_a_server_sends_callers_away_once_a_source_was_edited(tmp_path, monkeypatch):
    """What it has loaded is older than what a job would record as its code."""
    path = tmp_path / "socket" / "jobs"
    path.parent.mkdir()
    code = SERVER.replace("import serve", "import serve, sources").replace(
        "serve(Path(sys.argv[1]), main)",
        "was = sources()\nserve(Path(sys.argv[1]), main, was if sys.argv[2] == 'same' else was | {'a.py': (0, 0)})",
    )
    for word, status in (("same", 0), ("edited", 99)):
        process = subprocess.Popen([sys.executable, "-c", code, path, word], stdin=subprocess.PIPE)
        wait_for(path.exists)
        job = ask(path, "sample", "0")
        job.communicate(timeout=20)
        assert job.returncode == status
        process.stdin.close()
        process.wait(20)
        path.parent.mkdir(exist_ok=True)


def test_a_server_whose_caller_is_gone_ends_in_silence(tmp_path):
    done = subprocess.run([sys.executable, "-c", SERVER, tmp_path / "gone" / "jobs"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_temporary_folder_with_a_long_name_gives_a_socket_elsewhere_or_none(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    path = warm._socket_path()
    assert path is not None
    assert len(path) < warm.LONGEST_SOCKET
    Path(path).parent.rmdir()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: os.open("/nowhere", 0))
    assert warm._socket_path() is None
    assert warm.start(warm.WORTHWHILE) is None


@pytest.mark.parametrize(
    ("given", "threads"), [("4,2", 4), ("1", 1), (" 3 ", 3), ("many", os.cpu_count()), ("0", os.cpu_count())]
)
def test_provenance_takes_threads_as_openmp_lists_them(monkeypatch, given, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert made_by("code", 1.0)["threads"] == threads


@pytest.mark.parametrize("number", HANDED_ON)
def test_what_ends_muster_ends_snakemake_which_is_waited_for(number):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    before = signal.signal(number, signal.SIG_DFL)  # under nohup, or in the background, it may be ignored
    try:
        with handing_on(process):
            os.kill(os.getpid(), number)
            assert process.wait(20) == -signal.SIGTERM
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_an_interrupt_of_muster_alone_ends_snakemake_too(monkeypatch):
    """From a terminal it reaches both, and Snakemake sets about ending by itself."""
    monkeypatch.setattr("muster.cli.run.HEARD", 0.1)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
        assert wait_for_end(process) == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_commands_and_jobs_of_several_threads_start_anew(server):
    for argv, threads in ((["plan", "0"], "1"), (["sample", "0"], "2")):
        job = ask(server[1], *argv, threads=threads)
        job.communicate(timeout=20)
        assert job.returncode == 99


def test_every_library_is_there():
    import importlib.util

    assert all(importlib.util.find_spec(name) for name in serve.LIBRARIES)


def test_a_rehearsal_leaves_no_trace_in_a_figure(tmp_path):
    from matplotlib.figure import Figure

    from muster.plots import save

    def draw(name):
        fig = Figure()
        fig.subplots().loglog([1, 100], [1, 100])
        save(fig, tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
        return [(tmp_path / f"{name}.{kind}").read_bytes() for kind in ("svg", "png")]

    before = draw("before")
    serve.rehearse()
    assert draw("after") == before
