"""Sampled statistics against closed forms and against real weight matrices. Limits are 4.5 standard errors."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import digamma, polygamma
from scipy.stats import binom

from muster.config.models import FitConfig
from muster.experiments import EXPERIMENTS, Context
from muster.fitting.base import ESTIMATORS
from muster.sampling.matrix_product import MatrixProductCell, ks_to_uniform
from muster.sampling.relu_chain import ReluChainCell

LIMIT = 4.5


def probes(name, cell):
    table = EXPERIMENTS[name].run(cell, Context(progress=lambda text: None)).probes
    return {probe: rows.set_index("layer")[["value", "se"]] for probe, rows in table.groupby("probe")}


def assert_within_error(measured, expected, limit=LIMIT):
    z = (measured["value"] - expected) / measured["se"]
    assert np.abs(z).max() < limit, z


def relu_log_moments(width):
    """Mean and variance of log X, X = (2/n) χ²_M, M ~ Binomial(n, ½) given M ≥ 1: exact at every width."""
    active = np.arange(1, width + 1)
    weight = binom.pmf(active, width, 0.5)
    weight /= weight.sum()
    level = digamma(active / 2)
    mean = weight @ level
    return mean + np.log(4 / width), weight @ polygamma(1, active / 2) + weight @ level**2 - mean**2


def relu_by_matrices(width, depth, draws, rng):
    """log (2/n)‖h_ℓ‖² of real He-ReLU networks in float64: [depth, draws]."""
    h = np.broadcast_to(np.sqrt(0.5) * np.eye(1, width) * np.sqrt(width), (draws, width))
    rows = []
    for _ in range(depth):
        weights = rng.standard_normal((draws, width, width)) * np.sqrt(2 / width)
        h = np.maximum(np.einsum("bi,bij->bj", h, weights), 0)
        rows.append(2 / width * (h**2).sum(axis=1))
    return np.array(rows)


def tanh_by_matrices(width, depth, draws, rng):
    """(1/n)‖h_ℓ‖² of real critical tanh networks in float64 from an input with ‖x‖²/n = 1: [depth, draws]."""
    h = np.ones((draws, width))
    rows = []
    for _ in range(depth):
        h = np.tanh(np.einsum("bi,bij->bj", h, rng.standard_normal((draws, width, width)) / np.sqrt(width)))
        rows.append((h**2).mean(axis=1))
    return np.array(rows)


def two_sample_z(measured, values):
    """Difference of a probe's variance from a sample's, in standard errors."""
    centred = values - values.mean(axis=1, keepdims=True)
    variance = (centred**2).mean(axis=1)
    se = np.sqrt(((centred**4).mean(axis=1) - variance**2) / values.shape[1])
    return (measured["value"].to_numpy() - variance) / np.hypot(se, measured["se"].to_numpy())


@pytest.fixture(scope="module")
def relu():
    return {n: probes("relu_chain", ReluChainCell(width=n, depth=16, seed=0, draws=60_000)) for n in (8, 64)}


@pytest.mark.parametrize("width", [8, 64])
def test_relu_kurtosis_is_exact_at_every_width_and_depth(relu, width):
    measured = relu[width]["kurtosis_ratio"]
    assert_within_error(measured, (1 + 5 / width) ** measured.index.to_numpy())
    assert (measured["se"] / measured["value"]).max() < 0.02


@pytest.mark.parametrize("width", [8, 64])
def test_relu_log_norm_moments_and_dead_networks_are_exact(relu, width):
    mean, variance = relu_log_moments(width)
    layer = relu[width]["log_norm_mean"].index.to_numpy()
    assert_within_error(relu[width]["log_norm_mean"], layer * mean)
    assert_within_error(relu[width]["log_norm_var"], layer * variance)
    alive = relu[width]["alive_share"]
    assert np.abs(alive["value"] - (1 - 0.5**width) ** layer).max() < LIMIT * 0.5 / np.sqrt(60_000)


def test_relu_log_variance_expands_as_5_over_n_with_18_5_over_n_squared():
    for width in (128, 256, 1024):
        assert relu_log_moments(width)[1] == pytest.approx(5 / width + 18.5 / width**2, rel=40 / width**2)


def test_relu_chain_equals_real_matrices():
    real = relu_by_matrices(8, 4, 20_000, np.random.default_rng(1))
    chain = probes("relu_chain", ReluChainCell(width=8, depth=4, seed=0, draws=60_000))
    assert (real > 0).mean(axis=1) == pytest.approx(chain["alive_share"]["value"], abs=0.01)
    alive = real[:, real[-1] > 0]
    # Networks alive at the last layer were alive at every layer, so only that layer's law is the chain's.
    assert np.abs(two_sample_z(chain["log_norm_var"].loc[[4]], np.log(alive[[3]]))).max() < LIMIT
    ratio = (real**2).mean(axis=1) / real.mean(axis=1) ** 2
    assert ratio[:2] == pytest.approx(chain["kurtosis_ratio"]["value"].iloc[:2], rel=0.06)


def test_tanh_chain_equals_real_matrices():
    real = tanh_by_matrices(16, 6, 10_000, np.random.default_rng(1))
    chain = probes("relu_chain", ReluChainCell(width=16, depth=6, seed=0, draws=60_000, activation="tanh"))
    assert np.abs(two_sample_z(chain["log_norm_var"], np.log(real))).max() < LIMIT
    relative = real.var(axis=1) / real.mean(axis=1) ** 2
    assert relative == pytest.approx(chain["norm_var_relative"]["value"], rel=0.08)


def test_tanh_variance_follows_the_first_order_recursion_and_two_thirds():
    width, depth = 512, 32
    cell = ReluChainCell(width=width, depth=depth, seed=0, draws=2000, activation="tanh", input_variance=0.5)
    measured = probes("relu_chain", cell)["norm_var_relative"]
    nodes, weight = np.polynomial.hermite_e.hermegauss(120)
    weight /= weight.sum()
    kernel, variance, expected = 0.5, 0.0, []
    for _ in range(depth):
        h = np.tanh(np.sqrt(kernel) * nodes)
        susceptibility = weight @ (h * (1 - h**2) * nodes) / np.sqrt(kernel)
        mean = weight @ h**2
        variance = (weight @ h**4 - mean**2) / width + susceptibility**2 * variance
        kernel = mean
        expected.append(variance / mean**2)
    layer = measured.index.to_numpy()
    second_order = np.array(expected) * layer / width
    assert (np.abs(measured["value"] - expected) < LIMIT * measured["se"] + second_order).all()
    deep = layer >= 8
    assert (measured["value"] / (2 / 3 * layer / width))[deep].mean() == pytest.approx(1, abs=0.05)


def fit_slope(table):
    fit = FitConfig(estimator="power_law", table="probes", response="value", along="width")
    fits = ESTIMATORS["power_law"].function(table, fit).fits
    return fits[fits["primary"]].iloc[0]


def test_the_slope_in_width_excludes_a_wrong_exponent():
    rows = []
    for width in (64, 128, 256, 512):
        value = probes("relu_chain", ReluChainCell(width=width, depth=4, seed=0, draws=40_000))["log_norm_var"].loc[
            4, "value"
        ]
        rows.append({"study": "s", "width": width, "seed": 0, "value": value})
    fitted = fit_slope(pd.DataFrame(rows))
    assert fitted["estimate"] == pytest.approx(-1, abs=0.05)
    assert fitted["ci_high"] < -0.9, "an exponent of -0.9 must be excluded"
    assert fitted["ci_low"] > -1.1, "an exponent of -1.1 must be excluded"


def gaussian_exponents(width):
    """Newman 1986: λ_i = ½ [log(2/n) + ψ((n − i + 1)/2)], i = 1 … n."""
    return 0.5 * (np.log(2 / width) + digamma((width - np.arange(1, width + 1) + 1) / 2))


def test_ks_distance_of_the_exact_gaussian_spectrum_tends_to_one_over_n():
    widths = [5, 10, 20, 40, 80]
    constants = [width * ks_to_uniform(np.exp(2 * gaussian_exponents(width))) for width in widths]
    np.testing.assert_allclose(constants, [0.960, 0.982, 0.991, 0.996, 0.998], atol=6e-4)


@pytest.mark.parametrize("width", [4, 12])
def test_sampled_gaussian_exponents_are_exact(width):
    measured = probes("matrix_product", MatrixProductCell(width=width, depth=100, seed=0, draws=100))["lyapunov"]
    assert_within_error(measured, gaussian_exponents(width))
    assert measured["se"].max() < 0.02


def test_sampled_ks_distance_tends_to_the_exact_one():
    measured = probes("matrix_product", MatrixProductCell(width=8, aspect=1000, seed=0, draws=32))
    exact = ks_to_uniform(np.exp(2 * gaussian_exponents(8)))
    limit = measured["ks_limit"].loc[1]
    assert abs(limit["value"] - exact) < LIMIT * limit["se"] + 0.02 * exact
    assert exact < measured["ks_uniform"].loc[1, "value"] < 1.1 * exact


@pytest.mark.parametrize("law", ["gauss", "rademacher", "uniform", "student5"])
def test_the_distance_falls_with_width_for_every_law(law):
    small, large = (
        probes("matrix_product", MatrixProductCell(width=n, aspect=16, entries=law, seed=0, draws=16))[
            "ks_uniform"
        ].loc[1]
        for n in (4, 16)
    )
    assert small["value"] - large["value"] > LIMIT * np.hypot(small["se"], large["se"])
