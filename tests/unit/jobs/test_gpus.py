"""GPUs are handed out to real concurrent processes, one each, and come back however a process ends."""

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from muster.errors import MusterError
from muster.jobs import gpus
from muster.jobs.gpus import VISIBLE, one_gpu, visible

HOLDER = """
import os, sys
from muster.jobs.gpus import one_gpu
with one_gpu(True, lambda line: print(line, file=sys.stderr, flush=True)):
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def private_locks(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(gpus.tempfile, "tempdir", None)
    monkeypatch.setenv(VISIBLE, "0,GPU-5d2/1")


def holder() -> subprocess.Popen[str]:
    """A process that takes a GPU and keeps it until its stdin ends."""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", HOLDER], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def device(process: subprocess.Popen[str]) -> str:
    """What the process was given; waits for it."""
    return process.stdout.readline().strip()


def test_each_process_gets_a_device_of_its_own_and_the_next_one_waits():
    processes = [holder() for _ in range(2)]
    assert {device(process) for process in processes} == {"0", "GPU-5d2/1"}
    late = holder()
    assert "all GPUs (0, GPU-5d2/1) are taken" in late.stderr.readline()
    freed = "GPU-5d2/1"
    held = {process.stderr.readline().split()[1]: process for process in processes}
    held[freed].communicate("")
    assert device(late) == freed
    for process in (late, held["0"]):
        process.communicate("")
        assert process.returncode == 0


def test_a_killed_process_gives_its_device_back():
    processes = [holder() for _ in range(2)]
    taken = {device(process): process for process in processes}
    late = holder()
    late.stderr.readline()
    taken["0"].send_signal(signal.SIGKILL)
    assert device(late) == "0"
    assert taken["0"].wait() == -signal.SIGKILL
    for process in (late, taken["GPU-5d2/1"]):
        process.communicate("")
    taken["0"].communicate()


def test_many_jobs_never_share_a_device(tmp_path):
    """Twelve jobs on two devices: each notes when it holds which, and no two intervals of a device overlap."""
    log = tmp_path / "log"
    job = HOLDER.replace(
        "    sys.stdin.read()",
        "    import time; start = time.monotonic(); time.sleep(0.03)\n"
        "    note = ' '.join([os.environ['CUDA_VISIBLE_DEVICES'], str(start), str(time.monotonic())])\n"
        f"    open({str(log)!r}, 'a').write(note + '\\n')",
    )
    processes = [subprocess.Popen([sys.executable, "-c", job], stdout=subprocess.DEVNULL) for _ in range(12)]
    assert [process.wait(60) for process in processes] == [0] * 12
    held: dict[str, list[tuple[float, float]]] = {}
    for line in log.read_text().splitlines():
        name, start, end = line.split()
        held.setdefault(name, []).append((float(start), float(end)))
    assert set(held) == {"0", "GPU-5d2/1"}
    assert sum(map(len, held.values())) == 12
    for intervals in held.values():
        intervals.sort()
        assert all(before[1] <= after[0] for before, after in pairwise(intervals))


def test_the_environment_is_as_before_afterwards(monkeypatch):
    with one_gpu(True, lambda line: None):
        assert os.environ[VISIBLE] == "0"
        with one_gpu(True, lambda line: None):  # what the job itself starts sees one device only
            assert os.environ[VISIBLE] == "0"
    assert os.environ[VISIBLE] == "0,GPU-5d2/1"


def test_the_lock_is_gone_after_an_exception():
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), one_gpu(True, lambda line: None):
            _ = 1 / (os.environ[VISIBLE] != "0")


@pytest.mark.parametrize(
    ("named", "seen"), [("0", ["0"]), ("", []), ("-1", []), ("1,-1,2", ["1"]), (" 0, 1 ", ["0", "1"])]
)
def test_devices_are_those_that_cuda_would_see(monkeypatch, named, seen):
    monkeypatch.setenv(VISIBLE, named)
    assert visible() == seen
    with one_gpu(True, lambda line: None):
        assert (os.environ[VISIBLE] == named) == (len(seen) < 2)


def test_without_the_variable_device_files_count(monkeypatch, tmp_path):
    monkeypatch.delenv(VISIBLE)
    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    for name in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible() == ["2", "10"]
    with one_gpu(True, lambda line: None):
        assert os.environ[VISIBLE] == "2"
    assert VISIBLE not in os.environ


def test_a_job_on_the_cpu_takes_nothing():
    with one_gpu(False), one_gpu(False):
        assert os.environ[VISIBLE] == "0,GPU-5d2/1"


def test_somebody_elses_folder_of_locks_is_refused(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Path(tmp_path, f"muster-gpus-{os.getuid()}").symlink_to(elsewhere)
    with pytest.raises(MusterError, match="belongs to somebody else"), one_gpu(True):
        pass
    assert not list(elsewhere.iterdir())
