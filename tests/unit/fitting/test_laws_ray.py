"""Rows on a ray: what they say of further runs although they tell no parameters apart, and where they say nothing."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from muster import api
from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS, FitResult
from muster.fitting.laws.joint import JOINT
from muster.fitting.laws.law import DeclaredOptions, law_of_options
from muster.fitting.laws.ray import Ray, predict_run
from muster.fitting.laws.solve import fit_law

TRUTH = JOINT.from_natural(np.array([[{"alpha": 0.34, "beta": 0.28, "e": 1.69, "a": 406.4, "b": 410.7}[name]
                                      for name in JOINT.parameters]]))  # fmt: skip


def loss(x: np.ndarray) -> np.ndarray:
    return np.exp(JOINT.log_value(TRUTH, x)[0][0])


def table(rows: int = 12, noise: float = 0.003, seed: int = 0, ratio: float = 20.0) -> pd.DataFrame:
    """Runs at one ratio of tokens to parameters; two more lie further out, on the ray and off it."""
    n = np.append(np.geomspace(1e7, 1e9, rows), [1e10, 1e10])
    d = ratio * n * np.append(np.ones(rows + 1), 2.0)
    y = loss(np.stack([n, d])) * np.exp(noise * np.random.default_rng(seed).standard_normal(rows + 2))
    run = [f"r{i:02}" for i in range(rows + 2)]
    return pd.DataFrame({"run": run, "parameters": n, "tokens": d, "loss": y, "seed": 0})


def fitted(rows: pd.DataFrame, **options: object) -> FitResult:
    given = {"delta": "squares", "hold_out": {"column": "parameters", "above": 5e9}, **options}
    fit = FitConfig(estimator="joint_law", response="loss", along="parameters", options=given)
    return ESTIMATORS["joint_law"].function(rows, fit)


def test_rows_on_the_ray_are_predicted_and_those_off_it_are_refused_with_the_reason() -> None:
    found = fitted(table(), hold_out={"column": "parameters", "above": 5e9, "metrics": ["rmse_log"]})
    parameters = found.fits.set_index("parameter")
    assert (parameters.loc[[*JOINT.parameters], "status"] == "collinear").all()
    assert parameters.loc[[*JOINT.parameters], "estimate"].isna().all()
    on, off = (found.predictions.iloc[i] for i in (0, 1))
    assert on["low"] < on["predicted"] < on["high"]
    assert on["inside"]
    assert on["note"] == ""
    assert np.isnan([off["predicted"], off["low"], off["high"]]).all()
    assert pd.isna(off["inside"])
    assert off["note"] == (
        "not predicted: off the line on which parameters and tokens were fitted, and what each does alone is not "
        "identified"
    )
    for name in ("extrapolation_error", "rmse_log"):
        row = parameters.loc[name]
        assert row["status"] == "no_se"
        assert row["note"].startswith("on a ray each prediction has an interval, their mean has none, 1 of 2 rows not")
    assert parameters.loc["extrapolation_error", "estimate"] == pytest.approx(abs(on["error"]))
    assert parameters.loc["rmse_log", "estimate"] == pytest.approx(abs(np.log1p(on["error"])))


def test_no_row_on_the_ray_leaves_the_metric_without_a_number() -> None:
    found = fitted(table().drop(index=12)).fits.set_index("parameter").loc["extrapolation_error"]
    assert (found["status"], np.isnan(found["estimate"])) == ("collinear", True)
    assert "off the line" in found["note"]


def test_a_variable_that_does_not_vary_is_named_with_both_values() -> None:
    n = np.append(np.geomspace(1e7, 1e9, 12), [1e10, 1e10])
    rows = table().assign(tokens=np.append(np.full(13, 1e10), 3e10))
    rows["loss"] = loss(np.stack([n, rows["tokens"]]))
    on, off = (fitted(rows).predictions.iloc[i] for i in (0, 1))
    assert on["predicted"] == pytest.approx(on["measured"], rel=0.01)
    assert "tokens is 1e+10 in every row that was fitted, 3e+10 here" in off["note"]


@pytest.mark.parametrize("factor", [1.0, 1.001, 1.02, 0.5])
def test_rounding_leaves_the_ray_no_more_than_the_fitted_rows_do(factor: float) -> None:
    n = np.geomspace(1e7, 1e9, 12)
    ray = Ray.of(np.stack([n, np.round(20 * n, -4)]), ["n", "d"], [])
    assert (ray.refusals(np.array([[1e11], [2e12 * factor]])) == [""]) == (abs(factor - 1) < 0.01)


def test_the_interval_of_a_linear_law_is_that_of_regression() -> None:
    """ln y = a − α ln x: the profile of a further run is the t interval of a prediction (Draper & Smith 1998)."""
    law = law_of_options(DeclaredOptions(form="A / x^alpha"))
    draw = np.random.default_rng(3)
    x = np.geomspace(1, 100, 15)
    y = 7 * x**-0.4 * np.exp(0.05 * draw.standard_normal(15))
    x_new = np.array([[5.0, 1000.0, 1e5]])
    centre, low, high = predict_run(fit_law(law, x[None], y), x[None], y, x_new)
    line = stats.linregress(np.log(x), np.log(y))
    expected = line.intercept + line.slope * np.log(x_new[0])
    s = np.sqrt(((np.log(y) - line.intercept - line.slope * np.log(x)) ** 2).sum() / 13)
    away = np.log(x_new[0]) - np.log(x).mean()
    half = stats.t.ppf(0.975, 13) * s * np.sqrt(1 + 1 / 15 + away**2 / ((np.log(x) - np.log(x).mean()) ** 2).sum())
    np.testing.assert_allclose(centre, expected, rtol=1e-6)
    np.testing.assert_allclose(high - centre, half, rtol=1e-3)
    np.testing.assert_allclose(centre - low, half, rtol=1e-3)


@pytest.mark.parametrize("residual", ["log", "linear"])
def test_residuals_of_the_response_give_ends_in_its_unit(residual: str) -> None:
    row = fitted(table(), residual=residual).predictions.iloc[0]
    assert row["predicted"] == pytest.approx(row["measured"], rel=0.02)
    assert 0.9 * row["measured"] < row["low"] < row["predicted"] < row["high"] < 1.1 * row["measured"]


def test_rows_that_depend_on_each_other_have_predictions_without_ends() -> None:
    row = fitted(table(), clusters="seed").predictions.iloc[0]
    assert np.isfinite(row["predicted"])
    assert np.isnan(row["low"])
    assert row["note"].startswith("rows of one seed depend on each other, and a profile takes rows as independent")


def test_each_in_turn_on_a_ray() -> None:
    rows = fitted(table().iloc[:13], hold_out={"each": "run"}, clusters=False).predictions
    assert len(rows) == 13
    assert rows["inside"].mean() > 0.8
    np.testing.assert_allclose(rows["predicted"], rows["measured"], rtol=0.03)


def test_fit_table_predicts_at_the_ratio_of_the_runs_only() -> None:
    rows = table().rename(columns={"parameters": "params"})
    found = api.law(
        rows,
        "E + A/N^alpha + B/D^beta",
        hold_out="params > 5e9",
        predict=[{"N": 1e10, "D": 2e11}, {"N": 1e10, "D": 1e12}],
    )
    held = found.extrapolation.iloc[0]
    assert (held["runs"], held["intervals"], held["inside"]) == (2, 1, 1)
    assert held["bias"] == pytest.approx(found.held_out["error"].iloc[0])
    on, off = (found.predictions.iloc[i] for i in (0, 1))
    assert on["low"] < on["predicted"] < on["high"]
    assert np.isnan(off["predicted"])
    assert "not predicted: off the line on which N and D were fitted" in found.summary()
    assert "collinear" in found.summary()


def test_the_ends_of_a_bent_law_are_those_of_its_profile() -> None:
    """E + A/x^α far outside its rows, against refits by scipy: the further run at which squares rise by s² F."""
    law = law_of_options(DeclaredOptions(form="E + A / x^alpha"))
    x = np.geomspace(1, 50, 12)
    y = (0.5 + 2 * x**-0.6) * np.exp(0.03 * np.random.default_rng(1).standard_normal(12))
    fit = fit_law(law, x[None], y)
    x_all = np.append(x, 1e4)

    def squares(z: float | None) -> float:
        def residuals(theta: np.ndarray) -> np.ndarray:
            off = np.log(np.exp(theta[0]) + np.exp(theta[1]) * x_all ** -theta[2]) - np.append(np.log(y), z or 0.0)
            return off if z is not None else off[:-1]

        starts = [np.log([e, a, np.exp(alpha)]) for e in (0.2, 0.5) for a in (1.0, 2.0) for alpha in (0.4, 0.8)]
        return min(2 * optimize.least_squares(residuals, start, xtol=1e-12, ftol=1e-12).cost for start in starts)

    least = squares(None)
    limit = stats.f.ppf(0.95, 1, 9) * least / 9
    (centre,), (low,), (high,) = predict_run(fit, x[None], y, np.array([[1e4]]))
    expected = [
        optimize.brentq(lambda z: squares(z) - least - limit, *sorted([centre, centre + side])) for side in (-3.0, 1.0)
    ]
    assert [low, high] == pytest.approx(expected, abs=0.005 * (high - low))
    assert centre - low > 1.2 * (high - centre)
