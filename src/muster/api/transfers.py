"""The exponent of optima that were found elsewhere."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from muster.errors import MusterError


@dataclass(frozen=True)
class Transfer:
    """The exponent of optima along an axis and what it decides. estimates: a row a variant of the estimator."""

    estimates: pd.DataFrame
    verdict: str
    reason: str
    margin: float

    @property
    def estimate(self) -> float:
        return float(self.estimates["estimate"].iloc[0])

    @property
    def interval(self) -> tuple[float, float]:
        return float(self.estimates["ci_low"].iloc[0]), float(self.estimates["ci_high"].iloc[0])

    def summary(self) -> str:
        low, high = self.interval
        return (
            f"exponent {self.estimate:.3g} [{low:.3g}, {high:.3g}], {self.verdict} "
            f"(|exponent| ≤ {self.margin:g}): {self.reason}"
        )


def transfer(
    scale: Sequence[float] | np.ndarray | pd.Series,
    optima: Sequence[float] | np.ndarray | pd.Series,
    errors: Sequence[float] | np.ndarray | pd.Series | None = None,
    *,
    margin: float = 0.1,
) -> Transfer:
    """The exponent d ln optimum / d ln scale of optima [W] that were found elsewhere, and the equivalence test.

    errors: standard errors of ln optimum [W]; without them the variant with random effects is left out.
    """
    from muster.claims.tests import explain, on_its_own, verdict
    from muster.statistics.linear import slopes

    x, y = np.asarray(scale, float), np.asarray(optima, float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 3:
        raise MusterError("transfer", f"{x.size} scales and {y.size} optima", "Give three or more of both")
    if not (np.isfinite([x, y]).all() and (x > 0).all() and (y > 0).all()):
        raise MusterError("transfer", "a value that is not positive", "An exponent needs positive numbers")
    se = np.full(len(x), np.nan) if errors is None else np.asarray(errors, float)
    rows: list[dict[str, Any]] = []
    for variant, found in slopes(np.log(x), np.log(y), se).items():
        low, high = found.interval()
        rows.append({"variant": variant, "estimate": found.estimate, "se": found.se, "dof": found.dof,
                     "ci_low": low, "ci_high": high})  # fmt: skip
    row = {**rows[0], "test": "equivalence", "predicted": 0.0, "margin": margin, "n_cells": len(x), "scale": ""}
    alone = on_its_own(row)
    kept = [each for each in rows if math.isfinite(each["estimate"])]
    return Transfer(pd.DataFrame(kept), verdict(alone), explain(alone), margin)
