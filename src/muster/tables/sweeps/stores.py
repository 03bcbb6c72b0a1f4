"""The stores of Optuna and MLflow: databases and folders, read by their own packages where these are installed."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from muster.errors import MusterError

DATABASES = (".db", ".sqlite", ".sqlite3")
SCHEMES = ("sqlite:", "mysql:", "postgresql:")
# What MLflow writes about a run by itself is no setting of it.
_OWN_TAGS = "mlflow."


def is_address(text: str) -> bool:
    """Whether a text is the address of a database, as Optuna and MLflow write it."""
    return text.startswith(SCHEMES)


def read_store(source: str) -> pd.DataFrame:
    """All runs of a store: a folder or database of MLflow, else a storage of Optuna."""
    if not is_address(source) and Path(source).is_dir():
        return _from_mlflow(source, Path(source).resolve().as_uri())
    address = source if is_address(source) else f"sqlite:///{source}"
    if address.startswith("sqlite:///"):
        tables = _tables(source, address.removeprefix("sqlite:///"))
        if "runs" in tables:
            return _from_mlflow(source, address)
        if "studies" not in tables:  # Optuna would make its own in somebody's database
            raise MusterError(source, "a database of neither Optuna nor MLflow", "Export its runs as CSV")
    return _from_optuna(source, address)


def _tables(source: str, path: str) -> set[str]:
    """The names of the tables of a SQLite file, which is only read."""
    if not Path(path).is_file():
        raise MusterError(source, "no such file", "Give the database that holds the runs")
    try:
        with closing(sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    except sqlite3.Error as error:
        raise MusterError(source, f"not a database of SQLite ({error})", "Check the path") from None


def _from_optuna(source: str, address: str) -> pd.DataFrame:
    """All trials of the only study of a storage."""
    try:
        import optuna
    except ImportError:
        remedy = "pip install 'muster[optuna]', or export it: study.trials_dataframe().to_csv('trials.csv')"
        raise MusterError(source, "an Optuna storage, which its package reads", remedy) from None
    try:
        names = optuna.get_all_study_names(address)
        if len(names) != 1:
            remedy = "Export the one you mean: study.trials_dataframe().to_csv('trials.csv')"
            raise MusterError(source, f"it holds {len(names)} studies ({', '.join(names)})", remedy)
        study = optuna.load_study(study_name=names[0], storage=address)
        return study.trials_dataframe(attrs=("number", "value", "params", "user_attrs", "state"))
    except MusterError:
        raise
    except Exception as error:  # whatever its database says
        raise _unreadable(source, "Optuna", error) from None


def _from_mlflow(source: str, address: str) -> pd.DataFrame:
    """All runs of all experiments, with the last value of every metric."""
    try:
        import mlflow
    except ImportError:
        remedy = "Give a file; of MLflow: pip install 'muster[mlflow]', or mlflow.search_runs().to_csv('runs.csv')"
        found = "a folder, which only MLflow's package reads" if Path(source).is_dir() else "a database of MLflow"
        raise MusterError(source, found, remedy) from None
    rows: list[dict[str, Any]] = []
    try:
        with _files_allowed():
            client = mlflow.MlflowClient(tracking_uri=address)
            experiments = [experiment.experiment_id for experiment in client.search_experiments()]
            token = None
            while token is None or token:
                page = client.search_runs(experiments, max_results=1000, page_token=token)
                rows += [_run(run) for run in page]
                token = page.token or ""
    except Exception as error:  # whatever its store says
        raise _unreadable(source, "MLflow", error) from None
    if not rows:
        raise MusterError(source, "no run of MLflow in it", "Give the folder, or the database, that holds experiments")
    return pd.DataFrame(rows)


def _run(run: Any) -> dict[str, Any]:
    tags = {f"tags.{name}": value for name, value in run.data.tags.items() if not name.startswith(_OWN_TAGS)}
    params = {f"params.{name}": value for name, value in run.data.params.items()}
    metrics = {f"metrics.{name}": value for name, value in run.data.metrics.items()}
    return {"run_id": run.info.run_id, "status": run.info.status, **params, **metrics, **tags}


@contextmanager
def _files_allowed() -> Iterator[None]:
    """Newer versions of MLflow open a folder only if they are told that this is meant."""
    name = "MLFLOW_ALLOW_FILE_STORE"
    before = os.environ.get(name)
    os.environ[name] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _unreadable(source: str, program: str, error: Exception) -> MusterError:
    told = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return MusterError(source, f"not a store of {program} ({told})", "Check the path")
