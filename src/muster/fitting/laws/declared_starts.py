"""Where the fit of a declared law starts: found from its formula and the table, nothing being asked of the reader.

Parameters that multiply a term and occur nowhere else are solved for (variable projection); the others are searched
for: exponents on a grid, and what is measured in units of the table at the size that makes its term matter there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from muster.fitting.laws.base import Array
from muster.fitting.laws.expressions import ONE, At, Call, Logarithm, Node, Number, Parameter, Product, Sum, at, product
from muster.fitting.laws.starts import grid

ONE_EXPONENT = tuple(np.geomspace(0.03, 3.0, 12))
TWO_EXPONENTS = (0.1, 0.3, 0.5, 1.0)
_CANDIDATES = 512  # of a search in more than two dimensions, of which the best are kept, and others for variety
_KEPT, _OTHERS = 16, 8
_LEAST = 9
_EXPONENT = (0.03, 3.0)
_WIDE = 30.0  # how far from its expected size a parameter may be, either way
_RATE = 10.0  # the same for one that multiplies the argument of a function
_TYPICAL_EXPONENT = 0.3
# A coefficient that least squares sets to zero starts at this share of the response instead: on a log scale zero is
# infinitely far away.
_SMALLEST_SHARE = 0.1


class _Term(NamedTuple):
    """A term of a sum: the parameter that it is solved for, if any, with its exponent, and the rest of the term."""

    carrier: Parameter | None
    exponent: Node
    rest: Node


@dataclass(frozen=True)
class _Linear:
    """A law as outer(Σ terms): `peel` takes y to the sum, given the other parameters."""

    terms: tuple[_Term, ...]
    outer: tuple[Node, ...]


def declared_starts(
    tree: Node,
    as_log: np.ndarray,
    bounds: Sequence[tuple[float, float]],
    told: Mapping[int, Sequence[float]],
    x: Array,
    y: Array,
) -> Array:
    """Starting points θ [S, P], at least nine, of a law given by its tree, for x [V, R] and y [R] > 0.

    as_log [P]: which coordinates are logarithms. bounds: natural ends of each parameter. told: parameter → values to
    begin at, instead of those that would be derived.
    """
    linear = _linear(tree, told)
    carried = {term.carrier.index for term in linear.terms if term.carrier is not None}
    searched = [p for p in range(len(as_log)) if p not in carried]
    theta = np.array([_coordinate(1.0, log) for log in as_log])
    ranges = _ranges(tree, searched, as_log, bounds, told, x)
    points = _points(ranges)
    found = []
    for values in points:
        start = theta.copy()
        for p, value in zip(searched, values, strict=True):
            start[p] = _coordinate(value, as_log[p])
        found.append(_project(linear, start, as_log, bounds, x, y))
    starts = np.array(found)
    starts = starts[np.isfinite(starts).all(axis=1)]
    with np.errstate(all="ignore"):
        value = np.broadcast_to(tree.log(at(starts, as_log, x)).value, (len(starts), len(y)))
        misfit = np.abs(np.log(y) - value).mean(axis=1)
    order = np.argsort(np.where(np.isfinite(misfit), misfit, np.inf), kind="stable")
    order = order[np.isfinite(misfit[order])]
    if len(points) > _KEPT * _KEPT:
        others = order[_KEPT:]
        order = np.concatenate([order[:_KEPT], others[:: max(len(others) // _OTHERS, 1)][:_OTHERS]])
    else:
        order = np.sort(order)
    return _at_least(starts[order])


def _coordinate(value: float, log: bool) -> float:
    return float(np.log(value)) if log else float(value)


def _at_least(starts: Array) -> Array:
    """Nine starts at least: the others of a law that is solved for at once lie around its solution."""
    if not len(starts) or len(starts) >= _LEAST:
        return starts
    rounds = -(-_LEAST // len(starts))
    spread = 0.1 * np.random.default_rng(0).standard_normal((rounds, *starts.shape))
    spread[0] = 0.0
    return (starts + spread * np.maximum(np.abs(starts), 1.0)).reshape(-1, starts.shape[1])


def _linear(tree: Node, told: Mapping[int, Sequence[float]]) -> _Linear:
    """What a law is linear in, once powers, products and exponentials around it are taken off."""
    outer: list[Node] = []
    while True:
        if isinstance(tree, Call) and tree.name == "exp":
            outer.append(tree)
            tree = tree.argument
        elif isinstance(tree, Product) and len(tree.factors) == 1 and isinstance(tree.factors[0][0], Number):
            outer.append(tree)
            tree = tree.factors[0][1]
        elif isinstance(tree, Product) and len(tree.factors) == 1 and isinstance(tree.factors[0][0], Sum):
            outer.append(tree)
            tree = tree.factors[0][0]
        else:
            break
    every = [node.index for whole in (*outer[-1:], tree) for node in whole.walk() if isinstance(node, Parameter)]
    if outer:
        every = [node.index for node in outer[0].walk() if isinstance(node, Parameter)]
    alone = {p for p in every if every.count(p) == 1 and p not in told}
    terms = tree.terms if isinstance(tree, Sum) else (tree,)
    return _Linear(tuple(_term(term, alone) for term in terms), tuple(outer))


def _term(term: Node, alone: set[int]) -> _Term:
    if isinstance(term, Parameter) and term.index in alone:
        return _Term(term, ONE, Number(1.0))
    if isinstance(term, Product):
        for i, (factor, exponent) in enumerate(term.factors):
            if isinstance(factor, Parameter) and factor.index in alone and (not factor.signed or exponent is ONE):
                rest = (*term.factors[:i], *term.factors[i + 1 :])
                return _Term(factor, exponent, product(term.coefficient, rest))
    return _Term(None, ONE, term)


def _peeled(outer: Sequence[Node], y: Array, where: At) -> tuple[Array, Array]:
    """What the innermost sum should be, and the error of it that one of ln y makes, both [R]."""
    target, scale = y, y
    for node in outer:
        if isinstance(node, Call):
            target, scale = np.log(target), scale / target
        elif isinstance(node, Product):
            base, exponent = node.factors[0]
            target, scale = target / node.coefficient, scale / node.coefficient
            if isinstance(base, Number):
                target, scale = np.log(target) / np.log(base.number), scale / target / np.log(base.number)
            else:
                power = float(np.ravel(exponent.value(where).value)[0])
                scale = scale * target ** (1 / power - 1) / power
                target = target ** (1 / power)
    return target, np.abs(scale)


def _project(
    linear: _Linear, start: Array, as_log: np.ndarray, bounds: Sequence[tuple[float, float]], x: Array, y: Array
) -> Array:
    """The start with its linear parameters solved for: relative errors of y, coefficients non-negative unless signed.

    Golub & Pereyra (1973); Lawson & Hanson (1974) for the bounds, a signed coefficient being the difference of two.
    """
    from scipy.optimize import nnls

    start = start.copy()
    with np.errstate(all="ignore"):
        where = at(start[None], as_log, x)
        target, scale = _peeled(linear.outer, y, where)
        columns, carriers = [], []
        for term in linear.terms:
            column = np.broadcast_to(term.rest.value(where).value, (1, len(y)))[0]
            if term.carrier is None:
                target = target - column
            else:
                columns.append(column / scale)
                carriers.append(term)
        if not columns:
            return start
        design, goal = np.stack(columns, axis=1), target / scale
        if not (np.isfinite(design).all() and np.isfinite(goal).all()):
            return np.full_like(start, np.nan)
        size = np.linalg.norm(design, axis=0)
        size = np.where(size > 0, size, 1.0)
        signed = [term.carrier is not None and term.carrier.signed for term in carriers]
        both = np.concatenate([design / size, -design[:, signed] / size[signed]], axis=1)
        solved = nnls(both, goal)[0]
        weight = solved[: len(carriers)]
        weight[signed] -= solved[len(carriers) :]
        floor = _SMALLEST_SHARE * np.sqrt(len(y)) / np.abs(y / scale).max()
        weight = np.where(signed, weight, np.maximum(weight, floor)) / size
        for term, value in zip(carriers, weight, strict=True):
            assert term.carrier is not None
            p = term.carrier.index
            power = float(np.ravel(term.exponent.value(where).value)[0])
            start[p] = _coordinate(np.clip(value ** (1 / power) if power != 1 else value, *bounds[p]), as_log[p])
    return start


class _Range(NamedTuple):
    """Where a parameter is searched for: values on a grid, or between two ends, by ratio or by difference."""

    values: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    ratio: bool = True
    usual: bool = False  # an exponent of which nothing more is known

    def at(self, share: Array) -> Array:
        if self.values:
            return np.asarray(self.values)[np.minimum((share * len(self.values)).astype(int), len(self.values) - 1)]
        if self.ratio:
            return np.asarray(self.low * (self.high / self.low) ** share)
        return self.low + (self.high - self.low) * share


def _points(ranges: Sequence[_Range]) -> Array:
    """Values of the parameters that are searched for [S, Q]: a grid of one or two, else a Sobol sequence (1967)."""
    from scipy.stats import qmc

    if not ranges:
        return np.zeros((1, 0))
    if all(each.values for each in ranges) or (len(ranges) <= 2 and all(each.values or each.usual for each in ranges)):
        usual = ONE_EXPONENT if len(ranges) == 1 else TWO_EXPONENTS
        return grid(*(each.values or usual for each in ranges))
    shares = qmc.Sobol(len(ranges), seed=0).random(_CANDIDATES)
    return np.stack([each.at(share) for each, share in zip(ranges, shares.T, strict=True)], axis=1)


def _ranges(
    tree: Node,
    searched: Sequence[int],
    as_log: np.ndarray,
    bounds: Sequence[tuple[float, float]],
    told: Mapping[int, Sequence[float]],
    x: Array,
) -> list[_Range]:
    """Where each parameter is searched for. Two rounds: the size of one may depend on that of another."""
    places = {p: next(_places(tree, p), None) for p in searched}
    centre = np.array([_TYPICAL_EXPONENT if place is None or place.exponent else 1.0 for place in
                       (places.get(p) for p in range(len(as_log)))])  # fmt: skip
    centre = np.clip(centre, [low for low, _ in bounds], [high for _, high in bounds])
    found: dict[int, _Range] = {}
    for _ in range(2):
        for p in searched:
            found[p] = _range(p, places[p], told, bounds[p], _theta(centre, as_log), as_log, x)
            middle = float(found[p].at(np.array([0.5]))[0])
            centre[p] = middle if np.isfinite(middle) else 1.0
    return [found[p] for p in searched]


def _theta(natural: Array, as_log: np.ndarray) -> Array:
    return np.where(as_log, np.log(np.where(as_log, natural, 1.0)), natural)[None]


class _Place(NamedTuple):
    """Where a parameter stands: in an exponent; or in the term `rest`, to the power `power`, beside other terms, or as
    the argument of a function."""

    exponent: bool
    signed: bool = False
    rest: Node = ONE
    power: float = 1.0
    beside: tuple[Node, ...] = ()


def _places(node: Node, p: int) -> Iterator[_Place]:
    """The places of a parameter, the outermost first."""
    if isinstance(node, Sum):
        for term in node.terms:
            beside = tuple(other for other in node.terms if other is not term)
            yield from _factor(term, p, beside)
    elif isinstance(node, (Call, Logarithm)):
        yield from _factor(node.argument, p, ())
    else:
        yield from _factor(node, p, ())


def _factor(term: Node, p: int, beside: tuple[Node, ...]) -> Iterator[_Place]:
    factors = term.factors if isinstance(term, Product) else ((term, ONE),)
    for i, (factor, exponent) in enumerate(factors):
        if isinstance(factor, Parameter) and factor.index == p:
            rest = product(abs(term.coefficient) if isinstance(term, Product) else 1.0, factors[:i] + factors[i + 1 :])
            power = exponent.number if isinstance(exponent, Number) else 1.0
            yield _Place(False, factor.signed, rest, power, beside)
        if any(isinstance(node, Parameter) and node.index == p for node in exponent.walk()):
            if isinstance(factor, Number):
                yield from _places(exponent, p)
            else:
                signed = any(isinstance(n, Parameter) and n.index == p and n.signed for n in exponent.walk())
                yield _Place(True, signed)
        if factor is not term:
            yield from _places(factor, p)
        else:
            for part in factor.parts:
                yield from _places(part, p)


def _range(
    p: int,
    place: _Place | None,
    told: Mapping[int, Sequence[float]],
    bounds: tuple[float, float],
    theta: Array,
    as_log: np.ndarray,
    x: Array,
) -> _Range:
    if p in told:
        return _Range(tuple(float(value) for value in told[p]))
    if place is None or place.exponent:
        low, high = _EXPONENT
        if place is not None and place.signed:
            return _Range((), -high / 3, high / 3, ratio=False)
        inside = max(low, bounds[0]), min(high, bounds[1])
        if inside[0] < inside[1]:
            return _Range((), *inside, usual=inside == _EXPONENT)
        return _Range((), *bounds, ratio=bounds[0] > 0)
    with np.errstate(all="ignore"):
        where = at(theta, as_log, x)
        rest = np.ravel(np.broadcast_to(place.rest.value(where).value, (1, x.shape[1])))
        beside = [np.ravel(np.broadcast_to(node.value(where).value, (1, x.shape[1]))) for node in place.beside]
        others = np.sum(beside, axis=0) if beside else None
        if others is not None and np.ptp(rest) == 0 and np.ptp(others) > 0:
            # A shift: somewhere among the values that it is added to or taken from.
            ends = np.sort(np.abs([others.min(), others.max()]) / abs(rest[0]))
            low, high = (-ends[1], ends[1]) if place.signed else (max(ends[0], 1e-3 * ends[1]), ends[1])
            return _Range((), float(low), float(high), ratio=False)
        spread = float(np.ptp(rest)) or float(np.abs(rest).max())
        wanted = 1.0 / spread if others is None else float(np.median(np.abs(others)) / np.median(np.abs(rest)))
        middle = float(np.clip(wanted ** (1 / place.power), max(bounds[0], 1e-300), bounds[1]))
    wide = (_RATE if others is None else _WIDE) ** (1 / abs(place.power))
    if not np.isfinite(middle):
        return _Range((), 1e-3, 1e3)
    if place.signed:
        return _Range((), -wide * middle, wide * middle, ratio=False)
    return _Range((), max(middle / wide, bounds[0]), min(middle * wide, bounds[1]))
