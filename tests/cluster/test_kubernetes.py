"""What pods are asked to run, and that it runs, behind as much of the Kubernetes API as Snakemake's plugin calls."""

import subprocess
import sys

from tests.cluster import with_plugins
from tests.cluster.kubernetes import api
from tests.workflow.conftest import copy_workflow
from tests.workflow.studies import TINY


def test_pods_get_what_their_cells_need_and_make_the_ledger(tmp_path):
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (project, elsewhere):
        folder.mkdir()
    wide = TINY.replace("width: [8, 16]", "width: [8, 1024]")
    workflow = copy_workflow(project, "scale: smoke\n", tiny_train=wide)
    environment = with_plugins(workflow.environment())
    options = ["--container-image", "muster", "--kubernetes-persistent-volumes", f"claim:{tmp_path}"]
    options += ["--seconds-between-status-checks", "1", "--latency-wait", "10"]
    with api(elsewhere, environment) as pods:
        run = subprocess.run(
            [sys.executable, "-m", "snakemake", "--profile", "profiles/kubernetes", *options],
            cwd=project,
            env=environment | {"KUBECONFIG": str(elsewhere / "kubeconfig")},
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert run.returncode == 0, run.stdout + run.stderr
    assert (project / "results/ledger/LEDGER.md").exists()
    narrow, broad = (
        [pod for pod in pods.asked if f"cell=w{width}-" in pod["args"][1]] for width in (8, 1024)
    )  # the others are fits
    assert len(narrow) == len(broad) == 1
    (small,), (large,) = (
        [int(pod["resources"]["requests"]["memory"].rstrip("M")) for pod in p] for p in (narrow, broad)
    )
    assert small < large
    assert {"name": "claim", "mountPath": str(tmp_path)} in narrow[0]["volumeMounts"]
    assert narrow[0]["args"][1].strip().startswith("python -m snakemake"), "the image's own Python"
