"""The faults: each function injects one into a working flow, checks what follows, and says what it found."""

import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

from muster.errors import MusterError
from muster.published.readers import OpenLmOptions, archive_checksum
from tests.drills.flow import PATIENCE, Bench, Flow, prepare, running, text

Drill = Callable[[Bench], str]
DRILLS: dict[str, Drill] = {}


def fault(title: str) -> Callable[[Drill], Drill]:
    """Register a drill under the words of the report."""

    def add(drill: Drill) -> Drill:
        DRILLS[title] = drill
        return drill

    return add


@fault("kill −9 of a training job")
def killed_job(bench: Bench) -> str:
    flow = bench.flow()
    with running(flow) as snakemake:
        cell, job = next(iter(flow.jobs_at_work().items()))
        job.kill()
        said, _ = snakemake.communicate(timeout=PATIENCE)
    assert snakemake.returncode != 0
    assert "Failed" in said
    assert "Traceback" not in said
    status = text(flow.run("status", program="muster"))
    assert "failed: train/w" in status, status
    assert "retry cd " in status, status
    flow.finish()
    assert cell in flow.resumed()
    return f"`muster status` named the cell and its command; the next run resumed it from its checkpoint; \
{bench.equal(flow)}"


IN_A_SMALL_DISK = """\
set -eu
mount -t tmpfs -o size=$1 none results
shift
"$@" > full.log 2>&1 && exit 9
mount -o remount,size=64m results
"$@" > enough.log 2>&1
cp -r results kept
"""


@fault("disk full during a write (tmpfs of 128 kB)")
def full_disk(bench: Bench) -> str:
    flow = bench.flow()
    flow.results.mkdir()
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "tables"]
    done = in_own_mounts(flow, IN_A_SMALL_DISK, "128k", *command)
    full = (flow.folder / "full.log").read_text()
    assert done.returncode == 0, text(done) + full[-2000:]
    assert "No space left on device" in full
    assert "Traceback" not in full
    flow.results.rmdir()
    (flow.folder / "kept").rename(flow.results)
    left = [path.name for path in flow.results.rglob(".*")]
    assert not left, left
    return f"the jobs ended with “No space left on device” and the file's name, without a half-written file; with room \
the same command finished; {bench.equal(flow)}"


def in_own_mounts(flow: Flow, script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell script in the flow's folder where it may mount: a namespace of its own, no privilege outside."""
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *arguments],
        cwd=flow.folder,
        env=flow.environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def flip(path: Path) -> None:
    """Flip a bit in each of fifteen places: a single one may lie in bytes that mean nothing."""
    content = bytearray(path.read_bytes())
    for i in range(1, 16):
        content[i * len(content) // 16] ^= 16
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@fault("truncated and bit-flipped tables, cells and data sets")
def damaged_results(bench: Bench) -> str:
    flow = bench.copy()
    cells = sorted((flow.results / "runs/train").iterdir())
    data = next((flow.results / "data").iterdir())
    named = []
    for damage, path, lost, target in (
        (flip, flow.results / "tables/tiny-train/runs.parquet", "fits/tiny-train/fits.parquet", "fits"),
        (truncate, flow.results / "fits/tiny-train/fits.parquet", "ledger/claims.csv", "ledger"),
        (flip, cells[0] / "curves.parquet", "tables/tiny-train/runs.parquet", "tables"),
        (flip, data / "data.npz", f"runs/train/{cells[0].name}/runs.parquet", "tables"),
    ):
        keep_times(path, damage)
        (flow.results / lost).unlink()
        said = flow.fail(target)
        name = str(path.relative_to(flow.folder))
        assert name in said, said
        assert ".damaged now. Run again" in said, said
        flow.finish(target)
        named.append(name)
    flow.finish("ledger")
    return f"each of {len(named)} was named by the job that would have read it, set aside, and made anew by the next \
run; {bench.equal(flow)}"


def keep_times(path: Path, damage: Callable[[Path], None]) -> None:
    """Damage a file as a bad disk does: without a new modification time."""
    stat = path.stat()
    damage(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@fault("truncated and bit-flipped checkpoints")
def damaged_checkpoints(bench: Bench) -> str:
    flow = bench.flow()
    with running(flow) as snakemake:
        os.killpg(snakemake.pid, signal.SIGKILL)
        snakemake.wait()
    found = flow.checkpoints()
    for i, path in enumerate(found):
        (flip, truncate)[i % 2](path)
    flow.unlock()
    flow.finish()
    logs = " ".join(log.read_text() for log in (flow.results / "logs/train").glob("*.log"))
    assert logs.count("checkpoint is unreadable (its checksum does not match)") == len(found), logs
    assert not flow.resumed()
    return f"{len(found)} of {len(found)} were named in the logs and not resumed, their stacks began at step 0; \
{bench.equal(flow)}"


@fault("truncated and bit-flipped objects of the run store")
def damaged_store(bench: Bench) -> str:
    flow = bench.flow()
    flow.edit("config/config.yaml", "store: false\n", "")
    flow.finish()
    objects = sorted((flow.results / "store/objects").glob("*/*/runs.parquet"))
    assert len(objects) >= 2
    for damage, path in zip((flip, truncate), objects, strict=False):
        path.chmod(0o644)
        damage(path)
    gone = [str(flow.results / name) for name in ("runs", "tables", "provenance")]  # as another user would start
    subprocess.run(["rm", "-r", *gone], check=True)
    flow.finish()
    logs = " ".join(log.read_text() for log in (flow.results / "logs").rglob("*.log"))
    assert logs.count("checksum does not match; set aside") == 2, logs
    taken = logs.count("taken from the store")
    return f"of {len(objects)} cells {taken} were taken from the store, the 2 damaged ones named, set aside and made \
anew; {bench.equal(flow)}"


@fault("two Snakemake processes in one folder")
def two_at_once(bench: Bench) -> str:
    flow = bench.served()
    with running(flow, "snakemake", "--cores", "1", "tables") as first:  # many cells: the second must find it at work
        said = flow.fail()
        assert "cannot be locked" in said, said
        output, _ = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0, output
    return f"the second was refused with “Directory cannot be locked”, the first finished; \
{bench.equal(flow, bench.many)}"


TO_THE_PRESENT = "find results -newermt now -exec touch {} +"


@fault("the clock jumps back by a day between runs")
def clock_jumps(bench: Bench) -> str:
    flow = bench.copy()
    for path in [flow.folder, *flow.folder.rglob("*")]:
        stat = path.lstat()
        os.utime(path, (stat.st_atime + 86400, stat.st_mtime + 86400), follow_symlinks=False)
    assert flow.jobs("ledger") == {}
    cell = next((flow.results / "runs/train").iterdir())
    (cell / "runs.parquet").unlink()
    said = flow.fail("tables")
    assert "older modification time" in said, said
    subprocess.run(["sh", "-c", TO_THE_PRESENT], cwd=flow.folder, check=True)
    flow.finish("tables")
    flow.finish("ledger")
    assert flow.jobs("ledger") == {}
    bench.equal(flow)
    flow.edit("config/studies/tiny-train.yaml", "width: [8, 16]", "width: [8]")
    due = flow.jobs("ledger")
    assert due.keys() >= {"collect", "fit", "judge"}, due
    flow.finish("ledger")
    assert flow.jobs("ledger") == {}
    fresh = bench.flow()
    fresh.edit("config/studies/tiny-train.yaml", "width: [8, 16]", "width: [8]")
    fresh.finish("ledger")
    assert fresh.tables() == flow.tables()
    return f"nothing was due although all files lay in the future; making a lost cell again stopped with Snakemake's \
“older modification time than input”; after `{TO_THE_PRESENT}` it was made, and an edit of the grid made tables, fits \
and ledger anew, equal to a fresh run's byte for byte"


READ_ONLY = """\
set -eu
mount --bind results results
mount -o remount,ro,bind results
"$@" --dry-run > nothing.log 2>&1
sed -i 's/seeds: 1/seeds: 2/' config/studies/tiny-train.yaml
! "$@" > work.log 2>&1
python=$1
"$python" -m muster status > status.log 2>&1 || true
"""


@fault("results that are read-only")
def read_only(bench: Bench) -> str:
    flow = bench.copy()
    before = flow.tables()
    done = in_own_mounts(flow, READ_ONLY, sys.executable, "-m", "snakemake", "--cores", "2", "tables")
    assert done.returncode == 0, text(done)
    said = (flow.folder / "work.log").read_text()
    assert "Nothing to be done" in (flow.folder / "nothing.log").read_text()
    assert "Write-protected output files" in said, said[-2000:]
    assert "Traceback" not in said
    assert "cells are done" in (flow.folder / "status.log").read_text()
    assert flow.tables() == before
    return "with nothing to do the run succeeds; with something to do it ends with “Write-protected output \
files”, names them, and changes nothing; `muster status` works"


@fault("a published table whose checksum does not match")
def wrong_checksum(bench: Bench) -> str:
    flow = bench.flow("tiny_import")
    flow.edit("config/config.yaml", "scale: smoke", "scale: laptop")
    source = flow.folder / "sources/a/runs.csv"
    good = source.read_bytes()
    source.write_bytes(good.replace(b"10", b"11", 1))
    flow.finish("ledger")
    ledger = (flow.results / "ledger/claims.csv").read_text()
    assert "not run" in ledger
    assert "has checksum" in ledger
    source.write_bytes(good)
    flow.finish("ledger")
    assert "supported" in (flow.results / "ledger/claims.csv").read_text()
    return "it was not read: its claims were “not run” with both checksums as the reason, nothing else stopped; with \
the right table in its place the next run imported it and judged its claims"


@fault("a study edited while it runs")
def edited_study(bench: Bench) -> str:
    flow = bench.flow()
    with running(flow) as snakemake:
        flow.edit("config/studies/tiny-train.yaml", "title: Tiny", "title: Small")
        flow.edit("config/studies/tiny-train.yaml", "width: [8, 16]", "width: [8, 16, 32]")
        said, _ = snakemake.communicate(timeout=PATIENCE)
    assert snakemake.returncode != 0
    assert "edited since this run was planned" in " ".join(said.split()), said
    assert not (flow.results / "tables/tiny-train").exists()
    kept = {path: path.stat().st_mtime_ns for path in (flow.results / "runs/train").rglob("runs.parquet")}
    flow.finish()
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())
    flow.edit("config/studies/tiny-train.yaml", "title: Small", "title: Tiny")
    flow.edit("config/studies/tiny-train.yaml", "width: [8, 16, 32]", "width: [8, 16]")
    flow.finish()
    return f"no table was made of the mixture; the next run kept {len(kept)} finished cells and trained the new one; \
edited back, {bench.equal(flow)}"


@fault("code edited while it runs")
def edited_code(bench: Bench) -> str:
    """What a job at work has loaded, it goes on with; no later job takes the new code for the old."""
    flow = bench.served()
    source, old, new = "src/muster/training/schedules.py", "return 1.0 - progress", "return 0.9 - progress"
    before = (flow.folder / source).stat()
    with running(flow, "snakemake", "--cores", "1", "tables", until=flow.served_at_work) as snakemake:
        flow.edit(source, old, new)
        said, _ = snakemake.communicate(timeout=PATIENCE)
    assert snakemake.returncode != 0
    assert "Traceback" not in said, said
    assert "the code that decides its result: edited since this run was planned" in " ".join(said.split()), said
    assert not (flow.results / "tables/tiny-train").exists()
    kept = flow.finished_cells()
    assert kept
    status = text(flow.run("status", program="muster"))
    assert "made by other code" in status, status
    (flow.folder / source).write_text((flow.folder / source).read_text().replace(new, old, 1))
    os.utime(flow.folder / source, ns=(before.st_atime_ns, before.st_mtime_ns))
    flow.finish()
    assert kept.items() <= flow.finished_cells().items()
    return f"the job at work ended with the code that it had loaded; the next one was refused, and no table was made \
of the mixture; `muster status` called what was finished stale; edited back, it was kept; \
{bench.equal(flow, bench.many)}"


@fault("500 corrupted configurations (hypothesis)")
def corrupted_configurations(bench: Bench) -> str:
    from tests.unit.config import test_corrupted as corrupted

    tally = {"refused": 0, "still valid": 0}
    corrupted.test_a_corrupted_configuration_ends_in_one_line_that_names_its_file(tally)
    return (
        f"{tally['refused']} were refused with one line that names file and field, {tally['still valid']} were still \
valid, none raised anything else"
    )


@fault("folders with spaces, quotes and other scripts in their names")
def odd_names(bench: Bench) -> str:
    flow = prepare(bench.folder / "mü ster — it's 実験 $(x) & co")
    flow.finish("ledger", "figures")
    assert flow.jobs("figures") == {}
    return f"in a folder `{flow.folder.name}` all ran, nothing was due afterwards; {bench.equal(flow)}"


@fault("archives with paths that leave their folder")
def hostile_archives(bench: Bench) -> str:
    outside = bench.folder / "outside"
    refused = skipped = 0
    for name, kind in (
        (f"../{outside.name}", tarfile.REGTYPE),
        (f"top/exp_data/../../../{outside.name}", tarfile.REGTYPE),
        (str(outside), tarfile.REGTYPE),
        ("top/exp_data/models/a.json", tarfile.SYMTYPE),
        ("top/exp_data/models/b.json", tarfile.LNKTYPE),
        ("top/exp_data/models/c.json", tarfile.CHRTYPE),
    ):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(outside)
            archive.addfile(member)
        empty = archive_checksum(tar_of_nothing(), OpenLmOptions())
        try:
            assert archive_checksum(buffer.getvalue(), OpenLmOptions()) == empty
            skipped += 1
        except MusterError:
            refused += 1
    assert not outside.exists()
    assert (refused, skipped) == (3, 3)
    return (
        "`../`, a path through `..` and an absolute path are refused by name; symbolic links, hard links and devices \
are not followed; archives are read in memory and never unpacked"
    )


def tar_of_nothing() -> bytes:
    buffer = io.BytesIO()
    tarfile.open(fileobj=buffer, mode="w").close()
    return buffer.getvalue()
