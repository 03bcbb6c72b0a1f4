"""Thresholds: where success reaches one half, with separation, one-sided outcomes and no trend told apart."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special, stats

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS
from muster.statistics.threshold import find_threshold


def draw(rng, location, slope, x):
    return (rng.random(len(x)) < special.expit(slope * (x - location))).astype(float)


def run(table, estimator="threshold", along="tokens", response="solved", **options):
    fit = FitConfig(estimator=estimator, response=response, along=along, options=options)
    return ESTIMATORS[estimator].function(table, fit).fits


class TestOneThreshold:
    def test_the_maximum_of_the_likelihood(self):
        rng = np.random.default_rng(0)
        x = np.linspace(40, 60, 200)
        success = draw(rng, 52.0, 0.5, x)

        def negative(theta):
            eta = theta[1] * (x - theta[0])
            return -(success * eta - np.logaddexp(0, eta)).sum()

        best = optimize.minimize(negative, [50.0, 0.3], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
        found = find_threshold(x, success)
        assert found.status == "interior"
        assert found.location == pytest.approx(best.x[0], rel=1e-6)
        # Delta-method error of −β₀/β₁ = error of the location when the model is written in it.
        eta = best.x[1] * (x - best.x[0])
        weight = special.expit(eta) * special.expit(-eta)
        scores = np.stack([-best.x[1] * np.ones_like(x), x - best.x[0]])
        information = scores * weight @ scores.T
        assert found.se == pytest.approx(np.sqrt(np.linalg.inv(information)[0, 0]), rel=1e-4)
        assert found.ci[0] < found.location < found.ci[1]

    def test_falling_success(self):
        rng = np.random.default_rng(1)
        x = np.linspace(-3, 3, 400)
        assert find_threshold(x, draw(rng, 0.5, -3.0, x)).location == pytest.approx(0.5, abs=0.25)

    @pytest.mark.parametrize("success", [[0, 0, 1, 1], [1, 1, 0, 0]])
    def test_separation_gives_the_gap(self, success):
        found = find_threshold(np.array([1.0, 2.0, 4.0, 5.0]), np.array(success, float))
        assert (found.status, found.location, found.ci) == ("separated", 3.0, (2.0, 4.0))
        assert found.se == pytest.approx(2 / np.sqrt(12))

    def test_touching_is_separation_too(self):
        found = find_threshold(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.0, 0.0, 1.0, 1.0]))
        assert (found.status, found.location, found.ci) == ("separated", 2.0, (1.0, 3.0))

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_one_outcome_has_no_threshold(self, value):
        assert find_threshold(np.arange(5.0), np.full(5, value)).status == "one_sided"

    def test_no_trend_is_flat(self):
        x = np.tile(np.arange(6.0), 4)
        assert find_threshold(x, np.repeat([0.0, 1.0], 12)).status == "flat"

    def test_a_sharp_threshold_with_one_slip_is_not_called_flat(self):
        """Wald's z is 1.9 here; the likelihood ratio sees what the eye does."""
        x = np.arange(14.0)
        success = (x > 6.5).astype(float)
        success[[6, 7]] = [1, 0]
        found = find_threshold(x, success)
        assert (found.status, found.location) == ("interior", pytest.approx(6.5))


class TestThreshold:
    def table(self, scale=1e9):
        rng = np.random.default_rng(2)
        log_x = np.tile(np.linspace(-2, 2, 21), 10)
        return pd.DataFrame({"tokens": scale * np.exp(log_x), "solved": draw(rng, 0.3, 4.0, log_x)})

    def test_natural_units_on_a_log_scale(self):
        table = self.table()
        row = run(table).iloc[0]
        found = find_threshold(np.log(table["tokens"].to_numpy()), table["solved"].to_numpy())
        assert row["estimate"] == pytest.approx(np.exp(found.location))
        # Fieller's interval is lopsided in natural units; the row's t interval reaches its farther end.
        low, high = np.exp(found.ci)
        assert row["se"] == pytest.approx((high - row["estimate"]) / stats.norm.ppf(0.975))
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((2 * row["estimate"] - high, high))
        assert row["ci_low"] < low
        assert (row["parameter"], row["status"], row["dof"]) == ("", "ok", np.inf)
        assert row["ci_low"] < 1e9 * np.exp(0.3) < row["ci_high"]

    def test_linear_scale(self):
        table = self.table()
        table["tokens"] = np.log(table["tokens"] / 1e9)
        row = run(table, scale="linear").iloc[0]
        assert row["estimate"] == pytest.approx(np.log(run(self.table()).iloc[0]["estimate"] / 1e9))

    def test_separated_runs_keep_the_gap_and_decide_nothing(self):
        table = pd.DataFrame({"tokens": [1.0, 2.0, 8.0, 16.0], "solved": [False, False, True, True]})
        row = run(table).iloc[0]
        assert (row["status"], row["estimate"]) == ("no_se", pytest.approx(4.0))
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((2.0, 8.0))
        assert np.isnan(row["se"])
        assert "do not overlap" in row["note"]

    def test_no_threshold_is_not_identified(self):
        row = run(self.table().assign(solved=1)).iloc[0]
        assert (row["status"], "all runs succeed, or all fail" in row["note"]) == ("not_identified", True)
        assert np.isnan([row["estimate"], row["ci_low"]]).all()

    def test_a_bound_on_the_response_and_failed_runs(self):
        table = self.table()
        accuracy = 0.5 + 0.4 * table["solved"]
        expected = run(table).iloc[0]["estimate"]
        table = table.assign(accuracy=accuracy, diverged=False)
        assert run(table, response="accuracy", success_above=0.8).iloc[0]["estimate"] == expected
        assert (
            run(table.assign(error=1 - accuracy), response="error", success_below=0.2).iloc[0]["estimate"] == expected
        )
        lost = table.assign(accuracy=accuracy.where(table["solved"] == 1))  # every failure was a crash
        assert run(lost, response="accuracy", success_above=0.8).iloc[0]["estimate"] == expected
        assert (
            run(table.assign(diverged=True), response="accuracy", success_above=0.8).iloc[0]["note"].startswith("0 of")
        )

    @pytest.mark.parametrize(
        ("change", "options", "message"),
        [
            (lambda t: t.assign(solved=0.5), {}, "solved takes the value 0.5.*Success is 0 or 1"),
            (lambda t: t.assign(solved=np.nan), {}, "solved takes the value nan"),
            (lambda t: t.assign(solved="yes"), {}, "solved holds 'yes'"),
            (lambda t: t.assign(tokens=0.0), {}, "tokens takes the value 0"),
            (lambda t: t, {"success_above": 0.5, "success_below": 0.2}, "both given"),
        ],
    )
    def test_clear_errors(self, change, options, message):
        with pytest.raises(MusterError, match=message):
            run(change(self.table()), **options)


class TestExponent:
    WIDTHS = (32, 64, 128, 256, 512)

    def table(self, exponent=1.5, sharpness=6.0, repeats=20, widths=WIDTHS):
        rng = np.random.default_rng(3)
        rows = []
        for width in widths:
            middle = 2.0 + exponent * np.log(width)
            log_x = np.repeat(middle + np.linspace(-1.5, 1.5, 13) + 0.05 * rng.standard_normal(), repeats)
            success = draw(rng, middle, sharpness, log_x)
            rows.append(pd.DataFrame({"width": width, "tokens": np.exp(log_x), "solved": success}))
        return pd.concat(rows, ignore_index=True)

    def test_the_exponent_is_recovered(self):
        rows = run(self.table(), "threshold_exponent", "width", over="tokens").set_index("variant")
        assert set(rows.index) == {"ols_t", "hc3", "reml_kh"}
        row = rows.loc["ols_t"]
        assert row["estimate"] == pytest.approx(1.5, abs=0.05)
        assert row["ci_low"] < 1.5 < row["ci_high"]
        assert row["intercept"] == pytest.approx(2.0, abs=0.25)
        assert (row["status"], row["dof"]) == ("ok", 3)

    def test_separated_levels_enter_at_the_middle_of_their_gap(self):
        table = pd.DataFrame(
            [(w, x, x >= w * np.sqrt(2)) for w in self.WIDTHS for x in (w / 2, w, 2 * w, 4 * w)],
            columns=["width", "tokens", "solved"],
        )
        row = run(table, "threshold_exponent", "width", over="tokens").iloc[0]
        assert row["estimate"] == pytest.approx(1.0)
        assert np.exp(row["intercept"]) == pytest.approx(np.sqrt(2))
        assert "separated at width 32 64 128 256 512" in row["note"]
        assert json.loads(row["diagnostics"])["thresholds"][0]["status"] == "separated"

    def test_levels_without_a_threshold_are_named_and_left_out(self):
        table = self.table()
        table.loc[table["width"] == 512, "solved"] = 1.0
        row = run(table, "threshold_exponent", "width", over="tokens").iloc[0]
        assert (row["x_max"], row["dof"]) == (256, 2)
        assert "one_sided at width 512" in row["note"]

    def test_two_levels_are_too_few(self):
        rows = run(self.table(widths=(32, 64)), "threshold_exponent", "width", over="tokens")
        assert set(rows["status"]) == {"too_few"}
        assert "2 of 2 levels have a threshold, 3 are needed" in rows["note"].iloc[0]

    def test_a_note_begins_with_what_decides(self):
        table = self.table(widths=(32, 64, 128))
        table.loc[table["width"] == 128, "solved"] = 1.0
        notes = run(table, "threshold_exponent", "width", over="tokens")["note"]
        assert set(notes) == {"2 of 3 levels have a threshold, 3 are needed, one_sided at width 128"}

    def test_a_linear_threshold_below_zero_has_no_exponent(self):
        table = self.table().assign(tokens=lambda t: -t["tokens"])
        with pytest.raises(MusterError, match="An exponent needs a positive axis"):
            run(table, "threshold_exponent", "width", over="tokens", scale="linear")


class TestLearningRates:
    """`over` a column of logarithms: thresholds in octaves, and the same numbers as optima."""

    @staticmethod
    def runs(exponent):
        rows = [
            {"batch_size": b, "log2_lr": rate, "seed": 0, "loss": 1.0 if rate < exponent * np.log2(b) - 3.1 else np.inf}
            for b in (1, 4, 16, 64)
            for rate in np.arange(-6, 6, 0.25)
        ]
        return pd.DataFrame(rows).assign(study="s", diverged=lambda t: ~np.isfinite(t["loss"]))

    def result(self, exponent):
        fit = FitConfig(
            estimator="threshold_exponent",
            response="loss",
            along="batch_size",
            options={"over": "log2_lr", "success_below": 100},
        )
        return ESTIMATORS["threshold_exponent"].function(self.runs(exponent), fit)

    @pytest.mark.parametrize("exponent", [0.5, 1.0])
    def test_the_exponent_of_the_largest_stable_rate(self, exponent):
        found = self.result(exponent)
        assert found.fits["estimate"].to_numpy() == pytest.approx(exponent, abs=1e-9)

    def test_optima_hold_the_gaps_in_octaves(self):
        optima = self.result(1.0).optima
        assert optima["x"].tolist() == [1, 4, 16, 64]
        # Rates in steps of ¼: the last stable one lies below the planted −3.1 by 0.15, the first diverged one above.
        np.testing.assert_allclose(optima["log2_lr_opt"], np.log2(optima["x"]) - 3.125)
        np.testing.assert_allclose(optima["ci_low"], np.log2(optima["x"]) - 3.25)
        np.testing.assert_allclose(optima["ci_high"], np.log2(optima["x"]) - 3.0)
        np.testing.assert_allclose(optima["se"], 0.25 / np.sqrt(12))  # of a uniform variable
        assert (optima["status"] == "interior").all()
        assert (optima[["n_points", "n_runs"]] == 48).all(axis=None)

    def test_counts_are_those_of_a_level(self):
        """Two seeds of which one has fewer rates: distinct rates, and runs."""
        runs = self.runs(1.0)
        second = runs[runs["log2_lr"] >= 0.5 * np.log2(runs["batch_size"])].assign(seed=1)
        fit = FitConfig(
            estimator="threshold_exponent",
            response="loss",
            along="batch_size",
            options={"over": "log2_lr", "success_below": 100},
        )
        optima = ESTIMATORS["threshold_exponent"].function(pd.concat([runs, second]), fit).optima
        assert optima["n_points"].tolist() == [48] * 4
        assert optima["n_runs"].tolist() == [48 + 24, 48 + 20, 48 + 16, 48 + 12]

    def test_other_thresholds_are_no_optima(self):
        table = self.runs(1.0).assign(rate=lambda t: 2.0 ** t["log2_lr"])
        options = {"over": "rate", "success_below": 100}
        fit = FitConfig(estimator="threshold_exponent", response="loss", along="batch_size", options=options)
        found = ESTIMATORS["threshold_exponent"].function(table, fit)
        assert found.optima.empty
        assert found.fits["estimate"].to_numpy() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(("x", "ends"), [([1.0, 3, 3, 6], (1, 6)), ([3.0, 3, 6], (0, 6)), ([3.0, 3], (3, 3))])
def test_success_and_failure_at_one_value_alone_lie_between_its_neighbours(x, ends, side):
    """Where there is none on a side, as far away as on the other; without any there is nothing to tell."""
    x, success = np.array(x), (np.arange(len(x)) > x.index(3)).astype(float)
    if side < 0:
        x, ends = -x, (-ends[1], -ends[0])
    found = find_threshold(x, success)
    assert (found.status, found.ci) == ("separated", ends)
    assert (found.location, found.se) == (sum(ends) / 2, pytest.approx((ends[1] - ends[0]) / 12**0.5))
