"""ParScale (Chen et al. 2025): its recipe on the 24 losses printed in its parametric_fit.py.

The recipe is Huber's loss with δ = 0.001 on log residuals, summed. Its coefficients come back to every digit given.
"""

import numpy as np
import pandas as pd
import pytest

from muster.fitting.laws.base import LAWS
from muster.fitting.laws.solve import fit_law

DELTA = 1e-3
# Digits as they are printed; A is in billions of parameters.
PUBLISHED = {
    "loss_stack": {"e": "0.691", "a": "0.01131", "alpha": "0.1894", "k": "0.3935", "r2": "0.9978"},
    "loss_pile": {"e": "1.2886", "a": "0.1975", "alpha": "0.1963", "k": "0.3344", "r2": "0.9987"},
}


@pytest.fixture(scope="module")
def runs(shared_data):
    return pd.read_csv(shared_data / "ParScale" / "runs.csv")


def columns(runs, response):
    return runs[["N", "p"]].to_numpy(float).T, runs[response].to_numpy(float)


def printed_alike(value, text):
    """Equal to a printed number to all of its digits."""
    decimals = len(text.split(".")[1])
    return abs(value - float(text)) <= 0.5 * 10.0**-decimals


@pytest.mark.parametrize("response", PUBLISHED)
def test_the_published_coefficients_come_back_to_every_digit(runs, response):
    x, y = columns(runs, response)
    fit = fit_law(LAWS["parallel"], x, y, delta=DELTA)
    predicted = y / np.exp(fit.residuals)
    r2 = 1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    found = {**fit.natural, "a": fit.natural["a"] / 1e9, "r2": r2}
    wrong = {name: found[name] for name, text in PUBLISHED[response].items() if not printed_alike(found[name], text)}
    assert not wrong
    assert fit.certificate.converged
    assert fit.certificate.starts_agreeing == fit.certificate.starts


@pytest.mark.parametrize("response", PUBLISHED)
def test_a_logarithmic_gain_beats_a_power_and_one_that_saturates(runs, response):
    """All three have four parameters, so that AICc and BIC order them as their sums of squares do."""
    x, y = columns(runs, response)
    logarithm = fit_law(LAWS["parallel"], x, y)
    power = fit_law(LAWS["parallel_power"], x, y)
    saturating = fit_law(LAWS["parallel_shape"], x, y, fixed={"shape": -1.0})
    aic = {name: len(y) * np.log(fit.objective) for name, fit in
           (("logarithm", logarithm), ("power", power), ("saturating", saturating))}  # fmt: skip
    assert aic["logarithm"] < aic["power"] - 10
    assert aic["logarithm"] < aic["saturating"] - 20


@pytest.mark.parametrize("response", PUBLISHED)
def test_the_shape_of_the_gain_is_near_the_logarithm(runs, response):
    x, y = columns(runs, response)
    fit = fit_law(LAWS["parallel_shape"], x, y)
    assert fit.certificate.converged
    assert -0.2 < fit.natural["shape"] < 0.0
