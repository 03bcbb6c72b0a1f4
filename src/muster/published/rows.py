"""Transforms of whole rows: what a published table becomes before its columns are named.

A study lists them under `rows`; each takes the publisher's columns, or those that an earlier one has made.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from muster.config.load import nearest
from muster.config.models import Scalar, Section
from muster.errors import Gathering, MusterError
from muster.published.patterns import LONGEST_TEXT, NamingPattern, as_numbers
from muster.published.transforms import (
    TRANSFORMS,
    Condition,
    Expression,
    RowTransform,
    columns_in,
    evaluate,
    is_text,
    numbers,
    require,
    satisfies,
)

if TYPE_CHECKING:
    import pandas as pd

MOST_STEPS = 10_000_000  # of one schedule, each of which is an entry of an array
Columns = Annotated[list[str], Field(min_length=1)]
Filters = dict[str, Scalar | list[Scalar] | Condition]


def _step(value: Any) -> Any:
    """Check the form of one step. Raises ValueError saying what is allowed."""
    known = [name for name in TRANSFORMS if isinstance(TRANSFORMS[name], RowTransform)]
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"One transform of rows, such as {{last_step: {{run: name, step: step}}}}: {', '.join(known)}")
    name, options = next(iter(value.items()))
    if name not in known:
        on_columns = f"{name} works on columns: write it in `add`, or under `columns`. " if name in TRANSFORMS else ""
        raise ValueError(on_columns or f"unknown transform of rows {name!r}. {nearest(name, known)}")
    try:
        _row_transform(name).parse(options)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return value


Steps = Annotated[list[Annotated[Any, AfterValidator(_step)]], Field(min_length=1)]


def _row_transform(name: str) -> RowTransform:
    transform = TRANSFORMS[name]
    assert isinstance(transform, RowTransform)
    return transform


def transformed(
    steps: Sequence[dict[str, Any]], rows: "pd.DataFrame", place: str
) -> tuple["pd.DataFrame", dict[str, int]]:
    """The rows after all steps, and how many each removed (less than none where it made some).

    Raises MusterError naming `place`, the step, and all columns that the rows lack.
    """
    changed = {}
    for i, step in enumerate(steps):
        name, given = next(iter(step.items()))
        transform = _row_transform(name)
        options, where = transform.parse(given), f"{place}: rows.{i}.{name}"
        wrong = Gathering()
        for column in dict.fromkeys(transform.needs(options)):
            with wrong:
                require(column, rows, where)
        wrong.tell()
        try:
            after = transform.function(rows, options)
        except MusterError as error:
            raise MusterError(where, error.found, error.remedy) from None
        if after.empty:
            raise MusterError(where, f"none of {len(rows)} rows is left", "Loosen it")
        changed[f"rows.{i}.{name}"] = len(rows) - len(after)
        rows = after
    return rows, changed


class WideOptions(Section):
    """Options of `columns_to_rows`."""

    columns: NamingPattern = Field(
        description="Regular expression that the whole name of a column matches, such as loss_(?P<tokens>[0-9]+)B: "
        "its named groups become columns"
    )
    value: str = Field(min_length=1, description="The column that their cells become")


def columns_to_rows(rows: "pd.DataFrame", options: WideOptions) -> "pd.DataFrame":
    """A wide table becomes a long one: a row for each cell of the matching columns that is not empty.

    The index is that of the new rows.
    """
    pattern = re.compile(options.columns)
    found = {name: match for name in rows.columns if (match := pattern.fullmatch(name[:LONGEST_TEXT]))}
    if not found:
        raise MusterError("", f"no column's name matches {options.columns!r}", nearest(options.columns, rows.columns))
    others = [name for name in rows.columns if name not in found]
    names = [*pattern.groupindex]
    if taken := [name for name in (*names, options.value) if name in others]:
        raise MusterError("", f"there is a column {taken[0]!r} already", "Choose another name")
    long = rows.reset_index(drop=True).melt(others, [*found], "__column", options.value, ignore_index=False)
    for name in names:
        long[name] = long["__column"].map({column: match[name] for column, match in found.items()})
    long = long.drop(columns="__column").sort_index(kind="stable")
    return as_numbers(long[long[options.value].notna()].reset_index(drop=True), names)


class ExtractOptions(Section):
    """Options of `extract`."""

    column: str = Field(description="The column whose texts are searched")
    pattern: NamingPattern = Field(description="Regular expression; its named groups become columns")


def extract(rows: "pd.DataFrame", options: ExtractOptions) -> "pd.DataFrame":
    """Columns from the text of another, by the named groups of a pattern: d=(?P<width>[0-9]+)_l=(?P<depth>[0-9]+).

    A text that does not hold the pattern gives empty cells, which `keep: {width: {known: true}}` removes.
    """
    pattern = re.compile(options.pattern)
    texts = rows[options.column]
    matches = [pattern.search(text[:LONGEST_TEXT]) for text in texts.fillna("").astype(str)]
    if not any(matches):
        found = f"no text of {options.column!r} holds {options.pattern!r}; the first is {str(texts.iloc[0])[:60]!r}"
        raise MusterError("", found, "Correct the pattern")
    columns: dict[str, Any] = {name: [m and m[name] for m in matches] for name in pattern.groupindex}
    if taken := [name for name in columns if name in rows and name != options.column]:
        raise MusterError("", f"there is a column {taken[0]!r} already", "Choose another name")
    return as_numbers(rows.assign(**columns), [*columns])


class LastStepOptions(Section):
    """Options of `last_step`."""

    run: str | Columns = Field(description="The column, or columns, that tell runs apart")
    step: str | None = Field(None, description="The column of which the largest value is the last; else rows in order")
    mean: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="Column → how many last rows with a value of it are averaged"
    )


def last_step(rows: "pd.DataFrame", options: LastStepOptions) -> "pd.DataFrame":
    """The last row of every run; some columns as means over its last rows."""
    runs = _listed(options.run)
    ordered = rows
    if options.step is not None:
        order = rows.assign(__order=numbers(rows[options.step], "")).sort_values("__order", kind="stable")
        ordered = rows.loc[order.index]
    last = ordered.groupby(runs, sort=False, dropna=False).tail(1).sort_index()
    for name, count in options.mean.items():
        values = ordered.assign(**{name: numbers(ordered[name], "")}).dropna(subset=[name])
        means = values.groupby(runs, dropna=False).tail(count).groupby(runs, dropna=False)[name].mean().rename("__mean")
        last = last.join(means, on=runs).drop(columns=name).rename(columns={"__mean": name})[[*rows.columns]]
    return last


class BestOverOptions(Section):
    """Options of `best_over`."""

    by: str | Columns = Field(description="Columns of whose combinations the best row is kept, such as size and tokens")
    response: str = Field(description="The column that is best where it is lowest")
    largest: bool = Field(False, description="true: best where it is largest")


def best_over(rows: "pd.DataFrame", options: BestOverOptions) -> "pd.DataFrame":
    """The row with the best response of each combination of some columns, over whatever else was varied; of equal ones
    the first. Rows without a response are not considered."""
    values = numbers(rows[options.response], "")
    scored = rows.assign(__best=-values if options.largest else values).dropna(subset=["__best"])
    order = scored.sort_values("__best", kind="stable").groupby(_listed(options.by), sort=False, dropna=False).head(1)
    return rows.loc[order.index.sort_values()]


class FrontierOptions(Section):
    """Options of `frontier`."""

    x: str = Field(description="The cost, such as compute: lower is better")
    y: str = Field(description="The loss: lower is better")
    by: list[str] = Field(default_factory=list, description="Columns of whose combinations each has its own frontier")


def frontier(rows: "pd.DataFrame", options: FrontierOptions) -> "pd.DataFrame":
    """The rows whose loss is below that of every row that costs no more."""
    x, y = (numbers(rows[name], "") for name in (options.x, options.y))
    costs = rows.assign(__x=x, __y=y).dropna(subset=["__x", "__y"]).sort_values(["__x", "__y"], kind="stable")
    loss = costs.groupby(options.by, sort=False, dropna=False)["__y"] if options.by else costs["__y"]
    lowest = loss.cummin()
    before = (lowest.groupby([costs[name] for name in options.by], dropna=False) if options.by else lowest).shift()
    kept = costs.index[(costs["__y"] < before.fillna(np.inf)).to_numpy()]
    return rows.loc[kept.sort_values()]


class AreaOptions(Section):
    """Options of `schedule_areas`."""

    run: str | Columns = Field(description="The column, or columns, that tell runs apart")
    step: str = Field(description="Step of each row, a whole number from 0 or 1 on")
    rate: str = Field(description="Learning rate at that step; between the rows of a run it is drawn linearly")
    decay: float = Field(gt=0, lt=1, description="λ, by which an annealing's effect fades at each step")
    forward: str = Field("s1", min_length=1, description="Name of the column of the forward area, S1")
    annealing: str = Field("s2", min_length=1, description="Name of the column of the annealing area, S2")


def schedule_areas(rows: "pd.DataFrame", options: AreaOptions) -> "pd.DataFrame":
    """Forward and annealing area up to every row of a run, from its learning rates: what the law `annealing` reads.

    `muster.statistics.schedules` defines them; steps count from the run's first row on.
    """
    from muster.statistics.schedules import annealing_areas

    steps, rates = numbers(rows[options.step], ""), numbers(rows[options.rate], "")
    forward, annealed = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    runs = rows.groupby(_listed(options.run), sort=False, dropna=False).indices
    for run, places in runs.items():
        at = steps[places]
        if not (np.isfinite(at).all() and np.isfinite(rates[places]).all()) or (at != np.floor(at)).any():
            raise MusterError("", f"run {run!r} has steps or rates that are missing, or no whole steps", "Remove them")
        first, last = at.min(), at.max()
        if last - first >= MOST_STEPS:
            raise MusterError(
                "", f"run {run!r} has {last - first:g} steps, at most {MOST_STEPS} are read", "Check them"
            )
        order = np.argsort(at, kind="stable")
        every = np.interp(np.arange(first, last + 1), at[order], rates[places][order])
        s1, s2 = annealing_areas(every, options.decay)
        forward[places], annealed[places] = s1[(at - first).astype(int)], s2[(at - first).astype(int)]
    return rows.assign(**{options.forward: forward, options.annealing: annealed})


class _ByColumn(Section):
    """Options that are a mapping of columns and nothing else: written without the name of their only field."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        (field,) = cls.model_fields
        return {field: values} if isinstance(values, dict) else values


class AddOptions(_ByColumn):
    """Options of `add`."""

    columns: dict[str, Expression] = Field(min_length=1, description="New column → expression of those that are there")


def add(rows: "pd.DataFrame", options: AddOptions) -> "pd.DataFrame":
    """Columns by transforms of others, for steps that follow: {flops: {product: [6, N, D]}}."""
    for name, expression in options.columns.items():
        made = expression["constant"] if is_text(expression) else evaluate(expression, rows, "")
        rows = rows.assign(**{name: made})
    return rows


class KeepOptions(_ByColumn):
    """Options of `keep`."""

    filters: Filters = Field(min_length=1, description="Column → value, values, or a condition such as {above: 0}")


def keep(rows: "pd.DataFrame", options: KeepOptions) -> "pd.DataFrame":
    """The rows that satisfy conditions, as `filters` has them, in the middle of other steps."""
    for column, wanted in options.filters.items():
        rows = rows[satisfies(rows[column], wanted, "")]
    return rows


def _listed(columns: str | list[str]) -> list[str]:
    return [columns] if isinstance(columns, str) else columns


def _added(options: AddOptions) -> list[str]:
    """Columns that expressions read and no earlier one of them makes."""
    made, read = set[str](), list[str]()
    for name, expression in options.columns.items():
        read += [column for column in columns_in(expression) if column not in made]
        made.add(name)
    return read


for _transform in (
    RowTransform(columns_to_rows, WideOptions, lambda o: []),
    RowTransform(extract, ExtractOptions, lambda o: [o.column]),
    RowTransform(last_step, LastStepOptions, lambda o: [*_listed(o.run), *([o.step] if o.step else []), *o.mean]),
    RowTransform(best_over, BestOverOptions, lambda o: [*_listed(o.by), o.response]),
    RowTransform(frontier, FrontierOptions, lambda o: [*o.by, o.x, o.y]),
    RowTransform(schedule_areas, AreaOptions, lambda o: [*_listed(o.run), o.step, o.rate]),
    RowTransform(add, AddOptions, _added),
    RowTransform(keep, KeepOptions, lambda o: [*o.filters]),
):
    TRANSFORMS.register(_transform.function.__name__)(_transform)
