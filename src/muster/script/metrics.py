"""The file of metrics that a training script leaves: JSON, or CSV with a header.

What is empty, or null, was not logged. Only NaN and infinities diverge.
"""

import csv
import json
import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from muster.errors import MusterError

LARGEST = 2**63 - 1
NON_FINITE = ("nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity")


def _number(value: Any) -> Any:
    """A loss: a number, or one of the ways in which JSON writers spell what is not finite ("NaN", "Infinity")."""
    if isinstance(value, str) and value.strip().lower() in NON_FINITE:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a loss is a number, or NaN where it is not finite")
    return value


Loss = Annotated[float, BeforeValidator(_number)]
# In a curve: NaN where nothing was logged.
Logged = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else _number(value))]
Step = Annotated[int, Field(ge=0, le=LARGEST)]


class CurvePoint(BaseModel):
    """Losses after some updates."""

    step: Step
    train_loss: Logged = math.nan
    eval_loss: Logged = math.nan


class Reading(BaseModel):
    """One value of a probe; layer 0 where it belongs to none."""

    step: Step
    probe: str = Field(min_length=1)
    layer: int = Field(0, ge=0, le=LARGEST)
    value: Loss
    se: Loss = math.nan


class Metrics(BaseModel):
    """What a run reports. Only the training loss is required, and that of a curve will do; unknown names are left
    alone."""

    model_config = ConfigDict(extra="allow")

    final_train_loss: Loss
    final_eval_loss: Loss = math.nan
    diverged: bool = False
    steps: Step | None = None
    parameters: Step = 0
    flops: float = Field(0.0, ge=0, allow_inf_nan=False)
    curves: list[CurvePoint] = Field(default_factory=list)
    probes: list[Reading] = Field(default_factory=list)

    @property
    def lost(self) -> bool:
        """Whether the run diverged: it says so, or a final loss that it reports is not finite."""
        reported = [self.final_train_loss]
        if "final_eval_loss" in self.model_fields_set:
            reported.append(self.final_eval_loss)
        return self.diverged or not all(map(math.isfinite, reported))

    @property
    def updates(self) -> int:
        """Optimizer steps: as reported, else those of the last point of the curves."""
        return self.steps if self.steps is not None else max((point.step for point in self.curves), default=0)


def read_metrics(path: Path, kind: str) -> Metrics:
    """Read what a script wrote. Raises MusterError naming file, field and remedy."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise MusterError(str(path), "the command wrote no such file", "It must write one to {output}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MusterError(str(path), f"cannot be read ({error})", "It must be a UTF-8 text file") from None
    tree = {"json": _from_json, "csv": _from_csv}[kind](text, path)
    try:
        found = Metrics.model_validate(_logged(tree, path, kind))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise MusterError(f"{path} {field}", "missing", f"Write it; {_expected(kind)}") from None
        message = str(first.get("ctx", {}).get("error", first["msg"]))
        raise MusterError(f"{path} {field}", f"found {first['input']!r} ({message})", _expected(kind)) from None
    _check_steps(found, path)
    return found


def _logged(tree: dict[str, Any], path: Path, kind: str) -> dict[str, Any]:
    """What was logged: without nulls, and with the last values of the curves where no final ones stand.

    Raises MusterError where no training loss was logged at all: that is no divergence.
    """
    kept = {name: value for name, value in tree.items() if value is not None}
    points = kept.get("curves")
    points = [point for point in points if isinstance(point, dict)] if isinstance(points, list) else []
    from_curves = () if "final_train_loss" in kept else ("train_loss", "eval_loss")
    for column in from_curves:
        final = f"final_{column}"
        logged = [point for point in points if point.get(column) is not None and _is_step(point.get("step"))]
        if final not in kept and logged:
            kept[final] = max(logged, key=lambda point: point["step"])[column]
    if "final_train_loss" in tree and "final_train_loss" not in kept and not kept.get("diverged"):
        remedy = f"Write the last one, or NaN where the run diverged; {_expected(kind)}"
        raise MusterError(f"{path} final_train_loss", "null: no training loss was logged", remedy)
    return {"final_train_loss": math.nan, **kept} if kept.get("diverged") else kept


def _is_step(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _expected(kind: str) -> str:
    if kind == "csv":
        return "Expected: one row with final_train_loss, or a row per step with step, train_loss and eval_loss"
    return (
        'Expected: {"final_train_loss": 0.1}, and if at hand final_eval_loss, steps, parameters, flops, curves, probes'
    )


def _from_json(text: str, path: Path) -> Any:
    try:
        tree = json.loads(text)
    except ValueError as error:
        raise MusterError(str(path), f"not JSON ({error})", _expected("json")) from None
    if not isinstance(tree, dict):
        raise MusterError(str(path), f"found {type(tree).__name__}", _expected("json"))
    return tree


def _from_csv(text: str, path: Path) -> dict[str, Any]:
    """One row of results, or a history: rows of one step are merged, and of each column the last logged value is final.

    Of a step that a resumed run logged twice the later row counts.
    """
    raw = list(csv.DictReader(text.splitlines()))
    if not raw or any(None in row for row in raw):
        raise MusterError(str(path), "more cells than names" if raw else "no row below the header", _expected("csv"))
    rows = [{name: _cell(value) for name, value in row.items()} for row in raw]
    if "train_loss" not in rows[0]:
        if len(rows) > 1:
            raise MusterError(str(path), f"{len(rows)} rows of results", _expected("csv"))
        return rows[0]
    if not all(_is_step(row.get("step")) for row in rows):
        raise MusterError(f"{path} step", "missing or not a number", _expected("csv"))
    merged: dict[float, dict[str, Any]] = {}
    for row in rows:
        logged = {name: value for name, value in row.items() if value is not None}
        merged[row["step"]] = merged.get(row["step"], {}) | logged
    if not any("train_loss" in row for row in merged.values()):
        raise MusterError(f"{path} train_loss", "no row has one", _expected("csv"))
    return {"curves": [merged[step] for step in sorted(merged)]}


def _cell(text: str | None) -> Any:
    if text is None or not text.strip():
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def _check_steps(found: Metrics, path: Path) -> None:
    for name, places in (
        ("curves", [(point.step,) for point in found.curves]),
        ("probes", [(point.step, point.probe, point.layer) for point in found.probes]),
    ):
        seen: set[tuple[Any, ...]] = set()
        for where in places:
            if where in seen:
                raise MusterError(
                    f"{path} {name}", f"{', '.join(map(str, where))} stands twice", "Write each step once"
                )
            seen.add(where)
