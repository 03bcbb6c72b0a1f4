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

Each claim is tested twice: `p_support` is the p of "the value lies outside the region", `p_refute` that of "it lies
inside". One of the two is true, so that a family of K claims holds K true hypotheses (`muster.claims.families`).
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from muster.claims import reproduced
from muster.registry import Registry

ALPHA = 0.05
WIDEST = 10  # margins: an interval that is wider measures nothing

Region = Callable[[float, float], tuple[float, float]]
CLAIM_TESTS: Registry[Region] = Registry("claim test")
REFUTES_ONLY = frozenset({"vector"})

DECIDED = ("supported", "refuted")
VERDICTS = (*DECIDED, "inconclusive", "pre-asymptotic", "out of regime", "no measurement", "not judged", "not run")
AGREES = {("holds", "supported"): "yes", ("holds", "refuted"): "no", ("fails", "refuted"): "yes",
          ("fails", "supported"): "no"}  # fmt: skip
OPEN = "–"

PASSED, FAILED, TOWARDS, UNCHECKED = "passed", "failed", "failed towards the prediction", "not checked"
KNOWN, UNKNOWN, UNMEASURED = "as known", "not as known", "no measurement"
REFUTED_ONLY = ", blocks refuted only"
BETWEEN = "; "  # conditions in the column `regime`
_OUTCOMES = "|".join((PASSED, TOWARDS, FAILED, UNCHECKED, UNKNOWN, KNOWN, UNMEASURED))
_CONDITION = re.compile(rf"(?P<what>.*?): (?P<outcome>{_OUTCOMES})(?P<only>{REFUTED_ONLY})?(?: \((?P<note>.*)\))?")
_PREDICTION_SE = ", prediction se "


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


def test_text(test: str, prediction_se: float) -> str:
    """The column `test`: the test's name, and the error of a prediction that is itself an estimate."""
    return f"{test}{_PREDICTION_SE}{prediction_se:.6g}" if prediction_se else test


def test_parts(text: str) -> tuple[str, float]:
    """The name of a test and the prediction's standard error (0 for a number without error) of the column `test`."""
    name, _, error = text.partition(_PREDICTION_SE)
    return name, float(error or 0)


def region(row: Mapping[str, Any]) -> tuple[float, float]:
    """The region that the claim asserts, from `test`, `predicted` and `margin`."""
    return claimed_region(row["test"], float(row["predicted"]), float(row["margin"]))


def claimed_region(test: str, predicted: float, margin: float) -> tuple[float, float]:
    """The region that a test of a prediction asserts; `test` as in the ledger's column."""
    return CLAIM_TESTS[test_parts(test)[0]](predicted, margin)


def two_sided(test: str) -> bool:
    """Whether a test's region has two ends."""
    return all(map(math.isfinite, claimed_region(test, 0.0, 0.0)))


def one_sided_p(distance: float, se: float, dof: float) -> float:
    """p of the t test that a value lies beyond a bound, from its estimated distance beyond; 0 or 1 without any
    error."""
    from scipy import stats

    if math.isinf(distance):
        return 0.0 if distance > 0 else 1.0
    if se == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stats.t.sf(distance / se, dof))


def combined_error(se: float, prediction_se: float) -> float:
    """Standard error of estimate − prediction, where the prediction has an error of its own: variances add.

    The degrees of freedom stay those of the estimate, the fewest of both, which bounds the level of the test: Mickey &
    Brown (1966), Ann. Math. Stat. 37, 639. Those of Welch and Satterthwaite do not at the small levels that Holm asks
    for: with 3 degrees of freedom a test at 0.005 rejects a true hypothesis in 0.011.
    """
    return math.hypot(se, prediction_se)


def _measured(row: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Estimate, standard error and degrees of freedom against the prediction; None where one of them is missing."""
    estimate, se, dof = (_number(row[name]) for name in ("estimate", "se", "dof"))
    if not (math.isfinite(estimate) and math.isfinite(se) and dof > 0):
        return None
    return estimate, combined_error(se, test_parts(row["test"])[1]), dof


def p_support(row: Mapping[str, Any]) -> float:
    """p of the hypothesis that the value lies outside the region; with two bounds, the larger p of two one-sided tests.

    NaN when there is no estimate, standard error or degrees of freedom; 1 for a test that can only refute. Source:
    Schuirmann (1987), J. Pharmacokinet. Biopharm. 15, 657: an intersection–union test, of exact level at either bound.
    """
    found = _measured(row)
    if found is None:
        return math.nan
    if test_parts(row["test"])[0] in REFUTES_ONLY:
        return 1.0
    estimate, se, dof = found
    low, high = region(row)
    return max(one_sided_p(estimate - low, se, dof), one_sided_p(high - estimate, se, dof))


def p_refute(row: Mapping[str, Any]) -> float:
    """p of the hypothesis that the value lies inside the region. NaN when there is no estimate with an error.

    A region with one bound: a one-sided t test. With two, of half-width m around c: the test of an interval hypothesis,
    sup over |β − c| ≤ m of P(|b − c| ≥ d) = P(t ≥ (d − m)/se) + P(t ≥ (d + m)/se) at either end, with d the distance of
    the estimate from c. Source: Hodges & Lehmann (1954), J. R. Stat. Soc. B 16, 261. Its level is exact where the
    error is known, and where the region is a point (the two-sided t test) or wide beside the error (the one-sided one);
    in between with few degrees of freedom it stays below 0.0501 at nominal 0.05 (integrated in the tests). The 95 %
    interval's excluding the region, which is stricter by up to a factor of two, is not asked for.
    """
    found = _measured(row)
    if found is None:
        return math.nan
    estimate, se, dof = found
    low, high = region(row)
    if math.isinf(low):
        return one_sided_p(estimate - high, se, dof)
    if math.isinf(high):
        return one_sided_p(low - estimate, se, dof)
    distance, half = abs(estimate - (low + high) / 2), (high - low) / 2
    if se == 0:
        return one_sided_p(distance - half, se, dof)
    return min(1.0, one_sided_p(distance - half, se, dof) + one_sided_p(distance + half, se, dof))


class Condition(NamedTuple):
    """One entry of the column `regime`: what was checked, with value and bound, and how it came out."""

    what: str
    outcome: str
    refuted_only: bool = False
    note: str = ""

    @property
    def text(self) -> str:
        """As it stands in the ledger; semicolons, which separate entries, do not occur within one."""
        note = f" ({self.note.replace(';', ',')})" if self.note else ""
        return f"{self.what.replace(';', ',')}: {self.outcome}{REFUTED_ONLY if self.refuted_only else ''}{note}"


def conditions(regime: str) -> list[Condition]:
    """The entries of the column `regime`; one that cannot be read was not checked."""
    return [_condition(entry) for entry in regime.split(BETWEEN) if entry]


def _condition(entry: str) -> Condition:
    found = _CONDITION.fullmatch(entry)
    if found is None:
        return Condition(entry, UNCHECKED)
    return Condition(found["what"], found["outcome"], bool(found["only"]), found["note"] or "")


def may_refute(row: Mapping[str, Any]) -> bool:
    """Whether the claim can be refuted at all: measured as the paper does, not our own extension, and under conditions
    that were all checked and of which none failed."""
    unfair = any(each.refuted_only or each.outcome == UNCHECKED for each in conditions(row["regime"])
                 if each.outcome in (FAILED, UNCHECKED))  # fmt: skip
    return row["criterion"] == "paper" and row["stance"] != "own" and not unfair


def prevented(row: Mapping[str, Any]) -> str:
    """Why nothing can be decided from the row, whatever its p-values: `not run`, `no measurement`, `out of regime`,
    `pre-asymptotic`, the first that applies; empty if something can."""
    if not _number(row["n_cells"]) > 0:
        return "not run"
    found = conditions(row["regime"])
    if any(each.outcome == UNMEASURED for each in found) or math.isnan(_number(row["p_support"])) or too_wide(row):
        return "no measurement"
    if unmet(found):
        return "out of regime"
    return "pre-asymptotic" if any(each.outcome == TOWARDS for each in found) else ""


def unmet(found: list[Condition]) -> list[Condition]:
    """The conditions that forbid any decision: checks that failed, controls that did not come out as known."""
    return [each for each in found if each.outcome in (FAILED, UNKNOWN) and not each.refuted_only]


def too_wide(row: Mapping[str, Any]) -> bool:
    """Whether the 95 % interval is wider than ten margins, of a claim that has a margin.

    With one bound the margin is no scale of the estimate: there only an interval that holds the bound says nothing.
    """
    low, high, margin = (_number(row[name]) for name in ("ci_low", "ci_high", "margin"))
    if not margin > 0 or not high - low > WIDEST * margin:
        return False
    bounds = [bound for bound in region(row) if math.isfinite(bound)]
    return len(bounds) == 2 or any(low <= bound <= high for bound in bounds)


def deciding_p(row: Mapping[str, Any]) -> float:
    """The p with which the claim enters its family: the smaller of those that can decide it; 1 where none can."""
    if prevented(row):
        return 1.0
    return min(_number(row["p_support"]), _number(row["p_refute"]) if may_refute(row) else 1.0)


def verdict(row: Mapping[str, Any]) -> str:
    """One of VERDICTS, from one ledger row: the first that applies of not run, not judged (scale smoke), no
    measurement, out of regime, pre-asymptotic, supported or refuted (`p_adjusted` is at most 0.05), inconclusive."""
    obstacle = prevented(row)
    if obstacle == "not run":
        return obstacle
    if row["scale"] == "smoke":
        return "not judged"
    if obstacle:
        return obstacle
    if not _number(row["p_adjusted"]) <= ALPHA:
        return "inconclusive"
    refuted = may_refute(row) and _number(row["p_refute"]) < _number(row["p_support"])
    return "refuted" if refuted else "supported"


def agrees(row: Mapping[str, Any]) -> str:
    """Whether the measurement agrees with the paper: yes, no, or – where nothing is decided or the paper says
    nothing."""
    return AGREES.get((row["stance"], row["verdict"]), OPEN)


def as_known(row: Mapping[str, Any]) -> bool:
    """Whether a claim that serves as a control came out as it is known to."""
    return bool(row["verdict"] == ("refuted" if row["stance"] == "fails" else "supported"))


def on_its_own(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its p-values as if it were the only claim of its family; what it leaves open of stance, criterion and
    regime is a paper's claim without conditions."""
    alone: dict[str, Any] = {"stance": "holds", "criterion": "paper", "regime": "", **row}
    alone |= {"p_support": p_support(alone), "p_refute": p_refute(alone)}
    return alone | {"p_adjusted": deciding_p(alone)}


def explain(row: Mapping[str, Any]) -> str:
    """Why the verdict is what it is, in one clause."""
    decided, found = verdict(row), conditions(row["regime"])
    if decided == "not judged":
        return "not judged at smoke scale"
    if decided in ("not run", "no measurement"):
        return _unmeasured(row, found)
    if decided == "out of regime":
        return ", ".join(_told(each) for each in unmet(found))
    if decided == "pre-asymptotic":
        return ", ".join(_told(each) for each in found if each.outcome == TOWARDS)
    if test_parts(row["test"])[0] in REFUTES_ONLY:
        high, seen = region(row)[1], f"Wald statistic {_number(row['estimate']):.4g}"
        above_it = f"is {'' if _number(row['estimate']) > high else 'not '}above its critical value {high:.4g}"
        return f"{seen} {above_it}: the published vector is {'' if decided == 'refuted' else 'not '}rejected"
    if test_parts(row["test"])[0] == reproduced.NAME and decided in DECIDED:
        return reproduced.reason(decided, row)
    claimed = _claimed(row)
    support, refute, adjusted = (_number(row[name]) for name in ("p_support", "p_refute", "p_adjusted"))
    alone = refute if decided == "refuted" else support
    shown = f"p = {adjusted:.2g} in its family ({alone:.2g} alone)" if adjusted != alone else f"p = {alone:.2g}"
    if decided != "inconclusive":
        return f"{claimed if decided == 'supported' else f'not {claimed}'}: {shown}"
    if not may_refute(row) and refute <= ALPHA:
        return f"not {claimed}, but {_spared(row, found)}"
    if deciding_p(row) <= ALPHA:
        seen = f"not {claimed}" if may_refute(row) and refute < support else claimed
        return f"{seen} by itself (p = {deciding_p(row):.2g}), not in its family (p = {adjusted:.2g})"
    return f"neither shown nor excluded to be {claimed}: p = {support:.2g} and {refute:.2g} alone"


def _unmeasured(row: Mapping[str, Any], found: list[Condition]) -> str:
    if status := next((each for each in found if each.outcome == UNMEASURED), None):
        return f"{status.what}{f': {status.note}' if status.note else ''}"
    if math.isnan(_number(row["p_support"])):
        return "no estimate with a standard error"
    low, high, margin = (_number(row[name]) for name in ("ci_low", "ci_high", "margin"))
    return f"the 95 % interval [{low:.3g}, {high:.3g}] is wider than {WIDEST} margins of {margin:.3g}"


def _told(condition: Condition) -> str:
    """A condition that was not met, in words."""
    note = f" ({condition.note})" if condition.note else ""
    if condition.outcome == UNKNOWN:
        return f"{condition.what} did not come out as known{note}"
    return f"{condition.what} {condition.outcome}{note}"


def _spared(row: Mapping[str, Any], found: list[Condition]) -> str:
    """What forbids a refutation."""
    if row["criterion"] != "paper":
        return "measured by a proxy, which never refutes"
    if row["stance"] == "own":
        return "it is our own extension, which refutes nobody"
    if failed := [each for each in found if each.outcome == FAILED]:
        return ", ".join(map(_told, failed))
    return "its regime was not checked"


def _claimed(row: Mapping[str, Any]) -> str:
    low, high = region(row)
    if math.isinf(low):
        return f"at most {high:.4g}"
    return f"at least {low:.4g}" if math.isinf(high) else f"within [{low:.4g}, {high:.4g}]"


def _number(value: Any) -> float:
    """A cell of the ledger as a float; NaN for an empty one."""
    return math.nan if value is None or value == "" else float(value)
