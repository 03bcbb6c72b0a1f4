"""Simulated sweeps of learning rate and batch size: coverage of the surface's exponents, and where near_best leans."""

import numpy as np
import pytest

from muster.fitting.optimum.surface import find_surface
from muster.statistics.linear import slope_ols

LN2 = np.log(2)
RATES, BATCHES = (np.arange(-13, -4.9, 0.5), np.arange(5, 11.1, 0.5))
U, V = (each.ravel() for each in np.meshgrid(RATES, BATCHES))
TOKENS = np.geomspace(1e9, 64e9, 7)
SLOPE = 0.3


def losses(rng, middle, noise, flatness=1.0):
    lr, batch = middle
    return (0.008 * (U - lr) ** 2 - 0.006 * (U - lr) * (V - batch) + 0.006 * (V - batch) ** 2) / flatness + (
        noise * rng.standard_normal(len(U))
    )


def middles(rng, scatter):
    octaves = np.log2(TOKENS / TOKENS[3])
    lr = -9 + SLOPE * octaves + scatter * rng.standard_normal(len(TOKENS))
    return list(zip(lr, 8 + 0.4 * octaves / 2, strict=True))


@pytest.mark.parametrize(("noise", "scatter"), [(1e-3, 0.0), (1e-3, 0.2)])
def test_intervals_of_the_exponent_cover(noise, scatter):
    rng = np.random.default_rng(21)
    hits, draws = 0, 150
    for _ in range(draws):
        found = [find_surface(U, V, losses(rng, middle, noise), 5, 1) for middle in middles(rng, scatter)]
        assert all(optimum.status == "interior" for optimum in found)
        low, high = slope_ols(np.log(TOKENS), [optimum.vertex[0] * LN2 for optimum in found]).interval()
        hits += low <= SLOPE <= high
    assert 0.9 <= hits / draws <= 0.99


def test_each_vertex_is_covered_by_fieller():
    rng = np.random.default_rng(22)
    hits = np.zeros(2)
    draws = 600
    for _ in range(draws):
        middle = (-9.2 + 0.1 * rng.standard_normal(), 8.1)
        found = find_surface(U, V, losses(rng, middle, 2e-3), 5, 1)
        hits += [low <= truth <= high for truth, (low, high) in zip(middle, found.ci, strict=True)]
    assert (hits / draws >= 0.93).all()
    assert (hits / draws <= 0.975).all()


def test_a_basin_that_widens_into_the_end_of_the_grid_tilts_near_best_and_not_the_vertex():
    """The documented failure of the recipe: the grid ends one octave above the optimum, the basin widens fourfold."""
    rng = np.random.default_rng(23)
    near, vertices = [], []
    for middle, flatness in zip(middles(rng, 0.0), np.geomspace(1, 16, len(TOKENS)), strict=True):
        y = losses(rng, middle, 1e-5, flatness)
        inside = middle[0] + 1.25 >= U
        u, v, y = U[inside], V[inside], y[inside]
        near.append(u[y <= y.min() + np.log(1.0025)].mean() * LN2)
        vertices.append(find_surface(u, v, y, 5, 1).vertex[0] * LN2)
    x = np.log(TOKENS)
    assert slope_ols(x, vertices).estimate == pytest.approx(SLOPE, abs=0.01)
    assert slope_ols(x, near).estimate < SLOPE - 0.05
