"""Which GPU a job on this machine takes, where there are several: Snakemake counts them but never says which.

A lock on a file stands for a device. The kernel drops it with the process that holds it, however that ends, so a killed
job leaves nothing to clean up. Under a scheduler such as Slurm a job sees only its own devices; where it sees one,
there is nothing to choose.
"""

import fcntl
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote

from muster.errors import MusterError

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 0.2
DEVICES = Path("/dev")


def visible() -> list[str]:
    """Devices that CUDA would see: those that the environment names, else one for each /dev/nvidia0, 1, ...

    As CUDA does, names after an invalid one (−1) are not seen.
    """
    named = os.environ.get(VISIBLE)
    if named is None:
        numbers = (re.fullmatch(r"nvidia(\d+)", path.name) for path in DEVICES.glob("nvidia*"))
        return [str(number) for number in sorted(int(match[1]) for match in numbers if match)]
    names = [name.strip() for name in named.split(",")]
    return names[: next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))]


@contextmanager
def one_gpu(wanted: bool, report: Callable[[str], None] = print) -> Iterator[None]:
    """Show CUDA one device that no other job of this user on this machine holds; wait until one is free.

    wanted: whether the job may use a GPU at all. To be entered before CUDA is first asked for anything. Raises
    MusterError when the folder of the locks belongs to somebody else.
    """
    devices = visible() if wanted else []
    if len(devices) < 2:
        yield
        return
    before = os.environ.get(VISIBLE)
    device, lock = _claim(devices, report)
    try:
        os.environ[VISIBLE] = device
        report(f"GPU {device} of {', '.join(devices)}")
        yield
    finally:
        lock.close()
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


def _claim(devices: list[str], report: Callable[[str], None]) -> tuple[str, IO[bytes]]:
    """The first device that is free, and its lock."""
    folder = _lock_folder()
    waiting = False
    while True:
        for device in devices:
            lock = open(folder / quote(device, safe=""), "ab")  # noqa: SIM115
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return device, lock
            except BlockingIOError:
                lock.close()
        if not waiting:
            names = ", ".join(devices)
            report(
                f"all GPUs ({names}) are taken: waiting. Run no more jobs than that with --resources gpu={len(devices)}"
            )
            waiting = True
        time.sleep(POLL_SECONDS)


def _lock_folder() -> Path:
    """A folder of this user that all jobs on this machine share, whatever their results folder."""
    folder = Path(tempfile.gettempdir(), f"muster-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise MusterError(str(folder), "belongs to somebody else", "Remove it, or set TMPDIR to a folder of your own")
    return folder
