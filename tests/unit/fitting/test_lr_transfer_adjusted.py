"""Optima of random searches at the medians of the other hyperparameters: closed forms, and regression by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, FitResult
from muster.fitting.estimators.lr_transfer_adjusted import adjusted_optimum, others_of

WIDTHS = np.array([64, 128, 256, 512])
BEST_DECAY = np.log(0.1)


def draw(runs: int = 30, noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """ln loss = 0.05 v² + 0.01 v w + 0.03 w², v octaves from a rate that falls as width^−½, w = ln(decay / 0.1)."""
    rng = np.random.default_rng(seed)
    parts = []
    for width in WIDTHS:
        best = -7 - 0.5 * np.log2(width / 64)
        rate, decay = best + rng.uniform(-1.4, 1.4, runs), np.exp(rng.uniform(-4, 0, runs))
        v, w = rate - best, np.log(decay) - BEST_DECAY
        y = 0.05 * v**2 + 0.01 * v * w + 0.03 * w**2 + noise * rng.standard_normal(runs)
        parts.append(pd.DataFrame({"width": width, "log2_lr": rate, "decay": decay, "loss": np.exp(y)}))
    return pd.concat(parts, ignore_index=True).assign(seed=0, diverged=False)


def run(table: pd.DataFrame, **options: object) -> FitResult:
    given = {"adjust": ["decay"], **options}
    fit = FitConfig(estimator="lr_transfer_adjusted", response="loss", along="width", options=given)
    return ESTIMATORS["lr_transfer_adjusted"].function(table, fit)


def test_the_optimum_is_that_at_the_median_of_the_others() -> None:
    """At w = d the rate is 0.1 d octaves lower, and the loss e^(0.03 d² − 0.0005 d²)."""
    table = draw()
    found = run(table)
    d = np.log(table["decay"]).median() - BEST_DECAY
    middle = -7 - 0.5 * np.log2(WIDTHS / 64) - 0.1 * d
    np.testing.assert_allclose(found.optima["log2_lr_opt"], middle, atol=1e-9)
    np.testing.assert_allclose(found.optima["loss_at_opt"], np.exp(0.0295 * d**2), rtol=1e-9)
    half = np.sqrt(np.log(1.0025) / 0.05)
    np.testing.assert_allclose(found.optima["basin_low"], middle - half, atol=1e-9)
    np.testing.assert_allclose(found.optima["basin_high"], middle + half, atol=1e-9)
    best = table.loc[table.groupby("width")["loss"].idxmin(), "log2_lr"]
    assert found.optima["grid_best"].tolist() == best.tolist()
    assert (found.optima[["n_points", "n_runs"]] == 30).all(axis=None)
    np.testing.assert_allclose(found.fits.loc[found.fits["variant"] != "mixed", "estimate"], -0.5, atol=1e-9)


def test_errors_are_those_of_the_surface() -> None:
    """Delta method and Fieller (1954) by regression on powers of distances from each end, where the slope over its
    error is t."""
    table = draw(noise=0.01)
    z = np.log(table["decay"])
    z = (z - z.median()) / z.std(ddof=0)
    for _, row in run(table).optima.iterrows():
        here = table["width"] == row["x"]

        def fitted(at: float, own: pd.Series = here) -> tuple[np.ndarray, np.ndarray]:
            u, w, y = table["log2_lr"][own] - at, z[own], np.log(table["loss"][own])
            design = np.column_stack([np.ones(30), u, u**2, w, w**2, u * w])
            beta, square = np.linalg.lstsq(design, y)[:2]
            return beta, np.linalg.inv(design.T @ design) * square / (30 - 6)

        beta, cov = fitted(row["log2_lr_opt"])
        assert beta[1] == pytest.approx(0, abs=1e-9)
        assert row["se"] == pytest.approx(np.sqrt(cov[1, 1]) / (2 * beta[2]))
        for end in (row["ci_low"], row["ci_high"]):
            beta, cov = fitted(end)
            assert abs(beta[1]) / np.sqrt(cov[1, 1]) == pytest.approx(stats.t.ppf(0.975, 24))
        assert row["ci_low"] < row["log2_lr_opt"] < row["ci_high"]


@pytest.mark.parametrize(("runs", "status"), [(9, "interior"), (8, "flat")])
def test_a_surface_of_six_coefficients_needs_three_runs_more(runs: int, status: str) -> None:
    """As many as that are taken from further away than three octaves."""
    rng = np.random.default_rng(1)
    rate, other = np.linspace(-6, 6, runs), rng.standard_normal(runs)
    y = 0.05 * (rate - 0.3) ** 2 + 0.02 * other**2
    assert adjusted_optimum(64.0, rate, other[:, None], y, 2).status == status


@pytest.mark.parametrize("side", [-1, 1])
def test_an_optimum_at_the_end_of_the_rates_is_bounded_on_one_side(side: int) -> None:
    rng = np.random.default_rng(2)
    rate, other = np.sort(rng.uniform(0.1, 2.5, 40)), rng.standard_normal((40, 1))
    y = 0.05 * rate**2 + 0.02 * other[:, 0] ** 2
    found = adjusted_optimum(64.0, side * rate, other, y, 2)
    assert found.status == "edge"
    assert sorted([abs(found.ci_low), abs(found.ci_high)]) == [pytest.approx(rate[-1]), np.inf]
    assert np.isinf(found.ci_low if side > 0 else found.ci_high)


def test_rates_beyond_three_octaves_of_the_vertex_count_for_nothing() -> None:
    """A wall there moves no vertex."""
    rate = np.linspace(-8, 8, 161)
    other = np.random.default_rng(3).standard_normal((161, 1))
    y = 0.05 * (rate - 0.35) ** 2 + np.where(np.abs(rate - 0.35) > 3.1, 5.0, 0.0)
    found = adjusted_optimum(64.0, rate, other, y, 2)
    assert (found.log2_lr, found.n_runs) == (pytest.approx(0.35, abs=1e-9), 60)


def test_a_hyperparameter_over_a_factor_of_four_is_taken_in_logarithms() -> None:
    wide, narrow = np.array([1.0, 2.0, 4.0, 2.0]), np.array([1.0, 2.0, 3.9, 2.0])
    found = others_of(pd.DataFrame({"wide": wide, "narrow": narrow, "signed": wide - 2}), ["wide", "narrow", "signed"])
    for column, values in zip(found.T, (np.log(wide), narrow, wide), strict=True):
        np.testing.assert_allclose(column, (values - values[1]) / values.std(), atol=1e-12)  # the second is the median
    for values, said in (([1.0, np.nan], "no number"), ([2.0, 2.0], "one value")):
        with pytest.raises(MusterError, match=said):
            others_of(pd.DataFrame({"decay": values}), ["decay"])


def test_runs_that_diverged_are_left_out() -> None:
    table = draw()
    lost = table.iloc[::30].assign(loss=1e-9, diverged=True, log2_lr=lambda t: t["log2_lr"] + 0.01)
    np.testing.assert_allclose(
        run(pd.concat([table, lost], ignore_index=True)).optima["log2_lr_opt"],
        run(table).optima["log2_lr_opt"],
        atol=0.1,
    )
    gone = run(table.assign(diverged=table["width"] == 64))
    assert gone.optima["status"].tolist() == ["diverged", *["interior"] * 3]
    assert "diverged at width 64" in gone.fits["note"].iloc[0]
