"""The chain of scales against real weight matrices, and its limit against the maximum of the posterior."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import optimize

from muster.errors import MusterError
from muster.sampling.deep_bayes import DeepBayesCell, log_scales, posterior_mean
from tests.statistical.test_regression_laws import decide, formula, probes


def test_posterior_outputs_equal_those_of_real_networks():
    """Variance of the output at an input orthogonal to the data, from N₀ = 3, N = 6, L = 2, P = 2: weight matrices of
    the hidden layers are drawn, the readout is integrated out, and the evidence weights the draws. The chain says that
    it is E[s | data]/N₀."""
    inputs, width, y = 3, 6, np.array([0.7, -0.4])
    rng, draws = np.random.default_rng(0), 60_000
    hidden = rng.standard_normal((draws, width, inputs)) / np.sqrt(inputs)
    hidden = rng.standard_normal((draws, width, width)) / np.sqrt(width) @ hidden
    kernel = np.swapaxes(hidden, 1, 2) @ hidden / width  # of the unit inputs e₁, e₂ (data) and e₃
    data, cross = kernel[:, :2, :2], kernel[:, :2, 2]
    inverse = np.linalg.inv(data)
    weights = np.exp(-0.5 * np.einsum("i,dij,j->d", y, inverse, y)) / np.sqrt(np.linalg.det(data))
    mean = np.einsum("di,dij,j->d", cross, inverse, y)
    second = mean**2 + kernel[:, 2, 2] - np.einsum("di,dij,dj->d", cross, inverse, cross)
    direct = weights @ second / weights.sum()

    cell = DeepBayesCell(width=width, depth=2, samples=2, evidence=2, seed=0, draws=200_000)
    t = log_scales(cell, np.random.default_rng(1))
    evidence = inputs * float(y @ y) / 2
    chain = np.exp(-1 * (t + evidence * np.exp(-t)))
    assert chain @ np.exp(t) / chain.sum() / inputs == pytest.approx(direct, rel=0.04)
    expected = chain @ t / chain.sum()
    assert posterior_mean(t, 2, evidence)[0].value == pytest.approx(expected)


@pytest.mark.parametrize(("depth", "evidence"), [(0.5, 0.5), (1.0, 2.0), (32.0, 2.0), (900.0, 1.5)])
def test_the_limit_is_the_maximum_of_the_limiting_posterior(depth, evidence):
    """Of −t²/4λ − (t + νe^(−t))/2, the exponent over P."""
    best = optimize.minimize_scalar(lambda t: t**2 / (4 * depth) + (t + evidence * np.exp(-t)) / 2, tol=1e-10)
    found = formula("deep_linear_scale", effective_depth=[depth], evidence=[evidence])[0]
    assert found == pytest.approx(best.x / np.log(evidence), rel=1e-4)


def test_networks_of_one_effective_depth_agree_with_the_limit_and_a_tenth_more_does_not():
    rows = pd.concat(
        probes("deep_bayes", effective_depth=2.0, depth=depth, samples=samples, draws=100_000)
        for depth, samples in ((8, 40), (24, 60), (12, 80))
    )
    rows = rows[rows["probe"] == "scale_share"]
    ratio = rows["value"] / formula("deep_linear_scale", **rows)
    assert (np.abs(np.log(ratio)) < 0.04).all()
    assert (np.abs(np.log(ratio / 1.1)) > 0.05).all()


def test_at_equal_depth_over_width_more_samples_mean_more_depth():
    rows = pd.concat(
        probes("deep_bayes", width=80, depth=8, samples=samples, draws=60_000) for samples in (10, 14, 20, 28, 40)
    )
    assert decide(rows[rows["probe"] == "scale_share"], "samples", 0, margin=0.1) == "refuted"


def test_too_few_effective_draws_and_a_scale_of_one_are_refused():
    with pytest.raises(MusterError, match="draws"):
        probes("deep_bayes", width=1000, depth=1, samples=400, evidence=20, draws=2000)
    with pytest.raises(ValidationError, match="no scale to learn"):
        DeepBayesCell(width=8, depth=1, samples=4, evidence=1, seed=0)
