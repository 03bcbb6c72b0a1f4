"""Synthetic tables with known parameters: laws give them back, their noise as it must be, and say when they cannot."""

import itertools

import numpy as np
import pandas as pd
import pytest

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS
from muster.fitting.laws.base import LAWS
from muster.fitting.laws.solve import fit_law, solve
from muster.statistics.schedules import annealing_areas


def product(*axes):
    return np.array(list(itertools.product(*axes)), float).T


def repeated(sizes, unique, epochs):
    n, u, repeats = product(sizes, unique, epochs)
    return np.array([n, u * repeats, u])


def at_ratios(sizes, ratios):
    n, m = product(sizes, ratios)
    return np.array([n, n * m])


def curves(steps=2000, decay=0.999):
    """Every hundredth step of a constant, a cosine and a warm-stable-decay schedule."""
    step = np.arange(1, steps + 1)
    cosine = 5e-4 * (1 + np.cos(np.pi * step / steps)) + 1e-5
    stable = np.where(step < 0.8 * steps, 1e-3, 1e-3 * 10 ** (-(step - 0.8 * steps) / (0.2 * steps)))
    areas = [np.array(annealing_areas(rates, decay)) for rates in (np.full(steps, 1e-3), cosine, stable)]
    return np.concatenate([area[:, 99::100] for area in areas], axis=1)


SIZES = (2e7, 1.5e8, 1e9, 4e9)
STREAMS = product((5e8, 1e9, 2e9, 4e9), (1, 2, 4, 8))
TRUTH = {
    "data_constrained": (
        repeated(SIZES, (1e8, 1e9, 8e9), (1, 2, 4, 8, 16, 40, 100)),
        {"e": 1.87, "a": 521.0, "b": 1488.0, "alpha": 0.353, "beta": 0.353, "r_d": 15.4, "r_n": 5.3},
    ),
    "overtraining": (
        at_ratios((1e7, 8e7, 1.5e8, 4e8), (5, 20, 80, 320, 640)),
        {"e": 1.84, "a": 212.0, "b": 367.0, "eta": 0.136},
    ),
    "error_law": (np.linspace(2.4, 5.4, 20)[None], {"epsilon": 0.857, "k": 2.2, "gamma": 0.71}),
    "parallel": (STREAMS, {"e": 0.69, "a": 1.13e7, "alpha": 0.189, "k": 0.39}),
    "parallel_power": (STREAMS, {"e": 0.69, "a": 1.13e7, "alpha": 0.189, "k": 0.3}),
    "parallel_shape": (STREAMS, {"e": 0.69, "a": 1.13e7, "alpha": 0.189, "k": 0.39, "shape": -0.3}),
    "routed": (
        product((1.5e7, 5.5e7, 1.3e8, 3.7e8, 1.3e9), (1, 2, 8, 32, 128, 512)),
        {"a": -0.082, "b": -0.108, "c": 0.009, "d": 1.104, "e_start": 1.85, "e_max": 314.0},
    ),
    "annealing": (curves(), {"l0": 2.6, "a": 0.43, "alpha": 0.51, "c": 0.41}),
}


def table(name, **changed):
    x, values = TRUTH[name]
    law = LAWS[name]
    natural = np.array([{**values, **changed}[parameter] for parameter in law.parameters])
    return law, x, law.predict(natural, x), natural


@pytest.mark.parametrize("name", TRUTH)
def test_exact_losses_give_the_parameters_back_from_every_start(name):
    law, x, y, natural = table(name)
    fit = fit_law(law, x, y)
    np.testing.assert_allclose([fit.natural[p] for p in law.parameters], natural, rtol=1e-6)
    assert fit.certificate.converged
    assert fit.certificate.starts_agreeing >= 0.9 * fit.certificate.starts


@pytest.mark.parametrize("name", ["overtraining", "error_law", "parallel", "routed", "annealing", "data_constrained"])
def test_estimates_scatter_as_the_gradient_says(name):
    """Over 120 tables with noise so small that laws are linear in it: deviations over √diag (JᵀJ)⁻¹ σ are standard."""
    law, x, y, natural = table(name)
    truth = law.from_natural(natural[None])
    jacobian = law.log_value(truth, x)[1][0]
    sd = 1e-4 * np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)))
    rng = np.random.default_rng(7)
    noisy = [y * np.exp(1e-4 * rng.standard_normal(len(y))) for _ in range(120)]
    z = np.array([(solve(law, x, losses, None, truth, warm=True).theta - truth)[0] / sd for losses in noisy])
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=3.5 / np.sqrt(len(z)))
    np.testing.assert_allclose(z.std(axis=0), 1.0, atol=3.5 / np.sqrt(2 * len(z)))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("parallel", lambda x: x[1] == 2),
        ("overtraining", lambda x: x[1] == 20 * x[0]),
        ("data_constrained", lambda x: x[1] == x[2]),
        ("routed", lambda x: x[1] == 8),
        ("annealing", lambda x: x[1] == 0),
    ],
    ids=[
        "one number of streams",
        "constant tokens per parameter",
        "no repetition",
        "one number of experts",
        "no annealing",
    ],
)
def test_a_design_that_leaves_a_parameter_out_is_not_certified(name, rows):
    law, x, y, _ = table(name)
    keep = rows(x)
    assert keep.sum() > 3
    certificate = fit_law(law, x[:, keep], y[keep]).certificate
    assert not certificate.converged or certificate.condition_number > 1e8


@pytest.mark.parametrize(
    ("name", "changed", "parameter"),
    [("parallel", {"k": 1e-12}, "k"), ("data_constrained", {"r_d": 1e9}, "r_d")],
    ids=["streams without use", "repetition without loss"],
)
def test_a_parameter_without_end_is_found_at_its_bound(name, changed, parameter):
    law, x, y, _ = table(name, **changed)
    certificate = fit_law(law, x, y).certificate
    assert parameter in certificate.bound_hit
    assert not certificate.converged


def test_an_error_rate_that_is_linear_in_the_loss_has_no_rate():
    law = LAWS["error_law"]
    loss = np.linspace(2.4, 3.0, 12)
    fit = fit_law(law, loss[None], 0.2 + 0.15 * loss)
    assert fit.natural["gamma"] < 0.2
    assert not fit.certificate.converged


def rows_of(name, keep=slice(None), noise=1e-3, **changed):
    """The estimator's rows for a noisy table of a law, by parameter."""
    law, x, y, _ = table(name, **changed)
    x, y = x[:, keep], y[keep] * np.exp(noise * np.random.default_rng(5).standard_normal(len(y)))[keep]
    response = "error" if name == "error_law" else "final_eval_loss"
    runs = pd.DataFrame({**dict(zip(law.variables, x, strict=True)), response: y})
    runs["run"] = [f"run{i}" for i in range(len(runs))]
    config = FitConfig(estimator=name, response=response, along=law.variables[0], options={"replicates": 100})
    return ESTIMATORS[name].function(runs, config).fits.set_index("parameter")


@pytest.mark.parametrize("name", sorted(set(TRUTH) - {"data_constrained"}))
def test_no_more_runs_than_parameters_is_too_few(name):
    found = rows_of(name, keep=slice(None, None, len(TRUTH[name][0][0]) // len(TRUTH[name][1]) + 1))
    assert set(found["status"]) == {"too_few"}
    assert found[["estimate", "se", "ci_low", "ci_high"]].isna().all(axis=None)


def test_one_number_of_streams_is_collinear_and_one_ratio_of_tokens_too():
    for name, rows in (("parallel", lambda x: x[1] == 2), ("overtraining", lambda x: x[1] == 20 * x[0])):
        x = np.concatenate([TRUTH[name][0]] * 3, axis=1)
        law = LAWS[name]
        keep = rows(x)
        y = law.predict(np.array([TRUTH[name][1][p] for p in law.parameters]), x)[keep]
        y *= np.exp(1e-3 * np.random.default_rng(2).standard_normal(len(y)))
        runs = pd.DataFrame(dict(zip(law.variables, x[:, keep], strict=True)), index=None)
        runs = runs.assign(final_eval_loss=y, run=[f"run{i}" for i in range(len(y))])
        config = FitConfig(estimator=name, response="final_eval_loss", along="parameters", options={"replicates": 100})
        found = ESTIMATORS[name].function(runs, config).fits
        assert set(found["status"]) <= {"collinear", "too_few"}
        assert found["se"].isna().all()


@pytest.mark.parametrize(
    ("name", "changed", "parameter"),
    [("parallel", {"k": 1e-12}, "k"), ("data_constrained", {"r_d": 1e9}, "r_d")],
    ids=["streams without use", "repetition without loss"],
)
def test_a_parameter_without_end_is_not_identified(name, changed, parameter):
    found = rows_of(name, **changed).loc[parameter]
    assert found["status"] == "not_identified"
    assert np.isnan(found["se"])


@pytest.mark.parametrize("name", ["overtraining", "error_law", "parallel", "routed"])
def test_the_estimator_gives_an_interval_around_the_truth(name):
    found = rows_of(name)
    assert set(found["status"]) == {"ok"}
    for parameter, value in TRUTH[name][1].items():
        row = found.loc[parameter]
        assert row["ci_low"] < row["estimate"] < row["ci_high"]
        # Half again the interval: some of so many must miss their 95 %.
        half = 0.75 * (row["ci_high"] - row["ci_low"])
        assert abs(row["estimate"] - value) < half
