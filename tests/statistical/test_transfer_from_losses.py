"""From simulated losses to verdicts: coverage of transfer exponents, size of the tests, bias from lost shapes.

Large numbers of draws run through `muster.claims.power`, which a unit test holds equal to the estimator; smaller ones
through the estimator itself. Five widths an octave apart, half-octave rates, seeds fixed. Bounds are as stated in the
names, or allow three Monte-Carlo standard errors.
"""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.claims.power import Assumptions, Design, Shape, fit_slopes
from muster.claims.tests import on_its_own, verdict
from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS
from muster.fitting.estimators.lr_transfer import WindowOptions
from muster.statistics.censored import interval_regression

RATES = np.arange(-10.0, -2.9, 0.5)
WIDTHS = np.array([64, 128, 256, 512, 1024])
X = np.log(WIDTHS)
DRAWS = 4000


def simulated(true, tau, noise=0.005, draws=DRAWS):
    shapes = [Shape(x, RATES, 3) for x in X]
    return Design(shapes, None, WindowOptions(), Assumptions(noise, tau, 0.05), draws, seed=51).simulate(true)


def supported(found, predicted, margin, test="equivalence"):
    """Share of `supported` verdicts."""
    decided = []
    for slope, se, dof, half in zip(found.slope, found.se, found.dof, found.half_width(0.975), strict=True):
        row = {"test": test, "predicted": predicted, "margin": margin, "estimate": slope, "se": se, "dof": dof}
        row |= {"ci_low": slope - half, "ci_high": slope + half, "n_cells": 15, "scale": "laptop"}
        decided.append(verdict(on_its_own(row)))
    return decided.count("supported") / len(decided)


@pytest.mark.parametrize("tau", [0.0, 0.1])
@pytest.mark.parametrize("true", [0.0, -0.5])
def test_intervals_cover_93_to_97_percent(true, tau):
    found = simulated(true, tau)
    assert found.interior.mean() > 4.9
    assert 0.93 <= np.mean(np.abs(found.slope - true) <= found.half_width(0.975)) <= 0.97


@pytest.mark.parametrize("tau", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("true", [-0.1, 0.1])
def test_equivalence_is_supported_at_most_6_percent_of_the_time_at_its_margin(true, tau):
    # Wide intervals fit inside no margin, so the size falls with the scatter.
    assert supported(simulated(true, tau, draws=2000), 0.0, 0.1) <= 0.06


def test_equivalence_reaches_its_size_where_the_design_is_precise():
    assert supported(simulated(0.1, 0.02, noise=0.001, draws=2000), 0.0, 0.1) >= 0.035


@pytest.mark.parametrize(("test", "true"), [("less", 0.0), ("greater", 0.0), ("interval", 0.12)])
def test_a_false_claim_is_supported_at_most_5_percent_of_the_time(test, true):
    found = simulated(true, 0.05, draws=2000)
    margin = 0.1 if test == "interval" else 0.0
    assert supported(found, 0.0, margin, test) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def losses(rng, true, tau, noise=0.004, seeds=2):
    """A run table with optima on a line of slope `true` in ln lr, scattered by tau; seeds differ in level and noise."""
    centre = -6.5 + rng.uniform(-0.25, 0.25) + true * np.log2(WIDTHS / 256) + tau / np.log(2) * rng.standard_normal(5)
    level = 0.05 * rng.standard_normal((1, seeds, 1))
    ln = 0.05 * (RATES - centre[:, None, None]) ** 2 + level + noise * rng.standard_normal((5, seeds, len(RATES)))
    index = pd.MultiIndex.from_product([WIDTHS, range(seeds), RATES], names=["width", "seed", "log2_lr"])
    return pd.DataFrame({"final_train_loss": np.exp(ln).ravel(), "diverged": False}, index=index).reset_index()


def decide(table, predicted, margin, test="equivalence"):
    """Losses → lr_transfer → the verdict on its primary row."""
    fits = ESTIMATORS["lr_transfer"].function(table, FitConfig(estimator="lr_transfer", response="final_train_loss"))
    fit = fits.fits[fits.fits["primary"]].iloc[0].to_dict()
    row = {**fit, "test": test, "predicted": predicted, "margin": margin, "scale": "laptop"}
    return verdict(on_its_own(row))


def test_end_to_end_a_false_claim_is_rarely_supported_and_a_true_one_mostly():
    rng = np.random.default_rng(52)
    draws = 40
    false = [decide(losses(rng, 0.1, 0.03), 0.0, 0.1) for _ in range(draws)]
    true = [decide(losses(rng, 0.0, 0.03), 0.0, 0.1) for _ in range(15)]
    assert false.count("supported") / draws <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)
    assert true.count("supported") / 15 > 0.6
    assert true.count("refuted") == 0


def test_end_to_end_a_clearly_false_claim_is_refuted():
    rng = np.random.default_rng(53)
    assert [decide(losses(rng, -0.6, 0.03), 0.0, 0.1) for _ in range(10)].count("refuted") >= 9


def censored_draws(rng, draws, true=-0.3, tau=0.15):
    """Optima on a grid whose low end is where the widest shape's optimum is expected: those below a quarter of an
    octave from it are edges, known only to lie below."""
    y = true * X + tau * rng.standard_normal((draws, len(X)))
    limit = true * X[-1] + 0.25 * np.log(2)
    edge = y < limit
    return np.where(edge, -np.inf, y), np.where(edge, limit, y), np.where(edge, np.nan, y)


def test_interval_regression_is_less_biased_than_leaving_edges_out():
    true = -0.3
    low, high, dropped = censored_draws(np.random.default_rng(54), DRAWS, true)
    censored, without = interval_regression(X, low, high), fit_slopes(X, dropped)
    used = np.isfinite(censored.slope) & np.isfinite(without.slope)
    assert used.mean() > 0.8
    assert np.isinf(low).sum(axis=1).mean() == pytest.approx(1.5, abs=0.3)
    bias = [float(np.mean(each[used]) - true) for each in (censored.slope, without.slope)]
    assert bias[1] > 0.03
    assert abs(bias[0]) < 0.4 * bias[1]


def test_interval_regression_covers_93_to_97_percent():
    rng = np.random.default_rng(55)
    x = np.log(2.0) * np.arange(8)
    y = -0.3 * x + 0.15 * rng.standard_normal((DRAWS, 8))
    limit = -0.3 * x[-1] + 0.1
    edge = y < limit
    found = interval_regression(x, np.where(edge, -np.inf, y), np.where(edge, limit, y))
    assert np.isfinite(found.se).all()
    assert edge.sum(axis=1).mean() > 0.8
    assert 0.93 <= np.mean(np.abs(found.slope + 0.3) <= stats.t.ppf(0.975, found.dof) * found.se) <= 0.97
