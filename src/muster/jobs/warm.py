"""Jobs forked from one process that has loaded the libraries already: a job of a second should not import for three.

A Snakefile that runs jobs on this machine starts `python -m muster.cli.serve SOCKET` and puts the socket's path into
the environment; `muster` then sends its command there instead of starting anew. The forked job gets the caller's
arguments, environment, working directory, stdout and stderr, and dies with the caller; the server dies with whoever
holds the other end of its stdin. Without a server, or with more than one thread a job, commands run as ever.
"""

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

Main = Callable[[list[str]], int]

VARIABLE = "MUSTER_WARM"
KILLED = 137  # the exit status of a job that ended without one, as a shell has it for SIGKILL
WORTHWHILE = 12  # jobs: each saves about two seconds, the server takes five to start
COMMANDS = frozenset({"train", "sample", "import", "collect", "fit", "specify", "judge", "plot"})


def forward(argv: Sequence[str]) -> int | None:
    """Let the server run a command; its exit status, or None when the caller has to run it itself."""
    path = os.environ.get(VARIABLE)
    if not path or not argv or argv[0] not in COMMANDS or os.environ.get("OMP_NUM_THREADS") != "1":
        return None
    status = ask(path, argv, os.environ, Path.cwd(), (1, 2))
    if status == KILLED:
        print(f"muster {argv[0]}: the job was killed", file=sys.stderr)
    return status


def ask(
    path: str, argv: Sequence[str], environment: Mapping[str, str], folder: Path, files: tuple[int, int],
    seconds: float | None = None,
) -> int | None:  # fmt: skip
    """Let the server at a socket run a command in a folder, with these files as stdout and stderr; its exit status,
    KILLED if it did not come to that, None when there is no server. Raises TimeoutError after so many seconds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.settimeout(seconds)
        try:
            server.connect(path)
        except OSError:  # not ready yet, or gone
            return None
        job = json.dumps({"argv": list(argv), "env": dict(environment), "cwd": str(folder)}).encode()
        socket.send_fds(server, [len(job).to_bytes(8, "big")], files)
        server.sendall(job)
        answer = server.recv(1)
    return answer[0] if answer else KILLED


def start(jobs: int) -> subprocess.Popen[bytes] | None:
    """Start the server for a run of so many jobs, if that pays, and name its socket in the environment.

    It ends when this process does, however that happens, because it then loses its stdin: hold the result till then.
    """
    if sys.platform != "linux" or jobs < WORTHWHILE:
        return None
    path = os.path.join(tempfile.mkdtemp(prefix="muster-"), "jobs")
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "muster.cli.serve", path]
    # Ctrl-C reaches Snakemake's whole group: the server must outlive the jobs that then end.
    server = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **single}, start_new_session=True)
    os.environ[VARIABLE] = path
    return server


def serve(path: Path, main: Main) -> None:
    """Fork a job that runs `main` for each caller, until stdin ends. What is imported by then, jobs need not import."""
    gc.freeze()  # collected objects would be copied into every job
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries jobs
    with _listening(path) as listener, selectors.DefaultSelector() as ready:
        ready.register(listener, selectors.EVENT_READ)
        ready.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is not listener:
                    return
                caller, _ = listener.accept()
                if os.fork() == 0:
                    listener.close()
                    _job(caller, main)
                caller.close()


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(os.fspath(path))
        try:
            listener.listen(256)
            yield listener
        finally:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # the caller made it for the socket alone


def _job(caller: socket.socket, main: Main) -> None:
    """Run the caller's command in this forked process, send its exit status, and end."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        head, files, _, _ = socket.recv_fds(caller, 8, 2)
        job = json.loads(_receive(caller, int.from_bytes(head, "big")))
        threading.Thread(target=_die_with, args=(caller,), daemon=True).start()
        for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *files]):
            os.dup2(file, number)
            os.close(file)
        os.environ.clear()
        os.environ.update(job["env"])
        os.chdir(job["cwd"])
        status = _run(main, job["argv"])
        caller.sendall(bytes([status]))
    finally:
        os._exit(status)


def _run(main: Main, argv: list[str]) -> int:
    try:
        status = main(argv)
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _receive(caller: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length and (part := caller.recv(length - len(parts))):
        parts += part
    return bytes(parts)


def _die_with(caller: socket.socket) -> None:
    """End the job when its caller is gone: a killed job must not go on writing beside its successor."""
    with contextlib.suppress(OSError):
        caller.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)
