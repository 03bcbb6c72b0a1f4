"""The files that a command runs: its script, and what this imports from beside it."""

import ast
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from muster.experiments import Files

PYTHON = re.compile(r"python(\d+(\.\d+)*)?(\.exe)?")
VALUED = ("-W", "-X", "--check-hash-based-pycs")  # options of Python that a value follows
SETTINGS = (".cfg", ".ini", ".sh", ".toml", ".yaml", ".yml")  # words of a command that name such a file are read
# What runs or loads code that no import statement names.
LOADERS = frozenset(
    {"__import__", "exec", "execfile", "importlib", "multiprocessing", "pkgutil", "runpy", "subprocess", "system"}
)


class Script(NamedTuple):
    """What a Python file imports, as (level, dotted name) of statements, and whether these are all that it may run."""

    imports: tuple[tuple[int, str], ...]
    plain: bool


def followed(words: list[str], more: Iterable[str] = ()) -> Files:
    """The files behind the words of a command, by their names from here, with their sha256.

    more: files that the user names. They are all of them (`whole`) if the user named some, or if the command is Python
    with a script, or a Python script, that loads and starts nothing beside what it imports.
    """
    starts, plain = _scripts(words)
    starts = [path.resolve() for path in starts]
    found: dict[Path, None] = {}
    waiting = list(starts)
    while waiting:
        path = waiting.pop().resolve()
        if path in found:
            continue
        found[path] = None
        if path.suffix == ".py":
            script = _read(path, *_state(path))
            plain = plain and script.plain
            waiting += _imported(script, path, starts)
    more = list(more)
    named = [*more, *(word for word in words if word.endswith(SETTINGS))]
    files = [*found, *(Path(name).resolve() for name in named if Path(name).is_file())]
    return Files({os.path.relpath(path): sha256_of(path, *_state(path)) for path in files}, plain or bool(more))


def _scripts(words: list[str]) -> tuple[list[Path], bool]:
    """The Python files that a command starts with, and whether it is known to run nothing else."""
    rest = list(words)
    others = [Path(word) for word in rest[1:] if word.endswith(".py") and Path(word).is_file()]
    if PYTHON.fullmatch(Path(rest[0]).name):
        rest.pop(0)
        while rest and rest[0].startswith("-"):
            option = rest.pop(0)
            if option == "-m" and rest:
                found = list(_module_files(Path(), rest[0]))
                main = [path.with_name("__main__.py") for path in found if path.name == "__init__.py"]
                found += [path for path in main if path.is_file()]
                return found or others, bool(found)
            if option == "-c":
                return others, False
            if option in VALUED and rest:
                rest.pop(0)
        known = bool(rest) and Path(rest[0]).is_file()
        return ([Path(rest[0])] if known else []), known
    if rest[0].endswith(".py") and Path(rest[0]).is_file():
        return [Path(rest[0])], True
    return others, False


def _imported(script: Script, path: Path, starts: list[Path]) -> Iterator[Path]:
    """Files of the modules that a script imports, where Python would find them first: beside the script that was
    started, here for `-m`, and in PYTHONPATH."""
    others = [Path(folder) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    for level, name in script.imports:
        if level:
            folder = path.parent
            for _ in range(level - 1):
                folder = folder.parent
            yield from _module_files(folder, name)
        elif name.split(".")[0] != "muster":
            folders = dict.fromkeys([*(start.parent for start in starts), Path(), *others])
            yield from next((files for folder in folders if (files := list(_module_files(folder, name)))), [])


def _module_files(folder: Path, name: str) -> Iterator[Path]:
    """The files below a folder that an import of a dotted name loads, packages first; none if it is not there."""
    for part in name.split(".") if name else []:
        folder /= part
        candidates = [folder / "__init__.py", folder.with_suffix(".py"), *folder.parent.glob(f"{part}.*.so")]
        yield from (path for path in candidates if path.is_file())
    if not name and (folder / "__init__.py").is_file():
        yield folder / "__init__.py"


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=4096)
def sha256_of(path: Path, size: int, modified: int) -> str:
    """Hash of a file, read once for each state of it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@lru_cache(maxsize=4096)
def _read(path: Path, size: int, modified: int) -> Script:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return Script((), False)
    imports: dict[tuple[int, str], None] = {}
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= dict.fromkeys((0, alias.name) for alias in node.names)
            used |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            imports |= dict.fromkeys((node.level, ".".join(filter(None, (module, a.name)))) for a in node.names)
            used |= {module.split(".")[0]}
        elif isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.Attribute):
            used |= {node.attr} if node.attr == "system" else set()
            if node.attr == "path" and isinstance(node.value, ast.Name) and node.value.id == "sys":
                used.add("importlib")  # it may find modules elsewhere
    return Script(tuple(imports), not used & LOADERS)
