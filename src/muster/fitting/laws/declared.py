"""A law from its formula: which names are parameters, their coordinates and bounds, and where a fit starts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from muster.config.load import nearest
from muster.errors import MusterError
from muster.fitting.laws import expressions, formula
from muster.fitting.laws.base import Array, Law
from muster.fitting.laws.declared_starts import declared_starts
from muster.fitting.laws.expressions import Node, Number, Parameter, Product, Sum, Variable

EXPONENT = (1e-3, 10.0)
COEFFICIENT = (1e-12, np.inf)
OFFSET = (0.0, np.inf)
FREE = (-np.inf, np.inf)


@dataclass(frozen=True)
class Declaration:
    """A law as a study writes it: its formula and what does not follow from that.

    form: of columns and parameters. variables: the names in it that are columns. parameters: its parameters in the
    order in which they are reported, by default that of the formula. signed: names that may be zero or negative;
    all others are positive. logs: parameters that are fitted as logarithms although their place suggests otherwise.
    bounds: parameter → (low, high). starts: parameter → values to begin at. derived: name → formula of parameters.
    """

    form: str
    variables: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    signed: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    bounds: tuple[tuple[str, tuple[float, float]], ...] = ()
    starts: tuple[tuple[str, tuple[float, ...]], ...] = ()
    derived: tuple[tuple[str, str], ...] = ()


def parameter_names(form: str, variables: Sequence[str]) -> tuple[str, ...]:
    """Parameters of a formula in lower case, as results and claims name them: all names that are no variables.

    Raises a MusterError for a formula without variables or parameters, and for names that differ in case only.
    """
    found = formula.names(form)
    parameters = [name for name in found if name not in variables]
    lower = tuple(name.lower() for name in parameters)
    for kind, given in (("variable", [name for name in found if name in variables]), ("parameter", parameters)):
        if not given:
            remedy = "Name the columns in it under `variables`, or map them by `columns: {N: parameters}`"
            raise MusterError("options.form", f"{form!r} has no {kind}", remedy)
    for name, short in zip(parameters, lower, strict=True):
        if lower.count(short) > 1:
            raise MusterError("options.form", f"{name!r} differs from another parameter in case only", "Rename one")
        if not name.isascii():
            raise MusterError("options.form", f"the parameter {name!r}", "Use letters from a to z, digits and _")
    return lower


@lru_cache(maxsize=256)
def declare(name: str, given: Declaration) -> Law:
    """The law of a declaration. Raises a MusterError that names the option for what it does not know."""
    known = parameter_names(given.form, given.variables)
    parameters = given.parameters or known
    for place, told in (
        ("signed", [each for each in given.signed if each not in given.variables]),
        ("bounds", [each for each, _ in given.bounds]),
        ("starts", [each for each, _ in given.starts]),
    ):
        for each in told:
            if each not in known:
                raise MusterError(f"options.{place}", f"the formula has no {each!r}", nearest(each, known))
    variables = tuple(each for each in formula.names(given.form) if each in given.variables)
    variables = tuple(sorted(variables, key=given.variables.index))
    tree = formula.parse(given.form, _leaves(given, variables, parameters))
    wide, as_log = _coordinates(tree, given, parameters)
    begin = {parameters.index(each): values for each, values in given.starts}

    def to_natural(theta: Array) -> Array:
        return np.where(as_log, np.exp(np.where(as_log, theta, 0.0)), theta)

    def from_natural(natural: Array) -> Array:
        return np.where(as_log, np.log(np.where(as_log, natural, 1.0)), natural)

    def log_value(theta: Array, x: Array) -> tuple[Array, Array]:
        return expressions.log_and_gradient(tree, expressions.at(theta, as_log, x))

    def starts(x: Array, y: Array) -> Array:
        return declared_starts(tree, as_log, [wide[each] for each in parameters], begin, x, y)

    return Law(
        name=name,
        formula=given.form,
        variables=variables,
        parameters=parameters,
        log_value=log_value,
        to_natural=to_natural,
        from_natural=from_natural,
        starts=starts,
        derived={each: _derived(each, text, parameters) for each, text in given.derived},
        bounds={each: ends for each, ends in wide.items() if ends != FREE},
        signed=tuple(each for each in given.signed if each in variables),
    )


def _leaves(given: Declaration, variables: Sequence[str], parameters: Sequence[str]) -> dict[str, Node]:
    leaves: dict[str, Node] = {}
    for name in formula.names(given.form):
        if name in variables:
            leaves[name] = Variable(variables.index(name), name in given.signed)
        else:
            leaves[name] = Parameter(parameters.index(name.lower()), name.lower() in given.signed)
    return leaves


def _coordinates(
    tree: Node, given: Declaration, parameters: Sequence[str]
) -> tuple[dict[str, tuple[float, float]], np.ndarray]:
    """Natural bounds of each parameter, and which coordinates are logarithms [P].

    An offset, a term of its own of the whole sum, is its own coordinate with the bound zero: on a log scale a descent
    towards zero would never arrive. Exponents are their own coordinates too; whatever else is positive is a logarithm.
    """
    offsets = {term.index for term in (tree.terms if isinstance(tree, Sum) else ()) if isinstance(term, Parameter)}
    counts = [sum(isinstance(n, Parameter) and n.index == p for n in tree.walk()) for p in range(len(parameters))]
    exponents = {p for node in tree.walk() if isinstance(node, Product) for p in _exponents(node)}
    told, bounds, as_log = dict(given.bounds), {}, np.zeros(len(parameters), bool)
    for p, name in enumerate(parameters):
        usual = COEFFICIENT
        if name in given.signed:
            usual = FREE
        elif name in given.logs:
            as_log[p] = True
        elif p in exponents:
            usual = EXPONENT
        elif p in offsets and counts[p] == 1:
            usual = OFFSET
        else:
            as_log[p] = True
        bounds[name] = told.get(name, usual)
        if as_log[p] and bounds[name][0] <= 0:
            bounds[name] = (COEFFICIENT[0], bounds[name][1])
    return bounds, as_log


def _exponents(node: Product) -> Iterator[int]:
    """Parameters that are factors of an exponent, as α is in N^−α, but not in 10^(a log N)."""
    for factor, exponent in node.factors:
        if isinstance(factor, Number):
            continue
        inner = [base for base, _ in exponent.factors] if isinstance(exponent, Product) else [exponent]
        yield from (each.index for each in inner if isinstance(each, Parameter))


def _derived(name: str, text: str, parameters: Sequence[str]) -> Callable[[Array], Array]:
    """A number that follows from the parameters: natural values [B, P] → [B]."""
    place = f"options.derived.{name}"
    lower = {each: each.lower() for each in formula.names(text)}
    for each, short in lower.items():
        if short not in parameters:
            raise MusterError(place, f"the formula has no parameter {each!r}", nearest(short, parameters))
    formula.check(text, place)

    def derive(natural: Array) -> Array:
        values = {each: natural[:, parameters.index(short)] for each, short in lower.items()}
        return np.broadcast_to(formula.evaluate(text, values), len(natural))

    return derive


def bounds_of(given: Mapping[str, Sequence[float]]) -> tuple[tuple[str, tuple[float, float]], ...]:
    """Bounds as a study writes them, lower-case and hashable."""
    return tuple((name.lower(), (float(low), float(high))) for name, (low, high) in given.items())
