"""A real one-node Slurm in a folder of its own, run by whoever starts it: munged, slurmctld, slurmd and, with
accounting, slurmdbd on a MariaDB. Nothing outside the folder is touched and nothing listens beyond this machine's own
ports. Debian's packages: slurm-wlm munge, and slurmdbd mariadb-server-core for accounting.

    python -m tests.cluster.slurm [--accounting] COMMAND...      runs the command with the cluster's environment
"""

import argparse
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")
NEEDED_FOR_ACCOUNTING = ("slurmdbd", "mariadbd")
PATH = os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/sbin"])
START_SECONDS = 30.0

# Memory is a resource that jobs consume, and a job that exceeds what it asked for is killed, as on any cluster.
SLURM_CONF = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
MinJobAge=300
ReturnToService=2
SlurmctldParameters=idle_on_node_suspend
{accounting}
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} Boards=1 SocketsPerBoard=1 CoresPerSocket={cores} ThreadsPerCore=1 \
RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=2
"""

ACCOUNTED = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={database}
AccountingStoragePass={folder}/munge.socket
"""

SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={database}
SlurmUser={user}
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
StorageLoc=slurm_acct_db
"""


def missing(accounting: bool) -> list[str]:
    """Programs of Debian's packages that this machine lacks."""
    needed = [*NEEDED, *(NEEDED_FOR_ACCOUNTING if accounting else ())]
    return [program for program in needed if shutil.which(program, path=PATH) is None]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for(condition, what: str, log: Path) -> None:
    """Poll until the condition holds. Raises RuntimeError with the end of the log after START_SECONDS."""
    end = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > end:
            said = log.read_text(errors="replace")[-2000:] if log.exists() else "no log"
            raise RuntimeError(f"{what} did not start:\n{said}")
        time.sleep(0.1)


@contextmanager
def daemon(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the foreground of its own session, ended with all its children."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def munge(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """The authentication service, with a key that nobody else has."""
    key, log = folder / "munge.key", folder / "munged.log"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    options = {"socket": "munge.socket", "key-file": key.name, "pid-file": "munged.pid", "seed-file": "munged.seed"}
    files = [f"--{option}={folder / name}" for option, name in options.items()]
    with daemon(["munged", "--foreground", "--force", *files, f"--log-file={log}"], log, environment):
        wait_for((folder / "munge.socket").exists, "munged", log)
        yield


@contextmanager
def accounting_database(folder: Path, port: int, environment: dict[str, str]) -> Iterator[None]:
    """MariaDB without a network port, and slurmdbd on it."""
    data, log, user = folder / "mariadb", folder / "mariadb.log", getpass.getuser()
    data.mkdir()
    at = folder / "mariadb.socket"
    # Without grant tables the server needs no tables of its own, and whoever reaches the socket owns the folder anyway.
    options = [f"--datadir={data}", f"--socket={at}", f"--user={user}", "--skip-networking", "--skip-grant-tables"]
    environment = environment | {"MYSQL_UNIX_PORT": str(at), "SLURM_CONF": str(folder / "slurmdbd.conf")}
    with daemon(["mariadbd", "--no-defaults", *options], log, environment):
        wait_for(at.exists, "mariadbd", log)
        with daemon(["slurmdbd", "-D"], folder / "slurmdbd.out", environment):
            wait_for(lambda: listening(port), "slurmdbd", folder / "slurmdbd.log")
            yield


def listening(port: int) -> bool:
    """Whether somebody on this machine accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def one_node_slurm(folder: Path, *, accounting: bool = False, cores: int = 2, memory: int = 8000) -> Iterator[dict]:
    """Start the cluster below a short folder path (sockets allow about 100 characters); yields the environment of its
    users.

    cores, memory (MB): what the node offers, whatever the machine has. Raises RuntimeError with the log of the daemon
    that does not start.
    """
    controller, node, database = free_ports(3)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    facts = {
        "folder": folder,
        "host": socket.gethostname().partition(".")[0],
        "user": getpass.getuser(),
        "controller": controller,
        "node": node,
        "database": database,
        "cores": cores,
        "memory": memory,
    }
    storage = ACCOUNTED.format(**facts) if accounting else "AccountingStorageType=accounting_storage/none"
    (folder / "slurm.conf").write_text(SLURM_CONF.format(**facts, accounting=storage))
    (folder / "slurmdbd.conf").write_text(SLURMDBD_CONF.format(**facts))
    (folder / "slurmdbd.conf").chmod(0o600)
    # Jobs of Snakemake's plugin clear SLURM_CONF before they call srun, for clusters where it has its usual place.
    (folder / "bin").mkdir()
    (folder / "bin/srun").write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    (folder / "bin/srun").chmod(0o755)
    environment = os.environ | {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{folder}/bin{os.pathsep}{PATH}"}
    with ExitStack() as stack:
        stack.enter_context(munge(folder, environment))
        if accounting:
            stack.enter_context(accounting_database(folder, database, environment))
        for program in ("slurmctld", "slurmd"):
            stack.enter_context(daemon([program, "-D"], folder / f"{program}.out", environment))

        def ready() -> bool:
            asked = ["sinfo", "--noheader", "--partition=main", "--format=%T"]
            return "idle" in subprocess.run(asked, env=environment, capture_output=True, text=True).stdout

        wait_for(ready, "the node", folder / "slurmctld.log")
        try:
            yield environment
        finally:
            subprocess.run(["scancel", f"--user={facts['user']}"], env=environment, capture_output=True)


def main() -> int:
    """Run one command inside a cluster that ends with it."""
    parser = argparse.ArgumentParser("python -m tests.cluster.slurm", description=main.__doc__)
    parser.add_argument("--accounting", action="store_true", help="slurmdbd on a MariaDB, so that sacct answers")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if lacking := missing(args.accounting):
        print(f"not installed: {', '.join(lacking)}", file=sys.stderr)
        return 2
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        one_node_slurm(Path(folder), accounting=args.accounting) as environment,
    ):
        return subprocess.run(args.command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
