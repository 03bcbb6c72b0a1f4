"""Reading config.yaml and study files: every mistake becomes one MusterError with file, line and field."""

import difflib
import re
import typing
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from muster.config.models import Config, Range, ScaleConfig, StudyConfig, as_number
from muster.errors import FieldError, FieldPath, MusterError, as_one, dotted, redacted
from muster.files import read_regular
from muster.numbers import ODD, branches
from muster.plugins import study_folders
from muster.registry import find_registry

CONFIG_PATH = Path("config/config.yaml")
TYPED = {"studies": "STUDY"}  # what a command calls a field that it takes otherwise than as an option of its name
RESERVED = {"all": "means every study", "overview": "names the figure of the whole ledger"}  # not for studies
Model = TypeVar("Model", bound=BaseModel)

# A misspelt field is also a missing one: the misspelling tells more. Likewise a check of our own, against a type's.
_TELLING = {"extra_forbidden": 0, "value_error": 0, ODD: 0, "missing": 2}


class _Taker(NamedTuple):
    """What takes the names that belong one level deeper than a section's own fields.

    kind: its registry. options: what of an entry has the names as fields. word: what a name is to it. under: where
    the names are written.
    """

    kind: str
    options: str
    word: str
    under: str


_TAKERS = {  # by the field of a section that names one
    "estimator": _Taker("estimators", "options", "an option", "`options:` of this fit"),
    "plot": _Taker("plots", "options", "an option", "`options:` of this figure"),
    "reader": _Taker("readers", "options", "an option", "`reader_options:` of this table"),
    "experiment": _Taker("experiments", "cell", "a setting", "`settings:`, or as an axis of `grid:`"),
}

QUOTE = "since YAML takes yes, no, on, off, true and false for truth values"


MOST_BYTES = 2**20  # of a file: the largest study has 12 kB
MOST_NODES = 20_000  # keys, values, lists and mappings, each alias as often as it stands there: studies have 700
MOST_DEPTH = 50
MOST_MISTAKES = 100  # that are told of one file
MANY = 40  # known names: more of them fill a screen
LIKE = 12  # names that are told of so many

_AXIS = "Allowed: a value, a list of values, or a range {from: -10, to: -4, step: 1/2}"
CLAIM_NUMBERS = ("predicted", "margin", "prediction_se")  # which may be fractions
WHOLE, NUMBER = "It must be a whole number", "It must be a number"


class _Refused(yaml.MarkedYAMLError):  # type: ignore[misc]
    """What YAML itself would let pass."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader that refuses a key written twice, where plain YAML would silently keep the last.

    What YAML allows and Python cannot hold, such as the thirteenth month, is a mistake on its line like any other.
    """

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused(problem="a key is a list or a mapping", problem_mark=key.start_mark)
            if key.value in seen:
                raise _Refused(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
            kind = node.tag.rpartition(":")[2]
            problem = f"{_short(node.value)} is no {kind}"
            raise _Refused(problem=problem, problem_mark=node.start_mark) from None


def parse_yaml(text: str) -> Any:
    """What a text of YAML says. Raises yaml.YAMLError, also for one that is too deep or too large to be written by
    hand: PyYAML itself would exhaust the stack, or the memory."""
    _check_extent(text)
    return yaml.load(text, _Loader)


def _check_extent(text: str) -> None:
    """Count nodes before any is made: those of an alias as often as it stands there."""
    sizes: dict[str, int] = {}  # of what an anchor names, once it is complete
    open_: list[tuple[str | None, int]] = []  # anchors of the collections around, and how many nodes came before
    nodes = 0
    events: Iterator[Any] = yaml.parse(text, _Loader)
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor is not None:
                sizes[anchor] = nodes - before
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        before, mark = nodes, typing.cast(Any, event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_):
                raise _Refused(problem="an alias stands within its own value", problem_mark=mark)
            nodes += sizes.get(event.anchor or "", 1)
        else:
            nodes += 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_.append((event.anchor, before))
            elif event.anchor is not None:
                sizes[event.anchor] = 1
        if len(open_) > MOST_DEPTH or nodes > MOST_NODES:
            most = f"{MOST_DEPTH} levels deep" if len(open_) > MOST_DEPTH else f"{MOST_NODES} values long"
            raise _Refused(problem=f"a file may be {most} at most", problem_mark=mark)


def parse_value(text: str, place: str) -> Any:
    """A value as it is typed on a command line, read as YAML. Raises MusterError naming the place."""
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        found = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise MusterError(place, f"found {_short(text)}, {found}", "Write a value as YAML has it") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Parse one YAML file into a mapping.

    Raises MusterError with file and line when it is missing, malformed, too large, holds a key twice or is not a
    mapping.
    """
    text = _read_text(path)
    try:
        tree = parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        found = " ".join(part for part in (error.context, error.problem) if part)
        remedy = (
            "Mend it there"
            if isinstance(error, _Refused)
            else "Mend brackets, indentation, quotes, or the space after a colon there"
        )
        raise MusterError(f"{path}{line}", f"malformed YAML, {found}", remedy) from None
    except yaml.YAMLError as error:
        found = str(error).splitlines()[0]
        raise MusterError(str(path), f"malformed YAML, {found}", "Remove the character") from None
    if not isinstance(tree, dict):
        raise MusterError(str(path), f"found {_short(tree)}", "The file must be a mapping of field: value")
    return tree


def _read_text(path: Path) -> str:
    try:
        return read_regular(path, MOST_BYTES).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        if path.is_symlink():
            raise MusterError(str(path), "a link to a file that is not there", "Remove or mend the link") from None
        raise MusterError(
            str(path), "no such file", "Run from the folder that holds config/, or give --config"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        found = error.strerror if isinstance(error, OSError) else error
        raise MusterError(str(path), f"cannot be read ({found})", "Make it a readable UTF-8 text file") from None


def place(path: Path, field: FieldPath) -> str:
    """`file:line dotted.field` of a field, or of the nearest enclosing one that is written in the file."""
    return _place(path, _composed(path), field)


def _composed(path: Path) -> yaml.Node | None:
    """The file as nodes that know their lines; None where it cannot be parsed."""
    try:
        text = _read_text(path)
        _check_extent(text)
        return yaml.compose(text, _Loader)
    except (MusterError, yaml.YAMLError):
        return None


def _place(path: Path, node: yaml.Node | None, field: FieldPath) -> str:
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
    return f"{path}{f':{line}' if line else ''} {dotted(field)}".rstrip()


@contextmanager
def in_file(path: Path) -> Iterator[None]:
    """Give each mistake of a field that is found within its place in the file."""
    try:
        yield
    except MusterError as error:
        node = _composed(path) if any(isinstance(mistake, FieldError) for mistake in error.mistakes) else None
        placed = [
            MusterError(_place(path, node, mistake.field), mistake.found, mistake.remedy)
            if isinstance(mistake, FieldError)
            else mistake
            for mistake in error.mistakes
        ]
        raise as_one(placed) from None


def nearest(name: object, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the nearest known one, then all of them; of many, those that are like it."""
    known = [str(k) for k in known]
    near = difflib.get_close_matches(str(name), known, n=12)
    if near and len(known) > MANY:
        return f"Did you mean {near[0]!r}? Like it: {', '.join(near)}"
    return f"{f'Did you mean {near[0]!r}? ' if near else ''}Known: {', '.join(known) or 'none'}"


def nearest_or_part(name: object, known: Iterable[str]) -> str:
    """As `nearest`; names that contain the unknown one, or are contained in it, are like it however much longer.

    By itself, since `nearest` is code of every imported table: a change there would make all of them stale.
    """
    known, word = [str(k) for k in known], str(name)
    if same := [each for each in known if _spelled(each) == _spelled(word)]:
        word = same[0]
    parts = [each for each in known if _is_part(word, each) or _is_part(each, word)]
    if not parts:
        return nearest(word, known)
    near = {*difflib.get_close_matches(word, known, n=LIKE), *parts}
    near_first = sorted(near, key=lambda each: (-difflib.SequenceMatcher(None, each, word).ratio(), each))[:LIKE]
    all_of_them = f"Like it: {', '.join(near_first)}" if len(known) > MANY else f"Known: {', '.join(known)}"
    return f"Did you mean {near_first[0]!r}? {all_of_them}"


def _spelled(name: str) -> str:
    """A name as one would say it: `µP` and `MUP` are mup."""
    return re.sub("[µμ]", "mu", name).casefold()


def _is_part(short: str, long: str) -> bool:
    """Whether a name holds another: one of two letters, such as lr, as a word, since chance has it anywhere."""
    return short in (long if len(short) > 2 else re.split("[^a-zA-Z0-9]", long))


def load_config(path: Path = CONFIG_PATH, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read and validate `config/config.yaml`; `overrides` replace single fields, as a command's options do."""
    given = dict(overrides or {})
    return _config(read_yaml(path) | given, path, {name: TYPED.get(name, f"--{name}") for name in given})


def config_of(settings: Mapping[str, Any], path: Path = CONFIG_PATH) -> Config:
    """The configuration as Snakemake holds it: the fields of the file, and those that `--config` replaced."""
    written = read_yaml(path)
    replaced = [name for name, value in settings.items() if name not in written or written[name] != value]
    return _config(dict(settings), path, {name: f"--config {name}" for name in replaced})


def _config(tree: dict[str, Any], path: Path, typed: dict[str, str]) -> Config:
    """Validate the fields; a mistake in one that was typed names the command line, not the file."""
    try:
        if secret := [*_check_public(tree)]:
            places = (_typed_place(typed, mistake.field, path, _composed(path)) for mistake in secret)
            raise as_one([MusterError(where, m.found, m.remedy) for where, m in zip(places, secret, strict=True)])
        config = Config.model_validate(tree)
    except ValidationError as error:
        node = _composed(path)
        wrong = [
            MusterError(_typed_place(typed, mistake.field, path, node), mistake.found, mistake.remedy)
            for mistake in field_errors(error, Config, tree)
        ]
        raise as_one(wrong) from None
    config.remember_typed(typed)
    return config


def config_place(config: Config, field: FieldPath, path: Path) -> str:
    """Where a field of the configuration comes from: its line in the file, or the word of the command line."""
    return _typed_place(config.typed, field, path, _composed(path))


def _typed_place(typed: Mapping[str, str], field: FieldPath, path: Path, node: yaml.Node | None) -> str:
    option = typed.get(str(field[0])) if field else None
    if option is None:
        return _place(path, node, field)
    return option if option in TYPED.values() else dotted((option, *field[1:]))


@dataclass(frozen=True)
class Studies:
    """The study files beside a configuration.

    paths: name → file. known: the studies that can be read. broken: name → why it cannot, also of files that lie there
    and are no studies (under their full names).
    """

    paths: dict[str, Path]
    known: dict[str, StudyConfig]
    broken: dict[str, MusterError]


def study_paths(config_path: Path = CONFIG_PATH) -> dict[str, Path]:
    """Study name → file, for every study beside the given config file or in a plug-in, sorted by name; one's own
    stands before a plug-in's of the same name.

    Files whose names begin with a dot belong to editors and systems, and are no studies.
    """
    own = config_path.parent / "studies"
    folders = (*study_folders(), own)
    paths = {path.stem: path for folder in folders for path in folder.glob("*.yaml") if not path.name.startswith(".")}
    if not paths:
        raise MusterError(str(own), "no study found", "Write one with: muster new-study NAME")
    return dict(sorted(paths.items()))


def _strays(folder: Path) -> dict[str, MusterError]:
    """Files that might be taken for studies and are none."""
    strays = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") and path.suffix == ".yaml":
            found, remedy = "no study: its name begins with a dot", "Remove it, or rename it if it is one"
        elif path.suffix == ".yml":
            found, remedy = "no study: its name ends in .yml", f"Rename it to {path.stem}.yaml if it is one"
        else:
            continue
        strays[path.name] = MusterError(str(path), found, remedy)
    return strays


def load_studies(config_path: Path = CONFIG_PATH) -> Studies:
    """Read all study files; what is wrong with one of them is kept beside the others.

    Of two studies that give a claim the same name, the later in the alphabet is the broken one.
    """
    paths = study_paths(config_path)
    known: dict[str, StudyConfig] = {}
    broken = _strays(config_path.parent / "studies")
    owners: dict[str, str] = {}
    for name, path in paths.items():
        try:
            study = load_study(path)
            with in_file(path):
                _claims_of_its_own(study, owners)
        except MusterError as error:
            broken[name] = error
        else:
            known[name] = study
            owners |= {claim.claim: name for claim in study.claims}
    return Studies(paths, known, broken)


def _claims_of_its_own(study: StudyConfig, owners: Mapping[str, str]) -> None:
    """Names of claims stand once in the ledger."""
    wrong = [
        FieldError(
            ("claims", i, "claim"),
            f"{claim.claim!r} is taken by study {owners[claim.claim]}",
            "Choose a unique name, in one of the two",
        )
        for i, claim in enumerate(study.claims)
        if claim.claim in owners
    ]
    if wrong:
        raise as_one(wrong)


def load_study(path: Path) -> StudyConfig:
    """Read and validate one study file on its own; what it refers to outside of it is checked elsewhere.

    Raises MusterError with all mistakes of the file.
    """
    study = validate(StudyConfig, _with_fractions(read_yaml(path)), path)
    with in_file(path):
        if wrong := [*_name_mistakes(study, path.stem), *_reference_mistakes(study)]:
            raise as_one(wrong)
    return study


def _with_fractions(tree: dict[str, Any]) -> dict[str, Any]:
    """The parsed file with the numbers of its claims as numbers, where they are written as fractions: -1/2.

    Here and not in the model of a claim, which is code of every fit and figure: a change there makes them all stale.
    """
    claims = _listed(tree, "claims")
    for each in [*claims, *(group for claim in claims for group in _listed(claim, "groups"))]:
        for name in set(CLAIM_NUMBERS) & each.keys():
            with suppress(ValueError):  # the model refuses the text
                each[name] = as_number(each[name])
    return tree


def _listed(tree: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The mappings of a list, whatever else may stand there by mistake."""
    found = tree.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _name_mistakes(study: StudyConfig, file: str) -> Iterator[FieldError]:
    if study.study != file:
        yield FieldError(("study",), f"found {study.study!r}", f"It must equal the file's name, {file!r}")
    elif taken := reserved(study.study):
        yield FieldError(("study",), f"{study.study!r} {taken}", "Rename the study and its file")


def reserved(name: str) -> str:
    """Why a study cannot have this name; empty if it can."""
    if name in RESERVED:
        return RESERVED[name]
    try:
        read = parse_yaml(name)
    except yaml.YAMLError:
        return "cannot be read where YAML does not quote it"
    return "" if read == name else f"is read as {read!r} where YAML does not quote it"


def _reference_mistakes(study: StudyConfig) -> Iterator[FieldError]:
    """Names of fits, claims and figures that the file itself must hold, and hold once."""
    seen: set[str] = set()
    for i, claim in enumerate(study.claims):
        if claim.claim in seen:
            yield FieldError(("claims", i, "claim"), f"{claim.claim!r} stands twice", "Choose a unique name")
        seen.add(claim.claim)
        if claim.fit not in study.fits:
            yield FieldError(("claims", i, "fit"), f"unknown fit {claim.fit!r}", nearest(claim.fit, study.fits))
        if claim.figure is not None and claim.figure not in study.figures:
            found = f"unknown figure {claim.figure!r}"
            yield FieldError(("claims", i, "figure"), found, nearest(claim.figure, study.figures))
    for name, figure in study.figures.items():
        if figure.fit is not None and figure.fit not in study.fits:
            found = f"unknown fit {figure.fit!r}"
            yield FieldError(("figures", name, "fit"), found, nearest(figure.fit, study.fits))


def shadowed(config: Config, paths: Mapping[str, Path], path: Path = CONFIG_PATH) -> dict[str, MusterError]:
    """Studies that have the name of a group: nobody could tell which of the two is meant."""
    return {
        name: MusterError(
            f"{paths[name]} and {config_place(config, ('groups', name), path)}",
            f"{name!r} is a study and a group",
            "Rename one of the two",
        )
        for name in config.groups
        if name in paths
    }


def chosen_studies(config: Config, paths: Mapping[str, Path], path: Path = CONFIG_PATH) -> dict[str, bool]:
    """Names of the studies to run, groups resolved, in the order of first mention → whether named by themselves.

    paths: all study files, also broken ones. Those of `exclude` are left out of groups. Raises MusterError for names
    that are neither a study nor a group, or both, for groups or exclusions of unknown members, for a group called
    `all`,
    and if nothing is left.
    """
    wrong = list(_group_mistakes(config, paths, path))
    chosen: dict[str, bool] = {}
    both = shadowed(config, paths, path)
    for i, name in enumerate(config.exclude):
        if name not in paths:
            where = config_place(config, ("exclude", i), path)
            wrong.append(MusterError(where, f"unknown study {name!r}", nearest(name, paths)))
    for i, name in enumerate(config.studies):
        if name in both:
            wrong.append(both[name])
        elif name == "all" or name in config.groups:
            for member in paths if name == "all" else config.groups[name]:
                if member not in config.exclude:
                    chosen.setdefault(member, False)
        elif name in paths:
            chosen[name] = True
        else:
            where = config_place(config, ("studies", i), path)
            known = [*paths, *config.groups, "all"]
            wrong.append(MusterError(where, f"unknown study or group {name!r}", nearest_or_part(name, known)))
    if wrong:
        raise as_one(wrong)
    if not chosen and config.exclude:
        found = f"nothing is left of {', '.join(config.studies)}"
        remedy = "Exclude fewer studies, or name one in `studies`"
        raise MusterError(config_place(config, ("exclude",), path), found, remedy)
    return chosen


def _group_mistakes(config: Config, paths: Mapping[str, Path], path: Path) -> Iterator[MusterError]:
    for group, members in config.groups.items():
        if group == "all":
            yield MusterError(config_place(config, ("groups", group), path), "'all' means every study", "Rename it")
        for i, member in enumerate(members):
            if member not in paths:
                where = config_place(config, ("groups", group, i), path)
                yield MusterError(where, f"unknown study {member!r}", nearest(member, paths))


def _check_public(tree: Any, field: FieldPath = ()) -> Iterator[FieldError]:
    """Texts that hold credentials: what is written here ends in logs, records and reports."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _check_public(value, (*field, str(key)))
    elif isinstance(tree, list):
        for i, value in enumerate(tree):
            yield from _check_public(value, (*field, i))
    elif isinstance(tree, str) and (shown := redacted(tree)) != tree:
        remedy = "Leave it out: the file may lie in the folder of sources, and a script may read a variable"
        yield FieldError(
            field, f"found {_short(shown)}, which holds credentials: they would be written to logs and records", remedy
        )


def validate(model: type[Model], tree: dict[str, Any], path: Path) -> Model:
    """Validate a parsed file; raises all its mistakes as one MusterError."""
    try:
        if not (found := [*_check_public(tree)]):
            return model.model_validate(tree)
    except ValidationError as error:
        found = field_errors(error, model, tree)
    with in_file(path):
        raise as_one(found)


def problems(error: ValidationError, model: type[BaseModel], tree: Any, path: Path) -> list[MusterError]:
    """One MusterError per wrong field, placed in a file, or after whatever else `path` names."""
    node = _composed(path)
    return [MusterError(_place(path, node, e.field), e.found, e.remedy) for e in field_errors(error, model, tree)]


def field_errors(error: ValidationError, model: type[BaseModel], tree: Any, base: FieldPath = ()) -> list[FieldError]:
    """One mistake per wrong field: of the alternatives of a union, the one that got furthest speaks.

    base: where the tree stands in its file.
    """
    entries = sorted(error.errors(include_url=False), key=lambda entry: _TELLING.get(entry["type"], 1))
    by_field: dict[FieldPath, dict[str, Any]] = {}
    for entry in entries:
        by_field.setdefault(_written_path(tree, entry), typing.cast(dict[str, Any], entry))
    outer = {field[:i] for field in by_field for i in range(len(field))}
    deepest = [field for field in by_field if field not in outer]
    return [_explain(by_field[field], field, model, base, tree) for field in deepest[:MOST_MISTAKES]]


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


def _explain(entry: dict[str, Any], field: FieldPath, model: type[BaseModel], base: FieldPath, tree: Any) -> FieldError:
    where, kind, value = base + field, entry["type"], entry["input"]
    name = field[-1] if field else ""
    if kind == "extra_forbidden":
        if deeper := _deeper(tree, field, model):
            return FieldError(where, *deeper)
        remedy = nearest_or_part(name, _fields_at(model, field[:-1]))
        return FieldError(where, f"unknown field {name!r}", f"{remedy}{_of_an_axis(model, field)}")
    if kind == "missing":
        remedy = f"It must be given: {_description(model, field)}"
        return FieldError(where, "missing", f"{remedy}{_of_an_axis(model, field)}")
    if kind == "literal_error":
        return FieldError(where, f"found {_short(value)}", f"Allowed: {entry['ctx']['expected']}")
    if kind == "value_error":
        return FieldError(where, f"found {_short(value)}", str(entry["ctx"]["error"]))
    if kind == "string_pattern_mismatch":
        pattern = entry["ctx"]["pattern"]
        return FieldError(where, f"found {_short(value)}", f"Allowed: {_in_words(pattern)}")
    if kind == ODD:
        return FieldError(where, f"found {_short(value)}", entry["msg"])
    if "grid" in base + field and isinstance(name, str) and name != "grid":
        return FieldError(where, f"found {_short(value)}", _AXIS)
    if kind in ("int_parsing", "int_type", "int_from_float"):
        return FieldError(where, f"found {_short(value)}", WHOLE)
    if kind in ("float_parsing", "float_type"):
        fractions = ", such as 0.1 or 1/10" if field[:1] == ("claims",) and name in CLAIM_NUMBERS else ""
        return FieldError(where, f"found {_short(value)}", f"{NUMBER}{fractions}")
    if kind in ("model_type", "dict_type"):
        sections = _sections_at(model, field)
        remedy = f"a section, such as {_section(value, sections[0])}" if sections else "a mapping of name: value"
        return FieldError(where, f"found {_short(value)}", f"It must be {remedy}")
    if kind == "list_type":
        sections = _sections_at(model, (*field, 0))
        remedy = f"[{_section(value, sections[0]) if sections else _word(value)}]"
        return FieldError(where, f"found {_short(value)}", f"It must be a list, such as {remedy}")
    message = entry["msg"].removeprefix("Input ")
    if isinstance(value, bool) and kind == "string_type":
        message = f"should be a text: put it in quotes, {QUOTE}"
        return FieldError(where, f"found {_short(value)}", f"It {message}")
    return FieldError(where, f"found {_short(value)}", f"It {message}" if message != entry["msg"] else message)


def _in_words(pattern: str) -> str:
    """The pattern of `Slug` and of `Name`, which join words by one character each; another as it is."""
    joined = re.fullmatch(re.escape("^[a-z0-9]+(") + "(.)" + re.escape("[a-z0-9]+)*$"), pattern)
    return f"lower-case letters and digits, parts joined by {joined[1]} alone" if joined else pattern


def _of_an_axis(model: type[BaseModel], field: FieldPath) -> str:
    """What may stand at an axis, where a mapping that stands there is no range."""
    return f". {_AXIS}" if Range in (model, *_sections_at(model, field[:-1])) else ""


def _section(value: Any, section: type[BaseModel]) -> str:
    """The fields that a section must have, what was found in its stead as the first."""
    fields = section.model_fields.items()
    names = [info.alias or name for name, info in fields if info.is_required()] or [next(iter(fields))[0]]
    given = ", ".join(f"{name}: {'…' if i else _word(value)}" for i, name in enumerate(names))
    return f"{{{given}}}"


def _word(value: Any) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[\w.-]{1,40}", value) else "…"


def _deeper(tree: Any, field: FieldPath, model: type[BaseModel]) -> tuple[str, str] | None:
    """What is found, and the remedy, for a name that its section passes on to what it names; None for another."""
    name, sections = str(field[-1]), _sections_at(model, field[:-1])
    for asked, taker in _TAKERS.items():
        owners = [section for section in sections if asked in section.model_fields]
        if not owners and not (asked == "experiment" and ScaleConfig in sections):
            continue
        given = _innermost(tree, field, asked) or (owners[0].model_fields[asked].default if owners else None)
        registry = find_registry(taker.kind)
        if isinstance(given, str) and given in registry:
            options = getattr(registry[given], taker.options).model_fields
            if name in options or (name == "seeds" and "seed" in options):
                return f"{name!r} is {taker.word} of {asked} {given}", f"Write it under {taker.under}"
    return None


def _innermost(tree: Any, field: FieldPath, name: str) -> Any:
    """What a name is in the innermost mapping around a field that has it; None without any."""
    found = None
    for part in field:
        if isinstance(tree, dict):
            found = tree.get(name, found)
        tree = tree[part]
    return found


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
                        following += branches(info.annotation)
            elif origin is dict:
                following += branches(args[1])
            elif origin in (list, tuple):
                following += branches(args[0])
        current = following
    return current


def _sections_at(model: Any, field: FieldPath) -> list[type[BaseModel]]:
    return [kind for kind in _types_at(model, field) if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _fields_at(model: Any, field: FieldPath) -> list[str]:
    return [info.alias or name for kind in _sections_at(model, field) for name, info in kind.model_fields.items()]


def _description(model: Any, field: FieldPath) -> str:
    for kind in _sections_at(model, field[:-1]):
        for name, info in kind.model_fields.items():
            if field[-1] in (name, info.alias):
                return info.description or name
    return str(field[-1])


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no number of more than 4,300 digits
        return f"a {type(value).__name__} that cannot be written"
    return text if len(text) <= 60 else f"{text[:57]}..."
