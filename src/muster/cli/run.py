"""Commands that hand over to Snakemake."""

import ctypes
import json
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from muster.cli.check import checked_plan
from muster.cli.scope import configuration, replaced
from muster.cli.summary import lacks_own_table, print_failures, print_outcome
from muster.config.load import CONFIG_PATH
from muster.errors import MusterError

DRY = {"-n", "--dry-run", "--dryrun"}


def run(args: Namespace) -> int:
    """`snakemake` on some studies, with the given fields of config.yaml replaced; then what came of it."""
    only_own_config(args.config)
    plan = checked_plan(configuration(args), args.config)
    passed, more = split_settings(args.passed)
    start = time.time()
    status = snakemake(["--cores", str(args.cores), *passed, *overrides(replaced(args)), *more])
    if DRY & {*passed}:
        return status
    if status:
        print_failures(plan, start, status)
    else:
        print_outcome(plan)
        lacking = lacks_own_table(plan)
        for table in lacking:
            print(f"missing: {table}", file=sys.stderr)
        status = int(bool(lacking))
    return status


def only_own_config(path: Path) -> None:
    """Raises MusterError for a configuration that Snakemake would not read."""
    if path.resolve() != CONFIG_PATH.resolve():
        remedy = f"Run muster from the folder that holds {CONFIG_PATH}, and replace single fields by options"
        raise MusterError("--config", f"Snakemake reads {CONFIG_PATH}, not {path}", remedy)


def split_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments for Snakemake without, and only with, its `--config field=value …`, which it takes only once."""
    others: list[str] = []
    settings: list[str] = []
    within = False
    for word in words:
        if word in ("--config", "-C"):
            within = True
        elif word.startswith("--config="):
            within = True
            settings.append(word.partition("=")[2])
        elif within and "=" in word and not word.startswith("-"):
            settings.append(word)
        else:
            within = False
            others.append(word)
    return others, settings


def overrides(settings: dict[str, Any]) -> list[str]:
    """Options by which Snakemake replaces fields of the configuration."""
    return ["--config", *(f"{name}={json.dumps(value)}" for name, value in settings.items())] if settings else []


def snakemake(arguments: list[str]) -> int:
    """Run Snakemake of this Python in the current folder; returns its exit status.

    Ctrl-C in a terminal reaches Snakemake too, which then ends its jobs and unlocks the folder: it is waited for. What
    ends this process alone is handed on as SIGTERM, upon which Snakemake lets its jobs finish and starts no more; so is
    the death of this process, on Linux.
    """
    if not any(Path(place).exists() for place in ("Snakefile", "workflow/Snakefile")):
        raise MusterError(str(Path.cwd()), "no Snakefile here", "Run muster from the project's folder")
    with (
        subprocess.Popen([sys.executable, "-m", "snakemake", *arguments], preexec_fn=_end_with_parent) as process,
        handing_on(process),
    ):
        return wait_for_end(process)


def wait_for_end(process: "subprocess.Popen[bytes]") -> int:
    """The exit status of a process, which Ctrl-C ends, too."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # a moment later, one that is ending already takes no harm by a SIGTERM
            with suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
                return process.wait(HEARD)
            process.terminate()


HEARD = 3.0  # seconds in which Snakemake, if it has heard Ctrl-C itself, sets about ending
HANDED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@contextmanager
def handing_on(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Within, signals that would end this process end another one, which is then waited for. Those that are ignored,
    as `nohup` has it, stay so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in HANDED_ON}
    for number, action in before.items():
        if action is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: process.send_signal(signal.SIGTERM))
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _end_with_parent() -> None:
    """Ask Linux for a SIGTERM when the parent is gone: a run that nobody sees any more would hold the folder's lock."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
