"""The claim test `reproduced`: a published recipe on its published rows gives the published digits.

Both minimum and rows are given, so nothing is random: the row's estimate is the excess of the objective, the least one
among all vectors that would have been printed as published over the minimum, less one. It is zero when the minimum
itself rounds to the published digits. predicted is 0, and the margin the excess up to which two vectors count as one
minimum, because a valley may be flatter than the printed digits. An excess beyond it means that the published vector is
beaten: an optimizer stopped early, or in another minimum.
"""

import math
from collections.abc import Mapping
from typing import Any

NAME = "reproduced"


def reproduced(predicted: float, margin: float) -> tuple[float, float]:
    """No vector has an objective that is lower, up to the margin, than the best with the published digits."""
    return -math.inf, predicted + margin


def reason(decided: str, row: Mapping[str, Any]) -> str:
    """Why a row of this test has its verdict."""
    excess, limit = float(row["estimate"]), float(row["predicted"]) + float(row["margin"])
    if decided == "refuted":
        return f"a lower objective exists: the best with the published digits exceeds the minimum by {excess:.2g}"
    if excess == 0:
        return "the minimum rounds to the published digits"
    return f"the best objective with the published digits exceeds the minimum by {excess:.2g}, at most {limit:.2g}"
