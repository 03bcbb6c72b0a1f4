"""What was found about a sweep as plain records: lists and numbers in the units of the table."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from muster.config.models import StudyConfig
from muster.fitting.optimum.predict_lr import predict_loss, predict_lr, reach
from muster.tables.sweeps import Sweep

FIT = "transfer"  # the fit and the claim that the others stand beside
ENOUGH = 5  # values of x that an interior optimum needs: two on each side of the best
Record = dict[str, Any]


def runs_record(sweep: Sweep) -> Record:
    """How many runs, groups and values there are."""
    runs, columns = sweep.runs, sweep.columns
    return {
        "count": len(runs),
        "diverged": int(runs["diverged"].sum()),
        "groups": max(1, len(runs[list(columns.by)].drop_duplicates())) if columns.by else 1,
        "values_of_scale": runs[columns.named("scale")].nunique(),
        "values_of_x": runs["log2_lr"].nunique(),
        "seeds": runs["seed"].nunique() if columns.seed else None,
    }


def optimum_records(optima: pd.DataFrame, sweep: Sweep) -> list[Record]:
    """Optima with the hyperparameter as a plain number, and a maximized score as it was given."""
    records = []
    columns = sweep.columns
    for row in optima[optima["fit"] == FIT].to_dict("records"):
        group = json.loads(row["group"])
        record = {"group": group, "scale": row["x"], "status": row["status"]}
        names = {"optimum": "log2_lr_opt", "ci_low": "ci_low", "ci_high": "ci_high", "basin_low": "basin_low",
                 "basin_high": "basin_high", "grid_best": "grid_best"}  # fmt: skip
        record |= {name: 2.0 ** row[column] for name, column in names.items()}
        own = sweep.runs[sweep.runs[columns.named("scale")] == row["x"]]
        for name, value in group.items():
            own = own[own[name] == value]
        reason = _reason(row, columns.named("x"), own, columns.maximize)
        loss = 1 / row["loss_at_opt"] if columns.maximize else row["loss_at_opt"]
        records.append(record | {"loss": loss, "reason": reason})
    return records


def _reason(row: Mapping[Any, Any], x: str, own: pd.DataFrame, maximize: bool) -> str:
    """Why a shape has no interior optimum, and what would give it one. own: its runs."""
    status, tried = row["status"], own["log2_lr"].unique()
    if status == "interior":
        return ""
    what = "score" if maximize else "loss"
    if status == "diverged":
        return f"no {x} at which every run has a finite {what}"
    if status == "flat":
        peak = "maximum" if maximize else "minimum"
        if len(tried) == len(own):
            return f"no {peak} stands out, and one run a {x} does not tell noise from shape: sweep wider, or add seeds"
        return f"no {peak} stands out, a {x} next to the best is as good within the noise: sweep wider, or add seeds"
    lost = own.loc[own["diverged"], "log2_lr"].unique()
    finite = np.setdiff1d(tried, lost)
    if len(tried) < ENOUGH:
        return f"{len(tried)} values of {x}: an interior optimum needs {ENOUGH}, two on each side of the best"
    for name, side, beyond, within in (
        ("largest", "larger", tried > row["grid_best"], finite > row["grid_best"]),
        ("smallest", "smaller", tried < row["grid_best"], finite < row["grid_best"]),
    ):
        if not beyond.any():
            return f"the best is the {name} {x}: sweep {side} ones"
        if not within.any():
            return (
                f"the best is the {name} {x} with a finite {what} in every run; the {beyond.sum()} {side} ones in the "
                "file diverged: sweep between them and the best"
            )
    side = "larger" if (finite > row["grid_best"]).sum() < 2 else "smaller"
    return f"one finite value of {x} {side} than the best: an interior optimum needs two on each side"


def exponent_records(fits: pd.DataFrame) -> list[Record]:
    """The exponent of every group under every variant."""
    kept = ["variant", "primary", "estimate", "se", "dof", "ci_low", "ci_high", "status", "note"]
    rows = fits[fits["fit"] == FIT].to_dict("records")
    return [{"group": json.loads(row["group"])} | {name: row[name] for name in kept} for row in rows]


def verdict_records(study: StudyConfig, ledger: pd.DataFrame) -> list[Record]:
    """What the ledger says of each claim of the table."""
    kept = ["predicted", "margin", "estimate", "se", "dof", "ci_low", "ci_high", "p_support", "p_refute", "p_adjusted",
            "regime", "verdict", "reason"]  # fmt: skip
    rows = zip(study.claims, ledger.to_dict("records"), strict=True)
    return [{"group": dict(claim.where), "claim": claim.fit} | {name: row[name] for name in kept}
            for claim, row in rows]  # fmt: skip


def prediction_records(optima: pd.DataFrame, at: Iterable[float], maximize: bool) -> list[Record]:
    """Predictions for every group and value, from the interior optima alone. No law of a score is known."""
    records = []
    for text, rows in optima[optima["fit"] == FIT].groupby("group", sort=False):
        inside = rows[rows["status"] == "interior"]
        x = inside["x"].to_numpy(float)
        for value in at:
            far = reach(x, value)._asdict() if len(x) else {"factor": math.nan, "far": True}
            made = [predict_lr(x, inside["log2_lr_opt"], value)]
            made += [] if maximize else predict_loss(x, inside["loss_at_opt"], value)
            records += [{"group": json.loads(str(text))} | prediction._asdict() | far for prediction in made]
    return records
