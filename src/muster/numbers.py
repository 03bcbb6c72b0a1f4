"""What counts as a number in whatever people write: finite, if whole within 64 bits, and never a truth value.

All models of settings check what they are given here, before pydantic converts it: to pydantic `true` is the number 1,
`.inf` a number like any other, and the text `1e999` is infinite.
"""

import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

LARGEST = 2**63 - 1
Place = tuple[str | int, ...]

ODD = "number"  # type of the mistake, as pydantic names types
FINITE = "It must be a finite number"
WHOLE = "A whole number may have 64 bits at most"
NO_NUMBER = "It must be a number: true and false are none"


def check_numbers(model: type[BaseModel], values: Any, place: Place = ()) -> Any:
    """The values that a model is made from, as they are. Raises ValidationError for all odd numbers among them.

    For validators `before`. place: where the values stand in those of an outer model.
    """
    if isinstance(values, Mapping):
        fields = _fields(model)
        wrong = [
            InitErrorDetails(type=PydanticCustomError(ODD, message), loc=(*place, *where), input=value)
            for name, item in values.items()
            for where, value, message in _odd(item, fields.get(name, (Any,)), (str(name),))
        ]
        if wrong:
            raise ValidationError.from_exception_data(model.__name__, wrong)
    return values


@cache
def _fields(model: type[BaseModel]) -> dict[str, tuple[Any, ...]]:
    """Name or alias of each field → what it takes."""
    found = {}
    for name, field in model.model_fields.items():
        found[name] = found[field.alias or name] = branches(field.annotation)
    return found


def branches(annotation: Any) -> tuple[Any, ...]:
    """The types that an annotation may stand for, aliases, unions and `Annotated` unpacked."""
    if hasattr(annotation, "__value__"):
        return branches(annotation.__value__)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return branches(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return tuple(branch for member in typing.get_args(annotation) for branch in branches(member))
    return (annotation,)


def _odd(value: Any, kinds: Sequence[Any], where: Place) -> Iterator[tuple[Place, Any, str]]:
    """Places of odd numbers in a value of one of these kinds, with what is wrong. Inner models check their own."""
    if isinstance(value, Mapping):
        inner = [kind for each in _arguments(kinds, dict, Mapping) for kind in branches(each[-1])]
        if not any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds):
            for key, item in value.items():
                yield from _odd(item, inner or (Any,), (*where, str(key)))
    elif isinstance(value, list | tuple):
        items = [
            kind for each in _arguments(kinds, list, tuple, set, Sequence) for arg in each for kind in branches(arg)
        ]
        for i, item in enumerate(value):
            yield from _odd(item, items or (Any,), (*where, i))
    elif message := _message(value, kinds):
        yield where, value, message


def _arguments(kinds: Sequence[Any], *origins: type) -> Iterator[tuple[Any, ...]]:
    for kind in kinds:
        if typing.get_origin(kind) in origins:
            yield typing.get_args(kind)


def _message(value: Any, kinds: Sequence[Any]) -> str:
    """What is wrong with one value as a number; empty if nothing is."""
    if isinstance(value, bool):
        literal = any(typing.get_origin(kind) is typing.Literal and value in typing.get_args(kind) for kind in kinds)
        return NO_NUMBER if {int, float} & {*kinds} and not ({bool, Any} & {*kinds} or literal) else ""
    if isinstance(value, int):
        return WHOLE if abs(value) > LARGEST else ""
    if isinstance(value, str) and {int, float} & {*kinds} and not {str, Any} & {*kinds}:
        try:
            value = float(value)
        except ValueError:
            return ""
    return FINITE if isinstance(value, float) and not math.isfinite(value) else ""
