"""The smoke flow on a real one-node Slurm: arrays, resources by width, jobs cancelled, preempted and too large."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from muster.plan.plan import load_plan
from tests.cluster import with_plugins
from tests.cluster.slurm import missing, one_node_slurm
from tests.workflow.conftest import Workflow, copy_workflow
from tests.workflow.studies import TINY

GRID = TINY.partition("    grid:\n")[2].partition("\n")[0] + "\n"
# The two cells of the small study, which are over at once, and one of seconds, wide enough for a rule of its own.
WIDE = "      - {parameterization: [mup], optimizer: adam, width: 1024, seeds: 1, log2_lr: [-9]}\n"
LONG = "      - {parameterization: [mup], optimizer: adam, width: 8, seeds: 1, log2_lr: [-9]}\n"
PATIENCE = 300.0  # seconds, on a busy machine


def require(accounting: bool) -> None:
    """Skip where Debian's packages are not installed."""
    if lacking := missing(accounting):
        pytest.skip(
            f"no Slurm here, {', '.join(lacking)}: apt-get install slurm-wlm munge slurmdbd mariadb-server-core"
        )


def small_workflow(folder: Path, steps: int, grid: str) -> Workflow:
    """A copy of the project with one small study."""
    folder.mkdir(exist_ok=True)
    return copy_workflow(
        folder, "scale: smoke\n", tiny_train=TINY.replace(GRID, grid).replace("steps: 6}", f"steps: {steps}}}")
    )


@pytest.fixture
def slurm(request) -> Iterator[dict[str, str]]:
    """The environment of a cluster's users; the parameter says whether it has accounting."""
    require(request.param)
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        one_node_slurm(Path(folder), accounting=request.param) as environment,
    ):
        yield environment


def start(workflow: Workflow, slurm: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Snakemake with the project's profile, looking at the queue every second."""
    polls = ["--latency-wait", "10", "--slurm-init-seconds-before-status-checks", "1"]
    polls += ["--seconds-between-status-checks", "1", "--verbose"]
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", *polls, *arguments],
        cwd=workflow.folder,
        env=with_plugins(slurm | {"PYTHONPATH": workflow.environment()["PYTHONPATH"], "OMP_NUM_THREADS": "1"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Its output; raises TimeoutExpired when it hangs."""
    try:
        return process.communicate(timeout=PATIENCE)[0]
    finally:
        process.kill()


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Poll while Snakemake runs."""
    end = time.monotonic() + PATIENCE
    while not found():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def jobs(slurm: dict[str, str]) -> list[dict[str, str]]:
    """Everything in the queue or just ended, by id: rule, state, MB asked for, why it waits."""
    columns = {"id": "%i", "comment": "%k", "state": "%T", "memory": "%m", "reason": "%r"}
    command = ["squeue", "--states=all", "--noheader", "--sort=i", f"--format={'|'.join(columns.values())}"]
    lines = subprocess.run(command, env=slurm, capture_output=True, text=True, check=True).stdout.splitlines()
    return [dict(zip(columns, line.split("|"), strict=True)) for line in lines]


def of_rule(slurm: dict[str, str], rule: str) -> list[dict[str, str]]:
    return [job for job in jobs(slurm) if job["comment"].startswith(f"rule_{rule}_wildcards")]


@pytest.mark.parametrize("slurm", [False], indirect=True, ids=["without accounting"])
def test_a_cancelled_and_a_preempted_job_lose_nothing(slurm, tmp_path, monkeypatch):
    workflow = small_workflow(tmp_path / "project", 600, GRID + WIDE)
    workflow.edit("src/muster/training/engine.py", "CHECKPOINT_SECONDS = 30.0", "CHECKPOINT_SECONDS = 0.2")
    monkeypatch.chdir(workflow.folder)
    cells = {cell.cell.width: cell for cell in load_plan().cells.values()}
    tables = {width: workflow.folder / "results/runs" / cell.key / "runs.parquet" for width, cell in cells.items()}
    log = workflow.folder / f"results/logs/{cells[1024].key}.log"
    checkpoints = workflow.folder / "results/checkpoints" / cells[1024].key

    first = start(workflow, slurm, "--slurm-status-command", "squeue", "--retries", "0")
    wait_for(lambda: list(checkpoints.glob("*.pt")), first)
    (wide,), narrow = of_rule(slurm, "train_w1024"), of_rule(slurm, "train")
    subprocess.run(["scancel", wide["id"]], env=slurm, check=True)
    said = finish(first)
    assert first.returncode == 1, said
    assert not tables[1024].exists()
    assert list(checkpoints.glob("*.pt"))
    assert {job["id"].partition("_")[0] for job in narrow} == {narrow[0]["id"].partition("_")[0]}, "one array"
    assert len(narrow) == 2
    assert int(wide["memory"].rstrip("M")) > int(narrow[0]["memory"].rstrip("M"))
    done = {width: tables[width].stat().st_mtime_ns for width in (8, 16)}

    again = start(workflow, slurm, "--slurm-status-command", "squeue")
    wait_for(lambda: log.exists() and "resumed at step" in log.read_text(), again)
    urgent = ["sbatch", "--partition=urgent", "--exclusive", "--wrap=true", "--output=/dev/null"]
    subprocess.run(urgent, env=slurm, check=True, capture_output=True)
    wait_for(lambda: of_rule(slurm, "train_w1024")[-1]["reason"] == "BeginTime", again)
    queued = of_rule(slurm, "train_w1024")[-1]["id"]  # Slurm would let it wait for two minutes
    subprocess.run(["scontrol", "update", f"JobId={queued}", "StartTime=now"], env=slurm, check=True)
    said = finish(again)
    assert again.returncode == 0, said
    assert "resumed at step" in log.read_text()
    assert {width: tables[width].stat().st_mtime_ns for width in (8, 16)} == done
    assert (workflow.folder / "results/ledger/LEDGER.md").exists()

    elsewhere = tmp_path / "uninterrupted"
    name, options = cells[1024].dataset
    for command in (["data", name, "--options", json.dumps(options)], ["train", "--cell", cells[1024].text]):
        whole = workflow.run(*command, "--results", str(elsewhere), program="muster")
        assert whole.returncode == 0, whole.stderr
    assert_same_numbers(tables[1024], elsewhere / "runs" / cells[1024].key / "runs.parquet")


def assert_same_numbers(found: Path, expected: Path) -> None:
    """Equal tables, but for the time that a run took."""
    left, right = (pd.read_parquet(path).drop(columns="seconds", errors="ignore") for path in (found, expected))
    pd.testing.assert_frame_equal(left, right)


@pytest.mark.parametrize("slurm", [False], indirect=True, ids=["without accounting"])
def test_a_job_refuses_a_study_that_was_edited_after_its_submission(slurm, tmp_path):
    workflow = small_workflow(tmp_path, 6, GRID)
    done = workflow.run("tables")
    assert done.returncode == 0, done.stderr
    run = start(workflow, slurm, "--slurm-status-command", "squeue", "--retries", "0", "fits")
    wait_for(lambda: of_rule(slurm, "fit"), run)
    workflow.edit("config/studies/tiny-train.yaml", "title: Tiny", "title: Small")  # while the job's Snakemake starts
    said = finish(run)
    assert run.returncode == 1, said
    assert "edited since this run was planned" in (workflow.folder / "results/logs/fit/tiny-train.log").read_text()
    assert not (workflow.folder / "results/fits/tiny-train/fits.parquet").exists()


@pytest.mark.parametrize("slurm", [True], indirect=True, ids=["with accounting"])
def test_a_job_that_exceeds_its_memory_gets_twice_as_much(slurm, tmp_path):
    workflow = small_workflow(tmp_path, 3000, LONG)
    workflow.edit("src/muster/jobs/plan_rules.py", "Request(1000 + int(cost", "Request(50 + int(cost")
    run = start(workflow, slurm, "--slurm-status-command", "sacct", "tables")
    said = finish(run)
    assert run.returncode == 0, said
    query = ["sacct", "--noheader", "--allocations", "--parsable2", "--format=State,ReqMem"]
    lines = subprocess.run(query, env=slurm, capture_output=True, text=True, check=True).stdout.splitlines()
    *killed, completed = [line.split("|") for line in lines]  # how much it takes is seen once a second: one kill or two
    assert 1 <= len(killed) <= 2
    assert {state for state, _ in killed} <= {"OUT_OF_MEMORY", "FAILED"}
    assert completed[0] == "COMPLETED"
    asked = [float(memory.rstrip("MG")) for _, memory in [*killed, completed]]
    assert asked == [asked[0] * 2**attempt for attempt in range(len(asked))]
