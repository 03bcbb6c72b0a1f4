"""Trees of expressions with values and gradients for whole batches of parameters.

What must be positive is computed as a logarithm, products as sums of logarithms: A/N^α is exp(ln A − α ln N), whose
gradient costs no further exponential. `formula` makes such trees from text.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from muster.fitting.laws.base import Array
from muster.fitting.laws.terms import bounded_exp, log_one_minus

Slope = Array | float


class Jet(NamedTuple):
    """A value that broadcasts to [B, R], and its derivatives by those coordinates of θ that it depends on."""

    value: Array | float
    slopes: dict[int, Slope]


class At(NamedTuple):
    """Where a formula is evaluated: θ [B, P], which of its coordinates are logarithms [P], x [V, R], ln x (NaN where it
    has none)."""

    theta: Array
    as_log: np.ndarray
    x: Array
    log_x: Array


def at(theta: Array, as_log: np.ndarray, x: Array) -> At:
    with np.errstate(invalid="ignore", divide="ignore"):
        return At(theta, as_log, x, np.log(x))


class Node(ABC):
    """A part of a formula. positive: no value of its parameters and variables makes it zero or negative. has_log: its
    logarithm can be computed, if need be along a tangent (`Sum.log`)."""

    @property
    @abstractmethod
    def positive(self) -> bool: ...

    @cached_property
    def has_log(self) -> bool:
        return self.positive

    @property
    def parts(self) -> Iterator["Node"]:
        yield from ()

    @abstractmethod
    def value(self, where: At) -> Jet: ...

    def log(self, where: At) -> Jet:
        """ln of the value: NaN, which a descent steps back from, where there is none."""
        value, slopes = self.value(where)
        return Jet(np.log(value), {p: slope / value for p, slope in slopes.items()})

    def walk(self) -> Iterator["Node"]:
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True, eq=False)
class Number(Node):
    number: float

    @cached_property
    def positive(self) -> bool:
        return self.number > 0

    def value(self, where: At) -> Jet:
        return Jet(self.number, {})

    def log(self, where: At) -> Jet:
        return Jet(float(np.log(self.number)), {})


@dataclass(frozen=True, eq=False)
class Named(Node):
    """What a name stands for, found by its index. signed: it may be zero or negative."""

    index: int
    signed: bool

    @cached_property
    def positive(self) -> bool:
        return not self.signed


@dataclass(frozen=True, eq=False)
class Variable(Named):
    """Row `index` of x."""

    def value(self, where: At) -> Jet:
        return Jet(where.x[self.index], {})

    def log(self, where: At) -> Jet:
        return Jet(where.log_x[self.index], {})


@dataclass(frozen=True, eq=False)
class Parameter(Named):
    """Coordinate `index` of θ, or its exponential where that is a logarithm."""

    def value(self, where: At) -> Jet:
        theta = where.theta[:, [self.index]]
        if not where.as_log[self.index]:
            return Jet(theta, {self.index: 1.0})
        natural = np.exp(theta)
        return Jet(natural, {self.index: natural})

    def log(self, where: At) -> Jet:
        theta = where.theta[:, [self.index]]
        if where.as_log[self.index]:
            return Jet(theta, {self.index: 1.0})
        return Jet(np.log(theta), {self.index: 1.0 / theta})


@dataclass(frozen=True, eq=False)
class Product(Node):
    """A number times powers of factors; factors without a logarithm have positive whole exponents."""

    coefficient: float
    factors: tuple[tuple[Node, Node], ...]

    @cached_property
    def positive(self) -> bool:
        return self.coefficient > 0 and all(factor.positive or not counts(power) for factor, power in self.factors)

    @cached_property
    def has_log(self) -> bool:
        return self.coefficient > 0 and all(factor.has_log for factor, _ in self.factors)

    @property
    def parts(self) -> Iterator[Node]:
        for factor, exponent in self.factors:
            yield factor
            yield exponent

    def value(self, where: At) -> Jet:
        if self.positive and not (len(self.factors) == 1 and _is_one(self.factors[0][1])):
            logarithm, slopes = self.log(where)
            value = np.exp(logarithm)
            return Jet(value, {p: _times(value, slope) for p, slope in slopes.items()})
        first, *others = (factor.value(where) for factor in self._multiplied)
        total = Jet(self.coefficient * first.value, {p: self.coefficient * slope for p, slope in first.slopes.items()})
        for other in others:
            total = _multiply(total, other)
        return total

    @cached_property
    def _multiplied(self) -> list[Node]:
        """The factors one by one: signs are kept by multiplying; those that have a logarithm go together."""
        rest = tuple((factor, exponent) for factor, exponent in self.factors if not _count(factor, exponent))
        plain = [factor for factor, exponent in self.factors for _ in range(_count(factor, exponent))]
        return [*([product(1.0, rest)] if rest else []), *plain]

    def log(self, where: At) -> Jet:
        if not self.has_log:
            return super().log(where)
        value: Array | float = 0.0 if self.coefficient == 1.0 else float(np.log(self.coefficient))
        slopes: dict[int, Slope] = {}
        for factor, exponent in self.factors:
            logarithm, by = factor.log(where)
            if _is_one(exponent):
                value = logarithm if _is_zero(value) else value + logarithm
                _gather(slopes, by)
                continue
            power, by_power = exponent.value(where)
            value = _add(value, power * logarithm)
            _gather(slopes, {p: power * slope for p, slope in by.items()})
            _gather(slopes, {p: _times(logarithm, slope) for p, slope in by_power.items()})
        return Jet(value, slopes)


@dataclass(frozen=True, eq=False)
class Sum(Node):
    terms: tuple[Node, ...]

    @cached_property
    def positive(self) -> bool:
        return all(term.positive for term in self.terms)

    @cached_property
    def has_log(self) -> bool:
        return any(term.positive for term in self.terms)

    @property
    def parts(self) -> Iterator[Node]:
        yield from self.terms

    def value(self, where: At) -> Jet:
        total: Array | float = 0.0
        slopes: dict[int, Slope] = {}
        for term in self.terms:
            value, by = term.value(where)
            total = value if _is_zero(total) else total + value
            _gather(slopes, by)
        return Jet(total, slopes)

    def log(self, where: At) -> Jet:
        """ln of the sum. Where terms are taken away it goes on along its tangent instead of turning negative."""
        if not self.has_log:
            return super().log(where)
        total, parts = self.shares(where)
        slopes: dict[int, Slope] = {}
        for value, by in parts:
            share = value / total
            _gather(slopes, {p: _times(share, slope) for p, slope in by.items()})
        logarithm = np.log(total)
        if self.positive:
            return Jet(logarithm, slopes)
        taken, by_taken = Sum(tuple(term for term in self.terms if not term.positive)).value(where)
        share = -taken / total
        value, bend = log_one_minus(np.asarray(share))
        slopes = {p: slope * (1.0 - bend * share) for p, slope in slopes.items()}
        _gather(slopes, {p: -slope * (bend / total) for p, slope in by_taken.items()})
        return Jet(logarithm + value, slopes)

    def shares(self, where: At) -> tuple[Array | float, list[tuple[Array | float, dict[int, Slope]]]]:
        """The sum of the positive terms; for each that depends on θ a value and slopes: value · slope over the sum is
        its part of the gradient of ln of the sum."""
        total: Array | float = 0.0
        parts: list[tuple[Array | float, dict[int, Slope]]] = []
        for term in self.terms:
            if not term.positive:
                continue
            relative = isinstance(term, Product) or (isinstance(term, Call) and term.name == "exp")
            value, by = term.log(where) if relative else term.value(where)
            if relative:
                # Logarithms of products are always made anew, so that they may be overwritten.
                value = np.exp(value, out=value if isinstance(value, np.ndarray) else None)
            total = value if _is_zero(total) else total + value
            if by:
                parts.append((value if relative else 1.0, by))
        return total, parts


def log_and_gradient(node: Node, where: At) -> tuple[Array, Array]:
    """ln of a formula [B, R] and its gradient [B, R, P]; every parameter occurs in it."""
    shape = len(where.theta), where.x.shape[1]
    gradient = np.empty((*shape, where.theta.shape[1]))
    if not (isinstance(node, Sum) and node.positive):
        value, slopes = node.log(where)
        for p, slope in slopes.items():
            gradient[..., p] = slope
        return np.broadcast_to(value, shape), gradient
    # The usual law: its shares are written where they are needed, because copies would cost half of the time.
    total, parts = node.shares(where)
    filled: set[int] = set()
    for value, by in parts:
        share: Array | float | None = None
        for p, slope in sorted(by.items(), key=lambda each: not _is_unit(each[1])):
            out = gradient[..., p]
            if p in filled:
                out += (value / total if share is None else share) * slope
            elif share is None and _is_unit(slope):
                share = np.divide(value, total, out=out)
            else:
                factor = value / total if share is None else share
                np.multiply(factor, slope, out=out)
                share = factor
        filled.update(by)
    return np.broadcast_to(np.log(total), shape), gradient


def _sigmoid(value: Array | float) -> tuple[Array, Array]:
    from scipy.special import expit

    found = np.asarray(expit(value))
    return found, found * (1.0 - found)


def _exp(value: Array | float) -> tuple[Array | float, Array | float]:
    found = bounded_exp(np.asarray(value))
    return found, found


Function = Callable[[Array | float], tuple[Array | float, Array | float]]
FUNCTIONS: dict[str, Function] = {"exp": _exp, "sigmoid": _sigmoid}
LOGARITHMS = {"log": 1.0, "ln": 1.0, "log2": 1.0 / float(np.log(2.0)), "log10": 1.0 / float(np.log(10.0))}
EXTREMES = {"min": np.minimum, "max": np.maximum}


@dataclass(frozen=True, eq=False)
class OfOne(Node):
    """What has one argument."""

    argument: Node

    @property
    def parts(self) -> Iterator[Node]:
        yield self.argument


@dataclass(frozen=True, eq=False)
class Call(OfOne):
    """A positive function of one argument."""

    name: str

    @cached_property
    def positive(self) -> bool:
        return True

    def value(self, where: At) -> Jet:
        value, slopes = self.argument.value(where)
        found, slope = FUNCTIONS[self.name](value)
        return Jet(found, {p: slope * by for p, by in slopes.items()})

    def log(self, where: At) -> Jet:
        return self.argument.value(where) if self.name == "exp" else super().log(where)


@dataclass(frozen=True, eq=False)
class Logarithm(OfOne):
    """ln of its argument, times a number."""

    scale: float

    @cached_property
    def positive(self) -> bool:
        return False

    def value(self, where: At) -> Jet:
        value, slopes = self.argument.log(where)
        return Jet(self.scale * value, {p: self.scale * slope for p, slope in slopes.items()})


@dataclass(frozen=True, eq=False)
class Extreme(Node):
    """The smaller, or the larger, of two."""

    name: str
    one: Node
    other: Node

    @cached_property
    def positive(self) -> bool:
        return self.one.positive and self.other.positive

    @property
    def parts(self) -> Iterator[Node]:
        yield self.one
        yield self.other

    def value(self, where: At) -> Jet:
        (one, by_one), (other, by_other) = self.one.value(where), self.other.value(where)
        value = EXTREMES[self.name](one, other)
        first = np.asarray(one) == value
        slopes: dict[int, Slope] = {p: np.where(first, slope, 0.0) for p, slope in by_one.items()}
        _gather(slopes, {p: np.where(first, 0.0, slope) for p, slope in by_other.items()})
        return Jet(value, slopes)


def _is_one(node: Node) -> bool:
    return isinstance(node, Number) and node.number == 1.0


def _is_zero(value: Array | float) -> bool:
    return isinstance(value, float) and value == 0.0


def counts(exponent: Node) -> bool:
    """Whether an exponent is a whole number from one to nine: such powers are made by multiplying."""
    return isinstance(exponent, Number) and exponent.number in range(1, 10)


def _count(factor: Node, exponent: Node) -> int:
    """How often a factor that may be negative is multiplied; 0 for one whose logarithm will do."""
    return int(exponent.number) if not factor.positive and isinstance(exponent, Number) and counts(exponent) else 0


def _is_unit(slope: Slope) -> bool:
    return isinstance(slope, float) and slope == 1.0


def _times(value: Array | float, slope: Slope) -> Slope:
    return value if _is_unit(slope) else value * slope


def _add(one: Array | float, other: Array | float) -> Array | float:
    """one + other, written over `other`, which nothing else may use, where it is large enough."""
    if _is_zero(one):
        return other
    if isinstance(other, np.ndarray) and np.broadcast_shapes(np.shape(one), other.shape) == other.shape:
        return np.add(one, other, out=other)
    return one + other


def _multiply(one: Jet, other: Jet) -> Jet:
    slopes: dict[int, Slope] = {p: slope * other.value for p, slope in one.slopes.items()}
    _gather(slopes, {p: one.value * slope for p, slope in other.slopes.items()})
    return Jet(one.value * other.value, slopes)


def _gather(slopes: dict[int, Slope], more: Mapping[int, Slope]) -> None:
    for p, slope in more.items():
        slopes[p] = slopes[p] + slope if p in slopes else slope


def product(coefficient: float, factors: Sequence[tuple[Node, Node]]) -> Node:
    """A product with its numbers and inner products multiplied out."""
    flat: list[tuple[Node, Node]] = []
    for factor, exponent in factors:
        if isinstance(factor, Number) and isinstance(exponent, Number):
            coefficient *= factor.number**exponent.number
        elif isinstance(factor, Product) and (_is_one(exponent) or factor.positive):
            if isinstance(exponent, Number):
                coefficient *= factor.coefficient**exponent.number
            elif factor.coefficient != 1.0:
                flat.append((Number(factor.coefficient), exponent))
            flat += [(inner, _raised(power, exponent)) for inner, power in factor.factors]
        else:
            flat.append((factor, exponent))
    if not flat:
        return Number(coefficient)
    if coefficient == 1.0 and len(flat) == 1 and _is_one(flat[0][1]):
        return flat[0][0]
    return Product(coefficient, tuple(flat))


def _raised(power: Node, exponent: Node) -> Node:
    if _is_one(power):
        return exponent
    return power if _is_one(exponent) else product(1.0, [(power, ONE), (exponent, ONE)])


ONE = Number(1.0)


def total(terms: Sequence[Node]) -> Node:
    """A sum with its inner sums opened."""
    flat = [inner for term in terms for inner in (term.terms if isinstance(term, Sum) else (term,))]
    return flat[0] if len(flat) == 1 else Sum(tuple(flat))


def negated(node: Node) -> Node:
    if isinstance(node, Sum):
        return Sum(tuple(negated(term) for term in node.terms))
    return product(-1.0, [(node, ONE)])
