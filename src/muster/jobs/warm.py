"""Jobs forked from one process that has loaded the libraries already: a job of a second should not import for three.

A Snakefile that runs jobs on this machine starts `python -m muster.cli.serve SOCKET` and puts the socket's path into
the environment; `muster` then sends its command there instead of starting anew. The forked job gets the caller's
arguments, environment, working directory, stdout and stderr, and dies with the caller; the server dies with whoever
holds the other end of its stdin. Without a server, or with more than one thread a job, commands run as ever.

What the server has loaded is the package as it was then: once a source file is edited, it takes no more jobs, and
callers run theirs with the new code.

A job begins with two bytes: the forked process says that it is there, and the caller, if it still waits, lets it go. A
server that is stopped, killed or cannot fork therefore loses no job and runs none twice: its callers run them.
"""

import atexit
import contextlib
import gc
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Main = Callable[[list[str]], int]
Sources = dict[str, tuple[int, int]]

VARIABLE = "MUSTER_WARM"
KILLED = 137  # exit status of a job that ended without one, as a shell has it for SIGKILL
WORTHWHILE = 12  # jobs: each saves about two seconds, the server takes five to start
PATIENCE = 10.0  # seconds that a caller waits for the server to fork: longer than it ever takes, unless it is stopped
SOURCE = (".py", ".cpp", ".h")
READY, GO = b"+", b"!"
LONGEST_SOCKET = 100  # bytes of its path; Linux takes 107
COMMANDS = frozenset({"train", "sample", "import", "collect", "fit", "specify", "judge", "page", "plot"})


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
    path: str,
    argv: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    files: tuple[int, int],
    seconds: float | None = None,
) -> int | None:
    """Let the server at a socket run a command in a folder, with these files as stdout and stderr; its exit status,
    KILLED if it did not come to one, None when there is no server. Raises TimeoutError after so many seconds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.settimeout(PATIENCE)
        try:
            server.connect(path)
            if server.recv(1) != READY:
                return None
            server.settimeout(seconds)
            job = json.dumps({"argv": list(argv), "env": dict(environment), "cwd": str(folder)}).encode()
            socket.send_fds(server, [GO, len(job).to_bytes(8, "big")], files)
        except OSError:  # not ready yet, gone, stopped, or without room for a process
            return None
        try:
            server.sendall(job)
            answer = server.recv(1)
        except ConnectionError:
            answer = b""
    return answer[0] if answer else KILLED


def start(jobs: int) -> subprocess.Popen[bytes] | None:
    """Start the server for a run of so many jobs, if that pays, and name its socket in the environment.

    It ends when this process does, however that happens, because it then loses its stdin: hold the result till then.
    """
    if sys.platform != "linux" or jobs < WORTHWHILE:
        return None
    path = _socket_path()
    if path is None:
        return None
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "muster.cli.serve", path]
    # Ctrl-C reaches Snakemake's whole group: the server must outlive the jobs that then end.
    try:
        server = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **single}, start_new_session=True)
    except OSError:  # no room for a process: jobs will find out for themselves
        return None
    os.environ[VARIABLE] = path
    return server


def _socket_path() -> str | None:
    """A path for the socket in a new folder of this user's; None where no folder has a name that is short enough."""
    for parent in (tempfile.gettempdir(), "/tmp"):
        if len(os.fsencode(parent)) + len("/muster-12345678/jobs") <= LONGEST_SOCKET:
            try:
                folder = tempfile.mkdtemp(prefix="muster-", dir=parent)
            except OSError:
                continue
            atexit.register(shutil.rmtree, folder, ignore_errors=True)  # the server removes it, unless it was killed
            return os.path.join(folder, "jobs")
    return None


def sources() -> Sources:
    """Path, time and size of every source file of this package: whatever is edited changes one. Raises OSError while a
    file is replaced."""
    walked = os.walk(Path(__file__).parents[1])
    paths = (os.path.join(folder, name) for folder, _, names in walked for name in names if name.endswith(SOURCE))
    found = {path: os.stat(path) for path in paths}
    return {path: (state.st_mtime_ns, state.st_size) for path, state in found.items()}


def serve(path: Path, main: Main, loaded: Sources | None = None) -> None:
    """Fork a job that runs `main` for each caller, until stdin ends. What is imported by then, jobs need not import.

    loaded: `sources` before the first import; callers are sent away once they differ.
    """
    gc.freeze()  # collected objects would be copied into every job
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries jobs
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            listener.bind(os.fspath(path))
        except FileNotFoundError:  # its folder is gone: who started this process has ended meanwhile
            return
        try:
            listener.listen(256)
            _answer(listener, lambda caller: _fork(caller, listener, main, loaded))
        finally:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # the caller made it for the socket alone


def _answer(listener: socket.socket, fork: Callable[[socket.socket], None]) -> None:
    with selectors.DefaultSelector() as ready:
        ready.register(listener, selectors.EVENT_READ)
        ready.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is not listener:
                    return
                caller, _ = listener.accept()
                with caller, contextlib.suppress(OSError):  # the caller is told by the end, and runs its job itself
                    fork(caller)


def _fork(caller: socket.socket, listener: socket.socket, main: Main, loaded: Sources | None) -> None:
    """Raises OSError where there is no room for a process, or while a source file is replaced."""
    if loaded is not None and sources() != loaded:
        return
    if os.fork() == 0:
        listener.close()
        _job(caller, main)


def _job(caller: socket.socket, main: Main) -> None:
    """Run the caller's command in this forked process, send its exit status, and end."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        caller.sendall(READY)
        head, files, _, _ = socket.recv_fds(caller, 9, 2)
        if head[:1] != GO:  # it has not waited
            return
        job = json.loads(_receive(caller, int.from_bytes(head[1:], "big")))
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
        if not isinstance(exit.code, int | None):
            print(exit.code, file=sys.stderr)
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
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
