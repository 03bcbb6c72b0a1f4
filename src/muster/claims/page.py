"""LEDGER.md: what readers see of the ledger, by question and paper, opening with the tally of facts."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from muster.claims.families import HEADLINE, OUTSIDE, by_fact, part_of
from muster.claims.tests import (
    ALPHA,
    UNCHECKED,
    VERDICTS,
    WIDEST,
    claimed_region,
    conditions,
    test_parts,
    two_sided,
)

Row = Mapping[str, Any]

# What the ledger asks, in its order; `question` of a study says where its claims stand.
QUESTIONS = {
    "width": "Does the best learning rate transfer over width?",
    "depth": "Does the best learning rate transfer over depth?",
    "other_axes": "Does it transfer over batch size, data or duration?",
    "largest_rate": "How large may the learning rate be?",
    "features": "How do features move?",
    "initialization": "What does the initialization fix?",
    "dynamics": "How does training proceed?",
    "loss_law": "Which law does the loss follow?",
    "compute": "How is compute spent best?",
}
UNASKED = "Other claims"
UNRUN = "the study was not run"  # how the reason begins of a claim that no run has looked at
MOST = 25  # rows of README and overview
CHECKS = {
    "control": ("Checks of the instrument", "Outcomes that are known: no claim below one that fails is judged."),
    "identity": ("Checks of the code", "True by construction of this code: never counted among the facts."),
}
HEADER = (
    "| claim | statement | source | prediction | estimate | n | verdict | agrees | reason | conditions | q | figure |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
)


class Tally(NamedTuple):
    """Facts of the papers, counted: those that agree, that contradict, and that are open, by verdict."""

    agree: int
    contradict: int
    open: dict[str, int]

    @property
    def total(self) -> int:
        return self.agree + self.contradict + sum(self.open.values())

    @property
    def reasons(self) -> str:
        """Why facts are open: `3 inconclusive, 1 not run`."""
        return ", ".join(f"{count} {word}" for word, count in self.open.items())


def unrun(row: Row) -> bool:
    """Whether a claim is open only because nobody has run its study here."""
    return row["verdict"] == "not run" and str(row["reason"]).startswith(UNRUN)


def facts(rows: Iterable[Row]) -> list[Row]:
    """The claims that papers make, one row a fact: of rows that state the same, the one that states it first."""
    named = by_fact(dict(row) for row in rows)
    return [row for name, rows in named.items() for row in rows
            if row["claim"] == name and row["stance"] in ("holds", "fails")]  # fmt: skip


def selection(rows: Iterable[Row], questions: Mapping[str, str | None], most: int = MOST) -> list[Row]:
    """A ledger in at most so many rows, chosen without a look at what came out: of every paper its first headline
    claim; where these are too many, papers of all questions in turn. In the order of the questions.

    questions: as in `markdown`.
    """
    first: dict[str, Row] = {}
    for row in facts(rows):
        if part_of(row) == HEADLINE:
            first.setdefault(row["slug"], row)
    by_question = {name: [row for row in first.values() if (questions.get(row["study"]) or None) == name]
                   for name in (*QUESTIONS, None)}  # fmt: skip
    turns = [(turn, place, row) for place, own in enumerate(by_question.values()) for turn, row in enumerate(own)]
    kept = sorted(turns, key=lambda turn: turn[:2])[:most]
    return [row for _, _, row in sorted(kept, key=lambda turn: (turn[1], turn[0]))]


def tally(rows: Iterable[Row]) -> Tally:
    """How many facts agree with their paper, contradict it, or are open."""
    found = facts(rows)
    counts = {answer: sum(row["agrees"] == answer for row in found) for answer in ("yes", "no")}
    undecided = [row["verdict"] for row in found if row["agrees"] not in counts]
    return Tally(counts["yes"], counts["no"], {v: undecided.count(v) for v in VERDICTS if v in undecided})


def markdown(
    rows: Sequence[Row],
    q: Mapping[str, float],
    false: float,
    shown: Mapping[str, str] | None = None,
    questions: Mapping[str, str | None] | None = None,
) -> str:
    """LEDGER.md: the tally of facts, then by question a table per paper, figures linked relative to its folder.

    q: claim → q over the whole ledger. false: how many decisions are false on average at most. shown: the ledger's name
    of a figure → the file that shows it, both below the results; others are named without a link. None: every figure
    lies where the ledger says. questions: study → the question that it asks; None, or a study that is not there: none.
    """
    asked = questions or {}
    of_papers = [row for row in rows if part_of(row) not in OUTSIDE]
    lines = ["# Ledger", "", *_opening(rows, of_papers, asked, false)]
    for name, title in (*QUESTIONS.items(), (None, UNASKED)):
        chosen = [row for row in of_papers if (asked.get(row["study"]) or None) == name and not unrun(row)]
        if chosen:
            lines += ["", f"## {title}", "", told_tally(tally(chosen)), *_papers(chosen, q, shown)]
    for part, (title, about) in CHECKS.items():
        if chosen := [row for row in rows if part_of(row) == part and not unrun(row)]:
            lines += ["", f"## {title}", "", about, *_papers(chosen, q, shown)]
    if waiting := [row for row in rows if unrun(row)]:
        lines += ["", *_waiting(waiting)]
    return "\n".join(lines) + "\n"


def _waiting(rows: Sequence[Row]) -> list[str]:
    """Claims whose studies were not run, a line a study: they must not bury those that were."""
    studies = dict.fromkeys((row["study"], row["paper"]) for row in rows)
    named = {study: ", ".join(row["claim"] for row in rows if row["study"] == study) for study, _ in studies}
    lines = [f"| {study} | {as_text(paper)} | {named[study]} |" for study, paper in studies]
    about = "`muster run STUDY` runs one; `muster show study STUDY` tells what it needs."
    return ["## Not run", "", about, "", "| study | paper | claims |", "|---|---|---|", *lines]


def _opening(rows: Sequence[Row], of_papers: Sequence[Row], asked: Mapping[str, str | None], false: float) -> list[str]:
    if not rows:
        return ["No claims."]
    counted = tally(rows)
    scales = ", ".join(dict.fromkeys(row["scale"] for row in rows))
    papers = len({row["slug"] for row in facts(rows)})
    opened = f": {counted.reasons}" if counted.open else ""
    lines = [
        f"{counted.total} facts of {papers} paper{'s' if papers != 1 else ''} ({len(rows)} claims) at scale {scales}: "
        f"**{counted.agree} agree** with their paper, **{counted.contradict} contradict** it, "
        f"**{sum(counted.open.values())} are open**{opened}.",
        "",
        *by_question(of_papers, asked),
    ]
    waiting = [row for row in of_papers if any(each.outcome == UNCHECKED for each in conditions(row["regime"]))]
    if waiting:
        told = "claims were measured before their regime was checked: until they are measured again"
        lines += ["", f"{len(waiting)} {told} they can be supported, but not refuted."]
    return [*lines, "", *legend(false)]


def by_question(rows: Sequence[Row], questions: Mapping[str, str | None]) -> list[str]:
    """A table of the facts of each question, counted. questions: as in `markdown`."""
    lines = ["| question | facts | agree | contradict | open |", "|---|---|---|---|---|"]
    for name, title in (*QUESTIONS.items(), (None, UNASKED)):
        of = tally(row for row in rows if (questions.get(row["study"]) or None) == name)
        if of.total:
            lines.append(f"| {title} | {of.total} | {of.agree} | {of.contradict} | {of.reasons or '0'} |")
    return lines


def legend(false: float) -> list[str]:
    """What the words of a ledger mean, as Markdown."""
    return [
        "Brackets hold 95 % intervals; n counts cells / runs. A claim is `supported` when a test shows that the value "
        "lies in the claimed region, `refuted` when one shows that it does not; both at 5 % over the claims of one "
        "paper (Holm; headline claims in **bold**, the others behind the gate that a headline was decided). "
        "`out of regime`: the paper's claim does not speak of what was measured, or a control failed; "
        "`pre-asymptotic`: the local exponents still move towards the prediction; `no measurement`: no number, or an "
        f"interval wider than {WIDEST} margins; `inconclusive`: both outcomes are compatible with the measurement.",
        "",
        "`agrees` compares with what the paper says of the statement; claims that state the same fact from the same "
        "runs are counted once. Beside the verdicts, and deciding none: q is the false discovery rate over the whole "
        f"ledger (Benjamini & Yekutieli); on average at most {false:.3g} decisions are false ({ALPHA:g} for each set "
        "of claims that Holm corrects together).",
    ]


def told_tally(counted: Tally) -> str:
    """A tally in one line."""
    if not counted.total:
        return "No claims of papers."
    parts = (f"{counted.agree} agree" if counted.agree else "", f"{counted.contradict} contradict" if counted.contradict
             else "", f"open: {counted.reasons}" if counted.open else "")  # fmt: skip
    return f"{counted.total} fact{'s' * (counted.total != 1)}: {', '.join(filter(None, parts))}."


def _papers(rows: Sequence[Row], q: Mapping[str, float], shown: Mapping[str, str] | None) -> list[str]:
    lines: list[str] = []
    for paper in dict.fromkeys(row["paper"] for row in rows):
        chosen = [_markdown_row(row, q, shown) for row in rows if row["paper"] == paper]
        lines += ["", f"### {as_text(paper)}", "", *HEADER, *chosen]
    return lines


def _markdown_row(row: Row, q: Mapping[str, float], shown: Mapping[str, str] | None) -> str:
    name = f"**{row['claim']}**" if part_of(row) == HEADLINE else row["claim"]
    statement, source, reason, regime = (as_text(row[column]) for column in ("statement", "source", "reason", "regime"))
    same = f" (same as {row['same_as']})" if row["same_as"] else ""
    cells = [f"{name}{same}", f"{statement}{_stance(row)}", f"{source} ({row['provenance']})", prediction_text(row)]
    cells += [estimate_text(row), f"{row['n_cells']} / {row['n_runs']}", row["verdict"], row["agrees"], reason, regime]
    cells += [f"{q[row['claim']]:.2g}" if row["claim"] in q else "", _figure(row["figure"], shown)]
    return "| " + " | ".join(cells) + " |"


def _stance(row: Row) -> str:
    """What a reader must know to read the statement: who says it, and how."""
    told = {"fails": "the paper says that this fails", "own": "our own extension"}.get(row["stance"], "")
    proxy = "measured by a proxy" if row["criterion"] == "proxy" else ""
    return f" ({'; '.join(filter(None, (told, proxy)))})" if told or proxy else ""


def as_text(text: str) -> str:
    """Markdown of a table's cell or a heading that is read as the very characters of a line of text.

    Dollars stand in a `span`, as GitHub's manual has it: it reads formulas between them even where a backslash stands
    before them. What means nothing stays: an underscore within a word, brackets that no link follows, a lone `&`.
    """
    line = " ".join(text.split())
    line = re.sub(r"([\\`*~|]|(?<![^\W_])_|_(?![^\W_])|(?<=\])[(\[])", r"\\\1", line)
    line = re.sub(r" (#+)$", r" \\\1", line)  # would close a heading
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line).replace("<", "&lt;")
    return line.replace("$", "<span>$</span>")


def figure_file(name: str, shown: Mapping[str, str] | None) -> str:
    """Where a figure lies, relative to the ledger's folder; empty if it is not shown. name, shown: as in `markdown`."""
    if name and (shown is None or name in shown):
        return f"../{name if shown is None else shown[name]}"
    return ""


def _figure(name: str, shown: Mapping[str, str] | None) -> str:
    """A link to a figure, or its name where it is not shown: `relu-kurtosis/kurtosis`."""
    if file := figure_file(name, shown):
        return f"[figure]({file})"
    return name.removeprefix("figures/").removesuffix(".svg")


def prediction_text(row: Row) -> str:
    """The claimed region as a reader would write it: `0 ± 0.1`, `≤ 0`, `≥ 0.5`, `0.34 (se 0.02) ± 0.1`."""
    error = test_parts(row["test"])[1]
    predicted, margin = f"{row['predicted']:.4g}{f' (se {error:.3g})' if error else ''}", f"{row['margin']:.4g}"
    if two_sided(row["test"]):
        return f"{predicted} ± {margin}"
    sign, slack = ("≤", "+") if math.isinf(claimed_region(row["test"], 0, 0)[0]) else ("≥", "−")
    return f"{sign} {predicted}{f' {slack} {margin}' if row['margin'] else ''}"


def estimate_text(row: Row) -> str:
    """The estimate with its interval, as far as there is either."""
    if math.isnan(row["estimate"]):
        return "–"
    if math.isnan(row["ci_low"]):
        return f"{row['estimate']:.3g}"
    return f"{row['estimate']:.3g} [{row['ci_low']:.3g}, {row['ci_high']:.3g}]"
