"""Runs one command and ends it, children included, when whoever started the guard is gone.

Called by file, `python -I -S guard.py FD COMMAND…`, with the reading end of a pipe that the caller holds open: it needs
nothing of muster and starts in milliseconds. It leads a process group of its own and ends as the command does.
"""

import os
import signal
import subprocess
import sys
import threading
import time

GRACE_SECONDS = 5.0


def main() -> None:
    """Wait for the command, and for the end of the pipe, whichever is first."""
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # meant for the command, whose status is ours
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(lifeline, False)
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(126)
    ending = threading.Event()
    threading.Thread(target=_end_with, args=(lifeline, ending), daemon=True).start()
    status = process.wait()
    if ending.is_set():
        os.killpg(0, signal.SIGKILL)  # children that the command left behind
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -status)
        signal.pause()
    sys.exit(status)


def _end_with(lifeline: int, ending: threading.Event) -> None:
    """Block until the caller's end of the pipe is closed, by whatever ended it; then end the group."""
    while os.read(lifeline, 1):
        pass
    ending.set()
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
