"""More runs never give fewer optima, nor materially wider errors: nested sweeps, whose larger ones hold the smaller."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from muster.fitting.optimum.find import find_optima
from muster.fitting.optimum.quadratic import Sweep

WIDTHS = (64, 128, 256, 512)
RUNS = (12, 25, 50, 100)  # of each width
NOISE, CURVATURE = 0.01, 0.04
STREAMS = 6
# Where a window first holds seven scattered rates its interval begins to allow for a lean; then runs alone count.
FIRST, DOUBLED = 1.35, 0.85


def random(rng: np.random.Generator, best: float) -> np.ndarray:
    return rng.uniform(-12, -3, RUNS[-1])


def bayesian(rng: np.random.Generator, best: float) -> np.ndarray:
    return np.concatenate([rng.uniform(-12, -3, 8), best + rng.standard_normal(RUNS[-1] - 8)])


def coarse_then_fine(rng: np.random.Generator, best: float) -> np.ndarray:
    return np.concatenate([np.linspace(-12, -3, 10), rng.uniform(best - 2, best + 2, RUNS[-1] - 10)])


def nested(rates_of: Callable[[np.random.Generator, float], np.ndarray], seed: int) -> list[list[Sweep]]:
    """The sweeps of all widths with the first 12, 25, 50 and 100 runs of one stream."""
    rng = np.random.default_rng(seed)
    runs = []
    for width in WIDTHS:
        best = -7 - 0.3 * math.log2(width / WIDTHS[0])
        rates = rates_of(rng, best)
        runs.append((width, rates, CURVATURE * (rates - best) ** 2 + NOISE * rng.standard_normal(len(rates))))
    return [[_sweep(width, rates[:count], loss[:count]) for width, rates, loss in runs] for count in RUNS]


def _sweep(width: int, rates: np.ndarray, loss: np.ndarray) -> Sweep:
    order = np.argsort(rates)
    return Sweep(width, rates[order], loss[order][None])


def lengths(sweeps: list[Sweep]) -> np.ndarray:
    """Length of each shape's interval in octaves; NaN without an interior optimum."""
    return np.array([o.ci_high - o.ci_low if o.status == "interior" else np.nan for o in find_optima(sweeps)])


def check(series: list[list[np.ndarray]], allowed: list[float]) -> None:
    """series: for each stream the lengths at each size. allowed: mean ratio of a size's lengths to the one before."""
    for before, after, ratio in zip(range(len(allowed)), range(1, len(allowed) + 1), allowed, strict=True):
        pairs = [(each[before], each[after]) for each in series]
        assert not any((np.isfinite(old) & np.isnan(new)).any() for old, new in pairs)
        grown = np.concatenate([np.log(new / old) for old, new in pairs])
        assert math.exp(np.nanmean(grown)) < ratio, (before, after)


@pytest.mark.parametrize("rates_of", [random, bayesian, coarse_then_fine])
def test_more_rates_keep_every_optimum_and_narrow_it(
    rates_of: Callable[[np.random.Generator, float], np.ndarray],
) -> None:
    series = [[lengths(sweeps) for sweeps in nested(rates_of, seed)] for seed in range(STREAMS)]
    check(series, [FIRST, DOUBLED, DOUBLED])


def test_more_seeds_keep_every_optimum_and_narrow_it() -> None:
    rates = np.arange(-12.0, -2.0)
    series = []
    for seed in range(STREAMS):
        rng = np.random.default_rng(seed)
        loss = [
            CURVATURE * (rates + 7.2 + 0.3 * k) ** 2 + NOISE * rng.standard_normal((8, len(rates))) for k in range(4)
        ]
        series.append([lengths([Sweep(w, rates, y[:s]) for w, y in zip(WIDTHS, loss, strict=True)]) for s in (2, 4, 8)])
    check(series, [1.0, 1.0])
