"""A fit as a study writes it, made of what an estimator declares: `muster show estimator` ends with it."""

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from muster.columns import COLUMNS, MAY_BE_NAN
from muster.config.models import FitConfig
from muster.fitting.base import Estimator

COLUMN = "COLUMN"


def example_fit(name: str, estimator: Estimator) -> dict[str, Any]:
    """The fields of a fit with all that the estimator requires; words in capitals stand for names of a study's own."""
    table = next(kind for kind in COLUMNS if not _elsewhere(estimator, kind))
    response = next(column for column in COLUMNS[table] if column in MAY_BE_NAN)
    fit: dict[str, Any] = {"estimator": name, "table": table}
    if table == "probes":
        fit["select"] = {"probe": "PROBE"}
    fit |= {"response": response, "along": FitConfig.model_fields["along"].default}
    options = estimator.options.model_fields
    if estimator.required_options:
        fit["options"] = {option: example_value(option, options[option]) for option in estimator.required_options}
    return fit


def _elsewhere(estimator: Estimator, table: str) -> list[str]:
    """Columns that the estimator needs, and that other tables bring."""
    others = {column for columns in COLUMNS.values() for column in columns} - COLUMNS[table].keys()
    return [column for column in estimator.needs if column in others]


def example_value(name: str, option: FieldInfo) -> Any:
    """A value that an option may have: the example that it declares, else one of its type and within its bounds."""
    if option.examples:
        return option.examples[0]
    annotation = option.annotation
    if get_origin(annotation) in (Union, UnionType):  # whichever it names first
        annotation = get_args(annotation)[0]
    kind = get_origin(annotation) or annotation
    bounds = ("ge", "gt", "lt", "min_length")
    least = {key: getattr(each, key) for each in option.metadata for key in bounds if hasattr(each, key)}
    if kind is Literal:
        return get_args(annotation)[0]
    if kind is dict:
        return {COLUMN: f"VALUE_{name.upper()}"}
    if kind is list:
        (inner,) = get_args(annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            fields = inner.model_fields.items()
            return [{name: example_value(name, field) for name, field in fields if field.is_required()}]
        count = least.get("min_length", 1)
        if inner in (int, float):
            return [*range(1, count + 1)]
        return [COLUMN] if count == 1 else [f"{COLUMN}_{i + 1}" for i in range(count)]
    if kind is float and {"gt", "lt"} <= least.keys():
        return (least["gt"] + least["lt"]) / 2
    if kind in (int, float):
        return least.get("ge", least.get("gt", 0) + 1)
    return COLUMN
