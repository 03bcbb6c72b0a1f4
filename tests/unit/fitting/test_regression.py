"""Log-linear regression, its clustered errors and the wild bootstrap, and equality of slopes, against definitions."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS
from muster.fitting.estimators.slope_equality import difference
from muster.statistics.linear import Estimate, slope_ols
from muster.statistics.wild_bootstrap import REPLICATES, interval_ends, p_value, replicate, webb_weights, wild_cluster


def table(rows=40, clusters=8, noise=0.05, seed=0):
    """loss = 3 N^−0.3 D^−0.2, with a shift per family."""
    rng = np.random.default_rng(seed)
    n, d = 10 ** rng.uniform(6, 9, rows), 10 ** rng.uniform(8, 11, rows)
    family = rng.integers(clusters, size=rows)
    shift = noise * rng.standard_normal(clusters)[family] + noise * rng.standard_normal(rows)
    return pd.DataFrame(
        {
            "run": [f"r{i}" for i in range(rows)],
            "parameters": n,
            "tokens": d,
            "family": [f"f{i}" for i in family],
            "final_eval_loss": 3 * n**-0.3 * d**-0.2 * np.exp(shift),
            "diverged": False,
        }
    )


def run(rows, **options):
    fields = {"response": "final_eval_loss", "along": "parameters"} | options.pop("fields", {})
    fit = FitConfig(estimator="regression", options=options, **fields)
    return ESTIMATORS["regression"].function(rows, fit).fits


BOTH = {"variables": ["parameters", "tokens"]}


class TestRegression:
    def test_exact_exponents_a_row_each(self):
        fits = run(table(noise=0), **BOTH)
        named = fits[fits["variant"] == "ols_t"].set_index("parameter")
        assert list(named.index) == ["parameters", "tokens"]
        assert named["estimate"].tolist() == pytest.approx([-0.3, -0.2], abs=1e-10)
        assert named["intercept"].tolist() == pytest.approx([np.log(3)] * 2, abs=1e-8)

    def test_errors_are_those_of_statsmodels(self):
        rows = table()
        design = sm.add_constant(np.log(rows[["parameters", "tokens"]].to_numpy()))
        model = sm.OLS(np.log(rows["final_eval_loss"].to_numpy()), design)
        groups = pd.factorize(rows["family"])[0]
        expected = {
            "ols_t": (model.fit(), 37),
            "hc3": (model.fit(cov_type="HC3", use_t=True), 37),
        }
        fits = run(rows, clusters="family", **BOTH).set_index(["parameter", "variant"])
        for variant, (fit, dof) in expected.items():
            row = fits.loc[("tokens", variant)]
            assert (row["estimate"], row["se"], row["dof"]) == pytest.approx((fit.params[2], fit.bse[2], dof))
        row = fits.loc[("tokens", "cluster_t")]
        y = model.endog
        partial = [sm.OLS(y[groups != each], design[groups != each]).fit().params[2] for each in range(8)]
        assert row["se"] == pytest.approx(np.sqrt(7 * np.var(partial)))
        assert row["dof"] == 7
        half = stats.t.ppf(0.975, 7) * row["se"]
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((row["estimate"] - half, row["estimate"] + half))

    def test_clusters_decide_which_variant_is_primary(self):
        def primary(**options):
            fits = run(table(), **options)
            return set(fits.loc[fits["primary"], "variant"])

        assert primary() == {"ols_t"}
        assert primary(clusters="family") == {"cluster_t"}
        assert primary(clusters="family", fields={"primary": "wild_cluster"}) == {"wild_cluster"}

    def test_without_clusters_their_variants_have_no_number(self):
        fits = run(table()).set_index("variant")
        assert fits["status"].to_dict() == {"ols_t": "ok", "hc3": "ok", "cluster_t": "no_se", "wild_cluster": "no_se"}
        assert np.isnan(fits.loc["cluster_t", "estimate"])

    def test_no_more_clusters_than_coefficients_are_too_few(self):
        fits = run(table(clusters=3), clusters="family", **BOTH).set_index(["parameter", "variant"])
        assert fits.loc[("tokens", "cluster_t"), "status"] == "no_se"
        assert "3 clusters of family" in fits["note"].iloc[0]

    def test_log2_columns_enter_as_they_are(self):
        rows = table(noise=0).assign(log2_lr=lambda t: -0.5 * np.log2(t["parameters"]) + 4)
        fits = run(rows, fields={"response": "log2_lr"})
        assert fits["estimate"].iloc[0] == pytest.approx(-0.5, abs=1e-12)
        inverse = run(rows, variables=["log2_lr"], fields={"response": "parameters"})
        assert inverse["estimate"].iloc[0] == pytest.approx(-2, abs=1e-9)

    def test_missing_and_diverged_rows_are_dropped_and_counted(self):
        rows = table(noise=0)
        rows.loc[0, "final_eval_loss"] = np.nan
        rows.loc[1, ["diverged", "final_eval_loss"]] = [True, 1e9]
        rows.loc[2, "tokens"] = np.inf
        fits = run(rows, **BOTH)
        assert fits["estimate"].iloc[0] == pytest.approx(-0.3, abs=1e-10)
        assert fits["note"].iloc[0].startswith("3 rows left out")
        assert set(fits["n_runs"]) == {37}

    def test_collinear_and_constant_variables_have_no_exponent(self):
        rows = table().assign(tokens=lambda t: 20 * t["parameters"])
        fits = run(rows, **BOTH)
        assert set(fits["status"]) == {"collinear"}
        assert fits["estimate"].isna().all()
        constant = run(rows.assign(tokens=1e9), **BOTH)
        assert set(constant["status"]) == {"collinear"}
        assert constant["note"].iloc[0] == "tokens does not vary"

    def test_no_more_rows_than_coefficients(self):
        fits = run(table(rows=3), **BOTH)
        assert set(fits["status"]) == {"too_few"}
        assert "3 usable rows for 3 coefficients" in fits["note"].iloc[0]

    @pytest.mark.parametrize(
        ("change", "options", "message"),
        [
            ({"tokens": "many"}, BOTH, "tokens holds 'many'"),
            ({"tokens": -1.0}, BOTH, "tokens takes the value -1"),
            ({"final_eval_loss": 0.0}, {}, "final_eval_loss takes the value 0"),
            ({"run": "r0"}, {}, "the run 'r0' occurs twice"),
            ({}, {"variables": ["depth"]}, "no column 'depth'"),
            ({}, {"clusters": "lab"}, "no column 'lab'"),
            ({}, {"variables": ["tokens", "tokens"]}, "Name each variable once"),
            ({}, {"variables": ["final_eval_loss"]}, "Name each variable once"),
        ],
    )
    def test_wrong_input_is_a_clear_error(self, change, options, message):
        with pytest.raises(MusterError, match=message):
            run(table().assign(**change), **options)


def clustered(seed, clusters=8):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(clusters), rng.integers(2, 9, clusters))
    design = np.column_stack(
        [np.ones(len(group)), rng.standard_normal(clusters)[group], rng.standard_normal(len(group))]
    )
    errors = rng.standard_normal(clusters)[group] + 0.5 * rng.standard_normal(len(group))
    return design @ [1.0, -0.3, 0.2] + errors, design, group


def cr1(y, design, group):
    """The first slope with the sandwich's error, whose t is bootstrapped."""
    fit = sm.OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": group}, use_t=True)
    return Estimate(fit.params[1], fit.bse[1], group.max())


class TestWildBootstrap:
    @pytest.mark.parametrize("value", [-0.3, 0.0, 1.7])
    def test_replicates_equal_refits_of_the_bootstrap_samples(self, value):
        y, design, group = clustered(1)
        weights = webb_weights(12, 8)
        others = np.delete(design, 1, axis=1)
        shifted = y - value * design[:, 1]
        fitted = others @ np.linalg.lstsq(others, shifted, rcond=None)[0]
        expected = []
        for weight in weights:
            sample = fitted + value * design[:, 1] + weight[group] * (shifted - fitted)
            fit = sm.OLS(sample, design).fit(cov_type="cluster", cov_kwds={"groups": group}, use_t=True)
            expected.append(abs(fit.params[1] - value) / fit.bse[1])
        assert replicate(y, design, group, 1, weights).t(value) == pytest.approx(np.array(expected), rel=1e-8)

    def test_interval_ends_are_where_p_crosses_5_percent(self):
        y, design, group = clustered(2, 12)
        sandwich = cr1(y, design, group)
        found = wild_cluster(y, design, group, 1, sandwich)
        draws = replicate(y, design, group, 1, webb_weights(REPLICATES, 12))
        low, high = interval_ends(draws, sandwich)
        level = 0.05 - 2 * np.sqrt(0.05 * 0.95 / REPLICATES)
        for end, inwards in ((low, 1), (high, -1)):
            assert (
                p_value(draws, sandwich, end - 1e-6 * inwards) < level <= p_value(draws, sandwich, end + 1e-6 * inwards)
            )
        # The row's p and interval are of one law: t reaches the farther end.
        assert found.estimate == sandwich.estimate
        assert found.se == pytest.approx(max(found.estimate - low, high - found.estimate) / stats.t.ppf(0.975, 11))
        assert found.interval()[0] <= low < high <= found.interval()[1]

    def test_webb_weights_have_mean_0_and_variance_1(self):
        weights = webb_weights(40000, 5)
        assert len(np.unique(weights)) == 6
        assert weights.mean() == pytest.approx(0, abs=0.01)
        assert weights.var() == pytest.approx(1, abs=0.01)

    def test_p_is_1_at_the_estimate_and_falls_away_from_it(self):
        y, design, group = clustered(3)
        estimate = cr1(y, design, group)
        draws = replicate(y, design, group, 1, webb_weights(999, 8))
        values = [p_value(draws, estimate, estimate.estimate + step * estimate.se) for step in (0, 1, 3, 30)]
        assert values[0] == 1
        assert values == sorted(values, reverse=True)
        assert values[-1] < 0.05

    def test_a_tie_counts_as_reaching_the_observed_t(self):
        # With all weights 1, or all −1, the bootstrap sample is the data again, up to rounding and sign.
        y, design, group = clustered(5)
        estimate = cr1(y, design, group)
        draws = replicate(y, design, group, 1, np.array([np.ones(8), -np.ones(8)]))
        assert {p_value(draws, estimate, value) for value in (-3.0, -0.31, 0.2, 0.7, 5.0)} == {1.0}

    def test_an_interval_without_an_end_leaves_no_standard_error(self):
        # Two clusters: every replicate ties with the observed t too often for p to fall to 5 %.
        rng = np.random.default_rng(4)
        group = np.repeat([0, 1], 6)
        design = np.column_stack([np.ones(12), rng.standard_normal(12)])
        found = wild_cluster(rng.standard_normal(12), design, group, 1, Estimate(0.1, 0.2, 1))
        assert np.isinf(found.ci).all()
        assert np.isnan(found.se)


class TestSlopeEquality:
    def fits(self, rows, **fields):
        pair = {"a": {"family": "x"}, "b": {"family": "y"}}
        fit = FitConfig(estimator="slope_equality", response="loss", options=pair, **fields)
        return ESTIMATORS["slope_equality"].function(rows, fit).fits.set_index("variant")

    def rows(self, noise=0.0, widths=(64, 128, 256, 512), seeds=2):
        rng = np.random.default_rng(0)
        return pd.DataFrame(
            [
                {"width": w, "family": f, "seed": s, "loss": w**slope * (1 + s) * np.exp(noise * rng.standard_normal())}
                for f, slope in (("x", -0.5), ("y", -0.2))
                for w in widths
                for s in range(seeds)
            ]
        )

    def test_exact_difference(self):
        fits = self.fits(self.rows())
        np.testing.assert_allclose(fits["estimate"], -0.3, atol=1e-12)
        assert fits["primary"].to_dict() == {"welch_t": True, "pooled_t": False}

    def test_pooled_is_the_interaction_of_one_regression(self):
        rng = np.random.default_rng(1)
        xa, xb = rng.uniform(0, 5, 6), rng.uniform(1, 9, 9)
        ya, yb = rng.standard_normal(6), rng.standard_normal(9)
        x, b = np.concatenate([xa, xb]), np.repeat([0.0, 1.0], [6, 9])
        fit = sm.OLS(np.concatenate([ya, yb]), np.column_stack([np.ones(15), b, x, (1 - b) * x])).fit()
        pooled = difference(xa, ya, xb, yb)["pooled_t"]
        assert (pooled.estimate, pooled.se, pooled.dof) == pytest.approx((fit.params[3], fit.bse[3], 11))

    def test_welch_by_hand(self):
        rng = np.random.default_rng(2)
        xa, xb = np.arange(6.0), np.arange(9.0)
        ya, yb = rng.standard_normal(6), 5 * rng.standard_normal(9)
        a, b = slope_ols(xa, ya), slope_ols(xb, yb)
        welch = difference(xa, ya, xb, yb)["welch_t"]
        assert (welch.se, welch.dof) == pytest.approx((np.hypot(a.se, b.se), 4))

    def test_seeds_of_one_width_are_one_point(self):
        fits = self.fits(self.rows(noise=0.1))
        assert fits.loc["pooled_t", "dof"] == 4

    def test_too_few_values(self):
        fits = self.fits(self.rows(widths=(64, 128)))
        assert set(fits["status"]) == {"too_few"}
        assert "2 and 2 values of width, 3 are needed" in fits["note"].iloc[0]

    def test_rows_that_nobody_told_apart_are_an_error(self):
        rows = pd.concat([self.rows().assign(depth=2), self.rows().assign(depth=3)])
        with pytest.raises(MusterError, match="differ in depth"):
            self.fits(rows)
        assert self.fits(rows.assign(run=[str(i) for i in range(len(rows))]))["status"].iloc[0] == "ok"
        with pytest.raises(MusterError, match="the run '1' occurs twice"):
            self.fits(self.rows().assign(run="1"))
