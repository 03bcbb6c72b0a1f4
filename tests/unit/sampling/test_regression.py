"""Regression experiments: cells, tables, and building blocks against brute-force fits in float64."""

import math

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import integrate

from muster.experiments import EXPERIMENTS, Context
from muster.sampling import regression
from muster.sampling.draws import mean_over_draws, ratio_of_means
from muster.sampling.regression import (
    RIDGES,
    KernelRidgeCell,
    LabelChainCell,
    TeacherStudentCell,
    flow_times,
    kernel_risks,
    kernel_spectrum,
    last_fit,
    least_squares_noise,
    wishart_root,
)

CELLS = {
    "flow": ("teacher_student", TeacherStudentCell(width=6, seed=0, aspect=0.5, draws=4, horizon=8)),
    "chain": ("label_chain", LabelChainCell(width=3, seed=0, samples=9, draws=4, generations=3)),
    "ridge": ("label_chain", LabelChainCell(width=3, seed=0, samples=9, draws=4, generations=2, last_fit="ridge")),
    "kernel": ("kernel_ridge", KernelRidgeCell(samples=4, aspect=0.25, seed=0, draws=4)),
}


def run(name, cell):
    return EXPERIMENTS[name].run(cell, Context(progress=lambda text: None))


@pytest.mark.parametrize("case", CELLS)
def test_tables_have_one_run_no_curve_and_finite_probes(case):
    outcome = run(*CELLS[case])
    assert len(outcome.runs) == 1
    assert outcome.curves.empty
    assert np.isfinite(outcome.probes[["value", "se"]]).all(axis=None)
    assert not outcome.probes.duplicated(["step", "probe", "layer"]).any()


@pytest.mark.parametrize("case", CELLS)
def test_a_cell_is_deterministic_and_seeds_differ(case):
    name, cell = CELLS[case]
    pd.testing.assert_frame_equal(run(name, cell).probes, run(name, cell).probes)
    other = run(name, cell.model_copy(update={"seed": 1})).probes
    assert not np.array_equal(run(name, cell).probes["value"], other["value"])


@pytest.mark.parametrize("case", ["chain", "kernel"])
def test_batches_cover_every_draw(case, monkeypatch):
    name, cell = CELLS[case]
    large = cell.model_copy(update={"draws": 400})
    whole = run(name, large).probes
    monkeypatch.setattr(regression, "BATCH_ENTRIES", 1000)
    parts = run(name, large).probes
    assert not np.array_equal(whole["value"], parts["value"])
    np.testing.assert_allclose(parts["se"], whole["se"], rtol=1)


def test_two_of_width_samples_and_aspect_give_the_third():
    assert TeacherStudentCell(width=10, seed=0, aspect=1.5).samples == 15
    assert KernelRidgeCell(samples=8, aspect=0.25, seed=0).width == 32
    assert KernelRidgeCell(samples=8, aspect=0.25, width=32, seed=0).width == 32
    with pytest.raises(ValidationError, match="give one of the two"):
        KernelRidgeCell(samples=8, aspect=0.25, width=40, seed=0)
    with pytest.raises(ValidationError):
        KernelRidgeCell(aspect=0.25, seed=0)


def test_too_few_samples_and_a_kernel_of_infinite_trace_are_refused():
    with pytest.raises(ValidationError, match="needs at least 10"):
        LabelChainCell(width=8, samples=18, label_ratio=0.5, seed=0)
    with pytest.raises(ValidationError, match="infinite trace"):
        KernelRidgeCell(samples=8, aspect=0.25, seed=0, decay=1)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("teacher_student", {"aspect": 2}), ("label_chain", {"samples": 64}), ("kernel_ridge", {"samples": 8})],
)
def test_costs_grow_with_draws(name, settings):
    experiment = EXPERIMENTS[name]
    small, large = (experiment.cost(experiment.cell(width=16, seed=0, draws=n, **settings)) for n in (100, 400))
    assert large.flops == pytest.approx(4 * small.flops)
    assert large.seconds > 3 * small.seconds > 0


def test_the_wishart_root_has_the_moments_of_real_features():
    root = wishart_root(np.random.default_rng(0), 40_000, 3, 5)
    assert (np.triu(root, 1) == 0).all()
    drawn = root @ np.swapaxes(root, 1, 2)
    x = np.random.default_rng(1).standard_normal((40_000, 5, 3))
    real = np.swapaxes(x, 1, 2) @ x
    for power in (1, 2):
        np.testing.assert_allclose((drawn**power).mean(axis=0), (real**power).mean(axis=0), rtol=0.03, atol=0.1)
    inverse = [np.linalg.inv(each).trace(axis1=1, axis2=2) for each in (drawn, real)]
    assert np.median(inverse[0]) == pytest.approx(np.median(inverse[1]), rel=0.03)


def test_the_noise_of_least_squares_is_alike_in_all_directions():
    """Its covariance is the mean of an inverse Wishart matrix, 1/(T − d − 1) times the identity."""
    found = least_squares_noise(np.random.default_rng(0), 20_000, 3, 12)
    np.testing.assert_allclose(found.T @ found / 20_000, np.eye(3) / (12 - 3 - 1), atol=0.06 / 8)


def test_the_ridge_fit_equals_ridge_regression_on_real_features():
    """The law of (Σ̂ + λ)⁻¹(Σ̂ w + Xᵀε/T) for given w: means of squares of both parts, from 30,000 real data sets."""
    cell = LabelChainCell(width=3, samples=8, seed=0, decay=1.5, last_fit="ridge", ridge_exponent=0.5)
    rng = np.random.default_rng(0)
    root = np.arange(1, 4) ** -0.75
    drift = np.array([1.0, -2.0, 0.5])
    x = rng.standard_normal((30_000, 8, 3)) * root
    sigma = np.swapaxes(x, 1, 2) @ x / 8
    inverse = np.linalg.inv(sigma + 8**-0.5 * np.eye(3))
    kept = (inverse @ sigma @ (drift / root)) * root
    noise = np.einsum("bij,bj->bi", inverse @ np.swapaxes(x, 1, 2) / 8, rng.standard_normal((30_000, 8))) * root
    ours, own_noise = last_fit(cell, np.random.default_rng(1), np.broadcast_to(drift, (30_000, 1, 3)))
    np.testing.assert_allclose(ours[:, 0].mean(axis=0), kept.mean(axis=0), rtol=0.02)
    np.testing.assert_allclose(np.square(ours[:, 0]).mean(axis=0), np.square(kept).mean(axis=0), rtol=0.02)
    np.testing.assert_allclose(np.square(own_noise).mean(axis=0), np.square(noise).mean(axis=0), rtol=0.04)


@pytest.mark.parametrize("spectrum", ["power", "exponential", "logarithmic"])
def test_kernel_risks_equal_explicit_kernel_regression(spectrum):
    cell = KernelRidgeCell(samples=6, width=40, seed=0, spectrum=spectrum, decay=3, noise=0.3, source=1.2)
    variance, tail, squares = kernel_spectrum(cell)
    noise, target = kernel_risks(cell, 2, np.random.default_rng(5))
    z = np.random.default_rng(5).standard_normal((2, 6, 40))
    beta = np.arange(1, 41) ** -1.2
    beta /= np.linalg.norm(beta)
    kernels = [each * variance @ each.T + tail * np.eye(6) for each in z]
    scale = np.mean([np.trace(kernel) / 6 for kernel in kernels])
    for draw, kernel in enumerate(kernels):
        for column, ridge in enumerate([0, *RIDGES * scale]):
            fit = np.linalg.inv(kernel + ridge * np.eye(6))
            weights = variance[:, None] * z[draw].T @ fit
            spread = 1 + np.square(weights).sum() + squares * np.square(fit).sum()
            labels = z[draw] @ beta
            error = np.square(beta - weights @ labels).sum() + squares * np.square(fit @ labels).sum()
            assert noise[draw, column] == pytest.approx(spread, rel=1e-6)
            assert target[draw, column] == pytest.approx(error + 0.3 * spread, rel=1e-6)
    assert (noise[:, -1] == 1).all()
    assert target[:, -1] == pytest.approx(1.3)


@pytest.mark.parametrize(("spectrum", "decay"), [("power", 1.5), ("power", 3), ("exponential", 5)])
def test_the_tail_of_a_spectrum_is_its_sum(spectrum, decay):
    cell, longer = (KernelRidgeCell(samples=4, width=d, seed=0, spectrum=spectrum, decay=decay) for d in (20, 200_000))
    (_, tail, squares), (whole, rest, _) = kernel_spectrum(cell), kernel_spectrum(longer)
    assert tail == pytest.approx(whole[20:].sum() + rest, rel=2e-3)
    assert squares == pytest.approx(np.square(whole[20:]).sum(), rel=4e-3)


def test_the_tail_of_the_logarithmic_spectrum_is_its_sum():
    cell, longer = (KernelRidgeCell(samples=4, width=d, seed=0, spectrum="logarithmic") for d in (500, 500_000))
    (_, tail, squares), (whole, rest, _) = kernel_spectrum(cell), kernel_spectrum(longer)
    assert tail == pytest.approx(whole[500:].sum() + rest, rel=1e-3)
    assert np.square(whole[500:]).sum() < squares < 2 * np.square(whole[500:]).sum()


def test_the_tail_of_the_logarithmic_spectrum_begins_half_behind_its_last_term():
    """The midpoint rule: a term each unit, from d + ½ on; in the variable ln x the integrals end."""
    cell = KernelRidgeCell(samples=4, width=20, seed=0, spectrum="logarithmic")
    _, tail, squares = kernel_spectrum(cell)
    assert tail == pytest.approx(integrate.quad(lambda u: u**-2, math.log(20.5), math.inf)[0])
    assert squares == pytest.approx(1 / (20.5 * math.log(20.5) ** 4))


def test_flow_times_end_at_the_horizon():
    assert flow_times(20) == [1, 2, 3, 4, 6, 8, 12, 16, 20]


def test_standard_errors_match_the_spread_over_replications():
    rng = np.random.default_rng(0)
    pairs = rng.gamma(3.0, size=(2000, 400, 1)) + rng.gamma(2.0, size=(2000, 400, 2))
    for statistic in (lambda a, b: mean_over_draws(a), ratio_of_means):
        values, errors = np.transpose([statistic(*pair.T) for pair in pairs])
        assert errors.mean() == pytest.approx(values.std(), rel=0.1)
