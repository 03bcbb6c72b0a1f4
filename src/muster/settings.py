"""Settings beside their owners: what an optimizer, a family, a loss, … reads is declared with it, and becomes fields of
the cells that may choose it.
"""

import functools
import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from muster.registry import Registry


class Settings(BaseModel):
    """The settings that an entry of a registry reads from the cells that choose it: none, unless a subclass has fields.

    A default is written into such cells and so is part of their names. A field that joins an entry of which there are
    finished cells therefore has the default None, which is absent from a cell and from its name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


def settings_of(entry: Any) -> type[BaseModel]:
    """What an entry declares as its `settings`; of a function, its parameters that are given by keyword alone."""
    declared = getattr(entry, "settings", None)
    return declared if declared is not None else _keywords(entry) if inspect.isfunction(entry) else Settings


@cache
def _keywords(function: Callable[..., Any]) -> type[BaseModel]:
    parameters = inspect.signature(function).parameters.values()
    fields = {p.name: (p.annotation, p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}
    return create_model(function.__name__, __base__=Settings, **fields)  # type: ignore[call-overload]


def given(entry: Any, cell: Any) -> dict[str, Any]:
    """The values that a cell has for the settings of an entry."""
    return {name: getattr(cell, name) for name in settings_of(entry).model_fields}


def fields_of(registry: Registry[Any]) -> Any:
    """A model of all settings of a registry's entries, each absent (None) where nothing is chosen that reads it.

    A setting that several entries read takes whatever one of them takes; `check` then holds a cell against its own.
    They stand in the order in which an entry lists its own, then by name: a new entry moves no column of another's
    table. The return type is Any so that it can be a base class.
    """
    declared: dict[str, dict[str, FieldInfo]] = {}
    order: dict[str, int] = {}
    for entry, settings in _declared(registry):
        for place, (name, info) in enumerate(settings.model_fields.items()):
            declared.setdefault(name, {})[entry] = info
            order[name] = min(place, order.get(name, place))
    fields = {
        name: (_either(declared[name]), Field(None, description=_meaning(declared[name])))
        for name in sorted(declared, key=lambda name: (order[name], name))
    }
    return create_model(f"{registry.kind} settings", **fields)  # type: ignore[call-overload]


def _declared(registry: Registry[Any]) -> Iterator[tuple[str, type[BaseModel]]]:
    for entry in registry:
        yield entry, settings_of(registry[entry])


def _either(infos: Mapping[str, FieldInfo]) -> Any:
    """What any of the owners takes, or None."""
    types = {repr((info.annotation, info.metadata)): info for info in infos.values()}
    parts = [Annotated[(i.annotation, *i.metadata)] if i.metadata else i.annotation for i in types.values()]  # type: ignore[misc]
    return functools.reduce(operator.or_, parts) | None


def _meaning(infos: Mapping[str, FieldInfo]) -> str:
    """`owners: what they mean by it; the default if absent`, for each group of owners that agree."""
    groups: dict[str, list[str]] = {}
    for entry, info in infos.items():
        absent = "" if info.default is None else f"; {info.default} if absent"
        groups.setdefault(f"{info.description}{absent}", []).append(entry)
    return ". ".join(f"{', '.join(entries)}: {meaning}" for meaning, entries in groups.items())


def with_defaults(values: Mapping[str, Any], chosen: Mapping[str, Any], owners: Mapping[str, Registry[Any]]) -> Any:
    """A cell's values, completed by the defaults of what it chooses; chosen, owners: field → its value, registry."""
    found = dict(values)
    for field, registry in owners.items():
        for name in known_names(chosen[field], registry):
            for setting, info in settings_of(registry[name]).model_fields.items():
                if info.default is not None and found.get(setting) is None:
                    found[setting] = info.default
    return found


def check(cell: BaseModel, owners: Mapping[str, Registry[Any]]) -> None:
    """Raises ValueError for a setting that nothing chosen reads, or a value that its reader does not take."""
    for field, registry in owners.items():
        chosen = getattr(cell, field)
        names = known_names(chosen, registry)
        for setting, readers in _readers(registry).items() if names else ():
            if getattr(cell, setting) is not None and not set(names) & set(readers):
                raise ValueError(f"{setting} is read by {' and '.join(readers)}, not by {field} {chosen!r}")
        for name in names:
            _check_values(cell, settings_of(registry[name]), f"{field} {name!r}")


def known_names(chosen: Any, registry: Registry[Any]) -> list[str]:
    """The names that a field chooses, one or a list, without those that nobody has registered."""
    names = chosen if isinstance(chosen, list) else [chosen]
    return [name for name in names if isinstance(name, str) and name in registry]


def _check_values(cell: BaseModel, settings: type[BaseModel], owner: str) -> None:
    values = {name: value for name in settings.model_fields if (value := getattr(cell, name)) is not None}
    try:
        settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        found = f"{first['loc'][0]} {first['input']!r} {first['msg'].removeprefix('Input ')}"
        raise ValueError(f"{found}, for {owner}") from None


@cache
def _readers(registry: Registry[Any]) -> dict[str, list[str]]:
    """Settings → the entries that read them."""
    readers: dict[str, list[str]] = {}
    for entry, settings in _declared(registry):
        for name in settings.model_fields:
            readers.setdefault(name, []).append(entry)
    return readers
