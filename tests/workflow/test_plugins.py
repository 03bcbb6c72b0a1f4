"""A package that brings a data set, an estimator and a study: found when it is installed, named when it is broken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DATA = """
import numpy as np
from muster.data.base import DATASETS, Arrays, Dataset, Dimensions, Options, Raw

class BlobOptions(Options):
    train: int = 40
    heldout: int = 20

def build(options):
    \"\"\"Two blobs.\"\"\"
    rng = np.random.default_rng(options.seed)
    y = np.arange(60) % 2
    x = (rng.normal(size=(60, 3)) + y[:, None]).astype(np.float32)
    return Raw(Arrays(x[:40], y[:40], x[40:], y[40:]))

DATASETS.register("toy_blobs")(Dataset(
    summary="Two blobs", options=BlobOptions, dimensions=lambda options: Dimensions(3, 2, "classification"),
    build=build, licence="CC0", source="made here"))
"""
ESTIMATOR = """
from muster.fitting.base import ESTIMATORS
from muster.fitting.estimators.mean import mean
from muster.fitting.base import PoolOptions
from muster.fitting.per_group import per_group

ESTIMATORS.register("toy_mean")(per_group(
    "A mean of a plug-in", mean, ("cluster_t",), min_points=2, parameters=("mean",), options=PoolOptions,
    source="here", assumes="nothing", fails="never"))
"""
STUDY = """\
study: toy-study
title: A study of a plug-in
paper: "Nobody 2026, Nothing"
slug: toy-study
question: width
experiment: train
settings: {data: toy_blobs, depth: 2, loss: cross_entropy, batch_size: 8, base_width: 8, base_depth: 2,
           evaluation_examples: 16, evaluations: 1, steps: 3}
scales:
  smoke:
    grid:
      - {parameterization: mup, optimizer: sgd, width: [8, 16], seeds: 2, log2_lr: -5}
fits:
  level: {estimator: toy_mean, table: runs, response: final_train_loss, along: width}
claims:
  - {claim: toy-mean, statement: The mean loss is near ln 2, source: here, provenance: abstract, fit: level,
     parameter: mean, test: equivalence, predicted: 0.69, margin: 0.5, headline: false, figure: scaling}
figures:
  scaling: {plot: seed_scatter, fit: level}
"""
POINTS = """\
[muster.data_set]
toy = toy.data

[muster.estimator]
toy = toy.estimators

[muster.study]
toy = toy.studies
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """What pip leaves of a package of three modules and a folder of studies."""
    files = {
        "toy/__init__.py": "",
        "toy/data.py": DATA,
        "toy/estimators.py": ESTIMATOR,
        "toy/studies/toy-study.yaml": STUDY,
        "toy-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n",
        "toy-1.0.dist-info/entry_points.txt": POINTS,
    }
    for name, text in files.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "site"


def muster(site: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(site)])
    command = [sys.executable, "-m", "muster", *words]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=300)


def test_a_package_brings_a_data_set_an_estimator_and_a_study(installed, tmp_path):
    results = str(tmp_path / "results")
    done = muster(installed, "run", "toy-study", "--scale", "smoke", "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "toy-mean" in done.stdout


def test_a_broken_package_is_named(installed):
    (installed / "toy/estimators.py").write_text("import nothing_of_that_name\n")
    done = muster(installed, "list", "estimators")
    assert done.returncode == 2
    assert "plug-in toy" in done.stderr
    assert "nothing_of_that_name" in done.stderr
    assert "Traceback" not in done.stderr
    assert muster(installed, "list", "datasets").returncode == 0


def test_code_of_a_plug_in_counts_in_keys(installed, monkeypatch):
    code = (
        "from muster.jobs.definitions import Definition, resolve;"
        "print(resolve(Definition('toy.data', 'build')), resolve(Definition('numpy', 'zeros')))"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2] / "src"), str(installed)]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert "name='build'" in done.stdout
    assert done.stdout.strip().endswith("None")
