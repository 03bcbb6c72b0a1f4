"""What pods are asked to run, and that it runs, behind as much of the Kubernetes API as Snakemake's plugin calls."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from muster.plan.plan import load_plan
from tests.cluster import with_plugins
from tests.cluster.kubernetes import api
from tests.workflow.conftest import Workflow, copy_workflow
from tests.workflow.studies import TINY

WIDE = TINY.replace("width: [8, 16]", "width: [8, 1024]")


def run(
    workflow: Workflow, *options: str, before: Callable[[str], object] = len
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """Snakemake with the project's profile; what it said, and the pods' specifications."""
    mount = workflow.folder.parent
    elsewhere = mount / "elsewhere"
    elsewhere.mkdir()
    environment = with_plugins(workflow.environment())
    command = ["--container-image", "muster", "--kubernetes-persistent-volumes", f"claim:{mount}"]
    command += ["--seconds-between-status-checks", "1", "--latency-wait", "10", *options]
    with api(elsewhere, environment, before) as pods:
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--profile", "profiles/kubernetes", *command],
            cwd=workflow.folder,
            env=environment | {"KUBECONFIG": str(elsewhere / "kubeconfig"), "PWD": str(workflow.folder)},
            capture_output=True,
            text=True,
            timeout=600,
        )
    return done, pods.asked


def of_width(pods: list[dict[str, Any]], width: int) -> dict[str, Any]:
    """The specification of the only pod that trains a cell of this width."""
    (found,) = [pod for pod in pods if f"cell=w{width}-" in pod["containers"][0]["args"][1]]
    return found


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    folder = tmp_path / "a project"
    folder.mkdir()
    return copy_workflow(folder, "scale: smoke\n", tiny_train=WIDE)


def test_pods_work_in_the_volume_with_what_their_cells_need(workflow, tmp_path, monkeypatch):
    done, pods = run(workflow)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (workflow.folder / "results/ledger/LEDGER.md").exists()
    assert len(pods) == 3, "two cells and the fit"
    for pod in pods:
        (container,) = pod["containers"]
        assert {"name": "claim", "mountPath": str(tmp_path)} in container["volumeMounts"]
        assert {"name": "claim", "persistentVolumeClaim": {"claimName": "claim"}} in pod["volumes"]
        assert container["args"][1].split(" && ")[0].strip() == f"cd {shlex.quote(str(workflow.folder))}"
        assert container["args"][1].split(" && ")[1].startswith("python -m snakemake"), "the image's own Python"
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
    monkeypatch.chdir(workflow.folder)
    for cell in load_plan().cells.values():
        asked = of_width(pods, cell.cell.width)["containers"][0]["resources"]["requests"]
        assert asked["memory"] == f"{1000 + int(cell.cost.memory_bytes / 1e6)}M"
    assert of_width(pods, 8)["containers"][0]["resources"] != of_width(pods, 1024)["containers"][0]["resources"]


def test_a_pod_asks_for_a_gpu_with_a_limit(workflow):
    done, pods = run(workflow, "tables", "--config", "device=cuda", "--retries", "0")
    assert done.returncode != 0, "there is no GPU here"
    (container,) = of_width(pods, 1024)["containers"]
    for kind in ("requests", "limits"):
        assert container["resources"][kind]["nvidia.com/gpu"] == "1"
    assert [t["key"] for t in of_width(pods, 1024)["tolerations"]] == ["nvidia.com/gpu"]


EDITS = {
    "study": ("results/logs/fit/tiny-train.log", "config/studies/tiny-train.yaml", "title: Tiny", "title: Small"),
    "code": (
        "results/logs/train/*.log",
        "src/muster/training/engine.py",
        "CHECKPOINT_SECONDS = ",
        "CHECKPOINT_SECONDS = 1+",
    ),
}


@pytest.mark.parametrize("edited", EDITS)
def test_what_is_edited_after_submission_is_refused(workflow, edited):
    log, *edit = EDITS[edited]
    rule = "fit" if edited == "study" else "train"

    def when_submitted(command: str) -> None:
        if f"--allowed-rules {rule} " in command and edit:
            workflow.edit(*edit)
            edit.clear()

    done, _ = run(workflow, "--retries", "0", before=when_submitted)
    assert done.returncode != 0
    assert not edit
    assert any("edited since this run was planned" in path.read_text() for path in workflow.folder.glob(log))
    assert not (workflow.folder / "results/fits/tiny-train/fits.parquet").exists()
