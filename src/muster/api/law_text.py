"""The result of a law in words and columns, for a terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from muster.api.text import aligned
from muster.fitting.base import group_key

SHOWN = 6  # held-out runs that are shown: those that are missed by most

Record = dict[str, Any]


def text(result: Mapping[str, Any]) -> str:
    """What was read; then for each group parameters, how held-out runs are predicted, and predictions."""
    runs, response = result["runs"], result["response"]
    held = f", {runs['held_out']} of them held out" if runs["held_out"] else ""
    lines = [f"{result['file']}: {runs['count']} runs{held}; {response} = {result['law']}"]
    lines += [f"  {note}" for note in result["notes"]]
    for scatter in result["scatter"]:
        key = group_key(scatter["group"])
        own = {
            name: [row for row in result[name] if group_key(row["group"]) == key]
            for name in ("parameters", "extrapolation", "held_out", "predictions")
        }
        title = ", ".join(f"{name} {value}" for name, value in scatter["group"].items())
        lines += ["", title] if title else [""]
        lines += _parameter_lines(own["parameters"])
        if math.isfinite(scatter["sd"]):
            lines.append(
                f"  scatter   {_percent(scatter['sd'])} around the law (standard deviation of {scatter['runs']} runs)"
            )
        for row in own["extrapolation"]:
            lines += _held_lines(row, own["held_out"], result)
        lines += [line for row in own["predictions"] for line in _prediction_lines(row, result)]
        if any("clusters" in row["note"] for row in own["parameters"]):
            lines.append("  next      --clusters COLUMN, or --independent: without it the intervals may be too short")
    return "\n".join(lines)


def _parameter_lines(parameters: Sequence[Record]) -> list[str]:
    rows = [("parameter", "estimate", "95 % interval", "status")]
    for it in parameters:
        estimate = f"{it['estimate']:.4g}" if math.isfinite(it["estimate"]) else "–"
        status = f"{it['status']}: {it['note']}" if it["note"] else it["status"]
        rows.append((it["parameter"], estimate, _interval(it["ci_low"], it["ci_high"]), status))
    return aligned(rows)


def _held_lines(row: Record, held: Sequence[Record], result: Mapping[str, Any]) -> list[str]:
    """How well the runs that were held out are predicted, and the worst of them."""
    error = _percent(row["error"])
    between = f" [{_percent(row['ci_low'])}, {_percent(row['ci_high'])}]" if math.isfinite(row["ci_high"]) else ""
    inside = (
        f"{row['inside']} of {row['intervals']} lie in their 95 % intervals" if row["intervals"] else "no intervals"
    )
    said = f"; {row['note']}" if row["note"] else ""
    lines = [
        f"  held out  {row['runs']} runs, mean error {error}{between}, bias {100 * row['bias']:+.2g} %; {inside}{said}"
    ]
    worst = sorted(held, key=lambda each: -abs(each["error"]) if math.isfinite(each["error"]) else -math.inf)[:SHOWN]
    head = f"run (the {len(worst)} worst)" if len(held) > SHOWN else "run"
    rows = [(head, *result["variables"], str(result["response"]), "predicted", "95 % interval", "error")]
    for each in worst:
        ends = _interval(each["low"], each["high"]) + ("" if each["inside"] or math.isnan(each["low"]) else " missed")
        values = [f"{each[name]:.4g}" for name in result["variables"]]
        rows.append(
            (
                each["run"],
                *values,
                f"{each['seen']:.4g}",
                f"{each['predicted']:.4g}",
                ends,
                f"{100 * each['error']:+.2g} %",
            )
        )
    return lines + [f"          {line}" for line in aligned(rows)]


def _prediction_lines(row: Record, result: Mapping[str, Any]) -> list[str]:
    at = ", ".join(f"{name} {row[name]:g}" for name in result["variables"])
    made = f"{row['predicted']:.4g} {_interval(row['low'], row['high'])}".rstrip()
    value = made if math.isfinite(row["predicted"]) else "–"
    lines = [f"  at {at}  {result['response']}: {value}{'; ' if row['note'] else ''}{row['note']}"]
    if row["beyond"]:
        far = " and ".join(f"{name} lies {factor:.3g} times beyond" for name, factor in row["beyond"].items())
        lines.append(
            f"  warning   {far} the runs, more than half of their range in logarithms: the interval assumes the law"
        )
    return lines


def _percent(value: float) -> str:
    return f"{100 * value:.2g} %"


def _interval(low: float, high: float) -> str:
    return f"[{low:.4g}, {high:.4g}]" if math.isfinite(low) and math.isfinite(high) else ""
