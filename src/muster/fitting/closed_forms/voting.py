"""Closed forms of majority votes and of verified sampling: α = easy_share, p₁ = easy > ½ > p₂ = hard, q = 1 − p."""

import numpy as np
import pandas as pd

from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.frames import require_columns

CLASSES = ["easy_share", "easy", "hard"]


@CLOSED_FORMS.register("majority_accuracy")
def majority_accuracy(table: pd.DataFrame) -> pd.Series:
    """α I(p₁) + (1 − α) I(p₂) with I the regularized incomplete beta function I_p(m, m), m = (K + 1)/2, K = layer odd:
    the chance of m right answers or more among 2m − 1 (Chen et al. 2024)."""
    from scipy.special import betainc

    require_columns(table, [*CLASSES, "layer"], "options.formula")
    m, share = (table["layer"] + 1) / 2, table["easy_share"]
    return share * betainc(m, m, table["easy"]) + (1 - share) * betainc(m, m, table["hard"])


@CLOSED_FORMS.register("best_majority")
def best_majority(table: pd.DataFrame) -> pd.Series:
    """K* = 2⌈m*⌉ − 1, m* = ln[(1 − α)(1 − 2p₂)/(α(2p₁ − 1))]/ln[p₁q₁/(p₂q₂)], where p₁ + p₂ > 1 and m* > 0.

    Derived here: two further votes turn a majority of m right among 2m − 1 only at a margin of one, so that F(2m + 1) −
    F(2m − 1) = C(2m − 1, m) [α(2p₁ − 1)(p₁q₁)^m − (1 − α)(1 − 2p₂)(p₂q₂)^m], which is positive up to m*.
    """
    require_columns(table, CLASSES, "options.formula")
    share, p1, p2 = (table[name] for name in CLASSES)
    odds = (1 - share) * (1 - 2 * p2) / (share * (2 * p1 - 1))
    return 2 * np.ceil(np.log(odds) / np.log(p1 * (1 - p1) / (p2 * (1 - p2)))) - 1


def _verified(table: pd.DataFrame) -> tuple[pd.Series, ...]:
    """α, p₁, p₂, and a = p + q f, the chance that a call's answer is accepted, of either class."""
    require_columns(table, [*CLASSES, "false_positive"], "options.formula")
    share, p1, p2 = (table[name] for name in CLASSES)
    return share, p1, p2, *(p + (1 - p) * table["false_positive"] for p in (p1, p2))


@CLOSED_FORMS.register("verified_ceiling")
def verified_ceiling(table: pd.DataFrame) -> pd.Series:
    """E p/a: the first accepted answer, after however many calls, is right with probability p/a (Bayes). Derived."""
    share, p1, p2, a1, a2 = _verified(table)
    return share * p1 / a1 + (1 - share) * p2 / a2


@CLOSED_FORMS.register("best_verified_calls")
def best_verified_calls(table: pd.DataFrame) -> pd.Series:
    """⌈ln[αg₁/((1 − α)|g₂|)]/ln[(1 − a₂)/(1 − a₁)]⌉, g = p − price·q·f, where g₁ > 0 > g₂. Derived: call K + 1 is made
    for a share (1 − a)^K of a class and gains g, so that the sum of both is positive up to that K."""
    share, p1, p2, a1, a2 = _verified(table)
    gain, loss = (p - table["price"] * (1 - p) * table["false_positive"] for p in (p1, p2))
    return np.ceil(np.log(share * gain / ((share - 1) * loss)) / np.log((1 - a2) / (1 - a1))).clip(lower=1)
