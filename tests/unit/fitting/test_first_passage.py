"""First-passage times: reading them, the censored likelihood against brute force, wrong slopes and forms refuted."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from muster.claims.tests import on_its_own, verdict
from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS
from muster.fitting.estimators.first_passage import (
    THRESHOLDS,
    aicc_gain,
    censored_loglik,
    divergence_loglik,
    passages,
)
from muster.statistics.censored import slope_interval_censored

STEPS = np.unique(np.round(np.geomspace(10, 4000, 80)))
X = np.array([400, 420, 440, 460, 480, 520, 560, 640])


def table(log_time, seeds=6, noise=0.1, seed=0, x=X):
    """Accuracy that jumps to 1 at t = exp(log_time(x) + noise), at STEPS."""
    rng = np.random.default_rng(seed)
    rows = []
    for at in x:
        for replicate in range(seeds):
            time = np.exp(log_time(at) + noise * rng.standard_normal())
            rows += [(at, replicate, step, float(step >= time)) for step in STEPS]
    return pd.DataFrame(rows, columns=["examples", "seed", "step", "value"]).assign(
        study="s", probe="accuracy", layer=2
    )


def config(**options):
    return FitConfig(
        estimator="first_passage",
        table="probes",
        response="value",
        along="examples",
        options={"level": 0.99, **options},
    )


def primary(rows, parameter="slope", **options):
    fits = ESTIMATORS["first_passage"].function(rows, config(**options)).fits
    return fits[fits["primary"] & (fits["parameter"] == parameter)].iloc[0]


def decide(row, predicted, margin, test="equivalence"):
    row = row.to_dict() | {"test": test, "predicted": predicted, "margin": margin, "scale": "laptop"}
    return verdict(on_its_own(row))


def test_a_run_at_the_level_has_reached_it():
    """Levels between 0 and 1: of all steps from the first on, or of none."""
    rows = pd.DataFrame({"examples": 400, "seed": 0, "step": [10, 20, 40, 80], "value": [0.0, 0.5, 0.5, 1.0]})
    for level, ends in ((0.5, (10, 20)), (0.51, (40, 80)), (1.0, (40, 80))):
        low, high = passages(rows, "examples", "value", level)[["low", "high"]].iloc[0]
        assert low == high == pytest.approx(np.log(ends[0] * ends[1]) / 2)
    assert passages(rows, "examples", "value", 1.01)[["low", "high"]].iloc[0].tolist() == [np.log(80), np.inf]


def exponential(x):
    return 7 - 0.02 * (x - 480)


def test_passages_lie_between_two_measurements_and_the_rest_are_censored():
    rows = table(exponential, seeds=1, noise=0, x=[480, 380])
    found = passages(rows, "examples", "value", 0.99).set_index("examples")
    known = found.loc[480]
    assert known["low"] == known["high"] == pytest.approx(7, abs=0.05)
    censored = found.loc[380]
    assert censored["low"] == np.log(4000)
    assert censored["high"] == np.inf


def test_the_midpoint_of_a_passage_is_geometric():
    rows = pd.DataFrame({"examples": 1.0, "seed": 0, "step": [0, 100, 400], "value": [0.0, 0.5, 1.0]})
    assert passages(rows, "examples", "value", 0.99)["low"].item() == pytest.approx(np.log(200))


@pytest.mark.parametrize(("values", "what"), [([1.0, 1.0], "before its first step"), ([1.0], "first measurement")])
def test_a_level_reached_too_early_is_an_error(values, what):
    steps = [0, 10] if len(values) == 2 else [10]
    rows = pd.DataFrame({"examples": 1.0, "seed": 0, "step": steps, "value": values})
    with pytest.raises(MusterError, match=what):
        passages(rows, "examples", "value", 0.99)


def brute_force(design, low, high):
    """Largest log likelihood by a general-purpose optimizer from several starts."""
    known = low == high

    def negative(theta):
        *beta, log_sigma = theta
        z = (low - design @ beta) / np.exp(log_sigma)
        return -(stats.norm.logpdf(z[known]) - log_sigma).sum() - stats.norm.logsf(z[~known]).sum()

    beta = np.linalg.lstsq(design, low, rcond=None)[0]
    options = {"maxiter": 20000, "maxfev": 20000, "xatol": 1e-10, "fatol": 1e-12}
    found = [optimize.minimize(negative, [*beta, s], method="Nelder-Mead", options=options).fun for s in (-2, -1, 0)]
    return -min(found)


def times(seed=3, censor=5.2):
    rng = np.random.default_rng(seed)
    x = np.repeat(np.linspace(0, 2, 6), 2)
    t = 5 - 0.7 * x + 0.3 * rng.standard_normal(len(x))
    low = np.minimum(t, censor)
    return x, low, np.where(t < censor, low, np.inf)


def test_the_censored_likelihood_against_brute_force():
    x, low, high = times(censor=4.6)
    assert (~np.isfinite(high)).sum() >= 2
    design = np.column_stack([np.ones_like(x), x])
    assert censored_loglik(x, low, high) == pytest.approx(brute_force(design, low, high), abs=1e-4)


def test_the_divergence_is_profiled_over_its_threshold():
    x, low, high = times(censor=4.6)

    def negative(log_gap):
        design = np.column_stack([np.ones_like(x), np.log(x - x.min() + np.exp(log_gap))])
        return -brute_force(design, low, high)

    best = max(-negative(each) for each in np.linspace(np.log(2e-3), np.log(20), 8))
    assert divergence_loglik(x, low, high) == pytest.approx(best, abs=0.05)


def test_the_criterion_without_censoring_is_that_of_least_squares():
    """n ln(RSS/n) + 2k + 2k(k + 1)/(n − k − 1), k = 3 and 4 with the variance."""
    x, t, _ = times(censor=np.inf)
    n = len(x)

    def aicc(design, k):
        rss = np.square(t - design @ np.linalg.lstsq(design, t, rcond=None)[0]).sum()
        return n * np.log(rss / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)

    ones = np.ones_like(x)
    gaps = np.geomspace(2e-3, 20, THRESHOLDS)
    divergence = min(aicc(np.column_stack([ones, np.log(x - x.min() + gap)]), 4) for gap in gaps)
    assert aicc_gain(x, t, t) == pytest.approx(divergence - aicc(np.column_stack([ones, x]), 3), abs=1e-6)


def test_a_known_slope_is_found_with_its_unit_and_wrong_ones_are_refuted():
    rows = table(exponential)
    row = primary(rows, unit=10)
    assert "of 48 runs reach" in row["note"]
    assert not row["note"].startswith("48")  # some are censored
    assert row["estimate"] == pytest.approx(-0.2, abs=0.01)
    assert decide(row, -0.2, 0.02) == "supported"
    assert decide(row, -0.371, 0.035, "interval") == "refuted"
    assert decide(row, 0, 0, "greater") == "refuted"
    assert primary(rows, unit=1)["estimate"] == pytest.approx(row["estimate"] / 10)


def test_dropping_censored_runs_would_bias_the_slope():
    rows = table(exponential, noise=0.5, seeds=30, seed=2)
    runs = passages(rows, "examples", "value", 0.99)
    known = runs[np.isfinite(runs["high"])]
    naive = np.polyfit(known["examples"], known["low"], 1)[0]
    fit = slope_interval_censored(*runs[["examples", "low", "high"]].to_numpy(float).T)
    assert abs(fit.estimate + 0.02) < 0.0012
    assert abs(naive + 0.02) > 0.0012


def test_a_log_axis_gives_the_exponent():
    rows = table(lambda x: 6 - 1.5 * np.log(x / 480), noise=0.02)
    assert primary(rows, scale="log")["estimate"] == pytest.approx(-1.5, abs=0.1)


def test_the_form_that_made_the_curve_wins():
    x = np.linspace(400, 640, 12)
    own = primary(table(lambda x: 6 - 0.012 * (x - 480), noise=0.05, x=x), "aicc")
    assert decide(own, 0, 0, "greater") == "supported"
    other = primary(table(lambda x: 5.5 - 0.8 * np.log((x - 395) / 100), noise=0.05, x=x), "aicc")
    assert decide(other, 0, 0, "greater") == "refuted"


def test_too_few_known_times_decide_nothing():
    rows = table(lambda x: 20.0 + 0 * x, seeds=2)
    fits = ESTIMATORS["first_passage"].function(rows, config()).fits
    assert set(fits["status"]) == {"too_few"}
    assert fits["ci_low"].isna().all()
