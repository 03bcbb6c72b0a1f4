"""Ledgers for tests of the page."""

from pathlib import Path
from typing import Any

from muster.config.load import load_study
from muster.config.models import StudyConfig

ROOT = Path(__file__).parents[3]
HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 2'> &lt; \" ' <!-- ]]> \u2028"
PAPERS = ("Yang & Hu 2021, Feature Learning", "Nobody 2003, Nothing")
OUTCOMES = (("supported", "yes"), ("refuted", "no"), ("inconclusive", "–"))
REGIMES = ("steady(axis=width) 0.03 in [-0.1, 0.1]: passed", "steady(axis=width) 0.3 in [-0.1, 0.1]: failed (note)", "")


def a_row(**given: Any) -> dict[str, Any]:
    """A row of a ledger."""
    row = {
        "claim": "ntk-features-freeze", "study": "abc-feature-exponent", "slug": "abc-feature-exponent",
        "paper": PAPERS[0], "statement": "Features move", "source": "Theorem 3.3", "provenance": "derived",
        "asserts": "exponent", "stance": "holds", "criterion": "paper", "test": "equivalence", "predicted": -0.5,
        "margin": 0.05, "estimate": -0.51, "se": 0.008, "dof": 3.0, "ci_low": -0.54, "ci_high": -0.48, "n_cells": 15,
        "n_runs": 15, "p_support": 0.01, "p_refute": 0.99, "p_adjusted": 0.02, "regime": REGIMES[0],
        "family": "abc-feature-exponent: headline", "verdict": "supported", "agrees": "yes", "same_as": "",
        "reason": "within", "scale": "laptop", "figure": "figures/abc-feature-exponent/features.svg",
    }  # fmt: skip
    return row | given


def a_ledger(size: int) -> tuple[list[dict[str, Any]], dict[str, StudyConfig], dict[str, str]]:
    """Rows that take turns in paper, verdict, regime and region, with their study and its text."""
    rows = []
    for i in range(size):
        verdict, agrees = OUTCOMES[i % 3]
        test = ("equivalence", "less", "greater")[i // 3 % 3]
        given = {
            "verdict": verdict,
            "agrees": agrees,
            "paper": PAPERS[i % 2],
            "regime": REGIMES[i // 2 % 3],
            "test": test,
        }
        name = f"ntk-features-freeze{f'-{i}' if i else ''}"
        rows.append(a_row(claim=name, statement=f"Statement {i}", estimate=-0.51 + i / 1000, **given))
    path = ROOT / "config/studies/abc-feature-exponent.yaml"
    study = load_study(path)
    return rows, {study.study: study}, {study.study: path.read_text(encoding="utf-8")}
