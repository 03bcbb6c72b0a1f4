"""A statement on every one of several numbers, or on one whose errors are no t: as one row with a t test.

A row of the ledger is decided by t tests on its estimate, standard error and degrees of freedom. Where a statement
speaks of every shape, or where the error of a number depends on where it is, which three numbers do that depends on the
region that is claimed: `against` gives them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from muster.statistics.linear import Estimate

LEAST_P = 0.4  # stands for every p above it in the error of a number that lies outside: nothing is decided there


class Component(NamedTuple):
    """One number: its value at `at`, standard error and degrees of freedom, as stored in `diagnostics.components`.

    squared: estimate and se are those of the square root. values, roots [P]: the signed root of the profile likelihood,
    in units of t, over hypothetical values; without them the number has plain t errors.
    """

    at: float
    estimate: float
    se: float
    dof: float
    squared: bool = False
    values: Sequence[float] = ()
    roots: Sequence[float] = ()

    @property
    def value(self) -> float:
        return self.estimate**2 if self.squared else self.estimate

    def root(self, bound: float) -> float:
        """t of the hypothesis that the number equals the bound; positive when the estimate lies below it.

        Between knots linear; beyond the last ones it stays where it is, which is cautious.
        """
        if len(self.values):
            return float(np.interp(bound, self.values, self.roots))
        distance = (np.sign(bound) * np.sqrt(abs(bound)) if self.squared else bound) - self.estimate
        if self.se == 0:
            return float(np.sign(distance) * np.inf) if distance else 0.0
        return float(distance / self.se)

    def quantile(self, t: float) -> float:
        """The bound whose root is t."""
        if len(self.values):
            return float(np.interp(t, self.roots, self.values, left=-np.inf, right=np.inf))
        end = self.estimate + t * self.se
        return max(end, 0.0) ** 2 if self.squared else end

    def error_at(self, bound: float) -> float:
        """The standard error with which a t test of value against bound gives the p of the root."""
        root = self.root(bound)
        if root == 0 or not np.isfinite(root):
            return 2 * self.estimate * self.se if self.squared else self.se
        return abs(bound - self.value) / abs(root)

    def lies_outside(self, low: float, high: float) -> float:
        """Largest p of the one-sided tests of the hypotheses that it lies below `low`, above `high`: the p of a claim
        that it lies between (Schuirmann 1987)."""
        from scipy import stats

        ends = [-self.root(low)] if np.isfinite(low) else []
        ends += [self.root(high)] if np.isfinite(high) else []
        return max(float(stats.t.sf(end, self.dof)) for end in ends)


def interval(components: Sequence[Component], *, smallest: bool = False) -> tuple[float, float]:
    """95 % interval of the largest of the numbers, or of the smallest.

    The upper end for the largest is the highest upper limit, since the largest has one of its own; the lower end the
    highest lower limit, each at 1/K of the error, since any of K may come out high by chance (Bonferroni).
    """
    from scipy import stats

    own, any_of = 0.025, 0.025 / len(components)
    below, above = (own, any_of) if smallest else (any_of, own)
    low = [each.quantile(float(stats.t.ppf(below, each.dof))) for each in components]
    high = [each.quantile(float(stats.t.isf(above, each.dof))) for each in components]
    return (min(low), min(high)) if smallest else (max(low), max(high))


def is_complete(components: Sequence[Component]) -> bool:
    """Whether every number has an error: without one of them nothing can be said of all."""
    return bool(components) and all(np.isfinite(each.se) and each.dof > 0 for each in components)


def largest(components: Sequence[Component]) -> Estimate:
    """The largest of the numbers, when no region is claimed: the component with the highest upper limit, and the
    interval of the largest. Without an error of each, the largest estimate, without any."""
    if not is_complete(components):
        return Estimate(max((each.value for each in components), default=np.nan), np.nan, np.nan)
    from scipy import stats

    def upper(each: Component) -> float:
        return each.quantile(float(stats.t.isf(0.025, each.dof)))

    worst = max(components, key=upper)
    end = upper(worst)
    error = worst.error_at(end) if np.isfinite(end) else worst.se
    return Estimate(worst.value, error, worst.dof, ci=interval(components))


def against(components: Sequence[Component], low: float, high: float) -> Estimate:
    """Estimate, se and dof whose t tests against the region [low, high] are those of the claim that all lie inside.

    Supporting: the component with the largest p decides; the claim on all needs no correction (intersection–union:
    Berger 1982). Refuting: the smallest of K p, times K (Bonferroni): the error is widened until a t test says so.
    Both by the root of each component, so that p is exact at any level, not only where an interval ends. Estimate and
    interval are those of the largest number (of the smallest, for a claim from below; for a claim with two ends, where
    the worst may lie on either side, those of the number which decides).
    """
    from scipy import stats

    if not is_complete(components) or not (np.isfinite(low) or np.isfinite(high)):
        return largest(components)
    worst = max(components, key=lambda each: each.lies_outside(low, high))
    beyond = max(low - worst.value, worst.value - high)
    nearest = low if worst.value - low < high - worst.value else high
    error = worst.error_at(nearest)
    if beyond < 0 and np.isfinite(t := float(stats.t.isf(worst.lies_outside(low, high), worst.dof))) and t > 0:
        # The farther bound may have the larger p, where a profile is lopsided.
        error = -beyond / t
    if beyond > 0 and len(components) > 1:
        p = len(components) * float(stats.t.sf(beyond / error, worst.dof)) if error > 0 else 0.0
        if p > 0:
            error = max(error, beyond / float(stats.t.isf(min(p, LEAST_P), worst.dof)))
    if len(components) > 1 and np.isfinite(low) and np.isfinite(high):
        return Estimate(worst.value, error, worst.dof)
    values = [each.value for each in components]
    extreme, end = (max(values), high) if np.isfinite(high) else (min(values), low)
    if beyond:  # the same t from the extreme number, of which the interval is
        error *= (end - extreme) / (end - worst.value)
    return Estimate(extreme if beyond else worst.value, error, worst.dof, ci=interval(components, smallest=end == low))


def undecided(beyond: float, found: Estimate) -> float:
    """A standard error with which an estimate that lies outside a region, by `beyond`, refutes nothing."""
    from scipy import stats

    return max(found.se, beyond / float(stats.t.isf(LEAST_P, found.dof)))
