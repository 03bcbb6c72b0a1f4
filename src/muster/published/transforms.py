"""Transforms of columns, and what a study writes with them; a registered transform of whole rows stands in `rows`.

A study says `tokens: {ratio: [Training FLOP, {product: [6, Model Size]}]}`: a text is a column of the source, a number
is itself, a mapping with one key is a transform of such expressions. There is no other syntax; nothing is executed.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import numpy as np
from pydantic import AfterValidator, Field, ValidationError

from muster.config.load import QUOTE, nearest
from muster.config.models import Scalar, Section
from muster.errors import MusterError
from muster.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

Values = np.ndarray


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


class RowTransform(NamedTuple):
    """A function of a whole table: (rows, options) → rows; those that stay keep their index.

    needs: the columns that its options name.
    """

    function: Callable[["pd.DataFrame", Any], "pd.DataFrame"]
    options: type[Section]
    needs: Callable[[Any], Sequence[str]]

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self.function.__doc__ or ""

    def parse(self, options: Any) -> Any:
        """Options as the transform's model. Raises ValueError naming the first that is wrong, and those allowed."""
        try:
            return self.options.model_validate(options)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "options"
            fields = "; ".join(f"{name}: {field.description}" for name, field in self.options.model_fields.items())
            raise ValueError(f"{name}: {first['msg'].removeprefix('Value error, ')}. Options: {fields}") from None


TRANSFORMS: Registry[Transform | RowTransform] = Registry("transform", modules=("muster.published.rows",))


def product(parts: Sequence[Values]) -> Values:
    """Product of two or more"""
    return np.prod(parts, axis=0)


def sum_(parts: Sequence[Values]) -> Values:
    """Sum of two or more"""
    return np.sum(parts, axis=0)


def difference(parts: Sequence[Values]) -> Values:
    """The first less the second"""
    return parts[0] - parts[1]


def ratio(parts: Sequence[Values]) -> Values:
    """The first over the second"""
    return parts[0] / parts[1]


def power(parts: Sequence[Values]) -> Values:
    """The first to the power of the second"""
    return parts[0] ** parts[1]


def pow10(parts: Sequence[Values]) -> Values:
    """Ten to the power of it: the inverse of a decimal logarithm"""
    return 10.0 ** parts[0]


def log(parts: Sequence[Values]) -> Values:
    """Natural logarithm"""
    return np.log(parts[0])


def log2(parts: Sequence[Values]) -> Values:
    """Logarithm to base 2"""
    return np.log2(parts[0])


def one_minus(parts: Sequence[Values]) -> Values:
    """One less it: the error of an accuracy"""
    return 1.0 - parts[0]


def constant(parts: Sequence[Values]) -> Values:
    """The same number, or text, in every row"""
    return parts[0]


def choice(parts: Sequence[Values]) -> Values:
    """Of the values after the first, the one whose place it holds, counted from 0: a grid's index becomes its value"""
    index, values = parts[0], np.stack(parts[1:])
    known = (index >= 0) & (index < len(values)) & (index == np.floor(index))
    picked = values[np.where(known, index, 0).astype(int), np.arange(len(index))]
    return np.where(known, picked, np.nan)


for _function, _least, _most in (
    (product, 2, math.inf), (sum_, 2, math.inf), (difference, 2, 2), (ratio, 2, 2), (power, 2, 2), (pow10, 1, 1),
    (log, 1, 1), (log2, 1, 1), (one_minus, 1, 1), (constant, 1, 1), (choice, 2, math.inf),
):  # fmt: skip
    _name = _function.__name__.rstrip("_")
    TRANSFORMS.register(_name)(Transform(_function, _least, _most, _function.__doc__ or ""))


def _expression(value: Any) -> Any:
    """Check the form of an expression. Raises ValueError saying what is allowed."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, bool):
        raise ValueError(f"If it is a column's name put it in quotes, {QUOTE}")
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError("A column of the source, a number, or one transform such as {product: [a, b]}")
    name, arguments = next(iter(value.items()))
    if name not in TRANSFORMS:
        raise ValueError(f"unknown transform {name!r}. {nearest(name, of_columns())}")
    transform = TRANSFORMS[name]
    if isinstance(transform, RowTransform):
        raise ValueError(f"{name} works on whole rows: write it in the list `rows`, before columns are named")
    arguments = arguments if isinstance(arguments, list) else [arguments]
    if not transform.least <= len(arguments) <= transform.most:
        raise ValueError(f"{name} takes {transform.least}{' or more' if transform.most > transform.least else ''}")
    for argument in arguments:
        if is_text(_expression(argument)):
            raise ValueError(f"{name} takes no text: {argument['constant']!r}")
    return value


def of_columns() -> list[str]:
    """Names of the transforms that stand in an expression."""
    return [name for name in TRANSFORMS if isinstance(TRANSFORMS[name], Transform)]


Expression = Annotated[Any, AfterValidator(_expression)]


def columns_in(expression: Any) -> list[str]:
    """The columns of the source that an expression names."""
    if isinstance(expression, str):
        return [expression]
    if not isinstance(expression, dict) or is_text(expression):
        return []
    arguments = next(iter(expression.values()))
    return [name for part in (arguments if isinstance(arguments, list) else [arguments]) for name in columns_in(part)]


def is_text(expression: Any) -> bool:
    """Whether an expression is a constant text, not a number."""
    return isinstance(expression, dict) and isinstance(expression.get("constant"), str)


def require(column: str, source: "pd.DataFrame", place: str) -> None:
    if column not in source:
        raise MusterError(place, f"the source has no column {column!r}", nearest(column, source.columns))


def satisfies(values: "pd.Series", wanted: Any, place: str) -> Values:
    """Which cells a filter keeps, [rows]."""
    if not isinstance(wanted, Condition):
        unquoted = [each for each in (wanted if isinstance(wanted, list) else [wanted]) if isinstance(each, bool)]
        if unquoted and values.map(lambda cell: isinstance(cell, str)).any():
            raise MusterError(place, f"found {unquoted[0]} for a column of texts", f"Put it in quotes, {QUOTE}")
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
            keep &= compare(numbers(values, place), bound)
    return keep


def numbers(values: "pd.Series", place: str) -> Values:
    """A column as floats, missing cells as NaN. Raises MusterError for the first cell that is neither."""
    import pandas as pd

    parsed = pd.to_numeric(values, errors="coerce")
    bad = (parsed.isna() & values.notna()).to_numpy()
    if bad.any():
        first = int(np.argmax(bad))
        found = f"{values.iloc[first]!r} in row {values.index[first] + 1} of {values.name!r} is not a number"
        raise MusterError(place, found, "Correct the file, or remove the row with a filter")
    return parsed.to_numpy(float)


def evaluate(expression: Any, rows: "pd.DataFrame", place: str) -> Values:
    """The numbers of an expression, [rows]."""
    if isinstance(expression, str):
        require(expression, rows, place)
        return numbers(rows[expression], place)
    if not isinstance(expression, dict):
        return np.full(len(rows), float(expression))
    name, arguments = next(iter(expression.items()))
    parts = [evaluate(part, rows, place) for part in (arguments if isinstance(arguments, list) else [arguments])]
    with np.errstate(all="ignore"):  # what is not finite is reported with its row
        return cast(Transform, TRANSFORMS[name]).function(parts)
