"""Formulas as data: the text of a law becomes a tree of `expressions`; nothing is executed.

Python's own parser reads the text; only sums, products, quotients, powers (`^` or `**`), numbers, names and the known
functions are let through.
"""

import ast
from collections.abc import Callable, Mapping

import numpy as np

from muster.errors import MusterError
from muster.fitting.laws.base import Array
from muster.fitting.laws.expressions import (
    EXTREMES,
    FUNCTIONS,
    LOGARITHMS,
    ONE,
    Call,
    Extreme,
    Logarithm,
    Node,
    Number,
    Product,
    counts,
    negated,
    product,
    total,
)

LONGEST, DEEPEST = 2000, 60  # characters of a formula, levels of its tree: far from the depth of Python's stack
KNOWN = (*FUNCTIONS, *LOGARITHMS, "sqrt", *EXTREMES)


def names(form: str) -> list[str]:
    """The names in a formula, in the order in which they come. Raises a MusterError for what is no formula."""
    tree = check(form)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called]
    return list(dict.fromkeys(node.id for node in sorted(found, key=lambda node: node.col_offset)))


_BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)


def check(form: str, place: str = "options.form") -> ast.expr:
    """A formula as Python's syntax tree. Raises a MusterError that shows what in it is not understood."""
    if len(form) > LONGEST:
        raise MusterError(place, f"{len(form)} characters", f"A formula has at most {LONGEST}")
    try:
        tree = ast.parse(_python(form), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        found = getattr(error, "msg", None) or str(error)
        raise MusterError(
            place, f"{form!r} is no formula ({found})", "Write it as in E + A / parameters^alpha"
        ) from None
    level = [tree]
    for _ in range(DEEPEST):
        level = [part for node in level for part in _operands(node, form, place)]
        if not level:
            return tree
    raise MusterError(place, f"{form!r} is nested too deeply", f"At most {DEEPEST} levels")


def _python(form: str) -> str:
    """A formula as Python writes it, on one line."""
    return " ".join(form.replace("^", "**").split())


def _operands(node: ast.expr, form: str, place: str) -> list[ast.expr]:
    """What a part of a formula is made of, if it may stand in one."""
    match node:
        case ast.Constant() if type(node.value) in (int, float):
            return []
        case ast.Name():
            return []
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            return [node.operand]
        case ast.BinOp() if isinstance(node.op, _BINARY):
            return [node.left, node.right]
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in KNOWN:
            wanted = 2 if name in EXTREMES else 1
            if len(node.args) == wanted and not any(isinstance(each, ast.Starred) for each in node.args):
                return node.args
            raise _not_allowed(node, f"needs {wanted} argument{'s' if wanted > 1 else ''}", form, place)
    raise _not_allowed(node, "is not allowed in a formula", form, place)


def _not_allowed(node: ast.expr, found: str, form: str, place: str) -> MusterError:
    written = ast.get_source_segment(_python(form), node) or form
    remedy = f"Numbers, names, + - * / ^ and parentheses; functions: {', '.join(KNOWN)}"
    return MusterError(place, f"{written!r} {found}", remedy)


def parse(form: str, leaves: Mapping[str, Node], place: str = "options.form") -> Node:
    """The tree of a formula whose names stand for `leaves`. Raises a MusterError for what is no formula, or has a power
    of something that may be negative."""
    tree = check(form, place)
    try:
        return _node(tree, leaves, form, place)
    except (OverflowError, ZeroDivisionError) as error:
        raise MusterError(place, f"{form!r} has a number out of range ({error})", "Use numbers of usual size") from None


def _node(node: ast.expr, leaves: Mapping[str, Node], form: str, place: str) -> Node:
    inner = [_node(part, leaves, form, place) for part in _operands(node, form, place)]

    def power(base: Node, exponent: Node, written: ast.expr) -> Node:
        if base.has_log:
            return product(1.0, [(base, exponent)])
        if counts(exponent):
            return Product(1.0, ((base, exponent),))
        raise _not_allowed(written, "may be negative, so that it has no such power", form, place)

    match node:
        case ast.Constant():
            return Number(float(node.value))  # type: ignore[arg-type]
        case ast.Name():
            return leaves[node.id]
        case ast.UnaryOp():
            return inner[0] if isinstance(node.op, ast.UAdd) else negated(inner[0])
        case ast.BinOp(op=ast.Add()):
            return total(inner)
        case ast.BinOp(op=ast.Sub()):
            return total([inner[0], negated(inner[1])])
        case ast.BinOp(op=ast.Mult()):
            return product(1.0, [(inner[0], ONE), (inner[1], ONE)])
        case ast.BinOp(op=ast.Div()):
            return product(1.0, [(inner[0], ONE), (power(inner[1], Number(-1.0), node.right), ONE)])
        case ast.BinOp():
            return power(inner[0], inner[1], node.left)
        case ast.Call(func=ast.Name(id=name)):
            if name in EXTREMES:
                return Extreme(name, *inner)
            if name in LOGARITHMS:
                return Logarithm(inner[0], LOGARITHMS[name])
            return power(inner[0], Number(0.5), node.args[0]) if name == "sqrt" else Call(inner[0], name)
    raise AssertionError(node)


_ARITHMETIC = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide, ast.Pow: np.power}
_NUMPY: dict[str, Callable[..., Array]] = {
    "exp": np.exp, "log": np.log, "ln": np.log, "log2": np.log2, "log10": np.log10, "sqrt": np.sqrt,
    "min": np.minimum, "max": np.maximum, "sigmoid": lambda value: 1.0 / (1.0 + np.exp(-value)),
}  # fmt: skip


def evaluate(form: str, values: Mapping[str, Array], place: str = "options.form") -> Array:
    """The value of a formula of names that may be of either sign; NaN where it has none."""

    def read(node: ast.expr) -> Array:
        inner = [read(part) for part in _operands(node, form, place)]
        match node:
            case ast.Constant():
                return np.asarray(float(node.value))  # type: ignore[arg-type]
            case ast.Name():
                return values[node.id]
            case ast.UnaryOp():
                return -inner[0] if isinstance(node.op, ast.USub) else inner[0]
            case ast.BinOp():
                return np.asarray(_ARITHMETIC[type(node.op)](*inner))
            case ast.Call(func=ast.Name(id=name)):
                return _NUMPY[name](*inner)
        raise AssertionError(node)

    with np.errstate(all="ignore"):
        return read(check(form, place))
