"""Random features and batch Hessians against closed forms, closed forms against brute force, wrong exponents refuted.

Limits are 4.5 standard errors.
"""

import numpy as np
import pandas as pd
import pytest

from muster.fitting.closed_forms.base import CLOSED_FORMS
from tests.statistical.test_regression_laws import assert_within_error, decide, probes

CLOSE = {"draws": 400, "latent": 64}


def brute_force(samples, width, latent, exponent, draws, seed=3):
    """Loss of the minimal-norm fit with explicit weights and held-out features, [draws]."""
    rng = np.random.default_rng(seed)
    root = np.sqrt(np.arange(1.0, latent + 1) ** -(1 + exponent))
    x = rng.standard_normal((draws, samples, latent)) * root
    mixing = rng.standard_normal((draws, latent, width))
    w = rng.standard_normal((draws, latent, 40))
    theta = np.linalg.pinv(x @ mixing) @ (x @ w)
    error = root[:, None] * (w - mixing @ theta)
    return np.square(error).sum(axis=1).mean(axis=1)


@pytest.mark.parametrize(("samples", "width"), [(4, 12), (12, 4)])
def test_losses_are_those_of_explicit_fits(samples, width):
    found = (
        probes("random_features", samples=samples, width=width, latent=20, draws=4000).set_index("probe").loc["loss"]
    )
    expected = brute_force(samples, width, 20, 1.0, 4000)
    error = np.hypot(found["se"], expected.std() / np.sqrt(len(expected)))
    assert abs(found["value"] - expected.mean()) < 4.5 * error


@pytest.mark.parametrize(("samples", "width"), [(8, 16), (64, 8), (8, 100)])
@pytest.mark.parametrize("exponent", [0.5, 2.0])
def test_inflation_is_exact_at_small_sizes(samples, width, exponent):
    rows = probes("random_features", samples=samples, width=width, kernel_exponent=exponent, draws=2000, latent=24)
    assert_within_error(rows[rows["probe"] == "inflation"], "random_features_inflation")


def test_the_loss_is_one_function_of_samples_and_features():
    a, b = (
        probes("random_features", samples=d, width=p, latent=40, draws=3000).set_index("probe")
        for d, p in ((6, 20), (20, 6))
    )
    for probe in ("loss", "excess"):
        gap = a.loc[probe, "value"] - b.loc[probe, "value"]
        assert abs(gap) < 4.5 * np.hypot(a.loc[probe, "se"], b.loc[probe, "se"])


@pytest.mark.parametrize("exponent", [0.5, 1.5])
def test_limit_losses_follow_the_deterministic_equivalent(exponent):
    rows = probes(
        "random_features", quantity="limits", samples=32, width=48, latent=1024, kernel_exponent=exponent, draws=100
    )
    for probe in ("data_limited", "width_limited"):
        assert_within_error(rows[rows["probe"] == probe], "resolution_limited_loss", slack=0.03)


def test_a_limit_is_the_loss_with_very_many_features():
    finite = probes("random_features", samples=8, width=4000, latent=64, draws=300).set_index("probe").loc["loss"]
    # An endless spectrum whose tail is negligible: 64 features hold all but 1e-8 of the variance.
    steep = probes("random_features", samples=8, width=4000, latent=64, draws=300, kernel_exponent=4.0)
    limit = probes("random_features", quantity="limits", samples=8, width=8, latent=64, draws=300, kernel_exponent=4.0)
    a, b = steep.set_index("probe").loc["loss"], limit.set_index("probe").loc["data_limited"]
    assert abs(a["value"] - b["value"]) < 4.5 * np.hypot(a["se"], b["se"])
    assert finite["value"] > a["value"]


@pytest.fixture(scope="module")
def variance_limited():
    rows = [probes("random_features", samples=d, width=8, **CLOSE) for d in (256, 512, 1024, 2048, 4096)]
    table = pd.concat(rows)
    return table[table["probe"] == "excess"]


@pytest.mark.parametrize(("predicted", "expected"), [(-1.0, "supported"), (-0.5, "refuted"), (-1.2, "refuted")])
def test_the_variance_limited_exponent_is_decided(variance_limited, predicted, expected):
    assert decide(variance_limited, "samples", predicted) == expected


@pytest.fixture(scope="module")
def resolution_limited():
    settings = {"quantity": "limits", "latent": 2048, "draws": 24}
    table = pd.concat([probes("random_features", samples=n, width=n, **settings) for n in (32, 64, 128, 256)])
    return table[table["probe"] == "width_limited"]


@pytest.mark.parametrize(("predicted", "expected"), [(-1.0, "supported"), (-2.0, "refuted"), (-0.8, "refuted")])
def test_the_resolution_limited_exponent_is_decided(resolution_limited, predicted, expected):
    assert decide(resolution_limited, "width", predicted) == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 8},
        {"batch_size": 64, "outlier": 0.5},
        {"batch_size": 2, "outlier": 2.0},
        {"batch_size": 2, "outlier": 0.3},
        {"batch_size": 4, "outlier": 0.26},  # below the transition λ² = 1/B though not below λ = 1/B
    ],
)
def test_the_batch_outlier_follows_its_closed_form_on_both_sides_of_the_transition(settings):
    rows = probes("batch_hessian", width=300, draws=40, **settings)
    assert_within_error(rows[rows["probe"] == "batch_outlier"], "batch_outlier", slack=0.03)


def test_examples_follow_the_spiked_covariance_model():
    rows = probes("batch_hessian", width=200, batch_size=100, noise="examples", draws=300)
    across = 1 / 200
    exact = (200 / 100) * across / (1 - across)
    excess = rows[rows["probe"] == "outlier_excess"].iloc[0]
    assert abs(excess["value"] - exact) < 4.5 * excess["se"] + 0.02 * exact
    formula = CLOSED_FORMS["outlier_excess"](rows).iloc[0]
    assert formula == pytest.approx(exact, rel=2 * across)


@pytest.mark.parametrize("outlier", [0.5, 2.0])
def test_the_outlier_excess_falls_with_the_outlier_and_has_less_noise_than_the_outlier(outlier):
    rows = probes("batch_hessian", width=200, batch_size=64, outlier=outlier, draws=64)
    assert_within_error(rows[rows["probe"] == "outlier_excess"], "outlier_excess", slack=0.1)
    se = rows.set_index("probe")["se"]
    assert se["outlier_excess"] < 0.5 * se["batch_outlier"]  # the control variate takes the first-order noise away


@pytest.mark.parametrize("noise", ["gaussian", "examples"])
def test_noise_applied_to_the_outlier_has_the_stated_size(noise):
    from muster.sampling.batch_hessian import NOISES, BatchHessianCell

    cell = BatchHessianCell(width=100, batch_size=5, noise=noise, outlier=2.0, seed=0)
    hessian = NOISES[noise](cell, 2000, np.random.default_rng(0))
    across = np.square(hessian[:, 0, 1:]).sum(axis=1)
    assert abs(across.mean() - 1 / 5 * 99 / 100) < 4.5 * across.std() / np.sqrt(2000)
    assert hessian[:, 0, 0].mean() == pytest.approx(2.0, rel=0.05)
    np.testing.assert_array_equal(hessian, np.swapaxes(hessian, 1, 2))


@pytest.fixture(scope="module")
def outlier_excess():
    table = pd.concat([probes("batch_hessian", width=200, batch_size=b, draws=64) for b in (8, 16, 32, 64, 128)])
    return table[table["probe"] == "outlier_excess"]


@pytest.mark.parametrize(("predicted", "expected"), [(-1.0, "supported"), (-0.5, "refuted")])
def test_the_rate_of_the_outlier_excess_is_decided(outlier_excess, predicted, expected):
    assert decide(outlier_excess, "batch_size", predicted) == expected
