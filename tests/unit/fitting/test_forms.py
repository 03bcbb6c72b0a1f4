"""Each form wins on its own curves, the criteria follow their definitions, and short curves decide nothing."""

import json

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS
from muster.fitting.estimators.forms import BREAKS, FORMS, criteria, extrapolation_error, information_criteria
from muster.fitting.laws.power_offset import POWER_OFFSET
from muster.fitting.laws.solve import fit_law

X = np.geomspace(1, 100, 14)
TRUTH = {
    "power": lambda x: 3 * x**-0.4,
    "power_offset": lambda x: 1 + 3 * x**-0.7,
    "exponential": lambda x: 3 * np.exp(-0.03 * x),
    "broken_power": lambda x: 3 * x**-0.2 * np.maximum(1, x / 12) ** -0.8,
}


def table(truth, x=X, seeds=4, noise=0.01):
    rng = np.random.default_rng(0)
    rows = [
        {"steps": at, "seed": seed, "final_eval_loss": truth(at) * np.exp(noise * rng.standard_normal())}
        for seed in range(seeds)
        for at in x
    ]
    return pd.DataFrame(rows)


def run(frame, **options):
    fit = FitConfig(estimator="forms", response="final_eval_loss", along="steps", options=options)
    return ESTIMATORS["forms"].function(frame, fit).fits.set_index("parameter")


@pytest.mark.parametrize("seed", range(5))
def test_the_break_is_the_one_of_least_squares(seed):
    rng = np.random.default_rng(seed)
    log_x = np.sort(rng.uniform(0, 4, 15))
    log_y = 1 - 0.2 * log_x - 0.8 * np.maximum(0, log_x - rng.uniform(1, 3)) + 0.1 * rng.standard_normal(15)
    squares = [
        np.linalg.lstsq(np.column_stack([np.ones(15), log_x, np.maximum(0, log_x - at)]), log_y)[1][0]
        for at in np.linspace(log_x[1], log_x[-2], BREAKS)
    ]
    found = FORMS["broken_power"].fit(log_x, log_y)(log_x)
    assert np.square(log_y - found).sum() == pytest.approx(min(squares), rel=1e-9)


@pytest.mark.parametrize("name", list(FORMS))
def test_a_form_reproduces_its_own_curve(name):
    log_x, log_y = np.log(X), np.log(TRUTH[name](X))
    error = np.abs(FORMS[name].fit(log_x, log_y)(log_x) - log_y).max()
    # The break lies between two of its grid's values.
    assert error < (0.02 if name == "broken_power" else 1e-6)


@pytest.mark.parametrize("name", list(FORMS))
def test_a_form_wins_on_its_own_curves(name):
    rows = run(table(TRUTH[name]), form=name)
    assert (rows["status"] == "ok").all()
    assert (rows.loc[["aicc", "bic"], "estimate"] > 0).all()
    assert json.loads(rows.loc["aicc", "diagnostics"])["mean"]
    rival = "power" if name != "power" else "exponential"
    wrong = run(table(TRUTH[name]), form=rival)
    assert wrong.loc["aicc", "ci_high"] < 0
    assert wrong.loc["bic", "ci_high"] < 0


@pytest.mark.parametrize("name", list(FORMS))
def test_one_start_of_the_offset_law_finds_what_all_starts_find(name):
    y = TRUTH[name](X) * np.exp(0.02 * np.random.default_rng(7).standard_normal(len(X)))
    log_x, log_y = np.log(X), np.log(y)
    every = fit_law(POWER_OFFSET, X[None], y)
    found = np.square(log_y - FORMS["power_offset"].fit(log_x, log_y)(log_x)).sum()
    assert found == pytest.approx(2 * every.objective, rel=1e-6)


def test_extrapolation_favours_the_true_form():
    good = run(table(TRUTH["power"]), form="power", rivals=["exponential"])
    assert good.loc["extrapolation", "ci_low"] > 0
    bad = run(table(TRUTH["power"]), form="exponential", rivals=["power"])
    assert bad.loc["extrapolation", "estimate"] == pytest.approx(-good.loc["extrapolation", "estimate"])


def test_the_best_rival_counts_on_each_curve():
    frame = table(TRUTH["power_offset"])
    against = {rival: run(frame, form="power", rivals=[rival]) for rival in ("power_offset", "exponential")}
    both = run(frame, form="power", rivals=["power_offset", "exponential"])
    assert both.loc["bic", "estimate"] <= min(each.loc["bic", "estimate"] for each in against.values()) + 1e-9


def test_criteria_agree_with_statsmodels():
    log_x = np.log(X)
    log_y = np.log(TRUTH["power"](X)) + 0.1 * np.random.default_rng(1).standard_normal(len(X))
    fit = sm.OLS(log_y, sm.add_constant(log_x)).fit()
    n, k = len(X), 3
    constant = n * (1 + np.log(2 * np.pi))
    found = criteria(log_x, log_y, 1, ["power"])
    aic = -2 * fit.llf + 2 * k
    assert found["aicc"]["power"] + constant == pytest.approx(aic + 2 * k * (k + 1) / (n - k - 1))
    assert found["bic"]["power"] + constant == pytest.approx(-2 * fit.llf + k * np.log(n))


def test_a_perfect_fit_is_no_infinite_evidence():
    assert np.isfinite(information_criteria(0.0, 10, 2)).all()


def test_rolling_origin_uses_the_past_alone():
    log_x = np.log(X)
    log_y = -0.4 * log_x
    log_y[-1] += 1.0
    seen = []

    def fit(past_x, past_y):
        seen.append(len(past_x))
        return FORMS["power"].fit(past_x, past_y)

    error = extrapolation_error(fit, log_x, log_y, horizon=1)
    assert seen == list(range(5, len(X)))
    assert error == pytest.approx(np.log(np.sqrt(1.0 / len(seen))))
    seen.clear()
    extrapolation_error(fit, log_x, log_y, horizon=3)
    assert seen == list(range(5, len(X) - 2))


def test_one_curve_decides_nothing():
    rows = run(table(TRUTH["power"], seeds=1))
    assert set(rows["status"]) == {"no_se"}
    assert rows["estimate"].notna().all()


def test_six_points_are_too_few_for_the_richest_form():
    rows = run(table(TRUTH["power"], x=X[:6]))
    assert set(rows["status"]) == {"too_few"}
    assert "4 curves are too short" in rows["note"].iloc[0]
    assert set(run(table(TRUTH["power"], x=X[:7]))["status"]) == {"ok"}


def test_curves_without_seeds():
    frame = table(TRUTH["power"]).rename(columns={"seed": "family"})
    assert (run(frame, curves=["family"])["dof"] == 3).all()
    with pytest.raises(MusterError, match="4 rows share steps 1; they differ in family"):
        run(frame)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda t: t.assign(final_eval_loss=-1.0), {}, "final_eval_loss takes the value -1"),
        (lambda t: t.assign(steps=0.0), {}, "steps takes the value 0"),
        (lambda t: pd.concat([t, t.iloc[[0]]]), {}, "occurs 2 times"),
        (lambda t: t, {"form": "power", "rivals": ["power"]}, "'power' is the hypothesised form"),
        (lambda t: t, {"form": "cubic"}, "options.form"),
        (lambda t: t, {"curves": ["lab"]}, "no column 'lab'"),
    ],
)
def test_clear_errors(change, options, message):
    with pytest.raises(MusterError, match=message):
        run(change(table(TRUTH["power"])), **options)
