"""What a search of n trials is reported to reach, from B trials: bias, error and coverage of two estimators.

The largest of n draws of a law is estimated from B = `width` draws, n = `share`·B, by the plug-in V (the n draws made
with replacement; Dodge et al. 2019) or the U-statistic U (without it; R. Tang et al., Showing your work doesn't always
work, 2020), the estimators of `muster.statistics.best_of`. Probes over `draws` searches:
- `plug_in_bias`, `unbiased_bias`: mean error over the standard deviation, the truth E max = ∫ Q(v^(1/n)) dv by
  quadrature, Q the quantile function;
- `plug_in_mean`: mean of V;
- `rmse_ratio`: root mean square error of U over that of V;
- `coverage`: how often the 95 % percentile bootstrap of V holds the truth, over `intervals` of the searches.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws, ratio_of_means
from muster.sampling.random_network import chunks, generator
from muster.sampling.tables import Estimate, outcome, probe_rows
from muster.statistics.best_of import WEIGHTS

Array = NDArray[np.float64]


class SearchMaximumCell(Cell):
    """Searches of `width` trials."""

    law: Literal["uniform", "normal", "lognormal"] = Field("normal", description="Law of a trial's result")
    share: float = Field(1.0, gt=0, le=1, description="n/B, the reported number of trials over those made")
    draws: int = Field(20_000, ge=2, le=10**7, description="Independent searches")
    intervals: int = Field(1000, ge=2, le=10**6, description="Searches with a bootstrap interval")
    resamples: int = Field(400, ge=40, le=10**5, description="Resamples of each bootstrap")

    @property
    def reported(self) -> int:
        """n."""
        return max(1, round(self.share * self.width))


def law_of(cell: SearchMaximumCell) -> Any:
    """The law of one trial."""
    from scipy import stats

    return {"uniform": stats.uniform(), "normal": stats.norm(), "lognormal": stats.lognorm(1.0)}[cell.law]


def true_maximum(law: Any, n: int) -> float:
    """E max of n draws: the largest of them has quantile function Q(v^(1/n))."""
    from scipy.integrate import quad

    return float(quad(lambda v: law.ppf(v ** (1 / n)), 0, 1, limit=500)[0])


def covered(cell: SearchMaximumCell, sorted_: Array, truth: float, rng: np.random.Generator) -> Array:
    """Whether the percentile bootstrap of each search [searches, B] holds the truth."""
    weights, parts = WEIGHTS["plug_in"](cell.width, cell.reported), []
    for count in chunks(len(sorted_), cell.resamples * cell.width):
        some, sorted_ = sorted_[:count], sorted_[count:]
        chosen = np.sort(rng.integers(cell.width, size=(count, cell.resamples, cell.width), dtype=np.int32))
        found = np.take_along_axis(some[:, None], chosen, axis=2) @ weights
        low, high = np.quantile(found, [0.025, 0.975], axis=1)
        parts.append((low <= truth) & (truth <= high))
    return np.concatenate(parts).astype(float)


def run(cell: SearchMaximumCell, context: Context) -> Outcome:
    """Search, and estimate from every search."""
    rng, law = generator(cell), law_of(cell)
    truth = true_maximum(law, cell.reported)
    sorted_ = np.sort(law.rvs((cell.draws, cell.width), random_state=rng), axis=1)
    found = {name: sorted_ @ make(cell.width, cell.reported) for name, make in WEIGHTS.items()}
    rows = probe_rows("plug_in_mean", [mean_over_draws(found["plug_in"])])
    for probe, name in (("plug_in_bias", "plug_in"), ("unbiased_bias", "u_statistic")):
        rows += probe_rows(probe, [mean_over_draws((found[name] - truth) / found[name].std(ddof=1))])
    square = ratio_of_means(*(np.square(found[name] - truth) for name in ("u_statistic", "plug_in")))
    root = math.sqrt(square.value)
    rows += probe_rows("rmse_ratio", [Estimate(root, square.se / (2 * root))])
    rows += probe_rows("coverage", [mean_over_draws(covered(cell, sorted_[: cell.intervals], truth, rng))])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: SearchMaximumCell) -> Cost:
    """Sorting searches and resamples."""
    numbers = float(cell.width) * (cell.draws + cell.intervals * cell.resamples)
    return Cost(numbers, 0.1 + 1.2e-8 * numbers, 2e8)


EXPERIMENTS.register("search_maximum")(
    Experiment(
        summary="Estimators of the best of n trials of a search: bias, error and coverage",
        stage="sample",
        cell=SearchMaximumCell,
        cost=cost,
        run=run,
        example=probe_example(
            "rmse_ratio",
            {"law": "lognormal", "draws": 4000, "intervals": 100, "resamples": 100},
            {"width": [10, 20, 40]},
            smoke={"draws": 400},
        ),
    )
)
