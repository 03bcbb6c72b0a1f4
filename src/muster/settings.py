"""Settings beside their owners: what an optimizer, a family, a loss, … reads is declared with it, and becomes fields of
the cells that may choose it.
"""

import functools
import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
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


def chosen_values(entry: Any, cell: Any) -> dict[str, Any]:
    """The values that a cell has for the settings of an entry."""
    return {name: getattr(cell, name) for name in settings_of(entry).model_fields}


def fields_of(registry: Registry[Any]) -> Any:
    """A model of all settings of a registry's entries, each absent (None) where nothing is chosen that reads it.

    A setting that several entries read takes whatever one of them takes; `check_settings` then holds a cell against
    what it chose. They stand in the order in which an entry lists its own, then by name: a new entry moves no column of
    another's table. The return type is Any so that it can be a base class.
    """
    infos = _infos(registry)
    order: dict[str, int] = {}
    for entry in registry:
        for place, name in enumerate(settings_of(registry[entry]).model_fields):
            order[name] = min(place, order.get(name, place))
    fields = {
        name: (_either(infos[name]), Field(None, description=_meaning(infos[name])))
        for name in sorted(infos, key=lambda name: (order[name], name))
    }
    return create_model(f"{registry.kind} settings", **fields)  # type: ignore[call-overload]


def check_disjoint(settings: Iterable[type[BaseModel]], *others: type[BaseModel]) -> None:
    """Raises ValueError where a setting has the name of another kind's, or of a field in one of the other models."""
    taken = {name: part for part in others for name in part.model_fields}
    for part in settings:
        for name in part.model_fields:
            if name in taken:
                raise ValueError(f"{name!r} of {part.__name__} is a field of {taken[name].__name__}, too: rename it")
            taken[name] = part


def _either(infos: Mapping[str, FieldInfo]) -> Any:
    """What any of the owners takes, or None."""
    parts: list[Any] = [_type(info) for info in _types(infos).values()]
    return functools.reduce(operator.or_, parts) | None


def _type(info: FieldInfo) -> Any:
    """The type of a field with the range of its values."""
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation  # type: ignore[misc]


def _types(infos: Mapping[str, FieldInfo]) -> dict[str, FieldInfo]:
    """One of the infos for each type and range of values that they allow."""
    return {repr((info.annotation, info.metadata)): info for info in infos.values()}


def _meaning(infos: Mapping[str, FieldInfo]) -> str:
    """`owners: what they mean by it; the default if absent`, for each group of owners that agree."""
    groups: dict[str, list[str]] = {}
    for entry, info in infos.items():
        absent = "" if info.default is None or info.is_required() else f"; {info.default} if absent"
        groups.setdefault(f"{info.description}{absent}", []).append(entry)
    return ". ".join(f"{', '.join(entries)}: {meaning}" for meaning, entries in groups.items())


def with_defaults(values: Mapping[str, Any], chosen: Mapping[str, Any], owners: Mapping[str, Registry[Any]]) -> Any:
    """A cell's values, completed by the defaults of what it chooses; chosen, owners: field → its value, registry."""
    found = dict(values)
    for field, registry in owners.items():
        for name in known_names(chosen[field], registry):
            for setting, default in _defaults(registry, name).items():
                if found.get(setting) is None:
                    found[setting] = default
    return found


def check_settings(cell: BaseModel, owners: Mapping[str, Registry[Any]]) -> None:
    """Raises ValueError for a setting that nothing chosen reads, or a value that its reader does not take."""
    for field, registry in owners.items():
        chosen = getattr(cell, field)
        names = known_names(chosen, registry)
        for setting in _unread(registry, tuple(names)) if names else ():
            if getattr(cell, setting) is not None:
                readers = " and ".join(_infos(registry)[setting])
                raise ValueError(f"{setting} is read by {readers}, not by {field} {chosen!r}")
        for name in names:
            for setting in _required(registry, name):
                if getattr(cell, setting) is None:
                    meaning = settings_of(registry[name]).model_fields[setting].description
                    raise ValueError(f"{setting} is missing, which {field} {name!r} needs: {meaning}")
            for setting in _narrower(registry, name):
                _check_value(getattr(cell, setting), setting, settings_of(registry[name]), f"{field} {name!r}")


def known_names(chosen: Any, registry: Registry[Any]) -> list[str]:
    """The names that a field chooses, one or a list, without those that nobody has registered."""
    if isinstance(chosen, str):
        return [chosen] if chosen in registry else []
    return [name for name in chosen if name in registry] if isinstance(chosen, list) else []


def _check_value(value: Any, setting: str, settings: type[BaseModel], owner: str) -> None:
    info = settings.model_fields[setting]
    try:
        if value is not None:
            TypeAdapter(_type(info)).validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Input ")
        raise ValueError(f"{setting} {value!r} {message}, for {owner}") from None


# What follows is asked anew for each of thousands of cells.


@cache
def _infos(registry: Registry[Any]) -> dict[str, dict[str, FieldInfo]]:
    """Settings → the entries that read them → what each declares."""
    infos: dict[str, dict[str, FieldInfo]] = {}
    for entry in registry:
        for name, info in settings_of(registry[entry]).model_fields.items():
            infos.setdefault(name, {})[entry] = info
    return infos


@cache
def _defaults(registry: Registry[Any], entry: str) -> dict[str, Any]:
    fields = settings_of(registry[entry]).model_fields.items()
    return {name: info.default for name, info in fields if info.default is not None and not info.is_required()}


@cache
def _required(registry: Registry[Any], entry: str) -> list[str]:
    return [name for name, info in settings_of(registry[entry]).model_fields.items() if info.is_required()]


@cache
def _unread(registry: Registry[Any], chosen: tuple[str, ...]) -> list[str]:
    """Settings of the registry's entries that the chosen ones do not read."""
    return [name for name, readers in _infos(registry).items() if not set(chosen) & set(readers)]


@cache
def _narrower(registry: Registry[Any], entry: str) -> list[str]:
    """Settings of which the entry may take less than another that reads them, too."""
    read = [name for name, readers in _infos(registry).items() if entry in readers]
    return [name for name in read if len(_types(_infos(registry)[name])) > 1]
