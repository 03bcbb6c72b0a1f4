"""Kernels and gradients against finite differences, sampled units and the authors' pseudo-inverse; exponents."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from muster.sampling.kernel_sensitivity import (
    FREQUENCY,
    KernelSensitivityCell,
    activation,
    finite_parts,
    infinite_parts,
    sensitivity,
    sphere,
)
from tests.statistical.test_regression_laws import decide, probes

KINDS = [(model, parity) for model in ("rf", "ntk") for parity in ("even", "odd", "both")]


def drawn(model, parity, samples=8):
    cell = KernelSensitivityCell(model=model, parity=parity, samples=samples, power=0.8, seed=0)
    rng = np.random.default_rng(0)
    return cell, sphere(rng, samples, cell.dimension), sphere(rng, 2, cell.dimension)


def mean_kernel(cell, x, z):
    """k(x, z) of infinitely many units for any norms, from the means of waves."""
    d = cell.dimension
    square, products = FREQUENCY**2, x @ z.T / d
    sizes = (np.square(x).sum(axis=1)[:, None] + np.square(z).sum(axis=1)) / d
    plus, minus = (np.exp(-square * (sizes / 2 + sign * products)) for sign in (1, -1))  # E cos ω(u ± u')
    cosines, sines = (minus + plus) / 2, (minus - plus) / 2
    if cell.model == "rf":
        return {"even": cosines, "odd": sines, "both": cosines + sines}[cell.parity]
    return square * products * {"even": sines, "odd": cosines, "both": cosines + sines}[cell.parity]


@pytest.mark.parametrize(("model", "parity"), KINDS)
def test_kernels_and_gradients_of_infinitely_many_units(model, parity):
    cell, x, z = drawn(model, parity)
    kernel, gradients = infinite_parts(cell, x, z)
    assert_allclose(kernel, mean_kernel(cell, x, x), rtol=1e-9)
    for direction in range(cell.dimension):
        step = 1e-6 * np.eye(cell.dimension)[direction]
        told = (mean_kernel(cell, x, z + step) - mean_kernel(cell, x, z - step)) / 2e-6
        assert_allclose(gradients[..., direction], told, atol=1e-8)


@pytest.mark.parametrize(("model", "parity"), KINDS)
def test_many_units_come_near_infinitely_many(model, parity):
    cell, x, z = drawn(model, parity)
    units = 200_000
    w = np.random.default_rng(1).standard_normal((cell.dimension, units)) / np.sqrt(cell.dimension)
    finite, scale = finite_parts(cell, x, z, w), units * (1 if model == "rf" else cell.dimension)
    for found, told in zip(finite, infinite_parts(cell, x, z), strict=True):
        assert_allclose(found / scale, told, atol=0.02 * np.abs(told).max())


@pytest.mark.parametrize(("model", "parity"), KINDS)
def test_the_sensitivity_is_that_of_the_authors_pseudo_inverse(model, parity):
    """S = √d ‖∇φ(z) Φ⁺ y‖ of their code, averaged over labels: each unit vector in the place of y."""
    cell, x, z = drawn(model, parity)
    d, w = cell.dimension, np.random.default_rng(2).standard_normal((cell.dimension, 40)) / np.sqrt(cell.dimension)

    def features(points):
        u = points @ w
        if model == "rf":
            return activation(parity, 0, u)
        return (points[:, :, None] * activation(parity, 1, u)[:, None]).reshape(len(points), -1)

    squares = []
    for each in z:
        moves = np.array([features((each + step)[None])[0] for step in 1e-6 * np.eye(d)])
        back = np.array([features((each - step)[None])[0] for step in 1e-6 * np.eye(d)])
        squares.append(d * np.square((moves - back) / 2e-6 @ np.linalg.pinv(features(x))).sum())
    assert sensitivity(*finite_parts(cell, x, z, w)) == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-5)


def test_derivatives_of_the_waves():
    u = np.linspace(-1, 1, 5)
    assert_allclose(activation("even", 0, u), np.cos(1.5 * u))
    assert_allclose(activation("odd", 2, u), -2.25 * np.sin(1.5 * u), atol=1e-12)
    assert_allclose(activation("both", 1, u), 1.5 * (np.cos(1.5 * u) - np.sin(1.5 * u)))


def test_points_lie_on_the_sphere_and_dimensions_follow_samples():
    assert_allclose(np.linalg.norm(sphere(np.random.default_rng(0), 3, 16), axis=1), 4)
    assert KernelSensitivityCell(samples=100, power=0.8, seed=0).dimension == 40


def test_random_features_grow_more_sensitive_with_samples_than_even_tangent_kernels_and_no_change_is_refuted():
    def slope_rows(**settings):
        return pd.concat([probes("kernel_sensitivity", samples=n, **settings) for n in (60, 100, 160, 250)])

    rf, ntk = slope_rows(), slope_rows(model="ntk", parity="even")
    assert decide(rf, "samples", 0.3, margin=0.2) == "supported"
    assert decide(rf, "samples", 0.0, margin=0.1) == "refuted"
    slopes = [np.polyfit(np.log(rows["samples"]), np.log(rows["value"]), 1)[0] for rows in (rf, ntk)]
    assert slopes[1] < slopes[0] - 0.1
