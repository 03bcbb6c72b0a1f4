"""Stores of Optuna and MLflow: read by their packages where these are installed, refused with the remedy elsewhere."""

import math
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from muster.errors import MusterError
from muster.tables.sweeps import Columns, Sweep, read_sweep

SETTINGS = [(width, 2.0**k) for width in (64, 128) for k in range(-9, -4)]


def loss(width: int, lr: float) -> float:
    return 2 + 8 / width + 0.02 * (math.log2(lr) + 7) ** 2


def check(found: Sweep, runs: int) -> None:
    assert len(found.runs) == runs
    assert (found.columns.x, found.columns.scale) == ("lr", "width")
    for row in found.runs.to_dict("records"):
        assert row[found.columns.named("y")] == pytest.approx(loss(row["width"], 2.0 ** row["log2_lr"]))
    assert not found.others


def test_an_optuna_storage_is_read(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    address = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="one", storage=address)
    for width, lr in SETTINGS:
        study.enqueue_trial({"width": width, "lr": lr})

    def objective(trial: "optuna.Trial") -> float:
        width, lr = trial.suggest_categorical("width", [64, 128]), trial.suggest_float("lr", 1e-4, 1, log=True)
        if trial.number == 0:
            raise optuna.TrialPruned
        return loss(width, lr)

    study.optimize(objective, n_trials=len(SETTINGS))
    for source in (address, str(tmp_path / "study.db"), tmp_path / "study.db"):
        check(read_sweep(source, Columns()), len(SETTINGS) - 1)
    optuna.create_study(study_name="two", storage=address)
    with pytest.raises(MusterError, match="it holds 2 studies"):
        read_sweep(address, Columns())


@pytest.mark.parametrize("kind", ["folder", "database"])
def test_a_store_of_mlflow_is_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    source = tmp_path / ("mlruns" if kind == "folder" else "mlflow.db")
    client = mlflow.MlflowClient(tracking_uri=source.as_uri() if kind == "folder" else f"sqlite:///{source}")
    experiment = client.create_experiment("sweep", artifact_location=str(tmp_path / "artifacts"))
    for width, lr in SETTINGS:
        run = client.create_run(experiment).info.run_id
        for name, value in (("width", width), ("lr", lr)):
            client.log_param(run, name, value)
        for step in (1, 2):
            client.log_metric(run, "loss", loss(width, lr) * (3 - step), step=step)
        client.set_terminated(run)
    client.create_run(experiment)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    found = read_sweep(source, Columns())
    check(found, len(SETTINGS))
    assert any("1 running" in note for note in found.notes)
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ


def database(path: Path, *tables: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        for table in tables:
            connection.execute(f"create table {table} (id integer)")
    return path


@pytest.mark.parametrize(
    ("tables", "package", "told"),
    [
        (("studies", "trials"), "optuna", r"pip install 'muster\[optuna\]'"),
        (("experiments", "runs"), "mlflow", r"pip install 'muster\[mlflow\]'"),
    ],
)
def test_without_their_packages_the_remedy_is_told(
    tables: tuple[str, ...], package: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    path = database(tmp_path / "store.db", *tables)
    for source in (path, f"sqlite:///{path}"):
        with pytest.raises(MusterError, match=told) as caught:
            read_sweep(source, Columns())
        assert caught.value.place == str(source)
    if package == "mlflow":
        with pytest.raises(MusterError, match=told):
            read_sweep(tmp_path, Columns())


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("width,lr,loss\n" * 99)
    with pytest.raises(MusterError, match="not a database of SQLite"):
        read_sweep(tmp_path / "text.db", Columns())
    with pytest.raises(MusterError, match="of neither Optuna nor MLflow"):
        read_sweep(database(tmp_path / "other.db", "cats"), Columns())
    with pytest.raises(MusterError, match="no such file"):
        read_sweep(f"sqlite:///{tmp_path / 'none.db'}", Columns())
    assert not (tmp_path / "none.db").exists()
