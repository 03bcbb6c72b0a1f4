"""Recompute a claims.csv from itself alone, by docs/verdicts.md and without muster: python recompute_ledger.py FILE"""

# fmt: off
import csv
import math
import re
import sys

from scipy.stats import t

ENDS = {"less": -1, "ordering": -1, "regret": -1, "vector": -1, "reproduced": -1, "greater": 1}  # of tests with one end
NUMBERS = ("predicted margin estimate se dof ci_low ci_high n_cells p_support p_refute p_adjusted").split()  # noqa: SIM905
AGREES = {"holds supported": "yes", "holds refuted": "no", "fails refuted": "yes", "fails supported": "no"}

def p_values(r, test, prediction_se):
    se, dof = math.hypot(r["se"], prediction_se), r["dof"]
    def p(distance):  # of a value that lies beyond a bound
        return float(t.sf(distance / se, dof)) if se else float(distance <= 0)
    off, margin = r["estimate"] - r["predicted"], r["margin"]
    if test not in ENDS:
        return p(margin - abs(off)), min(1, p(abs(off) - margin) + (p(abs(off) + margin) if se else 0))
    return 1.0 if test == "vector" else p(ENDS[test] * off + margin), p(-ENDS[test] * off - margin)

def prepare(r):
    r |= {name: float(r[name] or "nan") for name in NUMBERS}
    test, _, prediction_se = r["test"].partition(", prediction se ")
    r["again"] = p_values(r, test, float(prediction_se or 0)) if r["p_support"] == r["p_support"] else ()
    outcomes = "passed|failed towards|failed|not checked|as known|not as known|no measurement"
    told = re.findall(rf": ({outcomes})(?: the prediction)?(, blocks refuted only)?(?: \([^;]*\))?(?:;|$)", r["regime"])
    undecided = test not in ENDS or r["ci_low"] <= r["predicted"] - ENDS[test] * r["margin"] <= r["ci_high"]
    wide = r["ci_high"] - r["ci_low"] > 10 * r["margin"] > 0 and undecided
    words = {"not run": r["n_cells"] == 0, "no measurement": not r["again"] or wide or ("no measurement", "") in told,
             "out of regime": ("failed", "") in told or ("not as known", "") in told,
             "pre-asymptotic": ("failed towards", "") in told}
    r["word"] = next((word for word, applies in words.items() if applies), "")
    spared = any(outcome == "not checked" or only for outcome, only in told if outcome in ("failed", "not checked"))
    refutable = r["criterion"] == "paper" and r["stance"] != "own" and not spared
    r["refute"] = r["p_refute"] if refutable else math.inf
    r["p"] = r["adjusted"] = 1.0 if r["word"] else min(r["p_support"], r["refute"])

def adjust(rows, part, gates):  # Holm over the facts of a part of each family; returns the smallest adjusted p of each
    smallest, members = {}, {r["claim"]: r for r in rows if r["family"].endswith(": " + part)}
    for slug in {r["slug"] for r in members.values()}:
        facts, least = {}, gates.get(slug, 0.0)
        for r in (r for r in members.values() if r["slug"] == slug):
            first = members.get(r["same_as"], r)
            facts.setdefault((first if first["slug"] == slug else r)["claim"], []).append(r)
        for rank, fact in enumerate(sorted(facts.values(), key=lambda fact: max(r["p"] for r in fact))):
            least = max(least, min(1, max(r["p"] for r in fact) * (len(facts) - rank)))
            smallest.setdefault(slug, least)
            [r.update(adjusted=least) for r in fact]
    return smallest

with open(sys.argv[1], newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
[prepare(r) for r in rows]
adjust(rows, "secondary", adjust(rows, "headline", {}))
for r in rows:
    decided = "refuted" if r["refute"] < r["p_support"] else "supported"
    word = r["word"] or (decided if float(f"{r['adjusted']:.6g}") <= 0.05 else "inconclusive")
    r["found"] = "not judged" if r["scale"] == "smoke" and word != "not run" else word
    written = (r["p_support"], r["p_refute"], r["p_adjusted"])[0 if r["again"] else 2:]
    pairs = zip((*r["again"], r["adjusted"]), written, strict=True)
    r["same"] = all(math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-12) for a, b in pairs) and r["found"] == r["verdict"]
    r["same"] &= AGREES.get(f"{r['stance']} {r['found']}", "–") == r["agrees"]
sys.exit("\n".join(r["claim"] for r in rows if not r["same"]) or print("no difference"))
