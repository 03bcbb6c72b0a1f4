"""What `muster show` says of entries of registries that settings, mappings and fits of a study name."""

import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from muster.cli.example_fit import COLUMN, example_fit, example_value
from muster.cli.printing import print_example, print_options, print_table
from muster.config.models import StudyConfig
from muster.published.patterns import NamingPattern
from muster.registry import NAMED_FIELDS, find_registry

Studies = Mapping[str, StudyConfig]
FIELDS = {kind: field for field, kind in NAMED_FIELDS.items()}
BY_COLUMN = {  # steps whose options are columns of the study's own, where none has one
    "add": {"my_column": {"product": [f"{COLUMN}_1", f"{COLUMN}_2"]}},
    "keep": {COLUMN: {"known": True}},
}
PATTERN = "step=(?P<step>[0-9]+) loss=(?P<loss>[0-9.]+)"  # where an option is one whose groups become columns


def show_entry(kind: str, name: str, studies: Studies) -> None:
    """Print what an entry is, its options or settings, who uses it, and a part of a study that names it.

    kind: as `muster list` has it. Raises MusterError for a name that is not registered.
    """
    entry = find_registry(kind)[name]
    if kind == "readers":
        _show_reader(name, entry, studies)
    elif kind == "transforms":
        _show_transform(name, entry, studies)
    elif kind == "closed_forms":
        _show_closed_form(name, entry, studies)
    else:
        _show_choice(FIELDS[kind], name, entry, studies)


def _show_reader(name: str, reader: Any, studies: Studies) -> None:
    users = [(study, source) for study, _, source in _sources(studies) if source.get("reader", "csv") == name]
    rows = [("reads", reader.summary), ("studies", _names(study for study, _ in users))]
    if reader.permission:
        rows.append(("only if", f"the environment has {reader.permission}=allow"))
    print_table(rows)
    print_options("reader_options", reader.options)
    study, source = max(users, key=lambda user: len(str(user[1].get("reader_options", ""))), default=("", {}))
    form = {"file": source.get("file", "mine/runs"), "licence": source.get("licence", "mine"), "reader": name}
    if options := source.get("reader_options") or _required(reader.options):
        form["reader_options"] = options
    print_example({"settings": {"sources": {"my_table": form}}}, _as_in(study))


def _show_transform(name: str, transform: Any, studies: Studies) -> None:
    uses = [(study, found) for study, _, source in _sources(studies) for found in _uses(name, source)]
    study, written = max(uses, key=lambda use: len(str(use[1])), default=("", None))
    of_rows = hasattr(transform, "options")
    takes = "a step under `rows`" if of_rows else _count(transform.least, transform.most)
    rows = [("makes", _text(transform)), ("is", takes), ("studies", _names(user for user, _ in uses))]
    print_table(rows)
    if of_rows:
        print_options("options", transform.options)
        made = BY_COLUMN.get(name) or _required(transform.options)
        print_example({"rows": [{name: written or made}]}, _as_in(study))
    else:
        taken = written or ([f"{COLUMN}_{i + 1}" for i in range(transform.least)] if transform.least > 1 else COLUMN)
        print_example({"columns": {"my_column": {name: taken}}}, _as_in(study))


def _show_closed_form(name: str, formula: Any, studies: Studies) -> None:
    from muster.fitting.base import ESTIMATORS

    fits = [(study.study, fit) for study in studies.values() for fit in study.fits.values()]
    users = [(study, fit) for study, fit in fits if fit.options.get("formula") == name]
    print_table([("is", _text(formula)), ("studies", _names(study for study, _ in users))])
    if users:
        study, fit = users[0]
        print_example({"fits": {"my_fit": fit.model_dump(exclude_defaults=True)}}, _as_in(study))
    else:
        made = example_fit("closed_form", ESTIMATORS["closed_form"])
        print_example({"fits": {"my_fit": {**made, "options": {"formula": name}}}})


def _show_choice(field: str, name: str, entry: Any, studies: Studies) -> None:
    """What a setting of cells chooses, with the settings that it brings."""
    from muster.models import SHAPES
    from muster.settings import settings_of

    users = [study.study for study in studies.values() if _chooses(study.model_dump(mode="json"), field, name)]
    print_table([("is", _text(entry)), ("studies", _names(users))])
    settings = settings_of(SHAPES[name] if field == "family" else entry)
    if settings.model_fields:
        print_options("settings that it brings", settings)
    brought = {**SHAPES[name].example} if field == "family" else {}
    brought |= {setting: value for setting, value in _required(settings).items() if setting not in brought}
    chosen = {field: [name] if field == "probes" else name}
    print_example({"settings": {**brought, **chosen}}, "or several of them in a grid" if field != "probes" else "")


def _sources(studies: Studies) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Study, name and mapping of every published table."""
    for study in studies.values():
        for name, source in study.settings.get("sources", {}).items():
            yield study.study, name, source


def _uses(name: str, value: Any) -> Iterator[Any]:
    """What a transform of that name is given, wherever it stands in a mapping."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and [*value] == [name]:
        yield value[name]
    for each in inner:
        yield from _uses(name, each)


def _chooses(value: Any, field: str, name: str) -> bool:
    """Whether a study's tree has the name under a field, alone or in a list."""
    if isinstance(value, dict):
        return name in _listed(value.get(field)) or any(_chooses(each, field, name) for each in value.values())
    return isinstance(value, list) and any(_chooses(each, field, name) for each in value)


def _listed(value: Any) -> list[Any]:
    return [each for part in value for each in _listed(part)] if isinstance(value, list) else [value]


def _required(options: Any) -> dict[str, Any]:
    """A value of each option that must be given."""
    fields = {name: field for name, field in options.model_fields.items() if field.is_required()}
    pattern = FieldInfo.from_annotation(NamingPattern)
    return {
        name: PATTERN if field.metadata == pattern.metadata else example_value(name, field)
        for name, field in fields.items()
    }


def _text(entry: Any) -> str:
    return " ".join(inspect.cleandoc(entry.__doc__ or "").split())


def _count(least: int, most: float) -> str:
    number = (
        f"{least} or more columns, numbers"
        if math.isinf(most)
        else "one column, number"
        if least == 1
        else "two columns, numbers"
    )
    return f"an expression of {number} or expressions"


def _names(names: Any) -> str:
    return ", ".join(dict.fromkeys(names)) or "none"


def _as_in(study: str) -> str:
    return f"as in {study}" if study else ""
