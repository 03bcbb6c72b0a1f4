"""Columns of the three frozen tables, apart from the key columns that depend on the study."""

from typing import Literal

Kind = Literal["runs", "curves", "probes"]

COLUMNS: dict[str, dict[str, str]] = {
    "runs": {
        "diverged": "bool",
        "final_train_loss": "float64",
        "final_eval_loss": "float64",
        "steps": "int64",
        "parameters": "int64",
        "flops": "float64",
        "seconds": "float64",
    },
    "curves": {"step": "int64", "train_loss": "float64", "eval_loss": "float64"},
    "probes": {"step": "int64", "probe": "string", "layer": "int64", "value": "float64", "se": "float64"},
}

# A cell's folder, in the order of writing: a run table stands for a complete one.
PROVENANCE = "provenance.json"
CELL_FILES = ("cell.json", PROVENANCE, "probes.parquet", "curves.parquet", "runs.parquet")

SOURCES_FILE = "sources.json"  # beside the tables of a study that imports them
MISSING_FILE = "missing.json"  # beside the tables of a study that lacks data sets or published tables

# Columns that, with the study's keys, tell the rows of a table apart.
ROW_KEYS: dict[str, tuple[str, ...]] = {"runs": (), "curves": ("step",), "probes": ("step", "probe", "layer")}

# Where NaN has a meaning: a diverged run has no loss, sampling has none at all, most probes carry no Monte-Carlo error,
# and a published table need not say what its runs cost. `seconds` is for published tables alone: how long a run of our
# own took stands in its cell's provenance, since equal runs must give equal tables.
MAY_BE_NAN = {"final_train_loss", "final_eval_loss", "flops", "seconds", "train_loss", "eval_loss", "value", "se"}
