"""Interpolants of noise against linear programs, quadrature and wrong exponents."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, optimize

from muster.sampling.interpolant import InterpolantCell, integral, knots, risks
from tests.statistical.test_regression_laws import decide, probes


@pytest.mark.parametrize("seed", range(6))
def test_interpolants_have_the_least_total_bend_of_a_linear_program_and_no_more_kinks_than_the_line(seed):
    """min Σ|second differences| on a fine grid that holds the points."""
    rng = np.random.default_rng(seed)
    fine = 120
    at = np.sort(rng.choice(np.arange(1, fine), 6, replace=False))
    x, y = at / fine, rng.standard_normal(6)
    vertices, heights = knots(x, y)
    np.testing.assert_allclose(np.interp(x, vertices, heights), y, atol=1e-12)
    slopes = np.diff(heights) / np.diff(vertices)
    bends = np.diff(slopes)
    assert (np.abs(bends) > 1e-6 * np.abs(slopes).max()).sum() <= 4
    second = np.diff(np.eye(fine + 1), n=2, axis=0) * fine
    k = len(second)
    program = optimize.linprog(
        np.concatenate([np.zeros(fine + 1), np.ones(k)]),
        A_ub=np.block([[second, -np.eye(k)], [-second, -np.eye(k)]]),
        b_ub=np.zeros(2 * k),
        A_eq=np.concatenate([np.eye(fine + 1)[at], np.zeros((6, k))], axis=1),
        b_eq=y,
        bounds=[(None, None)] * (fine + 1) + [(0, None)] * k,
    )
    assert np.abs(bends).sum() == pytest.approx(program.fun, rel=1e-6)


def test_two_like_bends_become_one_kink_where_the_outer_lines_cross():
    x, y = knots(np.arange(4.0), np.array([1.0, 0, 0, 1]))
    np.testing.assert_allclose((x, y), ([0, 1, 1.5, 2, 3], [1, 0, -0.5, 0, 1]))


def test_zigzags_stay_as_they_are():
    x, y = np.arange(5.0), np.array([0.0, 1, -1, 1, 0])
    assert (knots(x, y)[1] == y).all()


@pytest.mark.parametrize("power", [1, 2, 3, 4])
def test_integrals_are_those_of_quadrature(power):
    x, y = np.array([0, 0.3, 0.5, 1.0]), np.array([1.0, -2.0, -2.0, 0.5])
    expected = integrate.quad(lambda t: abs(np.interp(t, x, y)) ** power, 0, 1, points=x[1:-1], limit=200)[0]
    assert integral(x, y, power) == pytest.approx(expected, rel=1e-6)


def test_risks_have_their_exponents_and_wrong_ones_are_refuted():
    rows = pd.concat(probes("interpolant", width=n, draws=240) for n in (64, 128, 256, 512, 1024))
    for power, exponent in ((1, 0), (4, 1)):
        some = rows[rows["layer"] == power]
        assert decide(some, "width", exponent, margin=0.3) != "refuted"
        for wrong in (exponent - 1, exponent + 1, exponent + 0.7):
            assert decide(some, "width", wrong, margin=0.2) == "refuted"


def test_a_grid_has_no_spikes():
    found = [
        risks(InterpolantCell(width=500, points=p, seed=0), np.random.default_rng(0))[3] for p in ("grid", "uniform")
    ]
    assert found[0] < 10 < found[1]
