"""Fingerprints of what decides a result, by value. Snakemake cannot see imported code: rules carry them as parameters.

A fingerprint covers the definitions that can be reached from where the work begins (`muster.jobs.definitions`). A
registry does not lead to all of its entries, only to those that the settings name: a function or class counts by its
source, a row of data by its numbers. So a further optimizer, rule or parameterization changes no fingerprint but
its own.
"""

import dataclasses
import functools
import importlib
import types
from collections.abc import Callable, Iterable, Mapping, Set
from functools import cache
from typing import Any

from pydantic import BaseModel

from muster.config.models import StudyConfig
from muster.download import download
from muster.errors import DamagedError, MusterError
from muster.experiments import EXPERIMENTS, Job
from muster.files import write_atomically, write_bytes, write_text
from muster.jobs.definitions import (
    LINE,
    WHOLE,
    Definition,
    Entry,
    content,
    ours,
    own_hash,
    resolve,
    source,
    source_file,
    text_hash,
)
from muster.registry import Registry
from muster.settings import Settings

# Where each stage after the cells begins.
STAGES = {
    "data": ("muster.data.prepared:write_dataset",),
    "collect": (
        "muster.tables.collect:collect",
        "muster.tables.collect:collect_sources",
        "muster.tables.collect:write_tables",
    ),
    "fit": (
        "muster.fitting.study:fit_study",
        "muster.claims.conditions:check_regimes",
        "muster.fitting.specification:specification_curves",
        "muster.cli.stages:_fitted_study",
        "muster.tables.io:read_table",
        "muster.tables.io:write_frame",
    ),
    "judge": (
        "muster.claims.ledger:judge",
        "muster.claims.ledger:write_ledger",
        "muster.tables.missing:read_missing",
        "muster.tables.missing:explain_missing",
        "muster.tables.io:read_frame",
    ),
    "page": (
        "muster.claims.html:html",
        "muster.claims.html:template_digest",
        "muster.claims.ledger:read_ledger",
        "muster.claims.families:false_discovery",
        "muster.claims.families:expected_false",
    ),
    "plot": (
        "muster.plots:render",
        "muster.plots.forest:overview",
        "muster.plots.style:save",
        "muster.claims.ledger:read_ledger",
        "muster.tables.io:read_table",
    ),
}
WRITTEN_BY = ("muster.tables.io:write_table",)  # what turns a cell's outcome into files
# Kinds of registries whose names stand in a field called otherwise.
FIELDS = {"probe": "probes", "data set": "data", "direction": "optimizer"}
# They report, look up, bring bytes to the disk, or from an address whose checksum is known, and decide no number.
WITHOUT_EFFECT = (MusterError, DamagedError, Registry, write_atomically, write_bytes, write_text, download)

Choose = Callable[[str], Iterable[str] | None]


def stage_fingerprint(stage: str, study: StudyConfig | None = None) -> str:
    """Fingerprint of a stage of the flow; for a study, with no more estimators, laws, plots … than it names."""
    return _stage_fingerprint(stage, frozenset(_texts(study.model_dump(mode="json"))) if study else None)


@cache
def _stage_fingerprint(stage: str, names: frozenset[str] | None) -> str:
    def choose(kind: str) -> Iterable[str] | None:
        if kind == "experiment":  # what a stage reads of it, its fields and their defaults, stands in the cells
            return ()
        return None if names is None else sorted(names)

    return _reached(_definitions(STAGES[stage]), choose)


def read_all_code() -> None:
    """Read whatever a fingerprint can ask for, so that processes forked from this one find it read."""
    for stage in STAGES:
        stage_fingerprint(stage)
    for name in EXPERIMENTS:
        entry = EXPERIMENTS[name]
        _reached([*_described(entry.run)[1], *_models(entry.cell)], lambda kind: None)


def _texts(value: Any) -> set[str]:
    """All texts in a tree of settings, names of fields included."""
    if isinstance(value, Mapping):
        return set().union(*(_texts(item) for pair in value.items() for item in pair)) if value else set()
    if isinstance(value, list | tuple):
        return set().union(*map(_texts, value)) if value else set()
    return {value} if isinstance(value, str) else set()


@cache
def dataset_fingerprint(name: str) -> str:
    """Fingerprint of what makes a data set: its own code and what all data sets share."""
    return _reached(_definitions(STAGES["data"]), lambda kind: [name] if kind == "data set" else None)


def cell_fingerprint(experiment: str, cell: Job, dtype: str = "float32") -> str:
    """Fingerprint of what decides a cell's tables beside its settings and data: the code of its experiment and of every
    name that its settings choose, number format included, and the files outside this package that it runs.
    """
    data = EXPERIMENTS[experiment].dataset(cell)
    code = _cell_fingerprint(experiment, data[0] if data else None, (*_chosen(cell), ("dtype", (dtype,))))
    files = EXPERIMENTS[experiment].files(cell).hashes
    return text_hash(code, *(f"{name} {digest}" for name, digest in sorted(files.items())))[:12] if files else code


@cache
def _text_fields(kind: type[Job]) -> tuple[str, ...]:
    """Fields that may hold names: not those of numbers alone."""
    return tuple(name for name, field in kind.model_fields.items() if "str" in str(field.annotation) or
                 "Literal" in str(field.annotation))  # fmt: skip


def _chosen(cell: Job) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Every field that holds a text or a list of texts, with these, and the names that the cell's code takes itself."""
    own: Mapping[str, str | tuple[str, ...]] = getattr(cell, "fixed_names", {})
    found = [(kind, (names,) if isinstance(names, str) else names) for kind, names in own.items()]
    for field in _text_fields(type(cell)):
        value = getattr(cell, field)
        if isinstance(value, str):
            found.append((field, (value,)))
        elif value is None:
            found.append((field, ()))
        elif isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            found.append((field, tuple(value)))
    return tuple(found)


@cache
def _cell_fingerprint(experiment: str, data: str | None, chosen: tuple[tuple[str, tuple[str, ...]], ...]) -> str:
    entry, names = EXPERIMENTS[experiment], dict(chosen)
    roots = [*_described(entry.run)[1], *_definitions(WRITTEN_BY)]
    roots += _models(entry.cell)
    stream = ""
    if data is not None:  # its arrays count by the hashes in its manifest, but fresh examples are drawn in training
        stream, drawn = _described(_stream(data))
        roots += drawn
    return _reached(roots, lambda kind: () if kind == "data set" else names.get(FIELDS.get(kind, kind)), stream)


def _stream(data: str) -> Any:
    from muster.data import DATASETS

    return DATASETS[data].stream


def _models(kind: type[Job]) -> list[Definition]:
    """The models that a cell is made of; those that are made up from others while a module is loaded say nothing."""
    found = [each for each in kind.__mro__ if issubclass(each, BaseModel) and _ours(each)]
    return [place for each in found if (place := resolve(Definition(each.__module__, each.__qualname__)))]


@cache
def _settings() -> frozenset[Definition]:
    """The models of cells, and of what they choose: their fields' values stand in the cells."""
    kinds = [EXPERIMENTS[name].cell for name in EXPERIMENTS]
    return frozenset(place for kind in (*kinds, *_subclasses(Settings)) for place in _models(kind))


def _subclasses(kind: type) -> list[type]:
    children: list[type] = kind.__subclasses__()
    return [each for child in children for each in (child, *_subclasses(child))]


@cache
def _without_effect() -> frozenset[Definition]:
    return frozenset(Definition(kind.__module__, kind.__qualname__) for kind in WITHOUT_EFFECT)


def _definitions(places: Iterable[str]) -> list[Definition]:
    """Definitions by `module:name`. Raises ValueError for one that is not there."""
    found = [resolve(Definition(*place.split(":"))) for place in places]
    if None in found:
        raise ValueError(f"no such definition among {', '.join(places)}")
    return found  # type: ignore[return-value]


def _reached(roots: Iterable[Definition], choose: Choose, *more: str) -> str:
    """Twelve hexadecimal digits of the sha256 over all definitions that can be reached.

    choose: kind of a registry → the names that the settings hold for it, known there or not; None counts all entries.
    """
    found, entries = reach(roots, choose)
    return text_hash(*more, *sorted(entries), WHOLE, *sorted(map(_node_hash, found)))[:12]


def reach(roots: Iterable[Definition], choose: Choose) -> tuple[Set[Definition], Set[str]]:
    """Definitions that can be reached, and the hashes of the registries' entries among them."""
    found: set[Definition] = set()
    entries: dict[Entry, str] = {}
    waiting = [*roots]
    while waiting:
        definition = waiting.pop()
        if definition in found or definition in _without_effect():
            continue
        found.add(definition)
        said = _content(definition)
        waiting += [target for _, target in said.named]
        for use in said.entries:
            for name in [use.name] if use.name is not None else _names(use.registry, choose):
                entry = Entry(use.registry, name)
                if entry not in entries:
                    text, inner = _entry(entry)
                    entries[entry] = text_hash(_kind(use.registry), name, text)
                    waiting += inner
    return found, set(entries.values())


def _content(definition: Definition) -> Any:
    return content(definition, definition in _settings())


@cache
def _node_hash(definition: Definition) -> str:
    """Hash of a definition's text and of the texts that it names."""
    said = _content(definition)
    kept = [(label, target) for label, target in said.named if target not in _without_effect()]
    return text_hash(said.text, *sorted(f"{label} {own_hash(target, target in _settings())}" for label, target in kept))


def _kind(registry: Definition) -> str:
    return source(registry.module).registries[registry.name]


@cache
def _registry(found: Definition) -> Registry[Any]:
    return getattr(importlib.import_module(found.module), found.name)


def _names(registry: Definition, choose: Choose) -> list[str]:
    wanted = choose(_kind(registry))
    if wanted is None:
        return list(_registry(registry))
    return [name for name in wanted if _decorated(Entry(registry, name)) or name in _registry(registry)]


def _decorated(entry: Entry) -> Definition | None:
    """The function or class that is registered by a decorator beside the registry: found without an import of it."""
    home = entry.registry.module
    name = source(home).registered.get((entry.registry.name, str(entry.name)))
    return Definition(home, name) if name else None


@cache
def _entry(entry: Entry) -> tuple[str, list[Definition]]:
    """What a registry's entry is, and the definitions that it leads to. An object that cannot be described counts as
    the whole module that registers it."""
    if (decorated := _decorated(entry)) is not None:
        return _node_hash(decorated), [decorated]
    registry, name = _registry(entry.registry), str(entry.name)
    if place := registry.places.get(name):
        (found,) = _definitions([place])
        return _node_hash(found), [found]
    try:
        return _described(registry[name])
    except TypeError:
        whole = Definition(registry.module(name), WHOLE)
        return _node_hash(whole), [whole]


def _described(value: Any) -> tuple[str, list[Definition]]:
    """A value in words without addresses or names of our modules, and the definitions that it leads to.

    Raises TypeError for an object whose state is unknown.
    """
    parts: list[str] = []
    found: list[Definition] = []
    _describe(value, parts, found, set())
    return "\0".join(parts), found


def _describe(value: Any, parts: list[str], found: list[Definition], within: set[int]) -> None:
    def go(*inner: Any) -> None:
        for each in inner:
            _describe(each, parts, found, within | {id(value)})
        parts.append(")")

    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        parts.append(repr(value))
        return
    if id(value) in within:
        parts.append("itself")
        return
    if isinstance(value, type):
        _refer(value, parts, found)
    elif isinstance(value, functools.partial):
        parts.append("partial")
        go(value.func, value.args, value.keywords)
    elif isinstance(value, types.MethodType):
        go(value.__func__, value.__self__)
    elif callable(value) and hasattr(value, "__qualname__"):
        closure = value.__closure__ or () if isinstance(value, types.FunctionType) else ()
        _refer(value, parts, found)
        go(*(cell.cell_contents for cell in closure))
    elif isinstance(value, Mapping):
        parts.append("mapping")
        go(*sorted(value.items(), key=lambda pair: str(pair[0])))
    elif isinstance(value, set | frozenset):
        parts.append("set")
        go(*sorted(value, key=str))
    elif isinstance(value, list | tuple):
        if _ours(type(value)):
            _refer(type(value), parts, found)
        parts.append("sequence")
        go(*value)
    elif dataclasses.is_dataclass(value) and _ours(type(value)):
        _refer(type(value), parts, found)
        go(*((field.name, getattr(value, field.name)) for field in dataclasses.fields(value) if field.repr))
    elif isinstance(value, BaseModel) or _ours(type(value)):
        _refer(type(value), parts, found)
        go(vars(value))
    elif " at 0x" in (text := repr(value)) or "..." in text:
        raise TypeError(f"{text} has no value")
    else:
        parts.append(text)


def _ours(kind: Any) -> bool:
    return ours(str(kind.__module__))


def _refer(value: Any, parts: list[str], found: list[Definition]) -> None:
    """Note a function or class: ours by what it says, others by their names."""
    if not _ours(value) or source_file(value.__module__) is None:
        parts.append(f"{value.__module__}.{value.__qualname__}")
        return
    name = value.__qualname__.split(".")[0]
    if name not in source(value.__module__).made:  # a lambda that a statement without a name made
        name = f"{LINE}{value.__code__.co_firstlineno}" if hasattr(value, "__code__") else WHOLE
    definition = Definition(value.__module__, name)
    found.append(definition)
    parts += [value.__qualname__, _node_hash(definition)]
