"""Families: the claims whose verdicts are corrected together, one family a paper.

A family is declared by its studies and never by the ledger, so that a further study of another paper moves no verdict
here. Its headline claims are corrected by Holm's step-down; its secondary claims by a Holm of their own, behind the
gate that some headline was decided. Controls and identities test our instrument and our code: they belong to no family,
and their p-values stand alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from muster.claims.tests import (
    ALPHA,
    BETWEEN,
    KNOWN,
    UNKNOWN,
    Condition,
    agrees,
    as_known,
    conditions,
    deciding_p,
    prevented,
    verdict,
)

Row = dict[str, Any]

HEADLINE, SECONDARY = "headline", "secondary"
OUTSIDE = ("control", "identity")  # stances of claims that belong to no family
CONTROL = "control "


def family_text(slug: str, stance: str, headline: bool) -> str:
    """The column `family`: the paper's slug and the claim's part in its family."""
    part = stance if stance in OUTSIDE else HEADLINE if headline else SECONDARY
    return f"{slug}: {part}"


def part_of(row: Mapping[str, Any]) -> str:
    """The claim's part in its family: headline, secondary, control or identity."""
    return str(row["family"]).rpartition(": ")[2]


def slug_of(row: Mapping[str, Any]) -> str:
    """The paper that a claim's family is of."""
    return str(row["family"]).rpartition(": ")[0]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given. Source: Holm (1979), Scand. J. Statist. 6, 65; the maximum over the
    ordered (K − i + 1)·p₍ᵢ₎ up to each, at most 1."""
    import numpy as np

    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted.tolist()


def decide(rows: Sequence[Row], round_off: Any = float) -> None:
    """Set `p_adjusted`, `verdict` and `agrees` of all rows, and how the controls among `regime` came out.

    A claim that must not be decided (not run, no measurement, out of regime, a control that failed) stays in the family
    with p = 1: the family is the one that was declared before the run. A control that did not come out as known can
    only raise p-values, so that repeating this until nothing changes ends, and ends alike in any order. round_off: how
    numbers are written.
    """
    named = {row["claim"]: row for row in rows}
    for row in rows:
        _tell_controls(row, {})
    while True:
        for family in _families(rows).values():
            _adjust(family, round_off)
        for row in rows:
            row["verdict"] = verdict(row)
        failed = {name: row["verdict"] for name, row in named.items() if not as_known(row)}
        if not any([_tell_controls(row, failed) for row in rows]):
            break
    for row in rows:
        row["agrees"] = agrees(row)


def _families(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(slug_of(row), []).append(row)
    return found


def _adjust(family: Sequence[Row], round_off: Any) -> None:
    """`p_adjusted` of one family: headlines by Holm, secondary claims by Holm and no less than the smallest p_adjusted
    of a headline, the gate; a family without headline claims has none. Others keep their own p."""
    parts: dict[str, list[Row]] = {}
    for row in family:
        parts.setdefault(part_of(row), []).append(row)
    gate = 0.0
    for part in (HEADLINE, SECONDARY):
        facts = list(by_fact(parts.pop(part, [])).values())
        raw = [max(map(deciding_p, rows)) for rows in facts]
        for rows, p in zip(facts, holm(raw), strict=True):
            for row in rows:
                row["p_adjusted"] = round_off(max(p, gate))
        if part == HEADLINE and facts:
            gate = min(row["p_adjusted"] for rows in facts for row in rows)
    for row in (row for rows in parts.values() for row in rows):
        row["p_adjusted"] = round_off(deciding_p(row))


def by_fact(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The claim that states a fact first → all rows that state it by `same_as`, as far as they are among these. A fact
    counts once; in a family with the largest p of its rows."""
    named = {row["claim"]: row for row in rows}
    found: dict[str, list[Row]] = {}
    for row in named.values():
        seen, root = {row["claim"]}, row
        while root["same_as"] in named and root["same_as"] not in seen:
            root = named[root["same_as"]]
            seen.add(root["claim"])
        found.setdefault(root["claim"], []).append(row)
    return found


def _tell_controls(row: Row, failed: Mapping[str, str]) -> bool:
    """Write into `regime` how the row's controls came out; whether that changed. failed: claims that did not come out
    as known, with their verdicts."""
    told = []
    for each in conditions(row["regime"]):
        if each.what.startswith(CONTROL):
            word = failed.get(each.what.removeprefix(CONTROL), "")
            each = Condition(each.what, UNKNOWN if word else KNOWN, note=word)
        told.append(each.text)
    changed = BETWEEN.join(told) != row["regime"]
    row["regime"] = BETWEEN.join(told)
    return changed


def run_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """Family → how many of its headline claims were run, of how many."""
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        if part_of(row) == HEADLINE:
            run, of = found.get(slug_of(row), (0, 0))
            found[slug_of(row)] = run + (int(row["n_cells"]) > 0), of + 1
    return found


def false_discovery(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Claim → q over the whole ledger, of all claims that something can be decided from: shown beside, never deciding.

    Source: Benjamini & Yekutieli (2001), Ann. Statist. 29, 1165, theorem 1.3, valid under any dependence.
    """
    from statsmodels.stats.multitest import multipletests

    tested = [row for row in rows if part_of(row) not in OUTSIDE and not prevented(row)]
    if not tested:
        return {}
    q = multipletests([deciding_p(row) for row in tested], method="fdr_by")[1]
    return {str(row["claim"]): float(value) for row, value in zip(tested, q, strict=True)}


def expected_false(rows: Sequence[Mapping[str, Any]]) -> float:
    """How many decisions of the ledger are false on average, at most, if all claims that were tested lay where they
    seem not to: 0.05 for each set of claims that Holm corrects together and that holds a testable one.

    Bonferroni's bound: K true hypotheses tested at 0.05/K each; the steps down after a right rejection add a little.
    """
    tested = {row["family"] for row in rows if part_of(row) not in OUTSIDE and not prevented(row)}
    return ALPHA * len(tested)
