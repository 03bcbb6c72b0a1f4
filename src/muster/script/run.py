"""Run the members of a command cell one after another, keep what is finished, and turn it into tables."""

import errno
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from muster.errors import MusterError
from muster.experiments import Context, Outcome
from muster.script.cell import CommandCell, arguments, split
from muster.script.metrics import Metrics, read_metrics

GUARD = Path(__file__).with_name("guard.py")
GRACE_SECONDS = 5.0  # between asking a process to end and ending it
LAST_LINE = 200  # characters of a log that a message shows


class Finished(NamedTuple):
    """A run's metrics with its duration, and the log of its command."""

    metrics: Metrics
    seconds: float
    log: Path


def run_members(cell: CommandCell, context: Context) -> Outcome:
    """Call the command for every learning rate of the cell; tables as in `muster.experiments.Outcome`.

    Raises MusterError naming the command, its log and how to retry by hand when a run cannot be started, ends with
    another status than 0, outlives the time-out or leaves no metrics that can be read. Finished runs are kept in the
    checkpoint folder, under a name made of command and code: the next attempt takes them up.
    """
    folder = context.checkpoint_dir or Path(tempfile.mkdtemp(prefix="muster-command-"))
    folder.mkdir(parents=True, exist_ok=True)
    device = _device(cell, context.device)
    done: dict[float, Finished] = {}
    context.progress(f"width {cell.width}, depth {cell.depth}, {cell.parameterization}, seed {cell.seed}: "
                     f"{len(cell.log2_lr)} runs")  # fmt: skip
    for log2_lr in cell.log2_lr:
        name = _name(cell, log2_lr, context.fingerprint)
        found = _kept(folder, name)
        if found is None:
            found = _run(cell, log2_lr, device, folder / name, context, len(done))
        else:
            context.progress(f"log2_lr {log2_lr:g}: finished before")
        done[log2_lr] = found
    for log2_lr, found in done.items():
        context.progress(f"log of log2_lr {log2_lr:g}\n{found.log.read_text(errors='replace').rstrip()}")
    return _tables(done)


def _device(cell: CommandCell, device: str) -> str:
    """What `auto` means here; torch is asked only if the command wants to know."""
    if device != "auto" or not any(field == "device" for word in split(cell.command) for _, field in word):
        return device
    from muster.training.device import resolve

    return str(resolve(device))


def _name(cell: CommandCell, log2_lr: float, fingerprint: str) -> str:
    """Identity of a run: what is called with which code. Not the time-out: raising it must not undo what is done."""
    identity = [arguments(cell, log2_lr, "{output}", "{device}"), sorted(cell.code.items()), cell.metrics, fingerprint]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def _kept(folder: Path, name: str) -> Finished | None:
    """A finished run of this cell, or of the same cell with another time-out or other learning rates."""
    for path in [folder / f"{name}.json", *sorted(folder.parent.glob(f"*/{name}.json"))]:
        try:
            record = json.loads(path.read_text())
            if record.pop("sha256") != _checksum(record):
                raise ValueError("its checksum does not match")
            return Finished(Metrics.model_validate(record["metrics"]), record["seconds"], path.with_suffix(".log"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError) as damage:  # made by other code, or damaged: the run is made anew
            print(f"{path}: cannot be used ({damage})")
    return None


def _run(cell: CommandCell, log2_lr: float, device: str, stem: Path, context: Context, before: int) -> Finished:
    """Call the command once, in a folder of its own: a process that outlived an earlier attempt cannot write here."""
    from muster.files import write_text

    for stale in stem.parent.glob(f"{stem.name}-*"):
        shutil.rmtree(stale, ignore_errors=True)
    attempt = Path(tempfile.mkdtemp(prefix=f"{stem.name}-", dir=stem.parent)).resolve()
    output, log = attempt / f"metrics.{cell.metrics}", attempt / "log.txt"
    command = arguments(cell, log2_lr, str(output), device)
    context.progress(f"log2_lr {log2_lr:g}: {shlex.join(command)} > {log}")

    def fail(found: str, advice: str = "") -> NoReturn:
        kept = f"; {before} of {len(cell.log2_lr)} runs are finished and kept" if before else ""
        remedy = f"{advice}Log: {log}. Retry by hand in {Path.cwd()}: {shlex.join(command)}"
        raise MusterError(f"log2_lr {log2_lr:g}", f"{found}{kept}", remedy)

    start = time.perf_counter()
    try:
        status = call(command, log, cell.timeout)
    except OSError as error:
        fail(f"{command[0]!r} cannot be started ({error.strerror})", "Mend the path of the program. ")
    seconds = time.perf_counter() - start
    if status is None:
        fail(f"stopped after the time-out of {cell.timeout:g} s{_said(log)}", "Raise `timeout`, or mend the script. ")
    if status != 0:
        ended = f"exit status {status}" if status > 0 else f"killed by {signal.Signals(-status).name}"
        fail(f"{ended}{_said(log)}")
    try:
        metrics = read_metrics(output, cell.metrics)
    except MusterError as error:
        fail(f"{error.place}: {error.found}", f"{error.remedy}. ")
    shutil.copyfile(log, stem.with_suffix(".log"))
    record = {"metrics": metrics.model_dump(exclude_unset=True), "seconds": seconds}
    write_text(stem.with_suffix(".json"), json.dumps(record | {"sha256": _checksum(record)}))
    shutil.rmtree(attempt, ignore_errors=True)
    context.progress(f"log2_lr {log2_lr:g}: {seconds:.1f} s, {_described(metrics)}")
    return Finished(metrics, seconds, stem.with_suffix(".log"))


def _checksum(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _said(log: Path) -> str:
    """The last line that the script wrote."""
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f", last line of its log: {last[:LAST_LINE]!r}" if last else ", and its log is empty"


def _described(metrics: Metrics) -> str:
    said = "diverged" if metrics.lost else f"training loss {metrics.final_train_loss:.6g}"
    extra = ", ".join(metrics.model_extra or ())
    return f"{said} (not read: {extra})" if extra else said


def call(command: list[str], log: Path, timeout: float) -> int | None:
    """Run a command without a shell, in a process group of its own; both streams go to the log.

    Returns its exit status (minus the signal that killed it), or None after the time-out. Whatever ends this call, a
    time-out, Ctrl-C, a scheduler's SIGTERM, a terminal that is closed, ends the whole group with it; so does the end of
    this process, even by SIGKILL (`muster.script.guard`). Raises OSError if it cannot be started.
    """
    if shutil.which(command[0]) is None:
        number = errno.EACCES if Path(command[0]).exists() else errno.ENOENT
        raise OSError(number, os.strerror(number), command[0])
    # Python scripts buffer their output: what they said before a kill would be lost.
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with log.open("wb") as stream, _stoppable(), _lifeline() as lifeline:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), str(lifeline), *command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lifeline,),
            env=environment,
        )
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end_group(process)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """End the process and all its children: politely where it still runs, then for good."""
    try:
        if process.poll() is None:
            _signal_group(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
    finally:
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@contextmanager
def _lifeline() -> Iterator[int]:
    """The reading end of a pipe whose other end lives as long as this process, or this block."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit, so that the command's process group is ended with us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stops = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(stop, lambda number, frame: sys.exit(128 + number)) for stop in stops]
    try:
        yield
    finally:
        for stop, handler in zip(stops, before, strict=True):
            signal.signal(stop, handler)


def _tables(done: dict[float, Finished]) -> Outcome:
    """The three tables, keyed by log2_lr. A diverged run has no loss; infinite points of a curve become NaN."""
    import numpy as np
    import pandas as pd

    nan = float("nan")
    runs = [
        {
            "log2_lr": log2_lr,
            "diverged": found.metrics.lost,
            "final_train_loss": nan if found.metrics.lost else found.metrics.final_train_loss,
            "final_eval_loss": nan if found.metrics.lost else found.metrics.final_eval_loss,
            "steps": found.metrics.updates,
            "parameters": found.metrics.parameters,
            "flops": found.metrics.flops,
            "seconds": nan,
        }
        for log2_lr, found in done.items()
    ]
    points = [(rate, p.step, p.train_loss, p.eval_loss) for rate, found in done.items() for p in found.metrics.curves]
    readings = [
        (rate, p.step, p.probe, p.layer, p.value, p.se) for rate, found in done.items() for p in found.metrics.probes
    ]
    curves = pd.DataFrame(points, columns=["log2_lr", "step", "train_loss", "eval_loss"])
    probes = pd.DataFrame(readings, columns=["log2_lr", "step", "probe", "layer", "value", "se"])
    finite = {np.inf: nan, -np.inf: nan}
    notes = {"run_seconds": {f"{rate:g}": round(found.seconds, 3) for rate, found in done.items()}}
    return Outcome(pd.DataFrame(runs), curves.replace(finite), probes.replace(finite), notes)
