"""Error of the optimum estimator against the grid's best point, and coverage of its intervals, in simulated sweeps.

Five widths, half-octave rates, three seeds, true slope −0.1; seeds are fixed.
"""

import numpy as np
import pytest

from muster.fitting.optimum.find import find_optima
from muster.fitting.optimum.quadratic import Sweep
from muster.statistics.linear import slope_ols

RATES = np.arange(-10.0, -2.9, 0.5)
OCTAVES = np.arange(5.0)
SLOPE = -0.1


def simulate(rng, noise, tau=0.0, shift=0.0, seeds=3, curvature=0.05):
    """True vertices and sweeps: the grid's phase is random, τ scatters widths, `shift` moves a seed's whole curve."""
    vertices = -6.5 + rng.uniform(-0.25, 0.25) + SLOPE * OCTAVES + tau * rng.standard_normal(5)
    sweeps = []
    for x, vertex in enumerate(vertices):
        centre = vertex + shift * rng.standard_normal((seeds, 1))
        offsets = 0.02 * rng.standard_normal((seeds, 1))
        ln_loss = curvature * (RATES - centre) ** 2 + offsets + noise * rng.standard_normal((seeds, len(RATES)))
        sweeps.append(Sweep(float(x), RATES, ln_loss))
    return vertices, sweeps


def test_five_points_beat_the_best_of_the_grid_by_half():
    rng = np.random.default_rng(21)
    fitted, gridded, interior = [], [], []
    for _ in range(250):
        optima = find_optima(simulate(rng, noise=0.02, tau=0.1)[1])
        found = [optimum for optimum in optima if optimum.status == "interior"]
        interior.append(len(found))
        if len(found) < 3:
            continue
        fitted.append(slope_ols([optimum.x for optimum in found], [optimum.log2_lr for optimum in found]).estimate)
        gridded.append(slope_ols(OCTAVES, [optimum.grid_best for optimum in optima]).estimate)
    rmse = {
        name: np.sqrt(np.mean((np.array(each) - SLOPE) ** 2)) for name, each in (("fit", fitted), ("grid", gridded))
    }
    # The design notes saw 0.047 and 0.098.
    assert rmse["fit"] == pytest.approx(0.045, abs=0.008)
    assert rmse["grid"] == pytest.approx(0.098, abs=0.012)
    assert np.mean(interior) > 4.8


@pytest.mark.parametrize(
    ("noise", "shift", "seeds"),
    [(0.01, 0.0, 3), (0.01, 0.2, 3), (0.005, 0.0, 1)],
    ids=["noise", "shifted seeds", "one seed"],
)
def test_fieller_interval_covers_the_optimum(noise, shift, seeds):
    rng = np.random.default_rng(22)
    hits = []
    for _ in range(120):
        vertices, sweeps = simulate(rng, noise, shift=shift, seeds=seeds)
        hits += [
            optimum.ci_low <= vertex <= optimum.ci_high
            for vertex, optimum in zip(vertices, find_optima(sweeps), strict=True)
            if optimum.status == "interior"
        ]
    assert len(hits) > 500
    # Above 95 % with several seeds: the larger of two variances is taken.
    assert 0.92 <= np.mean(hits) <= 0.99
