"""Estimators of laws: rows, statuses and errors; and the claim test of a published vector."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.claims.tests import explain, on_its_own, p_support, verdict
from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, clusters_of
from muster.fitting.laws.estimate import law_estimator
from muster.fitting.laws.interval import bootstrap
from muster.fitting.laws.joint import JOINT
from muster.fitting.laws.solve import fit_law
from muster.fitting.laws.table import design_problem, usable_rows
from tests.unit.fitting.test_laws_solve import TRUTH, joint_table, offset_table


def joint_runs(rows=60, noise=0.01, **columns):
    x, y = joint_table(rows=rows, noise=noise)
    table = {"parameters": x[0], "tokens": x[1], "loss": y, "run": [f"r{i}" for i in range(rows)], "diverged": False}
    return pd.DataFrame({**table, **columns})


def judged(fit_row, test, predicted, margin=0.0):
    """A ledger row as far as the tests read it."""
    row = {"test": test, "predicted": predicted, "margin": margin, "scale": "laptop"}
    row |= {name: fit_row[name] for name in ("estimate", "se", "dof", "ci_low", "ci_high", "n_cells")}
    return on_its_own(row)


def offset_runs(**arguments):
    x, y = offset_table(**arguments)
    return pd.DataFrame({"width": x[0], "loss": y, "run": np.arange(len(y))})


def estimate(table, estimator="joint_law", along="parameters", by=(), **options):
    options = {"replicates": 100, **options}
    fit = FitConfig(estimator=estimator, response="loss", along=along, by=list(by), options=options)
    return ESTIMATORS[estimator].function(table, fit).fits


def one(table, parameter, **arguments):
    return estimate(table, **arguments).set_index("parameter").loc[parameter]


class TestRows:
    def test_one_row_for_each_parameter_then_the_derived_ones(self):
        fits = estimate(joint_runs())
        assert list(fits["parameter"]) == [*ESTIMATORS["joint_law"].parameters]
        assert list(fits["parameter"]) == ["alpha", "beta", "e", "a", "b", "compute_exponent", "tokens_exponent"]
        assert (fits["status"] == "ok").all()
        for name in ("alpha", "beta", "e"):
            row = fits.set_index("parameter").loc[name]
            assert row["ci_low"] < TRUTH[name] < row["ci_high"]
            assert abs(row["estimate"] - TRUTH[name]) < 4 * row["se"]
            assert row["dof"] == 55
        assert (fits["n_runs"] == 60).all()
        certificate = json.loads(fits["certificate"][0])
        assert certificate["converged"]
        assert certificate["starts_agreeing"] == certificate["starts"] > 16  # 16 cold ones, and those around the best

    @pytest.mark.parametrize("clusters", [None, "family"])
    def test_the_row_is_the_widened_bootstrap_with_its_own_dof(self, clusters):
        """The whole way by hand: refits to resampled units, t for z, ends by the Monte-Carlo error, se of the longer
        side, in the row and not only in the helpers."""
        table = joint_runs(family=np.repeat(np.arange(12), 5))
        found = one(table, "alpha", clusters=clusters, delta=0.013, replicates=400)
        x, y = table[["parameters", "tokens"]].to_numpy(float).T, table["loss"].to_numpy(float)
        fit = fit_law(JOINT, x, y, delta=0.013)
        theta = bootstrap(fit, x, y, None if clusters is None else table["family"], replicates=400)[:, 0]
        dof = 55 if clusters is None else 7
        wide = fit.theta[0] + stats.t.ppf(0.975, dof) / 1.959964 * (theta[np.isfinite(theta)] - fit.theta[0])
        tail = 0.025 - 1.645 * np.sqrt(0.025 * 0.975 / np.isfinite(theta).sum())
        low, high = np.quantile(wide, [tail, 1 - tail])
        assert (found["ci_low"], found["ci_high"]) == pytest.approx((low, high), rel=1e-5)
        assert found["dof"] == dof
        longer = max(high - found["estimate"], found["estimate"] - low)
        assert found["se"] == pytest.approx(longer / stats.t.ppf(0.975, dof), rel=1e-5)

    def test_derived_rows_follow_from_the_parameters(self):
        fits = estimate(joint_runs()).set_index("parameter")["estimate"]
        assert fits["compute_exponent"] == pytest.approx(fits["beta"] / (fits["alpha"] + fits["beta"]))
        assert fits["tokens_exponent"] == pytest.approx(1 - fits["compute_exponent"])

    def test_groups_are_fitted_by_themselves(self):
        table = pd.concat([joint_runs(family="x"), joint_runs(family="y").assign(run=[f"s{i}" for i in range(60)])])
        fits = estimate(table, by=["family"])
        assert len(fits) == 14
        assert fits["group"].nunique() == 2

    def test_an_axis_of_any_name(self):
        row = one(offset_runs(), "alpha", estimator="power_offset", along="width")
        assert row["ci_low"] < 0.5 < row["ci_high"]
        assert row["x_min"] == pytest.approx(10)

    def test_columns_may_have_other_names(self):
        renamed = joint_runs().rename(columns={"tokens": "seen"})
        assert one(renamed, "beta", columns={"tokens": "seen"})["estimate"] == one(joint_runs(), "beta")["estimate"]

    def test_a_fixed_parameter_has_no_error(self):
        fits = estimate(joint_runs(), fixed={"e": 1.8}).set_index("parameter")
        assert fits.loc["e", "estimate"] == pytest.approx(1.8)
        assert fits.loc["e", "status"] == "no_se"
        assert fits.loc["alpha", "status"] == "ok"

    def test_clusters_set_the_degrees_of_freedom(self):
        row = one(joint_runs(family=np.repeat(np.arange(12), 5)), "alpha", clusters="family")
        assert clusters_of(row) == 12
        assert clusters_of(one(joint_runs(), "alpha", clusters=False)) is None
        assert row["dof"] == 12 - 5

    def test_profile_of_squares_lies_around_the_estimate(self):
        row = one(joint_runs(noise=0.003), "alpha", interval="profile", delta="squares")
        assert row["ci_low"] < row["estimate"] < row["ci_high"]
        assert json.loads(row["diagnostics"])["delta"] is None
        longer = max(row["ci_high"] - row["estimate"], row["estimate"] - row["ci_low"])
        assert row["se"] == pytest.approx(longer / 2.004, rel=1e-4)  # t(55)

    def test_a_given_delta_is_used(self):
        assert json.loads(one(joint_runs(), "e", delta=0.003)["diagnostics"])["delta"] == 0.003

    def test_the_largest_losses_can_be_left_out_and_the_diagnostics_show_the_fit_with_them(self):
        table = joint_runs()
        table.loc[table["loss"].nlargest(3).index, "loss"] *= 1.3
        dropped = one(table, "beta", drop_largest_losses=3)
        assert dropped["n_runs"] == 57
        everything = json.loads(dropped["diagnostics"])["all_rows"]["beta"]
        delta = json.loads(dropped["diagnostics"])["delta"]
        assert everything == pytest.approx(one(table, "beta", delta=delta)["estimate"], rel=1e-3)
        assert abs(everything - dropped["estimate"]) > 1e-3

    def test_influence_names_the_run_that_moves_a_parameter_most(self):
        table = joint_runs(noise=0.002)
        table.loc[17, "loss"] *= 1.2
        full = one(table, "e", delta="squares")
        found = json.loads(full["diagnostics"])["influence"]["e"]

        def change(run):
            return one(table[table["run"] != run], "e", delta="squares")["estimate"] - full["estimate"]

        assert found["change"] == pytest.approx(change(found["without"]), rel=1e-4)
        assert abs(found["change"]) >= 0.999 * max(abs(change("r17")), abs(change("r3")))

    def test_held_out_rows_are_predicted(self):
        table = joint_runs()
        fits = estimate(table, hold_out={"column": "tokens", "quantile": 0.8}).set_index("parameter")
        row = fits.loc["extrapolation_error"]
        assert row["n_runs"] == 48
        held = json.loads(row["diagnostics"])["held_out"]
        assert held["rows"] == 12
        assert held["error"] == pytest.approx(row["estimate"], rel=1e-5)
        a, b, e, alpha, beta = (fits.loc[name, "estimate"] for name in ("a", "b", "e", "alpha", "beta"))
        far = table[table["tokens"] > table["tokens"].quantile(0.8)]
        predicted = e + a * far["parameters"] ** -alpha + b * far["tokens"] ** -beta
        assert row["estimate"] == pytest.approx((predicted / far["loss"] - 1).abs().mean(), rel=1e-6)
        above = estimate(table, hold_out={"column": "tokens", "above": float(table["tokens"].quantile(0.8))})
        assert above.set_index("parameter").loc["extrapolation_error", "estimate"] == row["estimate"]


class TestStatuses:
    def test_rows_that_are_not_finite_or_diverged_are_counted(self):
        table = joint_runs()
        table.loc[0, "loss"], table.loc[1, "loss"], table.loc[2, "diverged"] = np.nan, np.inf, True
        row = one(table, "alpha")
        assert row["note"] == "3 rows left out (diverged or not finite)"
        assert row["n_runs"] == 57

    @pytest.mark.parametrize("rows", [2, 5])
    def test_fewer_rows_than_a_law_needs(self, rows):
        fits = estimate(joint_runs(rows=rows))
        assert (fits["status"] == "too_few").all()
        assert fits["estimate"].isna().all()

    def test_few_designs_repeated_do_not_make_more(self):
        table = pd.concat([joint_runs(rows=4)] * 5, ignore_index=True).assign(run=np.arange(20))
        assert (estimate(table)["status"] == "too_few").all()

    def test_replicates_without_as_many_designs_as_parameters_leave_no_error(self):
        """Four rows, three parameters: of 4⁴ draws 88 hold one or two rows."""
        rows = estimate(offset_runs(rows=4, noise=1e-4), "power_offset", "width", replicates=1000, delta="squares")
        assert set(rows["status"]) == {"no_se"}
        assert rows["se"].isna().all()
        share = rows["note"].str.extract(r"^(\d+)% of the bootstrap replicates did not converge$")[0].astype(float)
        assert share.to_numpy() == pytest.approx(100 * 88 / 256, abs=5)

    def test_constant_tokens_per_parameter_are_collinear(self):
        table = joint_runs()
        table["tokens"] = np.round(20 * table["parameters"], -3)
        fits = estimate(table)
        assert (fits["status"] == "collinear").all()
        assert fits[["estimate", "se", "ci_low"]].isna().all(axis=None)

    def test_a_variable_that_does_not_vary_is_collinear(self):
        row = one(joint_runs().assign(tokens=1e9), "alpha")
        assert (row["status"], row["note"]) == ("collinear", "tokens does not vary")

    def test_nearly_collinear_logarithms_are_found_at_any_scale(self):
        n = np.geomspace(1, 10, 9)
        assert design_problem(np.stack([n, 1e9 * n**2]), ["n", "d"], 5)[0] == "collinear"
        assert design_problem(np.stack([n, n[::-1] * (1 + 0.1 * (n > 4))]), ["n", "d"], 5) is None

    @pytest.mark.parametrize("interval", ["profile", "bootstrap"])
    def test_an_offset_that_may_be_zero_has_a_one_sided_interval_and_the_exponent_its_own(self, interval):
        table = offset_runs(e=0.0, noise=0.02)
        fits = estimate(table, estimator="power_offset", along="width", interval=interval).set_index("parameter")
        assert (fits["status"] == "ok").all()
        assert fits.loc["e", "ci_low"] == 0
        assert fits.loc["e", "note"] == "e may be 0: its interval is one-sided"
        row = judged(fits.loc["e"], "greater", 1e-6)
        assert row["p_support"] > 0.05
        high = fits.loc["e", "ci_high"]
        assert verdict(judged(fits.loc["e"], "less", 2 * high)) == "supported"
        assert verdict(judged(fits.loc["e"], "less", 0.5 * high)) == "inconclusive"
        assert fits.loc["alpha", "ci_low"] < 0.5 < fits.loc["alpha", "ci_high"]

    def test_an_offset_that_the_rows_want_below_zero_leaves_nothing_identified(self):
        table = offset_runs().assign(loss=lambda t: 20 * t["width"] ** -0.5 - 0.1)
        fits = estimate(table, estimator="power_offset", along="width")
        assert (fits["status"] == "not_identified").all()
        assert fits["note"].str.contains("e ended at zero, and the rows ask for less").all()
        assert fits["se"].isna().all()

    @pytest.mark.parametrize("clusters", [3, 5])
    def test_no_more_clusters_than_parameters_leave_no_interval(self, clusters):
        fits = estimate(joint_runs(family=np.arange(60) % clusters), clusters="family")
        assert (fits["status"] == "not_identified").all()
        assert fits["note"].str.startswith(f"{clusters} clusters for 5 parameters: no interval can be had").all()
        assert fits[["se", "ci_low", "ci_high"]].isna().all(axis=None)
        assert fits["estimate"].notna().all()

    def test_rows_that_share_a_size_are_asked_about(self):
        table = joint_runs()
        table["parameters"] = np.repeat(np.geomspace(1e7, 1e10, 12), 5)
        x = table[["parameters", "tokens"]].to_numpy(float).T
        rng = np.random.default_rng(5)
        own = JOINT.predict(np.array([TRUTH[name] for name in JOINT.parameters]), x)
        table["loss"] = own * np.exp(0.003 * rng.standard_normal(60))
        asked = "60 rows share 12 values of parameters: name their `clusters`, or say `clusters: false`"
        assert one(table, "alpha")["status"] == "ok"
        assert one(table, "alpha")["note"].startswith(asked)
        fit = FitConfig(estimator="joint_law", response="loss", along="parameters")
        assert ESTIMATORS["joint_law"].ask(table, fit).startswith(asked)
        assert not ESTIMATORS["joint_law"].ask(table, fit.model_copy(update={"options": {"clusters": False}}))
        assert not ESTIMATORS["joint_law"].ask(joint_runs(), fit)
        assert one(table, "alpha", clusters=False)["note"] == ""
        table["loss"] = own * np.exp(0.003 * rng.standard_normal(60) + np.repeat(0.01 * rng.standard_normal(12), 5))
        unnamed = one(table, "alpha")
        assert unnamed["status"] == "no_se"
        assert unnamed["note"].startswith("residuals of one value of parameters agree (p = ")
        assert asked in unnamed["note"]
        assert one(table, "alpha", clusters="parameters")["status"] == "ok"

    def test_nothing_usable_is_too_few(self):
        assert (estimate(joint_runs().assign(loss=np.nan))["status"] == "too_few").all()


class TestErrors:
    @pytest.mark.parametrize("value", [-1.0, 0.0])
    def test_losses_that_are_not_positive(self, value):
        table = joint_runs()
        table.loc[4, "loss"] = value
        with pytest.raises(MusterError, match=r"response: loss is (-1|0) in run r4\. Laws are fitted to logarithms"):
            estimate(table)

    def test_text_in_a_column(self):
        with pytest.raises(MusterError, match="column 'tokens' is not numeric"):
            estimate(joint_runs().assign(tokens="1B"))

    def test_a_missing_column(self):
        with pytest.raises(MusterError, match=r"options\.columns: the table has no column 'tokens'"):
            estimate(joint_runs().drop(columns="tokens"))

    def test_a_run_that_occurs_twice(self):
        table = joint_runs()
        with pytest.raises(MusterError, match="run r3 occurs more than once"):
            estimate(pd.concat([table, table.iloc[[3]]]))
        with pytest.raises(MusterError, match="occurs more than once"):
            usable_rows(pd.concat([table, table.iloc[[3]]]).drop(columns="run"), ["tokens"], "loss")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"columns": {"size": "tokens"}}, "options.columns: joint_law has no 'size'"),
            ({"fixed": {"gamma": 1.0}}, "options.fixed: joint_law has no 'gamma'"),
            ({"delta": -1.0}, "options.delta: -1 is not positive"),
            ({"clusters": "diverged", "interval": "profile"}, "options.interval: a profile takes rows as independent"),
            ({"clusters": "family"}, "options.clusters: the table has no column 'family'"),
            ({"hold_out": {"column": "flops", "above": 1}}, "options.hold_out.column: the table has no column 'flops'"),
            ({"hold_out": {"column": "tokens"}}, "options.hold_out: Value error, give either `above` or `quantile`"),
            ({"published": {"x": {"alpha": "0,34"}}}, "options.published: Value error, '0,34' is no number, nor exp("),
            ({"published": {"x": {"gamma": 1.0}}}, "options.published: unknown parameter 'gamma'"),
            ({"replicate": 5}, "options.replicate"),
        ],
    )
    def test_wrong_options(self, options, message):
        with pytest.raises(MusterError) as error:
            estimate(joint_runs(), **options)
        assert str(error.value).startswith(message)

    def test_an_unknown_law(self):
        with pytest.raises(MusterError, match="unknown name 'no_law'"):
            law_estimator("no_law", source="", assumes="", fails="")


class TestReproduced:
    """A published vector becomes a row `reproduced_<name>`, which the claim test `reproduced` decides."""

    DIGITS = 4

    def row(self, values, **options):
        found = one(joint_runs(), "reproduced_paper", published={"paper": values}, **options)
        return judged(found, "reproduced", 0.0, 1e-6), found

    def printed(self, digits=DIGITS, **options):
        fits = estimate(joint_runs(), **options).set_index("parameter")["estimate"]
        return {name: f"{fits[name]:.{digits}f}" for name in JOINT.parameters}

    def test_the_digits_of_the_minimum_are_reproduced(self):
        row, found = self.row(self.printed())
        assert (found["status"], found["estimate"], found["se"]) == ("ok", 0.0, 0.0)
        assert verdict(row) == "supported"
        assert explain(row) == "the minimum rounds to the published digits"

    def test_one_digit_off_is_not(self):
        values = self.printed()
        values["beta"] = f"{float(values['beta']) + 1e-3:.{self.DIGITS}f}"
        row, found = self.row(values)
        assert found["estimate"] > 1e-6
        assert verdict(row) == "refuted"
        assert explain(row).startswith("a lower objective exists: the best with the published digits exceeds")
        assert found["note"].startswith("beta is 19.3 halves")  # 1e-3 in halves of 1e-4, less what was rounded away

    def test_what_a_wide_region_does_not_reject_is_not_reproduced_by_that(self):
        values = dict(zip(JOINT.parameters, ("0.34", "0.30", "1.8", "300.0", "900.0"), strict=True))
        vector = one(joint_runs(noise=0.2), "wald_paper", published={"paper": values})
        found = one(joint_runs(noise=0.2), "reproduced_paper", published={"paper": values})
        assert "not rejected" in vector["note"]
        assert verdict(judged(found, "reproduced", 0.0, 1e-6)) == "refuted"

    def test_zeros_at_the_end_are_digits(self):
        values = self.printed(2)
        assert self.row(values)[1]["estimate"] == 0
        longer = {name: value + "0" for name, value in values.items()}
        assert self.row(longer)[1]["estimate"] > 0

    def test_the_objective_is_that_of_the_recipe(self):
        options = {"delta": "squares", "residual": "linear"}
        values = self.printed(**options)
        assert self.row(values, **options)[1]["estimate"] == 0
        assert self.row(values)[1]["estimate"] > 0


class TestVector:
    """A published vector becomes a row `wald_<name>`, which the claim test `vector` decides."""

    CRITICAL = 11.07  # χ²(5), 95 %

    def row(self, values):
        found = one(joint_runs(), "wald_paper", published={"paper": values})
        row = {"test": "vector", "predicted": 0.0, "margin": self.CRITICAL, "scale": "laptop"}
        row |= {name: found[name] for name in ("estimate", "se", "dof", "ci_low", "ci_high", "n_cells")}
        return on_its_own(row), found

    def test_a_vector_far_away_is_refuted(self):
        row, found = self.row({**TRUTH, "beta": 0.3})
        assert found["status"] == "ok"
        assert found["dof"] == 5
        assert verdict(row) == "refuted"
        assert "above its critical value 11.07" in explain(row)
        record = json.loads(found["diagnostics"])["published"]["paper"]
        assert record["finding"] == "optimizer"
        assert record["p"] < 1e-6

    def test_the_truth_is_not_supported_by_not_being_rejected(self):
        row, _ = self.row(TRUTH)
        assert row["estimate"] < self.CRITICAL
        assert p_support(row) == 1
        assert verdict(row) == "inconclusive"
        assert "not above its critical value" in explain(row)

    def test_without_an_estimate_nothing_is_decided(self):
        row, _ = self.row(TRUTH)
        row |= {"estimate": math.nan, "se": math.nan}
        assert math.isnan(p_support(row))
        assert verdict(on_its_own(row)) == "no measurement"
