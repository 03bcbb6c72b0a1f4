"""From the publisher's columns to ours: steps over rows, filters, expressions of theirs, checks of every cell."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator, Field

from muster.config.models import Name, Section
from muster.errors import Gathering, MusterError
from muster.published.rows import Filters, Steps, transformed
from muster.published.transforms import Expression, columns_in, evaluate, is_text, require, satisfies

if TYPE_CHECKING:
    import pandas as pd

RUN = "run"
POSITIVE = (
    "parameters", "tokens", "flops", "unique_tokens", "streams", "experts", "batch_size", "width", "depth",
    "final_train_loss", "final_eval_loss", "error",
)  # fmt: skip
FINITE = ("log2_lr", "log2_batch", "seed", "diverged")
WHOLE = ("parameters", "width", "depth", "seed", "steps")
NUMERIC = {*POSITIVE, *FINITE, *WHOLE, "seconds"}
LOSSES = ("final_train_loss", "final_eval_loss", "error")
WHOLE_TOLERANCE = 1e-6  # of a count: 2.81, meant as billions, is refused; 6795600349.29, read off a figure, is rounded


class Documented(Section):
    """What a reader must know to compare run tables, as the publisher says it; `unknown` where he does not."""

    parameter_count: str = Field(min_length=1, description="How N counts: with or without embeddings, tied or not")
    flop_formula: str = Field(min_length=1, description="How C follows from N and D")
    schedule_end: str = Field(min_length=1, description="Whether the learning rate was decayed by the end of each run")
    tuned_per_size: str = Field(min_length=1, description="Which hyperparameters were tuned for each size")
    checkpoint: str = Field(min_length=1, description="Final states, or checkpoints of longer runs")
    split: str = Field(min_length=1, description="Data on which the loss was measured")


def _free(columns: dict[str, Any]) -> dict[str, Any]:
    for name in ("study", "source"):
        if name in columns:
            raise ValueError(f"the column {name!r} is filled in by muster: choose another name")
    return columns


class ColumnMapping(Section):
    """How a source's rows become runs."""

    columns: Annotated[dict[Name, Expression], AfterValidator(_free)] = Field(
        min_length=1,
        description="Our column → theirs, or a transform: {product: [a, b]}, {ratio: [a, b]}, {log2: a}, {constant: 1}",
    )
    rows: Steps | None = Field(
        None, description="Transforms of whole rows, in order, before filters and columns: {last_step: {run: name}}"
    )
    filters: Filters = Field(
        default_factory=dict, description="Their column → value, values, or a condition such as {above: 0}"
    )
    repeated_rows: Literal["refuse", "keep", "drop"] = Field(
        "refuse", description="What to do with rows of the source that are equal in every column"
    )
    documented: Documented = Field(description="What must be known to compare run tables, or `unknown`")


class Mapped(NamedTuple):
    """Runs, and how many rows of the source each step removed."""

    runs: "pd.DataFrame"
    removed: dict[str, int]


def apply(mapping: ColumnMapping, source: "pd.DataFrame", place: str) -> Mapped:
    """Runs of a source: steps over its rows, filtered, mapped, checked, with the columns of the mapping and `run`.

    `run` numbers the rows of the source from 1 unless it is mapped. Raises MusterError naming `place` (the file), the
    field of the mapping, the row and the remedy: all columns that the source lacks, all cells that are no numbers, a
    loss or a size that is missing, infinite or not positive, a run that stands twice, or filters that keep nothing.
    """
    import pandas as pd

    rows, removed = _without_repeats(mapping, source.reset_index(drop=True), place)
    if mapping.rows:
        rows, changed = transformed(mapping.rows, rows, place)
        removed |= changed
    _check_columns(mapping, rows, place)
    for column, wanted in mapping.filters.items():
        kept = rows[satisfies(rows[column], wanted, f"{place}: filters.{column}")]
        removed[f"filters.{column}"] = len(rows) - len(kept)
        rows = kept
    if rows.empty:
        raise MusterError(f"{place}: filters", f"none of {len(source)} rows is kept", "Widen the filters")
    columns: dict[str, Any] = {RUN: [f"r{row:05d}" for row in rows.index + 1]}
    wrong = Gathering()
    for name, expression in mapping.columns.items():
        with wrong:
            columns[name] = _column(name, expression, rows, f"{place}: columns.{name}")
    wrong.tell()
    runs = pd.DataFrame(columns, index=rows.index)
    _check_values(runs, place)
    return Mapped(runs.reset_index(drop=True), {step: count for step, count in removed.items() if count})


def _check_columns(mapping: ColumnMapping, rows: "pd.DataFrame", place: str) -> None:
    """Raises a MusterError that reads as all columns that filters and expressions name and the rows lack."""
    named = {f"filters.{name}": [name] for name in mapping.filters}
    named |= {f"columns.{name}": columns_in(expression) for name, expression in mapping.columns.items()}
    wrong = Gathering()
    for field, columns in named.items():
        for column in columns:
            with wrong:
                require(column, rows, f"{place}: {field}")
    wrong.tell()


def _without_repeats(mapping: ColumnMapping, rows: "pd.DataFrame", place: str) -> tuple["pd.DataFrame", dict[str, int]]:
    repeated = rows.duplicated()
    if mapping.repeated_rows == "keep" or not repeated.any():
        return rows, {}
    if mapping.repeated_rows == "drop":
        return rows[~repeated], {"repeated_rows": int(repeated.sum())}
    numbers = ", ".join(map(str, rows.index[repeated][:5] + 1))
    found = f"{int(repeated.sum())} rows repeat an earlier one (row {numbers})"
    raise MusterError(f"{place}: repeated_rows", found, "Set repeated_rows: drop, or keep if they are separate runs")


def _column(name: str, expression: Any, rows: "pd.DataFrame", place: str) -> Any:
    """The values of one of our columns, [rows]: numbers where numbers are meant, else as the source has them."""
    if is_text(expression):
        return expression["constant"]
    if isinstance(expression, str) and name not in NUMERIC:
        values = rows[expression]
        return values.astype(str) if name == RUN else values
    return evaluate(expression, rows, place)


def _check_values(runs: "pd.DataFrame", place: str) -> None:
    """Refuse what no estimator could use; the index of `runs` holds rows of the source."""
    lost = runs["diverged"].to_numpy(bool) if "diverged" in runs else np.zeros(len(runs), bool)
    for name in runs.columns:
        where = f"{place}: columns.{name}"
        if runs[name].dtype.kind in "fiu":
            values = runs[name].astype(float)
            needed = ~lost if name in LOSSES else np.ones(len(runs), bool)
            finite = np.isfinite(values)
            if name in (*POSITIVE, *FINITE):
                _refuse(values, needed & ~finite, where, "is missing or not finite")
            if name in POSITIVE:
                _refuse(values, needed & (values <= 0), where, "is not positive")
            _refuse(values, np.isinf(values), where, "is infinite")
            if name in WHOLE:
                off = np.abs(values - np.round(values)) > WHOLE_TOLERANCE * np.maximum(np.abs(values), 1)
                _refuse(values, off, where, "is no whole number; for billions write {product: [column, 1.0e+9]}")
    double = runs[RUN].duplicated().to_numpy()
    if double.any():
        first = int(np.argmax(double))
        found = f"the run {runs[RUN].iloc[first]!r} stands again in row {runs.index[first] + 1}"
        raise MusterError(f"{place}: columns.{RUN}", found, "Name a column that tells runs apart, or leave `run` out")


def _refuse(values: "pd.Series", bad: Any, place: str, found: str) -> None:
    bad = np.asarray(bad)
    if bad.any():
        first = int(np.argmax(bad))
        more = f" ({int(bad.sum())} such rows)" if bad.sum() > 1 else ""
        remedy = "Correct the file or the mapping, or remove such rows with a filter, which is recorded"
        raise MusterError(place, f"{values.iloc[first]:g} in row {values.index[first] + 1} {found}{more}", remedy)
