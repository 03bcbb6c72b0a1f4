"""Fingerprints of source code: Snakemake cannot see imported modules, so rules carry these as parameters.

The code behind a cell is found, not listed: from the module where its experiment's work begins, and from the modules of
the names that its own settings choose, along their imports. A further family or optimizer changes no other cell.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from muster.experiments import EXPERIMENTS, Job
from muster.registry import NAMED_FIELDS, find_registry

# Library code behind each stage after `collect`.
STAGE_CODE = {
    "collect": ("muster.tables",),
    "fit": ("muster.fitting",),
    "judge": ("muster.claims",),
    "plot": ("muster.plots",),
}

# Imports that are not followed: what finds, names, checks and hands over, and data sets, whose code a cell meets only
# through files that carry hashes of their own.
NOT_FOLLOWED = (
    "muster.config",
    "muster.data",
    "muster.errors",
    "muster.experiments",
    "muster.files",
    "muster.fitting",
    "muster.plan",
    "muster.registry",
    "muster.settings",
    "muster.tables",
)


def stage_fingerprint(stage: str) -> str:
    """Fingerprint of the code of a stage of the flow."""
    return fingerprint(STAGE_CODE[stage])


def dataset_fingerprint(name: str) -> str:
    """Fingerprint of the code that makes a data set: its own module and what all data sets share."""
    from muster.data import DATASETS

    return fingerprint((DATASETS.module(name), "muster.data.base", "muster.data.prepared"))


def cell_fingerprint(experiment: str, cell: Job) -> str:
    """Fingerprint of the code that decides a cell's result: its experiment's, and that of every name it chooses."""
    chosen = []
    for field in _named_fields(type(cell)):
        value = getattr(cell, field)
        chosen += [(field, name) for name in (value if isinstance(value, list) else [value])]
    return _fingerprint_of(experiment, tuple(chosen))


@cache
def _named_fields(kind: type[Job]) -> tuple[str, ...]:
    return tuple(name for name in NAMED_FIELDS if name in kind.model_fields and name not in kind.free_names)


@cache
def _fingerprint_of(experiment: str, chosen: tuple[tuple[str, str], ...]) -> str:
    entry = EXPERIMENTS[experiment]
    starts = set(entry.code or (entry.run.__module__,))
    for field, name in chosen:
        registry = find_registry(NAMED_FIELDS[field])
        if name in registry and not _not_followed(registry.module(name)):
            starts.add(registry.module(name))
    return fingerprint(tuple(sorted(followed(starts))))


def followed(starts: Iterable[str]) -> set[str]:
    """Modules and packages, and every module of muster that they import, however deep.

    Of a package that is merely imported from, the `__init__` is followed but not part of the result: it registers and
    re-exports. Imports for type checkers alone do not count.
    """
    found: set[str] = set()
    seen: set[str] = set()
    waiting = sorted(starts)
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        if module in starts or not _is_package(module):
            found.add(module)
        paths = [path for _, path in _sources(module)] if module in starts else [_source(module)]
        waiting += [name for path in paths for name in _imports(path) if not _not_followed(name)]
    return found


def _not_followed(module: str) -> bool:
    return module == "muster" or module.startswith(tuple(f"{name}." for name in NOT_FOLLOWED)) or module in NOT_FOLLOWED


@cache
def _imports(path: Path) -> tuple[str, ...]:
    """Modules of muster that a source file imports, anywhere in it."""
    names = []
    for node in _executed(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.split(".")[0] == "muster"]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "muster":
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if _file(name) else str(node.module) for name in inner]
    return tuple(dict.fromkeys(names))


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below one, without the bodies of `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _executed(child)


@cache
def fingerprint(modules: tuple[str, ...]) -> str:
    """Twelve hexadecimal digits of the sha256 over the source files of modules and whole packages, in sorted order.

    Every byte of source counts, comments too: nobody then has to argue that an edit did not matter. Raises ValueError
    for a name that is no Python module on disk.
    """
    hasher = hashlib.sha256()
    for module in sorted(modules):
        for name, path in _sources(module):
            hasher.update(f"{module}/{name}\0".encode())
            hasher.update(path.read_bytes() + b"\0")
    return hasher.hexdigest()[:12]


@cache
def _file(module: str) -> Path | None:
    """The source file of a module or package, found without importing its parents; None if there is none."""
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent.joinpath(*inner)
    candidates = (path / "__init__.py", path.with_suffix(".py")) if inner else (Path(spec.origin),)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _source(module: str) -> Path:
    path = _file(module)
    if path is None:
        raise ValueError(f"no source of module {module!r}")
    return path


def _is_package(module: str) -> bool:
    return _source(module).name == "__init__.py"


def _sources(module: str) -> list[tuple[str, Path]]:
    path = _source(module)
    if not _is_package(module):
        return [(path.name, path)]
    return [(inner.relative_to(path.parent).as_posix(), inner) for inner in sorted(path.parent.rglob("*.py"))]
