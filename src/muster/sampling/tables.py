"""Monte-Carlo moments with standard errors, and the tables of a sampling cell."""

import math
from typing import NamedTuple

import numpy as np

from muster.experiments import Outcome

Row = tuple[int, str, int, float, float]  # step, probe, layer, value, se
RUN_COLUMNS = ("diverged", "final_train_loss", "final_eval_loss", "steps", "parameters", "flops", "seconds")


class Estimate(NamedTuple):
    """A Monte-Carlo value with its standard error."""

    value: float
    se: float


class Moments:
    """Mean and central moments of a stream of values, added in chunks.

    Power sums are taken about the first chunk's mean, so that a small variance around a large mean keeps its digits.
    """

    def __init__(self) -> None:
        self.count = 0
        self._shift = 0.0
        self._sums = np.zeros(4)

    def add(self, values: np.ndarray) -> None:
        if not len(values):
            return
        if not self.count:
            self._shift = float(values.mean())
        centred = values - self._shift
        square = centred * centred
        self._sums += (centred.sum(), square.sum(), centred @ square, square @ square)
        self.count += len(values)

    def central(self) -> tuple[float, float, float, float]:
        """Mean, and the central moments of order 2, 3 and 4 (divided by the count); NaN below two values."""
        if self.count < 2:
            return math.nan, math.nan, math.nan, math.nan
        a, b, c, d = self._sums / self.count
        return self._shift + a, b - a**2, c - 3 * a * b + 2 * a**3, d - 4 * a * c + 6 * a**2 * b - 3 * a**4

    def mean(self) -> Estimate:
        """Mean; se² is the unbiased variance over the count."""
        mean, second, _, _ = self.central()
        return Estimate(mean, math.sqrt(second / (self.count - 1)) if self.count > 1 else math.nan)

    def variance(self) -> Estimate:
        """Unbiased variance; se² = (μ₄ − μ₂²)/N (Cramér, Mathematical Methods of Statistics, 27.4, leading order)."""
        _, second, _, fourth = self.central()
        if self.count < 2:
            return Estimate(math.nan, math.nan)
        return Estimate(second * self.count / (self.count - 1), math.sqrt(max(fourth - second**2, 0.0) / self.count))

    def relative_variance(self) -> Estimate:
        """Var(X)/(E X)², se by the delta method.

        Its influence function is ((X−m)² − μ₂)/m² − 2μ₂(X−m)/m³, whose variance is
        (μ₄ − μ₂²)/m⁴ − 4μ₂μ₃/m⁵ + 4μ₂³/m⁶.
        """
        mean, second, third, fourth = self.central()
        if self.count < 2:
            return Estimate(math.nan, math.nan)
        influence = (fourth - second**2) / mean**4 - 4 * second * third / mean**5 + 4 * second**3 / mean**6
        return Estimate(second / mean**2, math.sqrt(max(influence, 0.0) / self.count))


def probe_rows(probe: str, estimates: list[Estimate]) -> list[Row]:
    """Rows (step 0, probe, layer from 1, value, se) of one probe."""
    return [(0, probe, layer, *estimate) for layer, estimate in enumerate(estimates, start=1)]


def outcome(rows: list[Row], *, flops: float) -> Outcome:
    """Tables of a sampling cell: one run without losses, no curve, and the probes."""
    import pandas as pd  # here, because planning imports this module and needs no tables

    run = (False, math.nan, math.nan, 0, 0, flops, math.nan)
    curves = {"step": np.array([], np.int64), "train_loss": np.array([]), "eval_loss": np.array([])}
    return Outcome(
        runs=pd.DataFrame([run], columns=list(RUN_COLUMNS)),
        curves=pd.DataFrame(curves),
        probes=pd.DataFrame(rows, columns=["step", "probe", "layer", "value", "se"]),
    )
