"""Definitions of this package by value: what a function, class or constant says, and which others it names.

A definition is a name that stands at the top level of a module, with every statement that makes it. Its text is its
syntax tree without what changes no number: comments, docstrings, annotations of functions, names of modules. A module
may be renamed, moved or reformatted, and a definition may move to another module: its hash stays. Source that is not
Python belongs to every definition of the modules beside it, token for token.

Found, not listed: names in a definition are followed through imports, also those inside functions and those that
packages pass on. A name that hides another one is followed, too: to cover too much costs time, too little costs truth.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from muster.jobs.tokens import tokens
from muster.plugins import packages

WHOLE = "*"  # in place of a name: every statement of the module
LINE = "@"  # and, with a number, the statement on that line, which need not make a name
NOT_PYTHON = (".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp")
REGISTERS = ("register", "declare")
VALIDATORS = ("field_validator", "model_validator")
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Definition(NamedTuple):
    """A top-level name of a module; `*` is the module as a whole."""

    module: str
    name: str


class Entry(NamedTuple):
    """A use of a registry: of one entry where the code names it, else (None) of whichever is asked for."""

    registry: Definition
    name: str | None


class Content(NamedTuple):
    """A definition's own text, what it refers to under which name, and the registries that it reads."""

    text: str
    named: tuple[tuple[str, Definition], ...]
    entries: tuple[Entry, ...]


def ours(module: str) -> bool:
    """Whether a module's code counts: muster's own, or that of a plug-in."""
    return module.split(".")[0] in packages()


@cache
def source_file(module: str) -> Path | None:
    """The source file of a module or package, found without importing its parents; None if there is none."""
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent.joinpath(*inner)
    candidates = (path / "__init__.py", path.with_suffix(".py")) if inner else (Path(spec.origin),)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


@cache
def other_sources(folder: Path) -> str:
    """Hash of the source in a folder that is not Python, with that in folders of it that are no packages; `""` if there
    is none.
    """
    texts = [p.read_text(encoding="utf-8") for p in sorted(folder.iterdir()) if p.suffix in NOT_PYTHON]
    hashes = [text_hash(*tokens(text)) for text in texts]
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and not (path / "__init__.py").exists()]
    hashes += [found for path in inner if (found := other_sources(path))]
    return text_hash(*hashes) if hashes else ""


class Source:
    """A parsed module: its definitions with their statements, its imports, its registries."""

    def __init__(self, module: str, path: Path):
        self.module = module
        self.others = other_sources(path.parent)
        self.package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        self.statements = [s for s in ast.parse(path.read_bytes()).body if not _for_type_checkers(s)]
        blocks = [s for s in self.statements if not isinstance(s, ast.FunctionDef | ast.ClassDef)]
        self.imports = dict(self.bindings(node for s in blocks for node in ast.walk(s)))
        self.made: dict[str, list[ast.stmt]] = {}
        self.registries: dict[str, str] = {}
        self.unnamed: list[ast.stmt] = []  # what is done on import and to no name of this module: part of them all
        for statement in self.statements:
            self._sort(statement)

    def _sort(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom) or _says_nothing(statement):
            return
        if (registry := _registry(statement)) is not None:
            self.registries[registry[0]] = registry[1]
            return
        names = set(_bound(statement)) | set(_changed(statement))
        if not names and not _registers(statement):
            self.unnamed.append(statement)
        for name in names:
            self.made.setdefault(name, []).append(statement)

    def bindings(self, nodes: Iterable[ast.AST]) -> Iterator[tuple[str, Definition]]:
        """Names bound by imports: to a definition of another module, or to a module as a whole."""
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    bound = alias.name if alias.asname else alias.name.split(".")[0]
                    yield alias.asname or bound, Definition(bound, WHOLE)
            elif isinstance(node, ast.ImportFrom):
                parent = self.package.rsplit(".", node.level - 1)[0] if node.level else ""
                module = ".".join(filter(None, (parent, node.module)))
                for alias in node.names:
                    yield alias.asname or alias.name, Definition(module, alias.name)

    def statement_at(self, line: int) -> ast.stmt | None:
        """The top-level statement that spans a line."""
        return next((s for s in self.statements if s.lineno <= line <= (s.end_lineno or s.lineno)), None)

    @cached_property
    def registered(self) -> dict[tuple[str, str], str]:
        """(Registry, entry) → function or class, of those that are registered by a decorator."""
        found = {}
        for statement in self.statements:
            for decorator in getattr(statement, "decorator_list", ()):
                if (entry := _registration(decorator)) is not None:
                    found[entry] = statement.name  # type: ignore[attr-defined]
        return found


def _for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _says_nothing(node: ast.AST) -> bool:
    """A docstring, or any other text that stands alone; `pass`."""
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return text or isinstance(node, ast.Pass)


def _registry(statement: ast.stmt) -> tuple[str, str] | None:
    """Name and kind of the registry that a statement makes: `NAME = Registry("kind", …)`."""
    value = getattr(statement, "value", None)
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Registry"):
        return None
    target = statement.target if isinstance(statement, ast.AnnAssign) else getattr(statement, "targets", [None])[0]
    kind = value.args[0] if value.args else None
    if isinstance(target, ast.Name) and isinstance(kind, ast.Constant):
        return target.id, str(kind.value)
    return None


def _registration(node: ast.AST) -> tuple[str, str] | None:
    """(Registry, entry) of `REGISTRY.register("entry")`."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "register"
        and isinstance(node.func.value, ast.Name)
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ):
        return node.func.value.id, str(node.args[0].value)
    return None


def _registers(statement: ast.stmt) -> bool:
    return any(isinstance(node, ast.Attribute) and node.attr in REGISTERS for node in ast.walk(statement))


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement binds at the top level of its module."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name


def _changed(statement: ast.stmt) -> Iterator[str]:
    """Names whose values a statement changes: `NAME[…] = …`, `NAME.x = …`, `NAME.append(…)`."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    for node in ast.walk(statement):
        target: ast.AST | None = None
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            target = node.value
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            function = node.value.func
            target = function.value if isinstance(function, ast.Attribute) and function.attr not in REGISTERS else None
        while isinstance(target, ast.Subscript | ast.Attribute):
            target = target.value
        if isinstance(target, ast.Name):
            yield target.id


@cache
def source(module: str) -> Source:
    """The parsed source of a module. Raises ValueError for a name that is no Python module on disk."""
    path = source_file(module)
    if path is None:
        raise ValueError(f"no source of module {module!r}")
    return Source(module, path)


def resolve(found: Definition) -> Definition | None:
    """Where a name is really defined, through modules that import and pass it on; None for what is not ours."""
    seen = set()
    while found not in seen:
        seen.add(found)
        if not ours(found.module) or source_file(found.module) is None:
            return None
        if found.name == WHOLE or found.name.startswith(LINE):
            return found
        home = source(found.module)
        if found.name in home.made or found.name in home.registries:
            return found
        passed = home.imports.get(found.name, found)
        found = passed if passed != found else Definition(f"{found.module}.{found.name}", WHOLE)
    return None


class _Reader:
    """Writes the text of statements and notes what they name."""

    def __init__(self, home: Source, statements: Iterable[ast.stmt], settings: bool = False):
        self.home, self.settings = home, settings
        self.parts: list[str] = []
        self.named: dict[tuple[str, Definition], None] = {}
        self.entries: dict[Entry, None] = {}
        self.in_class = False
        self.hidden: list[set[str]] = []  # names of functions' own variables
        self.imported = dict(home.bindings(n for s in statements for n in ast.walk(s)))
        for statement in statements:
            self.write(statement)

    @property
    def content(self) -> Content:
        return Content("\0".join([self.home.others, *self.parts]), tuple(self.named), tuple(self.entries))

    def lookup(self, name: str) -> Definition | None:
        if name in self.imported:
            return resolve(self.imported[name])
        if any(name in hidden for hidden in self.hidden):
            return None
        if name in self.home.made or name in self.home.registries or name in self.home.imports:
            return resolve(Definition(self.home.module, name))
        return None

    def write(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name | ast.Attribute) and self._reference(node):
            return
        if isinstance(node, ast.Subscript) and self._entry(node):
            return
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._imported(node)
            return
        if isinstance(node, ast.AnnAssign) and not self.in_class:
            if node.value is not None:  # the annotation of a variable; that of a field decides what the field takes
                self.write(ast.Assign([node.target], node.value))
            return
        self.parts.append(type(node).__name__)
        if isinstance(node, COMPREHENSIONS):
            self._comprehension(node)
            return
        for name, value in ast.iter_fields(node):
            if value is None or value == [] or self._silent(node, name):
                continue
            self.parts.append(name)
            if name == "body" and isinstance(node, SCOPES):
                with self._scope(node):
                    self._write_field(node, name, value)
            else:
                self._write_field(node, name, value)
        self.parts.append(")")

    def _write_field(self, node: ast.AST, name: str, value: object) -> None:
        if isinstance(value, list):
            for item in self._kept(node, name, value):
                if isinstance(item, ast.AST):
                    self.write(item)
                else:
                    self.parts.append(repr(item))
            self.parts.append("]")
        elif isinstance(value, ast.AST):
            self.write(value)
        else:
            self.parts.append(repr(value))

    @contextmanager
    def _scope(self, node: ast.AST) -> Iterator[None]:
        """The body of a function, whose variables hide what the module calls so, or of a class."""
        before, self.in_class = self.in_class, isinstance(node, ast.ClassDef)
        self.hidden.append(set() if self.in_class else set(_variables(node)))
        yield
        self.hidden.pop()
        self.in_class = before

    def _comprehension(self, node: ast.AST) -> None:
        """Its variables hide names in all but the first iterable."""
        first, *others = node.generators  # type: ignore[attr-defined]
        self.write(first.iter)
        loops = [first, *others]
        self.hidden.append({n.id for loop in loops for n in ast.walk(loop.target) if isinstance(n, ast.Name)})
        for part in [first.target, *first.ifs, *others]:
            self.write(part)
        self.parts.append(str([loop.is_async for loop in loops]))
        for name in ("key", "value", "elt"):
            if hasattr(node, name):
                self.write(getattr(node, name))
        self.hidden.pop()
        self.parts.append(")")

    def _silent(self, node: ast.AST, name: str) -> bool:
        """Fields that decide nothing: annotations of arguments and results, comments for type checkers."""
        return name in ("returns", "type_comment", "ctx") or (name == "annotation" and isinstance(node, ast.arg))

    def _kept(self, node: ast.AST, name: str, items: list[ast.AST]) -> list[ast.AST]:
        if name == "decorator_list":
            return [item for item in items if _registration(item) is None]
        if name == "keywords" and isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Field":
            return [item for item in items if getattr(item, "arg", "") != "description"]
        if name in ("body", "orelse", "finalbody"):
            items = [item for item in items if not _says_nothing(item) and not _for_type_checkers(item)]
            if self.settings and isinstance(node, ast.ClassDef):
                items = [item for item in items if not _is_setting(item)]
        return items

    def _imported(self, node: ast.Import | ast.ImportFrom) -> None:
        """Imports inside a function: ours count by what they bring, when that is named; others by their words."""
        if not any(ours(found.module) for _, found in self.home.bindings([node])):
            self.parts.append(ast.unparse(node))

    def _reference(self, node: ast.Name | ast.Attribute) -> bool:
        """Note what a name, or a chain of names that begins with a module, refers to; False if it is none of ours."""
        chain: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            chain.insert(0, inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name) or (found := self.lookup(inner.id)) is None:
            return False
        spelled = inner.id
        while found.name == WHOLE and chain:
            further = resolve(Definition(found.module, chain[0]))
            if further is None:
                break
            found, spelled = further, chain.pop(0)
        if found.name != WHOLE and found.name in source(found.module).registries:
            if chain not in (["register"], ["declare"]):
                self.entries[Entry(found, None)] = None
        else:
            self.named[spelled if found.name != WHOLE else WHOLE, found] = None
        self.parts += ["name", spelled if found.name != WHOLE else WHOLE, *chain]
        return True

    def _entry(self, node: ast.Subscript) -> bool:
        """Note a registry's entry that the code itself names: `REGISTRY["entry"]`."""
        if not isinstance(node.slice, ast.Constant) or not isinstance(node.value, ast.Name):
            return False
        found = self.lookup(node.value.id)
        if found is None or found.name not in source(found.module).registries:
            return False
        self.entries[Entry(found, str(node.slice.value))] = None
        self.parts += ["entry", found.name, repr(node.slice.value)]
        return True


def _variables(function: ast.AST) -> Iterator[str]:
    """Names that a function binds for itself: its arguments, and what its own body assigns."""
    taken = function.args  # type: ignore[attr-defined]
    given = (*taken.posonlyargs, *taken.args, *taken.kwonlyargs, taken.vararg, taken.kwarg)
    yield from (argument.arg for argument in given if argument)
    shared = {name for node in ast.walk(function) if isinstance(node, ast.Global) for name in node.names}
    body = function.body  # type: ignore[attr-defined]
    waiting = list(body) if isinstance(body, list) else [body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from {node.name} - shared
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield from {node.id} - shared
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield from {node.name} - shared
        if not isinstance(node, SCOPES + COMPREHENSIONS):
            waiting += ast.iter_child_nodes(node)


def _is_setting(item: ast.AST) -> bool:
    """A field of a model of settings, or a check of them: what they come to stands in the cell itself."""
    if isinstance(item, ast.AnnAssign):
        return "ClassVar" not in ast.unparse(item.annotation)
    names = {node.id for d in getattr(item, "decorator_list", ()) for node in ast.walk(d) if isinstance(node, ast.Name)}
    return bool(names & set(VALIDATORS))


@cache
def content(of: Definition, settings: bool = False) -> Content:
    """What a definition says. settings: it is a model of settings, whose fields and checks do not count."""
    home = source(of.module)
    if of.name == WHOLE:
        statements = [s for s in home.statements if not isinstance(s, ast.Import | ast.ImportFrom)]
    elif of.name.startswith(LINE):
        statements = [home.statement_at(int(of.name.removeprefix(LINE))), *home.unnamed]  # type: ignore[list-item]
    else:
        statements = [*home.made[of.name], *home.unnamed]
    return _Reader(home, statements, settings).content


def text_hash(*parts: str) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@cache
def own_hash(of: Definition, settings: bool = False) -> str:
    """Hash of a definition's own text."""
    return text_hash(content(of, settings).text)
