"""From the publisher's columns to ours: filters on theirs, expressions of theirs, checks of every cell.

A study says `tokens: {ratio: [Training FLOP, {product: [6, Model Size]}]}`: a text is a column of the source, a number
is itself, a mapping with one key is a transform of such expressions. There is no other syntax; nothing is executed.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator, Field

from muster.config.load import nearest
from muster.config.models import Name, Scalar, Section
from muster.errors import MusterError
from muster.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

Values = np.ndarray

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


class Condition(Section):
    """What a cell of the source must satisfy; a missing one satisfies nothing but `known: false`."""

    above: float | None = Field(None, description="Greater than")
    at_least: float | None = Field(None, description="Greater or equal")
    below: float | None = Field(None, description="Less than")
    at_most: float | None = Field(None, description="Less or equal")
    other_than: list[Scalar] | None = Field(None, description="None of these values")
    known: bool | None = Field(None, description="true: not missing; false: missing")


class Transform(NamedTuple):
    """A function of columns, and how many it takes (`most` may be infinite)."""

    function: Callable[[Sequence[Values]], Values]
    least: int
    most: float
    summary: str

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self.summary


TRANSFORMS: Registry[Transform] = Registry("transform")
for _name, _transform in {
    "product": Transform(lambda parts: np.prod(parts, axis=0), 2, math.inf, "Product of two or more"),
    "ratio": Transform(lambda parts: parts[0] / parts[1], 2, 2, "The first over the second"),
    "log2": Transform(lambda parts: np.log2(parts[0]), 1, 1, "Logarithm to base 2"),
    "constant": Transform(lambda parts: parts[0], 1, 1, "The same number in every row"),
}.items():
    TRANSFORMS.register(_name)(_transform)


def _expression(value: Any) -> Any:
    """Check the form of an expression. Raises ValueError saying what is allowed."""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError("A column of the source, a number, or one transform such as {product: [a, b]}")
    name, arguments = next(iter(value.items()))
    if name not in TRANSFORMS:
        raise ValueError(f"unknown transform {name!r}. {TRANSFORMS.remedy(name)}")
    arguments = arguments if isinstance(arguments, list) else [arguments]
    transform = TRANSFORMS[name]
    if not transform.least <= len(arguments) <= transform.most:
        raise ValueError(f"{name} takes {transform.least}{' or more' if transform.most > transform.least else ''}")
    for argument in arguments:
        _expression(argument)
    return value


Expression = Annotated[Any, AfterValidator(_expression)]


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
    filters: dict[str, Scalar | list[Scalar] | Condition] = Field(
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
    """Runs of a source: filtered, mapped, checked, with the columns of the mapping and `run`.

    `run` numbers the rows of the source from 1 unless it is mapped. Raises MusterError naming `place` (the file), the
    field of the mapping, the row and the remedy: a column that the source lacks, a cell that is no number, a loss or a
    size that is missing, infinite or not positive, a run that stands twice, or filters that keep nothing.
    """
    import pandas as pd

    rows, removed = _without_repeats(mapping, source.reset_index(drop=True), place)
    for column, wanted in mapping.filters.items():
        where = f"{place}: filters.{column}"
        _require(column, rows, where)
        kept = rows[_satisfies(rows[column], wanted, where)]
        removed[f"filters.{column}"] = len(rows) - len(kept)
        rows = kept
    if rows.empty:
        raise MusterError(f"{place}: filters", f"none of {len(source)} rows is kept", "Widen the filters")
    columns: dict[str, Any] = {RUN: [f"r{row:05d}" for row in rows.index + 1]}
    for name, expression in mapping.columns.items():
        columns[name] = _column(name, expression, rows, f"{place}: columns.{name}")
    runs = pd.DataFrame(columns, index=rows.index)
    _check_values(runs, place)
    return Mapped(runs.reset_index(drop=True), {step: count for step, count in removed.items() if count})


def _require(column: str, source: "pd.DataFrame", place: str) -> None:
    if column not in source:
        raise MusterError(place, f"the source has no column {column!r}", nearest(column, source.columns))


def _without_repeats(mapping: ColumnMapping, rows: "pd.DataFrame", place: str) -> tuple["pd.DataFrame", dict[str, int]]:
    repeated = rows.duplicated()
    if mapping.repeated_rows == "keep" or not repeated.any():
        return rows, {}
    if mapping.repeated_rows == "drop":
        return rows[~repeated], {"repeated_rows": int(repeated.sum())}
    numbers = ", ".join(map(str, rows.index[repeated][:5] + 1))
    found = f"{int(repeated.sum())} rows repeat an earlier one (row {numbers})"
    raise MusterError(f"{place}: repeated_rows", found, "Set repeated_rows: drop, or keep if they are separate runs")


def _satisfies(values: "pd.Series", wanted: Any, place: str) -> Values:
    """Which cells a filter keeps, [rows]."""
    if not isinstance(wanted, Condition):
        return values.isin(wanted if isinstance(wanted, list) else [wanted]).to_numpy()
    keep = np.ones(len(values), bool)
    if wanted.known is not None:
        keep &= (values.notna() == wanted.known).to_numpy()
    if wanted.other_than is not None:
        keep &= (values.notna() & ~values.isin(wanted.other_than)).to_numpy()
    bounds = {"above": np.greater, "at_least": np.greater_equal, "below": np.less, "at_most": np.less_equal}
    for name, compare in bounds.items():
        bound = getattr(wanted, name)
        if bound is not None:
            keep &= compare(_numbers(values, place), bound)
    return keep


def _numbers(values: "pd.Series", place: str) -> Values:
    """A column as floats, missing cells as NaN. Raises MusterError for the first cell that is neither."""
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce")
    bad = (numbers.isna() & values.notna()).to_numpy()
    if bad.any():
        first = int(np.argmax(bad))
        found = f"{values.iloc[first]!r} in row {values.index[first] + 1} of {values.name!r} is not a number"
        raise MusterError(place, found, "Correct the file, or remove the row with a filter")
    return numbers.to_numpy(float)


def _column(name: str, expression: Any, rows: "pd.DataFrame", place: str) -> Any:
    """The values of one of our columns, [rows]: numbers where numbers are meant, else as the source has them."""
    if isinstance(expression, str) and name not in NUMERIC:
        _require(expression, rows, place)
        values = rows[expression]
        return values.astype(str) if name == RUN else values
    return _evaluate(expression, rows, place)


def _evaluate(expression: Any, rows: "pd.DataFrame", place: str) -> Values:
    """The numbers of an expression, [rows]."""
    if isinstance(expression, str):
        _require(expression, rows, place)
        return _numbers(rows[expression], place)
    if not isinstance(expression, dict):
        return np.full(len(rows), float(expression))
    name, arguments = next(iter(expression.items()))
    parts = [_evaluate(part, rows, place) for part in (arguments if isinstance(arguments, list) else [arguments])]
    with np.errstate(all="ignore"):  # what is not finite is reported with its row
        return TRANSFORMS[name].function(parts)


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
