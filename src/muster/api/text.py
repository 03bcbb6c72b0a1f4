"""The result of a sweep in words and columns, for a terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from muster.fitting.base import group_key
from muster.tables.sweeps import Columns

Record = dict[str, Any]


def text(result: Mapping[str, Any], columns: Columns) -> str:
    """What was read; then for each group optima, exponent, verdicts, predictions and what to run next."""
    runs = result["runs"]
    seeds = f", {runs['seeds']} seeds" if runs["seeds"] else ""
    what = "score" if columns.maximize else "loss"
    lines = [
        f"{result['file']}: {runs['count']} runs, {runs['values_of_scale']} values of {columns.scale}, "
        f"{runs['values_of_x']} of {columns.x}{seeds}; {what}: {columns.y}"
    ]
    lines += [f"  {note}" for note in result["notes"]]
    for verdict in result["verdicts"]:
        key = group_key(verdict["group"])
        own = {
            name: [r for r in result[name] if group_key(r["group"]) == key]
            for name in ("optima", "exponents", "also", "predictions", "next")
        }
        title = ", ".join(f"{name} {value}" for name, value in verdict["group"].items())
        lines += ["", title] if title else [""]
        lines += _optimum_lines(own["optima"], columns)
        lines += _exponent_lines(own["exponents"], verdict, columns)
        lines += _also_lines(own["also"], columns)
        lines += _prediction_lines(own["predictions"], columns)
        lines += [f"  next      {advice['text']}" for advice in own["next"]]
    return "\n".join(lines)


def _optimum_lines(optima: Sequence[Record], columns: Columns) -> list[str]:
    within = f"within {'−' if columns.maximize else '+'}0.25 % of {'score' if columns.maximize else 'loss'}"
    rows = [(str(columns.scale), f"best {columns.x}", "95 % interval", within, str(columns.y), "status")]
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
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells in columns, the last of which has any length."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return [
        ("  " + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])).rstrip()
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


def _also_lines(verdicts: Sequence[Record], columns: Columns) -> list[str]:
    """Regret and drift, where they were measured."""
    lines = []
    for row in verdicts:
        if row["verdict"] in ("no measurement", "not run"):
            continue
        if row["claim"] == "regret":
            what = f"the best {columns.x} of the smallest {columns.scale} costs at most {_percent(row['estimate'])} "
            what += f"[{_percent(row['ci_low'])}, {_percent(row['ci_high'])}] elsewhere"
            lines.append(f"  regret    {what}: {row['verdict']} (≤ {_percent(row['margin'])})")
        else:
            what = f"if it converges as {columns.scale}^-½, ln {columns.x} drifts by {_estimate(row)} more"
            lines.append(f"  limit     {what}: {row['verdict']} (≤ {row['margin']:g})")
    return lines


def _percent(value: float) -> str:
    return f"{100 * value:.2g} %"


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
