"""The tests that decide claims. Pure functions of one ledger row: a reader can recompute every verdict from the ledger.

Every test is a statement about the region where the true value lies:

    equivalence, interval, closed_form   predicted − margin ≤ value ≤ predicted + margin
    less, ordering, regret, vector       value ≤ predicted + margin
    greater                              value ≥ predicted − margin

`interval` takes the midpoint as predicted and the half-width as margin. `ordering` is `less` on a paired difference (a
− b of ln loss): negative means that a is better. `regret` is `less` with the tolerated regret as margin. `closed_form`
is equivalence of the mean ln(measured / formula) with 0. `vector` holds several published numbers against a fit at
once: the estimate is a Wald statistic, predicted is 0 and the margin its critical value. It can refute, never support:
a vector that is not rejected may lie in a wide confidence region, beside many others.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from muster.claims import reproduced
from muster.registry import Registry

ALPHA = 0.05

Region = Callable[[float, float], tuple[float, float]]
CLAIM_TESTS: Registry[Region] = Registry("claim test")
REFUTES_ONLY = frozenset({"vector"})


@CLAIM_TESTS.register("equivalence")
@CLAIM_TESTS.register("interval")
@CLAIM_TESTS.register("closed_form")
def within(predicted: float, margin: float) -> tuple[float, float]:
    """The value lies within the margin of the prediction: two one-sided t tests (Schuirmann 1987)."""
    return predicted - margin, predicted + margin


@CLAIM_TESTS.register("less")
@CLAIM_TESTS.register("ordering")
@CLAIM_TESTS.register("regret")
@CLAIM_TESTS.register("vector")
def below(predicted: float, margin: float) -> tuple[float, float]:
    """The value lies below the prediction, up to the margin: a one-sided t test."""
    return -math.inf, predicted + margin


@CLAIM_TESTS.register("greater")
def above(predicted: float, margin: float) -> tuple[float, float]:
    """The value lies above the prediction, up to the margin: a one-sided t test."""
    return predicted - margin, math.inf


CLAIM_TESTS.register(reproduced.NAME)(reproduced.reproduced)


def region(row: Mapping[str, Any]) -> tuple[float, float]:
    """The region that the claim asserts, from `test`, `predicted` and `margin`."""
    return CLAIM_TESTS[row["test"]](float(row["predicted"]), float(row["margin"]))


def one_sided_p(distance: float, se: float, dof: float) -> float:
    """p of the t test that a value lies beyond a bound, from its estimated distance beyond; 0 or 1 without any
    error."""
    from scipy import stats

    if math.isinf(distance):
        return 0.0
    if se == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stats.t.sf(distance / se, dof))


def p_value(row: Mapping[str, Any]) -> float:
    """p of the claim: the null hypothesis is that the value lies outside the region; with two bounds, the larger p.

    NaN when there is no estimate, standard error or degrees of freedom; 1 for a test that can only refute.
    """
    estimate, se, dof = (_number(row[name]) for name in ("estimate", "se", "dof"))
    if not (math.isfinite(estimate) and math.isfinite(se) and dof > 0):
        return math.nan
    if row["test"] in REFUTES_ONLY:
        return 1.0
    low, high = region(row)
    return max(one_sided_p(estimate - low, se, dof), one_sided_p(high - estimate, se, dof))


def verdict(row: Mapping[str, Any]) -> str:
    """supported | refuted | inconclusive | not run | not judged, from one ledger row.

    `supported`: the deciding p (`p_holm` for a headline claim, else `p_value`) is at most 0.05. `refuted`: the 95 %
    interval excludes the claimed region. Without a p-value nothing is decided.
    """
    if row["scale"] == "smoke":
        return "not judged"
    if not _number(row["n_cells"]) > 0:
        return "not run"
    if math.isnan(_number(row["p_value"])):
        return "inconclusive"
    if deciding_p(row) <= ALPHA:
        return "supported"
    low, high = region(row)
    return "refuted" if _number(row["ci_low"]) > high or _number(row["ci_high"]) < low else "inconclusive"


def deciding_p(row: Mapping[str, Any]) -> float:
    """`p_holm` when the row has one, as every headline claim does, else `p_value`."""
    holm = _number(row["p_holm"])
    return _number(row["p_value"]) if math.isnan(holm) else holm


def explain(row: Mapping[str, Any]) -> str:
    """Why the verdict is what it is, in one clause."""
    decided = verdict(row)
    if decided == "not judged":
        return "not judged at smoke scale"
    if math.isnan(_number(row["p_value"])):
        return "no estimate with a standard error"
    if row["test"] == reproduced.NAME:
        return reproduced.reason(decided, row)
    low, high = region(row)
    if row["test"] in REFUTES_ONLY:
        seen = f"Wald statistic {_number(row['estimate']):.4g}"
        if decided == "refuted":
            return f"{seen} is above its critical value {high:.4g}: the published vector is rejected"
        return f"{seen} is not above its critical value {high:.4g}: the published vector is not rejected"
    if math.isinf(low):
        claimed = f"at most {high:.4g}"
    elif math.isinf(high):
        claimed = f"at least {low:.4g}"
    else:
        claimed = f"within [{low:.4g}, {high:.4g}]"
    raw, holm = _number(row["p_value"]), _number(row["p_holm"])
    if decided == "refuted":
        return f"95 % interval excludes {claimed}"
    shown = f"p = {raw:.2g}" if math.isnan(holm) else f"p = {holm:.2g} after Holm ({raw:.2g} before)"
    return f"{claimed}: {shown}" if decided == "supported" else f"neither shown nor excluded to be {claimed}: {shown}"


def _number(value: Any) -> float:
    """A cell of the ledger as a float; NaN for an empty one."""
    return math.nan if value is None or value == "" else float(value)
