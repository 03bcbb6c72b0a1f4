"""`muster fit-table`: somebody's sweep, of any program, through the estimators, tests and figures of every study."""

import json
import math
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from muster.claims.ledger import judge
from muster.config.models import StudyConfig
from muster.errors import MusterError
from muster.fitting.base import group_key, to_json
from muster.fitting.frames import groups
from muster.fitting.optimum.predict_lr import predict_loss, predict_lr, reach
from muster.fitting.study import fit_study
from muster.tables.spreadsheet import quoted
from muster.tables.sweep import Columns, Sweep, read_sweep

FIT = "transfer"
ENOUGH = 5  # values of x that an interior optimum needs: two on each side of the best
PANELS = 3  # figures' panels per row, one a group
LEARNING_RATES = ("lr", "learning_rate")
Record = dict[str, Any]


def fit_table(args: Namespace) -> None:
    """Fit a table of runs and print, or write, what it says about transfer."""
    columns = Columns(args.x, args.y, args.scale, args.seed, tuple(args.by), _pairs(args.select, "--select"))
    at = _targets(args.predict, args.scale)
    if not args.margin > 0:
        raise MusterError("--margin", f"found {args.margin:g}", "No estimate lies within a margin of 0: give one > 0")
    sweep = read_sweep(args.sweep, columns)
    study = _study(sweep, columns, args)
    try:
        optima, fits = fit_study(study, {"runs": sweep.runs})
    except MusterError as error:
        raise MusterError(str(args.sweep), error.found, error.remedy) from None
    ledger = judge([study], {study.study: fits}, "")
    result = {
        "file": str(args.sweep),
        "runs": _runs(sweep, columns),
        "notes": sweep.notes,
        "optima": _optima(optima, columns, sweep),
        "exponents": _exponents(fits),
        "verdicts": _verdicts(study, ledger),
        "predictions": _predictions(optima, at),
    }
    if args.output:
        _write(args.output, study, sweep, optima, fits, result, columns)
    print(to_json(result) if args.json else "\n".join(_text(result, columns, args.output)))


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    wrong = [text for text in texts if not text.partition("=")[1] or not text.partition("=")[0]]
    if wrong or len(pairs) < len(texts):
        raise MusterError(option, f"found {' '.join(wrong or texts)!r}", "Write column=value, each column once")
    return pairs


def _targets(text: str | None, scale: str) -> list[float]:
    """The values at which to predict, from `width=4096,8192`."""
    if text is None:
        return []
    name, _, values = text.partition("=")
    try:
        found = [float(value) for value in values.split(",")]
    except ValueError:
        found = []
    if name != scale or not found or not all(math.isfinite(value) and value > 0 for value in found):
        raise MusterError("--predict", f"found {text!r}", f"Write {scale}=VALUE, with a positive number")
    return found


def _study(sweep: Sweep, columns: Columns, args: Namespace) -> StudyConfig:
    """The table as a study: one fit, and one claim of transfer for every group."""
    claims = [
        {"claim": f"transfer-{i}", "statement": f"The best {columns.x} does not change with {columns.scale}",
         "source": str(args.sweep), "provenance": "derived", "fit": FIT, "where": group, "test": "equivalence",
         "predicted": 0, "margin": args.margin}
        for i, (group, _) in enumerate(groups(sweep.runs, columns.by))
    ]  # fmt: skip
    fit = {"estimator": "lr_transfer", "response": columns.y, "along": columns.scale, "by": columns.by}
    options: Record = {"columns": min(len(claims), PANELS)}
    if columns.x not in LEARNING_RATES:
        options["rate"] = columns.x
    return StudyConfig.model_validate(
        {"study": "fit-table", "title": args.sweep.name, "paper": str(args.sweep), "slug": "fit-table",
         "experiment": "command", "scales": {"laptop": {"grid": [{}]}}, "fits": {FIT: fit}, "claims": claims,
         "figures": {name: {"plot": name, "fit": FIT, "options": options} for name in ("lr_sweep", "optimum_vs_axis")}}
    )  # fmt: skip


def _runs(sweep: Sweep, columns: Columns) -> Record:
    runs = sweep.runs
    return {
        "count": len(runs),
        "diverged": int(runs["diverged"].sum()),
        "groups": max(1, len(runs[list(columns.by)].drop_duplicates())) if columns.by else 1,
        "values_of_scale": runs[columns.scale].nunique(),
        "values_of_x": runs["log2_lr"].nunique(),
        "seeds": runs["seed"].nunique() if columns.seed else None,
    }


def _optima(optima: pd.DataFrame, columns: Columns, sweep: Sweep) -> list[Record]:
    """Optima with the hyperparameter as a plain number."""
    records = []
    for row in optima.to_dict("records"):
        group = json.loads(row["group"])
        record = {"group": group, "scale": row["x"], "status": row["status"]}
        names = {"optimum": "log2_lr_opt", "ci_low": "ci_low", "ci_high": "ci_high", "basin_low": "basin_low",
                 "basin_high": "basin_high", "grid_best": "grid_best"}  # fmt: skip
        record |= {name: 2.0 ** row[column] for name, column in names.items()}
        own = sweep.runs[sweep.runs[columns.scale] == row["x"]]
        for name, value in group.items():
            own = own[own[name] == value]
        reason = _reason(row, columns.x, own["log2_lr"].unique())
        records.append(record | {"loss": row["loss_at_opt"], "reason": reason})
    return records


def _reason(row: Mapping[Any, Any], x: str, tried: np.ndarray) -> str:
    """Why a shape has no interior optimum, and what would give it one. tried: its log2(x) that are in the file."""
    status = row["status"]
    if status == "interior":
        return ""
    if status == "diverged":
        return "no value at which every run has a finite loss"
    if status == "flat":
        return f"no minimum stands out from the noise: sweep {x} wider, or add seeds"
    if len(tried) < ENOUGH:
        return f"{len(tried)} values of {x}: an interior optimum needs {ENOUGH}, two on each side of the best"
    for name, side, beyond in (
        ("largest", "larger", tried > row["grid_best"]),
        ("smallest", "smaller", tried < row["grid_best"]),
    ):
        if not beyond.any():
            return f"the best is the {name} {x}: sweep {side} ones"
        if math.isinf(row["ci_high" if side == "larger" else "ci_low"]):
            lost = f"the {beyond.sum()} {side} ones in the file have no finite loss in every run"
            return f"the best is the {name} {x} that has one: {lost}, so sweep between them and the best"
    return f"fewer than two finite values of {x} on one side of the best: sweep more there"


def _exponents(fits: pd.DataFrame) -> list[Record]:
    kept = ["variant", "primary", "estimate", "se", "dof", "ci_low", "ci_high", "status", "note"]
    return [{"group": json.loads(row["group"])} | {name: row[name] for name in kept} for row in fits.to_dict("records")]


def _verdicts(study: StudyConfig, ledger: pd.DataFrame) -> list[Record]:
    kept = [
        "predicted",
        "margin",
        "estimate",
        "ci_low",
        "ci_high",
        "p_support",
        "p_refute",
        "p_adjusted",
        "verdict",
        "reason",
    ]
    rows = zip(study.claims, ledger.to_dict("records"), strict=True)
    return [{"group": dict(claim.where)} | {name: row[name] for name in kept} for claim, row in rows]


def _predictions(optima: pd.DataFrame, at: Iterable[float]) -> list[Record]:
    """Predictions for every group and value, from the interior optima alone."""
    records = []
    for text, rows in optima.groupby("group", sort=False):
        inside = rows[rows["status"] == "interior"]
        x = inside["x"].to_numpy(float)
        for value in at:
            far = reach(x, value)._asdict() if len(x) else {"factor": math.nan, "far": True}
            made = [predict_lr(x, inside["log2_lr_opt"], value), *predict_loss(x, inside["loss_at_opt"], value)]
            records += [{"group": json.loads(str(text))} | prediction._asdict() | far for prediction in made]
    return records


def _write(
    folder: Path,
    study: StudyConfig,
    sweep: Sweep,
    optima: pd.DataFrame,
    fits: pd.DataFrame,
    result: Mapping[str, Any],
    columns: Columns,
) -> None:
    """Tables as CSV, groups as columns, and the two figures as SVG and PNG."""
    from muster.files import write_text
    from muster.plots import PlotData, render, save

    for name in ("optima", "exponents", "verdicts", "predictions"):
        flat = [record["group"] | {k: v for k, v in record.items() if k != "group"} for record in result[name]]
        if flat:
            write_text(folder / f"{name}.csv", quoted(pd.DataFrame(flat)).to_csv(index=False, float_format="%.6g"))
    data = PlotData(study, "", runs=sweep.runs, optima=optima, fits=fits)
    for name in study.figures:
        save(render(name, data), folder / f"{name}.svg", folder / f"{name}.png")


def _text(result: Mapping[str, Any], columns: Columns, output: Path | None) -> list[str]:
    """The result as a reader wants it: what was read; then for each group optima, exponent, verdict, predictions."""
    runs = result["runs"]
    seeds = f", {runs['seeds']} seeds" if runs["seeds"] else ""
    lines = [
        f"{result['file']}: {runs['count']} runs, {runs['values_of_scale']} values of {columns.scale}, "
        f"{runs['values_of_x']} of {columns.x}{seeds}; loss: {columns.y}"
    ]
    lines += [f"  {note}" for note in result["notes"]]
    for verdict in result["verdicts"]:
        key = group_key(verdict["group"])
        own = {
            name: [r for r in result[name] if group_key(r["group"]) == key]
            for name in ("optima", "exponents", "predictions")
        }
        title = ", ".join(f"{name} {value}" for name, value in verdict["group"].items())
        lines += ["", title] if title else [""]
        lines += _optimum_lines(own["optima"], columns)
        lines += _exponent_lines(own["exponents"], verdict, columns)
        lines += _prediction_lines(own["predictions"], columns)
    if output:
        lines += ["", f"tables and figures: {output}"]
    return lines


def _optimum_lines(optima: Sequence[Record], columns: Columns) -> list[str]:
    rows = [(columns.scale, f"best {columns.x}", "95 % interval", "within +0.25 % of loss", columns.y, "status")]
    for it in optima:
        inside = it["status"] == "interior"
        best = (
            f"{it['optimum']:.4g}" if inside else f"({it['grid_best']:.4g})" if math.isfinite(it["grid_best"]) else "–"
        )
        basin = f"{it['basin_low']:.3g} … {it['basin_high']:.3g}" if inside else ""
        loss = f"{it['loss']:.4g}" if inside else ""
        status = f"{it['status']}: {it['reason']}" if it["reason"] else it["status"]
        rows.append(
            (f"{it['scale']:g}", best, _interval(it, "ci_low", "ci_high") if inside else "", basin, loss, status)
        )
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return [
        "  " + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    ]


def _exponent_lines(exponents: Sequence[Record], verdict: Record, columns: Columns) -> list[str]:
    primary = next(row for row in exponents if row["primary"])
    others = [f"{row['variant']} {_estimate(row)}" for row in exponents if not row["primary"] and row["status"] == "ok"]
    lines = []
    if primary["status"] == "ok":
        head = f"d ln {columns.x} / d ln {columns.scale} = {_estimate(primary)} ({primary['variant']})"
        lines.append(f"  exponent  {head}")
        lines += [f"            {'; '.join(others)}"] if others else []
        lines += [f"            {primary['note']}"] if primary["note"] else []
    margin = f"|exponent| ≤ {verdict['margin']:g}"
    return [*lines, f"  transfer  {verdict['verdict']} ({margin}): {verdict['reason']}"]


def _prediction_lines(predictions: Sequence[Record], columns: Columns) -> list[str]:
    lines = []
    for x in dict.fromkeys(it["x"] for it in predictions):
        own = [it for it in predictions if it["x"] == x]
        for it in own:
            name = columns.x if it["quantity"] == "lr" else f"{columns.y}, {it['model'].replace('_', ' with ')}"
            value = (
                f"{it['value']:.4g} {_interval(it, 'low', 'high')}" if it["status"] == "ok" else f"– ({it['status']})"
            )
            lines.append(f"  at {columns.scale} {x:g}  {name}: {value}{'; ' if it['note'] else ''}{it['note']}")
        if own[0]["far"] and any(it["status"] == "ok" for it in own):
            lines.append(
                f"  warning   {columns.scale} {x:g} lies {own[0]['factor']:.3g} times beyond the optima found, more "
                "than half of their range in logarithms: sweep nearer to it before you rely on this"
            )
    return lines


def _estimate(row: Record) -> str:
    return f"{row['estimate']:.3g} {_interval(row, 'ci_low', 'ci_high')}"


def _interval(row: Record, low: str, high: str) -> str:
    if math.isinf(row[high]):
        return "unbounded"
    return f"[{row[low]:.3g}, {row[high]:.3g}]"
