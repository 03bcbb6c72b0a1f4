"""The tests that decide claims, one row at a time."""

import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from muster.claims.families import CONTROL
from muster.claims.tests import (
    CLAIM_TESTS,
    FAILED,
    KNOWN,
    PASSED,
    TOWARDS,
    UNCHECKED,
    UNKNOWN,
    UNMEASURED,
    VERDICTS,
    Condition,
    agrees,
    combined_error,
    conditions,
    deciding_p,
    explain,
    on_its_own,
    p_refute,
    p_support,
    region,
    test_parts,
    test_text,
    verdict,
)
from muster.config.models import Test as TestNames

for function in (test_parts, test_text):
    function.__test__ = False  # no tests, though their names begin alike


def row(test="equivalence", estimate=0.0, se=0.02, dof=3.0, predicted=0.0, margin=0.1, **changes):
    half = stats.t.ppf(0.975, dof) * se
    base = {
        "test": test, "predicted": predicted, "margin": margin, "estimate": estimate, "se": se, "dof": dof,
        "ci_low": estimate - half, "ci_high": estimate + half, "n_cells": 8, "scale": "laptop",
    }  # fmt: skip
    return on_its_own(base | changes)


def test_every_test_of_the_config_is_decided():
    assert set(TestNames.__args__) <= set(CLAIM_TESTS)


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("equivalence", (-0.4, 1.0)),
        ("interval", (-0.4, 1.0)),
        ("closed_form", (-0.4, 1.0)),
        ("less", (-math.inf, 1.0)),
        ("ordering", (-math.inf, 1.0)),
        ("regret", (-math.inf, 1.0)),
        ("greater", (-0.4, math.inf)),
    ],
)
def test_regions(test, expected):
    assert region(row(test, predicted=0.3, margin=0.7)) == pytest.approx(expected)


def test_tost_is_the_larger_of_two_one_sided_t_tests():
    found = row(estimate=0.04, se=0.02, dof=4)["p_support"]
    assert found == pytest.approx(stats.t.sf(0.06 / 0.02, 4), rel=1e-12)
    assert row(estimate=-0.04, se=0.02, dof=4)["p_support"] == pytest.approx(found, rel=1e-12)


def test_support_by_tost_is_the_ninety_percent_interval_inside_the_margin():
    half = stats.t.ppf(0.95, 3) * 0.02
    assert verdict(row(estimate=0.1 - half - 1e-9)) == "supported"
    assert verdict(row(estimate=0.1 - half + 1e-9)) == "inconclusive"


def hodges_lehmann(estimate, se, dof, half):
    """p of |β| ≤ half by its definition: the largest probability, over the region, of an estimate so far from 0."""

    def beyond(beta):
        return stats.t.sf((abs(estimate) - beta) / se, dof) + stats.t.cdf((-abs(estimate) - beta) / se, dof)

    return max(beyond(beta) for beta in np.linspace(-half, half, 201))


@pytest.mark.parametrize("dof", [1, 3, 8, 60])
@pytest.mark.parametrize("se", [0.005, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("estimate", [-0.4, 0.11, 0.2])
def test_p_of_an_interval_hypothesis_is_its_largest_probability_over_the_interval(estimate, se, dof):
    found = row(estimate=estimate, se=se, dof=dof)["p_refute"]
    assert found == pytest.approx(hodges_lehmann(estimate, se, dof, 0.1), rel=1e-9)
    moved = row(estimate=estimate + 0.7, se=se, dof=dof, predicted=0.7)["p_refute"]
    assert moved == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("half", [0.01, 0.5, 2.0, 30.0])
@pytest.mark.parametrize("dof", [1, 3, 8])
def test_the_refuting_test_keeps_its_level_where_the_error_is_estimated(half, dof):
    """Integrated over the estimated error s: β at the end of the region, σ = 1, b ~ N(β, 1), dof·s² ~ χ²(dof)."""

    def threshold(s):  # the distance from the centre at which p is 0.05
        return optimize.brentq(
            lambda d: stats.t.sf((d - half) / s, dof) + stats.t.sf((d + half) / s, dof) - 0.05, 0, half + 200 * s
        )

    def density(u):  # u = √(dof)·s
        s = u / math.sqrt(dof)
        d = threshold(s)
        return stats.chi.pdf(u, dof) * (stats.norm.sf(d - half) + stats.norm.cdf(-d - half))

    size = integrate.quad(density, 1e-9, 30, epsrel=1e-5)[0]
    assert 0.03 < size < 0.0501


def test_a_point_is_refuted_by_the_two_sided_t_test():
    half = stats.t.ppf(0.975, 3) * 0.02
    assert verdict(row(estimate=half + 1e-9, margin=0.0)) == "refuted"
    assert verdict(row(estimate=half - 1e-9, margin=0.0)) == "inconclusive"


@pytest.mark.parametrize("level", [0.05, 0.005])
@pytest.mark.parametrize("ratio", [0.3, 1.0, 3.0])
def test_a_prediction_with_an_error_keeps_the_level(ratio, level):
    """400,000 draws with 3 degrees of freedom; ratio: true error of the estimate over that of the prediction."""
    rng = np.random.default_rng(0)
    s = ratio * np.sqrt(rng.chisquare(3, 400_000) / 3)
    z = rng.normal(size=s.size) * math.hypot(ratio, 1)
    assert np.mean(stats.t.sf(z / np.hypot(s, 1), 3) <= level) <= level * 1.02 + 3 * math.sqrt(level / s.size)
    told = test_text("equivalence", 0.05)
    assert (told, test_parts(told)) == ("equivalence, prediction se 0.05", ("equivalence", 0.05))
    found = row(told, estimate=0.04, se=0.02, dof=4)["p_support"]
    assert found == pytest.approx(stats.t.sf(0.06 / combined_error(0.02, 0.05), 4), rel=1e-12)
    assert combined_error(0.02, 0.05) == pytest.approx(math.sqrt(0.02**2 + 0.05**2))


@pytest.mark.parametrize(
    ("test", "estimate", "expected"),
    [
        ("less", -0.5, "supported"),
        ("less", 0.5, "refuted"),
        ("less", 0.11, "inconclusive"),
        ("greater", 0.5, "supported"),
        ("greater", -0.5, "refuted"),
        ("greater", -0.11, "inconclusive"),
        ("ordering", -0.5, "supported"),
        ("regret", 0.0, "supported"),
        ("regret", 0.3, "refuted"),
    ],
)
def test_directions(test, estimate, expected):
    assert verdict(row(test, estimate=estimate)) == expected


def test_ordering_without_margin_needs_the_difference_to_be_negative():
    # The one-sided 5 % point of t(3) is 2.353: 0.0471 at se 0.02.
    assert verdict(row("ordering", estimate=-0.047, margin=0.0)) == "inconclusive"
    assert verdict(row("ordering", estimate=-0.0472, margin=0.0)) == "supported"
    assert verdict(row("ordering", estimate=0.0472, margin=0.0)) == "refuted"


def test_p_of_exactly_five_percent_decides():
    decided = row("less", estimate=-1.0)
    assert verdict({**decided, "p_adjusted": 0.05}) == "supported"
    assert verdict({**decided, "p_adjusted": math.nextafter(0.05, 1)}) == "inconclusive"
    proxy = {**row("less", estimate=0.9, criterion="proxy"), "p_refute": 0.05}
    assert explain(proxy).endswith("a proxy, which never refutes")
    assert explain({**proxy, "p_refute": math.nextafter(0.05, 1)}).startswith("neither shown nor excluded")


def test_equal_p_of_both_sides_refute_nothing():
    assert verdict({**row(), "p_support": 0.01, "p_refute": 0.01, "p_adjusted": 0.01}) == "supported"


def test_the_adjusted_p_decides_when_it_is_there():
    strong = row(estimate=0.02)
    assert verdict(strong) == "supported"
    assert verdict({**strong, "p_adjusted": 0.2}) == "inconclusive"
    assert "in its family" in explain({**strong, "p_adjusted": 0.04})


@pytest.mark.parametrize("changes", [{"estimate": math.nan}, {"se": math.nan}, {"dof": 0.0}])
def test_without_an_estimate_or_its_error_nothing_is_measured(changes):
    decided = on_its_own(row() | changes)
    assert math.isnan(p_support(decided))
    assert math.isnan(p_refute(decided))
    assert verdict(decided) == "no measurement"
    assert decided["p_adjusted"] == 1


def test_exact_estimates_without_error():
    assert row(se=0.0)["p_support"] == 0
    assert row(se=0.0, estimate=0.2)["p_support"] == 1
    assert verdict(row(se=0.0, estimate=0.2)) == "refuted"
    assert (row(se=0.0, estimate=0.1)["p_support"], row(se=0.0, estimate=0.1)["p_refute"]) == (1, 1)


def test_an_interval_of_more_than_ten_margins_measures_nothing():
    wide = row(estimate=3.0, ci_low=2.49, ci_high=3.51)
    assert verdict(wide) == "no measurement"
    assert explain(wide) == "the 95 % interval [2.49, 3.51] is wider than 10 margins of 0.1"
    assert verdict(row(estimate=3.0, ci_low=2.51, ci_high=3.5)) == "refuted"
    assert verdict(row(estimate=3.0, margin=0.0, ci_low=-9, ci_high=9)) == "refuted"
    # One bound: what lies far beyond it is decided, however wide; what holds it is not.
    assert verdict(row("less", estimate=-30.0, se=4.0, ci_low=-43, ci_high=-17)) == "supported"
    assert verdict(row("less", estimate=-3.0, se=4.0, ci_low=-16, ci_high=10)) == "no measurement"
    # Ten margins exactly are not too wide; an interval that ends at the bound holds it.
    assert verdict(row(estimate=3.0, margin=0.125, ci_low=2.375, ci_high=3.625)) == "refuted"
    assert verdict(row("less", estimate=3.0, margin=0.125, ci_low=0.125, ci_high=6)) == "no measurement"
    assert verdict(row("less", estimate=-3.0, margin=0.125, ci_low=-6, ci_high=0.125)) == "no measurement"


def told(*found):
    return "; ".join(condition.text for condition in found)


PASS = Condition("range(depth) 0.1 in [0, 0.125]", PASSED)
FAIL = Condition("steady(axis=width) 0.3 in [-0.1, 0.1]", FAILED, note="from 0.1; to 0.4")
MOVES = Condition("steady(axis=width) 0.3 in [-0.1, 0.1]", TOWARDS, note="0.4, 0.2 → 0.05")
CAPACITY = Condition("not_capacity_limited(most=0.1) 0.23 in [0, 0.1]", FAILED, refuted_only=True)


@pytest.mark.parametrize(
    ("estimate", "changes", "word"),
    [
        (0.0, {"n_cells": 0, "scale": "smoke"}, "not run"),
        (0.0, {"scale": "smoke", "regime": told(FAIL)}, "not judged"),
        (0.0, {"regime": told(FAIL, Condition("status edge", UNMEASURED))}, "no measurement"),
        (0.0, {"regime": told(PASS, MOVES, FAIL)}, "out of regime"),
        (0.0, {"regime": told(MOVES, Condition(f"{CONTROL}sp", UNKNOWN, note="inconclusive"))}, "out of regime"),
        (0.9, {"regime": told(PASS, MOVES)}, "pre-asymptotic"),
        (0.0, {"regime": told(PASS, Condition(f"{CONTROL}sp", KNOWN))}, "supported"),
        (0.9, {"regime": told(PASS)}, "refuted"),
        (0.1, {"regime": told(PASS)}, "inconclusive"),
        (0.0, {"regime": told(CAPACITY)}, "supported"),
        (0.9, {"regime": told(CAPACITY)}, "inconclusive"),
        (0.9, {"regime": told(Condition("steady", UNCHECKED))}, "inconclusive"),
        (0.9, {"criterion": "proxy"}, "inconclusive"),
        (0.0, {"criterion": "proxy"}, "supported"),
        (0.9, {"stance": "own"}, "inconclusive"),
        (0.9, {"stance": "fails"}, "refuted"),
    ],
)
def test_words_the_first_that_applies(estimate, changes, word):
    assert verdict(row(estimate=estimate, **changes)) == word


def test_every_word_is_explained_by_its_cause():
    assert explain(row(regime=told(FAIL))) == "steady(axis=width) 0.3 in [-0.1, 0.1] failed (from 0.1, to 0.4)"
    moves = explain(row(regime=told(MOVES)))
    assert moves == "steady(axis=width) 0.3 in [-0.1, 0.1] failed towards the prediction (0.4, 0.2 → 0.05)"
    control = row(regime=told(Condition(f"{CONTROL}sp-drifts", UNKNOWN, note="inconclusive")))
    assert explain(control) == "control sp-drifts did not come out as known (inconclusive)"
    assert explain(row(regime=told(Condition("status edge", UNMEASURED, note="at 512")))) == "status edge: at 512"
    assert explain(row(scale="smoke")) == "not judged at smoke scale"
    assert explain(row(estimate=0.9)).startswith("not within [-0.1, 0.1]: p = ")
    assert explain(row(estimate=0.9, regime=told(CAPACITY))) == f"not within [-0.1, 0.1], but {CAPACITY.what} failed"
    assert explain(row(estimate=0.9, criterion="proxy")).endswith("but measured by a proxy, which never refutes")
    assert explain(row(estimate=0.9, stance="own")).endswith("but it is our own extension, which refutes nobody")
    assert explain(row(estimate=0.9, regime=told(Condition("x", UNCHECKED)))).endswith("its regime was not checked")
    assert explain(row()).startswith("within [-0.1, 0.1]: p = ")
    assert explain(row("less", estimate=0.1)).startswith("neither shown nor excluded to be at most 0.1: p = ")
    assert explain(row("greater", estimate=0.5)).startswith("at least -0.1: p = ")
    # Decided by itself, held by its family or by the gate of the headline claims.
    held = explain(row() | {"p_adjusted": 0.2})
    assert held == f"within [-0.1, 0.1] by itself (p = {deciding_p(row()):.2g}), not in its family (p = 0.2)"
    assert explain(row(estimate=0.9) | {"p_adjusted": 0.2}).startswith("not within [-0.1, 0.1] by itself (p = ")


def test_conditions_are_read_as_they_were_written():
    found = [PASS, FAIL, MOVES, CAPACITY, Condition("odd: name", FAILED, note="a (b): passed")]
    again = conditions(told(*found))
    assert [each._replace(note=each.note.replace(";", ",")) for each in found] == again


@pytest.mark.parametrize(
    ("stance", "decided", "answer"),
    [
        ("holds", "supported", "yes"),
        ("holds", "refuted", "no"),
        ("fails", "refuted", "yes"),
        ("fails", "supported", "no"),
        *[(stance, word, "–") for stance in ("own", "control", "identity") for word in VERDICTS],
        *[(stance, word, "–") for stance in ("holds", "fails") for word in VERDICTS[2:]],
    ],
)
def test_agreement_follows_from_verdict_and_stance(stance, decided, answer):
    assert agrees({"stance": stance, "verdict": decided}) == answer


def test_a_refuted_vector_and_one_that_is_not():
    critical = stats.chi2.ppf(0.95, 3)
    far = row("vector", estimate=critical + 5, se=0.0, margin=critical)
    assert (verdict(far), far["p_support"]) == ("refuted", 1)
    assert verdict(row("vector", estimate=critical - 5, se=0.0, margin=critical)) == "inconclusive"


def test_cells_of_a_csv_are_read_as_they_are():
    text = {name: "" if value != value else str(value) for name, value in row().items()}
    assert verdict(text) == "supported"
