"""Coverage of the IsoFLOP exponent on noisy sweeps of a joint law, the closed form being β/(α + β)."""

import numpy as np
import pytest

from muster.fitting.optimum.quadratic import Sweep, find_parabolas
from muster.statistics.linear import slope_ols

E, A, B, ALPHA, BETA = 1.69, 406.4, 410.7, 0.34, 0.28
BUDGETS = np.geomspace(1e18, 1e21, 6)
TRUTH = BETA / (ALPHA + BETA)


@pytest.mark.parametrize(("noise", "scatter"), [(5e-4, 0.0), (3e-4, 0.1)])
def test_intervals_cover_the_closed_form(noise, scatter):
    """scatter: sd, in ln N, by which a budget's whole valley lies off the law."""
    rng = np.random.default_rng(71)
    optimal = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (BUDGETS / 6) ** TRUTH
    hits, draws = 0, 250
    for _ in range(draws):
        sweeps = []
        for budget, best in zip(BUDGETS, optimal, strict=True):
            sizes = best * 2.0 ** np.arange(-3, 3.1, 1.0)
            at = sizes * np.exp(scatter * rng.standard_normal())
            loss = E + A / at**ALPHA + B / (budget / (6 * at)) ** BETA
            sweeps.append(
                Sweep(budget, np.log2(sizes), np.log(loss)[None] + noise * rng.standard_normal((1, len(sizes))))
            )
        found = [optimum for optimum in find_parabolas(sweeps, 5, 1) if optimum.status == "interior"]
        x = np.log([optimum.x for optimum in found])
        low, high = slope_ols(x, [optimum.log2_lr * np.log(2) for optimum in found]).interval()
        hits += low <= TRUTH <= high
    assert 0.92 <= hits / draws <= 0.98
