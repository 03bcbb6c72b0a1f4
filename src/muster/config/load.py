"""Reading config.yaml and study files: every mistake becomes one MusterError with file, line and field."""

import difflib
import types
import typing
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from muster.config.models import Config, StudyConfig
from muster.errors import MusterError

CONFIG_PATH = Path("config/config.yaml")
Model = TypeVar("Model", bound=BaseModel)
FieldPath = tuple[str | int, ...]

# A misspelt field is also a missing one: the misspelling tells more. Likewise a check of our own, against a type's.
_TELLING = {"extra_forbidden": 0, "value_error": 0, "missing": 2}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader that refuses a key written twice, where plain YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Parse one YAML file into a mapping.

    Raises MusterError with file and line when it is missing, malformed, holds a key twice or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MusterError(
            str(path), "no such file", "Run from the folder that holds config/, or give --config"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise MusterError(str(path), f"cannot be read ({error})", "Make it a readable UTF-8 text file") from None
    try:
        tree = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        found = " ".join(part for part in (error.context, error.problem) if part)
        raise MusterError(
            f"{path}{line}", f"malformed YAML, {found}", "Mend brackets, indentation or quotes there"
        ) from None
    except yaml.YAMLError as error:
        found = str(error).splitlines()[0]
        raise MusterError(str(path), f"malformed YAML, {found}", "Remove the character") from None
    if not isinstance(tree, dict):
        raise MusterError(str(path), f"found {_short(tree)}", "The file must be a mapping of field: value")
    return tree


def place(path: Path, field: FieldPath) -> str:
    """`file:line dotted.field` of a field, or of the nearest enclosing one that is written in the file."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (OSError, yaml.YAMLError):
        node = None
    line = None
    for part in field:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in field).lstrip(".")
    return f"{path}{f':{line}' if line else ''} {dotted}".rstrip()


def nearest(name: object, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the nearest known one, then all of them."""
    known = [str(k) for k in known]
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"{f'Did you mean {near[0]!r}? ' if near else ''}Known: {', '.join(known) or 'none'}"


def load_config(path: Path = CONFIG_PATH, overrides: dict[str, Any] | None = None) -> Config:
    """Read and validate `config/config.yaml`; `overrides` replace single fields, as `--config field=value` does."""
    tree = read_yaml(path) | (overrides or {})
    return validate(Config, tree, path)


def study_paths(config_path: Path = CONFIG_PATH) -> dict[str, Path]:
    """Study name → file, for every study beside the given config file, sorted by name."""
    folder = config_path.parent / "studies"
    paths = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if not paths:
        raise MusterError(str(folder), "no study found", "Write one with: muster new-study NAME")
    return paths


def load_study(path: Path) -> StudyConfig:
    """Read and validate one study file on its own; what it refers to is checked in `muster.cli.check`."""
    study = validate(StudyConfig, read_yaml(path), path)
    if study.study != path.stem:
        raise MusterError(
            place(path, ("study",)), f"found {study.study!r}", f"It must equal the file's name, {path.stem!r}"
        )
    return study


def chosen_studies(config: Config, known: Iterable[str], path: Path = CONFIG_PATH) -> dict[str, bool]:
    """Names of the studies to run, groups resolved, in the order of first mention → whether named by themselves.

    Those of `exclude` are left out of groups. Raises MusterError for a name that is neither a study nor a group, for a
    group or an exclusion of unknown members, and if nothing is left.
    """
    known = list(known)
    chosen: dict[str, bool] = {}
    names = [*known, *config.groups, "all"]
    for group, members in config.groups.items():
        for i, member in enumerate(members):
            if member not in known:
                raise MusterError(
                    place(path, ("groups", group, i)), f"unknown study {member!r}", nearest(member, known)
                )
    for i, name in enumerate(config.exclude):
        if name not in known:
            raise MusterError(place(path, ("exclude", i)), f"unknown study {name!r}", nearest(name, known))
    for i, name in enumerate(config.studies):
        if name in known:
            chosen[name] = True
        elif name in config.groups or name == "all":
            for member in config.groups.get(name, known):
                if member not in config.exclude:
                    chosen.setdefault(member, False)
        else:
            raise MusterError(place(path, ("studies", i)), f"unknown study or group {name!r}", nearest(name, names))
    if not chosen and config.exclude:
        found = f"nothing is left of {', '.join(config.studies)}"
        raise MusterError(place(path, ("exclude",)), found, "Exclude fewer studies, or name one in `studies`")
    return chosen


def validate(model: type[Model], tree: dict[str, Any], path: Path) -> Model:
    """Validate a parsed file; raises the first problem of `problems` as a MusterError that counts the others."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        found = problems(error, model, tree, path)
    first, more = found[0], len(found) - 1
    if more:
        first = MusterError(first.place, first.found, f"{first.remedy} (and {more} more: muster validate)")
    raise first


def problems(
    error: ValidationError, model: type[BaseModel], tree: Any, path: Path, base: FieldPath = ()
) -> list[MusterError]:
    """One MusterError per wrong field: of the alternatives of a union, the one that got furthest speaks."""
    entries = sorted(error.errors(include_url=False), key=lambda entry: _TELLING.get(entry["type"], 1))
    by_field: dict[FieldPath, dict[str, Any]] = {}
    for entry in entries:
        by_field.setdefault(_written_path(tree, entry), typing.cast(dict[str, Any], entry))
    deepest = [p for p in by_field if not any(len(q) > len(p) and q[: len(p)] == p for q in by_field)]
    return [_explain(by_field[field], field, model, path, base) for field in deepest]


def _written_path(tree: Any, entry: Any) -> FieldPath:
    """The error's location as keys of the file: pydantic mixes the names of union members into it."""
    field: list[str | int] = []
    for part in entry["loc"]:
        if (isinstance(tree, dict) and part in tree) or (
            isinstance(tree, (list, tuple)) and isinstance(part, int) and part < len(tree)
        ):
            tree = tree[part]
        elif not (entry["type"] == "missing" and part == entry["loc"][-1]):
            continue
        field.append(part)
    return tuple(field)


def _explain(
    entry: dict[str, Any], field: FieldPath, model: type[BaseModel], path: Path, base: FieldPath
) -> MusterError:
    where, kind, value = place(path, base + field), entry["type"], entry["input"]
    name = field[-1] if field else ""
    if kind == "extra_forbidden":
        return MusterError(where, f"unknown field {name!r}", nearest(name, _fields_at(model, field[:-1])))
    if kind == "missing":
        return MusterError(where, "missing", f"It must be given: {_description(model, field)}")
    if kind == "literal_error":
        return MusterError(where, f"found {_short(value)}", f"Allowed: {entry['ctx']['expected']}")
    if kind == "value_error":
        return MusterError(where, f"found {_short(value)}", str(entry["ctx"]["error"]))
    if kind == "string_pattern_mismatch":
        return MusterError(
            where, f"found {_short(value)}", "Allowed: lower-case letters and digits, parts joined by - or _"
        )
    if "grid" in base + field and isinstance(name, str) and name != "grid":
        remedy = "Allowed: a value, a list of values, or a range {from: -10, to: -4, step: 1/2}"
        return MusterError(where, f"found {_short(value)}", remedy)
    message = entry["msg"].removeprefix("Input ")
    return MusterError(where, f"found {_short(value)}", f"It {message}" if message != entry["msg"] else message)


def _branches(annotation: Any) -> list[Any]:
    """The types that an annotation may stand for, aliases, unions and `Annotated` unpacked."""
    if hasattr(annotation, "__value__"):
        return _branches(annotation.__value__)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _branches(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [branch for member in typing.get_args(annotation) for branch in _branches(member)]
    return [annotation]


def _types_at(model: Any, field: FieldPath) -> list[Any]:
    """The types that may stand at a field of a model tree."""
    current = [model]
    for part in field:
        following: list[Any] = []
        for kind in current:
            origin, args = typing.get_origin(kind), typing.get_args(kind)
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                for name, info in kind.model_fields.items():
                    if part in (name, info.alias):
                        following += _branches(info.annotation)
            elif origin is dict:
                following += _branches(args[1])
            elif origin in (list, tuple):
                following += _branches(args[0])
        current = following
    return current


def _fields_at(model: Any, field: FieldPath) -> list[str]:
    kinds = [k for k in _types_at(model, field) if isinstance(k, type) and issubclass(k, BaseModel)]
    return [info.alias or name for kind in kinds for name, info in kind.model_fields.items()]


def _description(model: Any, field: FieldPath) -> str:
    for kind in _types_at(model, field[:-1]):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for name, info in kind.model_fields.items():
                if field[-1] in (name, info.alias):
                    return info.description or name
    return str(field[-1])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
