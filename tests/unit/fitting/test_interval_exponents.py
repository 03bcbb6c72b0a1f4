"""Exponents from brackets: against least squares, a direct maximization, and the ways to have no answer."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import optimize, stats

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS
from muster.statistics.censored import interval_plane, plane_given_sigma
from muster.statistics.linear import meta_regression

DEPTHS, WIDTHS = [2, 4, 8, 16], [32, 64, 128, 256]


def table(width_of_bracket=0.1, noise=0.05, seed=0, exponents=(-0.7, -0.4), seeds=2):
    rng = np.random.default_rng(seed)
    rows = [(depth, width, k) for depth in DEPTHS for width in WIDTHS for k in range(seeds)]
    frame = pd.DataFrame(rows, columns=["depth", "width", "seed"])
    y = 3 + exponents[0] * np.log2(frame["depth"]) + exponents[1] * np.log2(frame["width"])
    y += noise * rng.standard_normal(len(frame))
    low = np.floor(y / width_of_bracket) * width_of_bracket
    return frame.assign(log2_lr_low=low, log2_lr_high=low + width_of_bracket, truth=y)


def fit(rows, along="depth", **options):
    config = FitConfig(
        estimator="interval_exponents", response="log2_lr_low", along=along,
        options={"upper": "log2_lr_high", **options},
    )  # fmt: skip
    return ESTIMATORS["interval_exponents"].function(rows, config)


def row(found, parameter, variant="interval_censored"):
    fits = found.fits
    return fits[(fits["parameter"] == parameter) & (fits["variant"] == variant)].iloc[0]


def test_it_maximizes_the_likelihood_of_the_brackets():
    rows = table(width_of_bracket=0.2, noise=0.15)
    found = fit(rows, variables=["depth", "width"])
    design = np.column_stack([np.ones(len(rows)), np.log(rows["depth"]), np.log(rows["width"])])
    low, high = (rows[name].to_numpy() * np.log(2) for name in ("log2_lr_low", "log2_lr_high"))

    def minus(theta):
        mean, sigma = design @ theta[:3], np.exp(theta[3])
        return -np.log(stats.norm.cdf((high - mean) / sigma) - stats.norm.cdf((low - mean) / sigma)).sum()

    start = [*np.linalg.lstsq(design, (low + high) / 2, rcond=None)[0], np.log(0.1)]
    best = optimize.minimize(
        minus, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 9000, "maxfev": 9000}
    )
    assert row(found, "depth")["estimate"] == pytest.approx(best.x[1], abs=1e-5)
    assert row(found, "width")["estimate"] == pytest.approx(best.x[2], abs=1e-5)
    assert row(found, "depth")["intercept"] == pytest.approx(best.x[0], abs=1e-4)
    assert row(found, "difference")["estimate"] == pytest.approx(best.x[1] - best.x[2], abs=1e-5)


def test_narrow_brackets_give_least_squares_with_its_t_interval():
    rows = table(width_of_bracket=1e-4)
    found = fit(rows, variables=["depth", "width"])
    shapes = rows.groupby(["depth", "width"], as_index=False)["truth"].mean()
    design = np.column_stack([np.ones(len(shapes)), np.log(shapes["depth"]), np.log(shapes["width"])])
    y = shapes["truth"].to_numpy() * np.log(2)
    ols = sm.OLS(y, design).fit()
    n = len(y)
    partial = np.array([sm.OLS(np.delete(y, i), np.delete(design, i, 0)).fit().params for i in range(n)])
    for name, contrast in (("depth", [0, 1, 0]), ("width", [0, 0, 1]), ("difference", [0, 1, -1])):
        told, left_out = ols.t_test(contrast), partial @ contrast
        errors = {"midpoints": told.sd[0][0], "interval_censored": np.sqrt((n - 1) * left_out.var())}
        for variant, se in errors.items():
            one = row(found, name, variant)
            assert one["estimate"] == pytest.approx(told.effect[0], abs=1e-4)
            assert one["se"] == pytest.approx(se, rel=1e-2)
            assert one["dof"] == len(DEPTHS) * len(WIDTHS) - 3
            half = stats.t.ppf(0.975, one["dof"]) * one["se"]
            assert (one["ci_low"], one["ci_high"]) == pytest.approx((one["estimate"] - half, one["estimate"] + half))


def test_open_brackets_enter_as_bounds():
    rows = table(width_of_bracket=0.02)
    censored = rows.assign(log2_lr_low=rows["log2_lr_low"].mask(rows["depth"] == 16, -np.inf))
    slope = row(fit(censored), "exponent")
    assert slope["note"] == "8 of 32 runs bounded on one side only"
    design = np.column_stack([np.ones(len(rows)), np.log(rows["depth"])])
    plane = interval_plane(design, censored["log2_lr_low"] * np.log(2), censored["log2_lr_high"] * np.log(2))
    assert plane.beta[1] == slope["estimate"]
    assert plane.dof == 24 - 2
    kept = row(fit(rows[rows["depth"] < 16]), "exponent")
    assert slope["estimate"] <= kept["estimate"]


def test_a_line_through_all_brackets_has_no_likelihood_but_midpoints():
    rows = table(width_of_bracket=1.0, noise=0.0, exponents=(-1.0, 0.0))
    found = fit(rows)
    assert row(found, "exponent")["status"] == "no_se"
    assert row(found, "exponent", "midpoints")["estimate"] == pytest.approx(-1, abs=0.1)


def test_a_plane_of_given_scatter_maximizes_the_likelihood():
    rows = table(width_of_bracket=0.2, noise=0.15)
    design = np.column_stack([np.ones(len(rows)), np.log(rows["depth"])])
    low, high = (rows[name].to_numpy() for name in ("log2_lr_low", "log2_lr_high"))
    low = np.where(rows["depth"] == 16, -np.inf, low)

    def minus(beta):
        mean = design @ beta
        return -np.log(stats.norm.cdf((high - mean) / 0.7) - stats.norm.cdf((low - mean) / 0.7)).sum()

    best = optimize.minimize(minus, [0.0, -1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13})
    assert plane_given_sigma(design, low, high, 0.7) == pytest.approx(best.x, abs=1e-5)
    plane = interval_plane(design, low, high)
    assert plane_given_sigma(design, low, high, plane.sigma) == pytest.approx(plane.beta, abs=1e-7)


def test_a_line_through_all_brackets_but_one_shapes_leaves_a_standard_error():
    """Three of four shapes lie on a line: the likelihood of these three alone has no maximum."""
    rows = table(width_of_bracket=0.3, noise=0.0, exponents=(-0.9, 0.0))
    off = 0.7 * (rows["depth"] == 16)
    rows = rows.assign(log2_lr_low=rows["log2_lr_low"] + off, log2_lr_high=rows["log2_lr_high"] + off)
    found = row(fit(rows), "exponent")
    design = np.column_stack([np.ones(len(rows)), np.log(rows["depth"])])[rows["depth"] < 16]
    kept = rows[rows["depth"] < 16]
    assert interval_plane(design, kept["log2_lr_low"], kept["log2_lr_high"]) is None
    assert found["status"] == "ok"
    middles = row(fit(rows), "exponent", "midpoints")
    assert found["estimate"] == pytest.approx(middles["estimate"], abs=0.1)
    assert middles["se"] < found["se"] < 3 * middles["se"]


def test_the_optima_are_means_over_runs_with_their_scatter():
    rows = table(seeds=5)
    optima = fit(rows).optima
    assert optima["x"].tolist() == DEPTHS
    own = rows[rows["depth"] == 4]
    middle = (own["log2_lr_low"] + own["log2_lr_high"]) / 2
    assert optima["log2_lr_opt"][1] == pytest.approx(middle.mean())
    se = middle.std(ddof=1) / np.sqrt(len(own))
    half = stats.t.ppf(0.975, len(own) - 1) * se
    ends = ["log2_lr_opt", "se", "ci_low", "ci_high", "grid_best"]
    expected = [middle.mean(), se, middle.mean() - half, middle.mean() + half, own["log2_lr_low"].min()]
    assert optima.loc[1, ends].tolist() == pytest.approx(expected)
    assert optima.loc[1, ["status", "n_points", "n_runs"]].tolist() == ["interior", len(own), len(own)]
    alone = fit(rows[(rows["width"] == 32) & (rows["seed"] == 0)]).optima
    assert (alone["ci_high"] - alone["ci_low"]).to_numpy() == pytest.approx(0.1)
    assert alone["se"].to_numpy() == pytest.approx(0.1 / np.sqrt(12))
    unbounded = rows.assign(log2_lr_high=rows["log2_lr_high"].where(rows["depth"] != 4, np.inf))
    edge = fit(unbounded).optima.loc[1]
    assert (edge["status"], edge["n_points"], edge["n_runs"]) == ("edge", 0, len(own))
    assert np.isnan(edge[["log2_lr_opt", "se"]].to_numpy(float)).all()
    assert edge["grid_best"] == own["log2_lr_low"].min()


def test_what_cannot_be_fitted_says_so():
    rows = table()
    assert row(fit(rows[rows["depth"] == 2]), "exponent")["status"] == "collinear"
    with pytest.raises(MusterError, match="upper"):
        fit(rows.drop(columns="log2_lr_high"))
    with pytest.raises(MusterError, match="variables"):
        fit(rows, variables=["depth", "depth"])
    assert ESTIMATORS["interval_exponents"].more(
        FitConfig(
            estimator="interval_exponents",
            response="log2_lr_low",
            along="depth",
            options={"variables": ["depth", "width"]},
        )
    ) == ["depth", "width", "difference"]


def test_midpoints_are_weighted_by_the_variance_of_their_brackets_over_the_runs_of_a_shape():
    """Known of a uniform bracket: width²/12, over the runs."""
    runs, width = np.array([1, 2, 6, 3]), np.array([0.4, 0.8, 0.4, 0.8])
    y = 3 - np.log2(DEPTHS) + [0.05, 0.2, -0.06, 0.1]
    rows = pd.DataFrame({"depth": np.repeat(DEPTHS, runs), "width": 64, "seed": np.arange(runs.sum())})
    middle, half = np.repeat(y, runs), np.repeat(width, runs) / 2
    rows = rows.assign(log2_lr_low=middle - half, log2_lr_high=middle + half)
    found = row(fit(rows, variables=["depth"]), "exponent", "midpoints")
    design = np.column_stack([np.ones(4), np.log(DEPTHS)])
    brackets = (width * np.log(2)) ** 2 / 12 / runs
    random, plain = (meta_regression(y * np.log(2), known, design) for known in (brackets, np.ones(4)))
    assert random.cov[1, 1] > plain.cov[1, 1], "the wider of the two errors is told"
    assert (found["estimate"], found["intercept"]) == pytest.approx((random.beta[1], random.beta[0]))
    assert found["se"] == pytest.approx(np.sqrt(random.cov[1, 1]))
