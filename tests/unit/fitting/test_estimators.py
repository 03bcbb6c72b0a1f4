"""Estimators on tables whose answer is known: exact recovery, pairing, pooling, and degenerate input."""

import json

import numpy as np
import pandas as pd
import pytest

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, FIT_COLUMNS, OPTIMUM_COLUMNS, group_key
from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.estimators.lr_transfer import shapes_note
from muster.fitting.estimators.power_law import log_relative_std
from muster.fitting.optimum.quadratic import Optimum
from tests.unit.fitting import test_exponents as exponents
from tests.unit.fitting import test_interval_exponents as intervals
from tests.unit.fitting import test_isoflop as isoflop
from tests.unit.fitting import test_lr_batch_surface as surfaces
from tests.unit.fitting import test_threshold as thresholds

WIDTHS = (64, 128, 256, 512)
RATES = np.arange(-10.0, -2.9, 0.5)


def sweep(slopes=None, widths=WIDTHS, seeds=2, noise=0.0, level=lambda width, name: 0.0, curvature=0.08, start=-6.3):
    """A run table whose ln loss is an exact parabola with vertex `start` + slope·log2(width/128)."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "study": "s",
            "width": width,
            "depth": 3,
            "parameterization": name,
            "seed": seed,
            "optimizer": "adam",
            "log2_lr": rate,
            "diverged": False,
            "final_train_loss": np.exp(
                curvature * (rate - start - slope * np.log2(width / 128)) ** 2
                + level(width, name)
                + 0.01 * seed
                + noise * rng.standard_normal()
            ),
            "steps": 10,
        }
        for name, slope in (slopes or {"sp": -0.5}).items()
        for width in widths
        for seed in range(seeds)
        for rate in RATES
    ]
    return pd.DataFrame(rows)


def config(estimator, **fields):
    return FitConfig(estimator=estimator, **{"response": "final_train_loss", **fields})


def run(table, fit):
    return ESTIMATORS[fit.estimator].function(table, fit)


def primary(result):
    rows = result.fits[result.fits["primary"]]
    assert len(rows) == 1
    return rows.iloc[0]


def lines(result):
    """All variants but `mixed`, which needs five shapes of three seeds."""
    return result.fits[result.fits["variant"] != "mixed"]


def probes(value, widths=WIDTHS, seeds=2, layers=(1,), se=np.nan):
    """A probe table with value(width, seed, layer)."""
    rows = [
        {
            "study": "s",
            "width": width,
            "depth": max(layers),
            "parameterization": "none",
            "seed": seed,
            "step": 0,
            "probe": "p",
            "layer": layer,
            "value": value(width, seed, layer),
            "se": se,
        }
        for width in widths
        for seed in range(seeds)
        for layer in layers
    ]
    return pd.DataFrame(rows)


class TestLrTransfer:
    def test_exact_slope_is_recovered_without_noise(self):
        result = run(sweep(), config("lr_transfer", by=["parameterization"]))
        assert set(result.fits["variant"]) == {"ols_t", "hc3", "reml_kh", "mixed", "interval_censored"}
        np.testing.assert_allclose(lines(result)["estimate"], -0.5, atol=1e-10)
        np.testing.assert_allclose(result.optima["log2_lr_opt"], [-5.8, -6.3, -6.8, -7.3], atol=1e-10)
        row = primary(result)
        assert row["variant"] == "ols_t"
        assert row["intercept"] == pytest.approx((-6.3 + 0.5 * 7) * np.log(2), abs=1e-9)
        assert (row["dof"], row["n_cells"], row["n_runs"]) == (2, 8, 8 * len(RATES))
        assert (row["x_min"], row["x_max"], row["status"]) == (64, 512, "ok")

    def test_groups_are_fitted_apart_under_canonical_keys(self):
        result = run(sweep({"sp": -0.5, "mup": 0.0}), config("lr_transfer", by=["parameterization", "depth"]))
        found = result.fits[result.fits["primary"]].set_index("group")["estimate"]
        assert found['{"depth": 3, "parameterization": "mup"}'] == pytest.approx(0, abs=1e-10)
        assert found['{"depth": 3, "parameterization": "sp"}'] == pytest.approx(-0.5, abs=1e-10)

    def test_the_study_may_choose_another_primary(self):
        assert primary(run(sweep(), config("lr_transfer", primary="hc3")))["variant"] == "hc3"
        with pytest.raises(MusterError, match=r"unknown variant 'bayes'.*ols_t"):
            run(sweep(), config("lr_transfer", primary="bayes"))

    def test_edge_shapes_are_left_out_and_named(self):
        row = primary(run(sweep({"sp": -1.0}, widths=(64, 128, 256, 512, 1024)), config("lr_transfer")))
        assert row["estimate"] == pytest.approx(-1.0, abs=1e-10)
        assert (row["status"], row["n_cells"], row["x_max"]) == ("ok", 8, 512)
        assert "edge at width 1024" in row["note"]

    def test_a_note_names_what_is_wrong_and_nothing_else(self):
        shapes = [Optimum(64, "interior", asymmetric=True), Optimum(128, "edge"), Optimum(256, "interior")]
        assert shapes_note(shapes, "width") == "edge at width 128, asymmetric basin at width 64"
        assert shapes_note(shapes[2:], "width") == ""

    def test_fewer_than_three_interior_shapes_give_no_number(self):
        row = primary(run(sweep({"sp": -3.0}), config("lr_transfer")))
        assert row["status"] == "too_few"
        assert np.isnan([row["estimate"], row["se"], row["ci_low"]]).all()
        assert "1 of 4 shapes" in row["note"]
        assert "edge at width 64 256 512" in row["note"]

    def test_one_width(self):
        row = primary(run(sweep(widths=(64,)), config("lr_transfer")))
        assert row["status"] == "too_few"
        assert "1 of 1 shapes" in row["note"]

    def test_one_seed_works(self):
        result = run(sweep(seeds=1, noise=1e-3), config("lr_transfer"))
        assert (lines(result)["status"] == "ok").all()
        np.testing.assert_allclose(lines(result)["estimate"], -0.5, atol=0.05)

    def test_nan_losses_and_diverged_rows_are_dropped_never_imputed(self):
        table = sweep()
        table.loc[table["log2_lr"] > -4.4, "final_train_loss"] = np.nan
        table.loc[np.isclose(table["log2_lr"], -4.5), ["diverged", "final_train_loss"]] = [True, 1e-9]
        assert primary(run(table, config("lr_transfer")))["estimate"] == pytest.approx(-0.5, abs=1e-10)

    def test_everything_diverged(self):
        result = run(sweep().assign(final_train_loss=np.nan, diverged=True), config("lr_transfer"))
        assert set(result.optima["status"]) == {"diverged"}
        row = primary(result)
        assert row["status"] == "too_few"
        assert "diverged at width 64 128 256 512" in row["note"]

    def test_duplicate_runs_are_an_error(self):
        table = sweep()
        with pytest.raises(MusterError, match="the same run occurs 2 times"):
            run(pd.concat([table, table.iloc[[7]]]), config("lr_transfer"))

    def test_an_axis_that_nobody_named_is_an_error_that_names_it(self):
        table = pd.concat([sweep(), sweep().assign(optimizer="sgd")])
        with pytest.raises(MusterError, match=r"differ in optimizer.*Name 'optimizer' in `by`"):
            run(table, config("lr_transfer"))

    def test_loss_must_be_positive(self):
        table = sweep()
        table.loc[3, "final_train_loss"] = 0.0
        with pytest.raises(MusterError, match="not positive at width 64"):
            run(table, config("lr_transfer"))

    def test_flat_basins_decide_nothing(self):
        table = sweep(curvature=0.0, noise=0.01)
        result = run(table, config("lr_transfer"))
        assert "interior" not in set(result.optima["status"]) or primary(result)["status"] == "too_few"

    def test_result_does_not_depend_on_the_order_of_rows(self):
        table = sweep(noise=0.01)
        shuffled = table.sample(frac=1, random_state=1)
        first, second = (run(rows, config("lr_transfer")) for rows in (table, shuffled))
        pd.testing.assert_frame_equal(first.fits, second.fits)
        pd.testing.assert_frame_equal(first.optima, second.optima)

    def test_difference_of_two_groups(self):
        pair = {"a": {"parameterization": "sp"}, "b": {"parameterization": ["mup"]}}
        result = run(sweep({"sp": -0.75, "mup": 0.05}), config("lr_transfer_difference", options=pair))
        np.testing.assert_allclose(lines(result)["estimate"], -0.8, atol=1e-10)
        # A group's label is one value a column: of several, their text.
        assert set(result.optima["group"]) == {'{"parameterization": "sp"}', '{"parameterization": "[\'mup\']"}'}

    def test_difference_pairs_only_shapes_that_both_have(self):
        pair = {"a": {"parameterization": "sp"}, "b": {"parameterization": "mup"}}
        widths = (64, 128, 256, 512, 1024)
        row = primary(run(sweep({"sp": -1.0, "mup": 0.0}, widths), config("lr_transfer_difference", options=pair)))
        assert (row["estimate"], row["x_max"]) == (pytest.approx(-1, abs=1e-10), 512)
        assert "a: edge at width 1024" in row["note"]


class TestPowerLaw:
    def fit(self, **options):
        return config("power_law", table="probes", response="value", options=options)

    def test_exact_exponent(self):
        result = run(probes(lambda n, s, l: 3 * n**-0.5 * (1 + 0.1 * s)), self.fit())
        np.testing.assert_allclose(result.fits["estimate"], -0.5, atol=1e-10)
        assert primary(result)["intercept"] == pytest.approx(np.log(3) + np.log(1.1) / 2, abs=1e-9)

    def test_geometric_and_arithmetic_means_differ_under_growing_skew(self):
        # One seed is √n times the other: geometric slope ½·½ over the seeds, the arithmetic one is steeper.
        table = probes(lambda n, s, l: float(n) ** (0.5 * s))
        assert primary(run(table, self.fit()))["estimate"] == pytest.approx(0.25, abs=1e-10)
        assert primary(run(table, self.fit(mean="arithmetic")))["estimate"] > 0.4

    def test_pooled_columns_must_be_named(self):
        table = probes(lambda n, s, l: l / n, layers=(1, 2))
        with pytest.raises(MusterError, match="differ in layer"):
            run(table, self.fit())
        assert primary(run(table, self.fit(pool=["layer"])))["estimate"] == pytest.approx(-1, abs=1e-10)

    def test_random_effects_use_the_spread_over_seeds(self):
        rng = np.random.default_rng(0)
        table = probes(lambda n, s, l: n**-1.0 * np.exp(rng.normal() * (0.001 if n < 300 else 1.0)), seeds=5)
        by_variant = run(table, self.fit()).fits.set_index("variant")
        assert abs(by_variant.loc["reml_kh", "estimate"] + 1) < 0.05
        width = by_variant["ci_high"] - by_variant["ci_low"]
        assert width["reml_kh"] >= width["ols_t"] * (1 - 1e-9)

    def test_one_seed_leaves_random_effects_without_errors(self):
        by_variant = run(probes(lambda n, s, l: n**-1.0, seeds=1), self.fit()).fits.set_index("variant")
        assert by_variant["status"].to_dict() == {"ols_t": "ok", "hc3": "ok", "reml_kh": "no_se"}

    def test_note_reports_curvature_and_influence(self):
        note = primary(run(probes(lambda n, s, l: n**-1.0 + (n == 64)), self.fit()))["note"]
        assert "slope -1 without 64" in note
        assert "curvature p" in note

    def test_missing_values_are_left_out_and_counted(self):
        table = probes(lambda n, s, l: np.nan if (n, s) == (128, 0) else n**-1.0)
        row = primary(run(table, self.fit()))
        assert row["estimate"] == pytest.approx(-1, abs=1e-10)
        assert "1 seeds left out" in row["note"]

    def test_two_widths_are_too_few(self):
        row = primary(run(probes(lambda n, s, l: 1 / n, widths=(64, 128)), self.fit()))
        assert (row["status"], row["n_cells"]) == ("too_few", 4)
        assert np.isnan(row["estimate"])

    def test_negative_response_is_an_error(self):
        with pytest.raises(MusterError, match="value is -1 at width 64"):
            run(probes(lambda n, s, l: -1.0), self.fit())

    def test_fluctuations_over_seeds(self):
        rng = np.random.default_rng(0)
        draws = {s: rng.standard_normal(3) for s in range(6)}
        # A fixed draw per seed and entry, shrunk as 1/√n: the slope is exact. One entry has mean zero.
        means = np.array([2.0, 0.0, -1.0])

        def value(n, s, l):
            spread = draws[s][l - 1] - np.mean([draws[k][l - 1] for k in range(6)])
            return means[l - 1] + spread / np.sqrt(n)

        table = probes(value, seeds=6, layers=(1, 2, 3))
        result = run(table, self.fit(aggregate="std_over_seeds", pool=["layer"]))
        np.testing.assert_allclose(result.fits["estimate"], -0.5, atol=1e-10)
        assert np.isfinite(primary(result)["se"])

    def test_fluctuation_level_is_unbiased_for_few_seeds(self):
        rng = np.random.default_rng(0)
        levels = [log_relative_std(1 + 0.01 * rng.standard_normal((3, 4))) for _ in range(2000)]
        assert np.mean(levels) == pytest.approx(np.log(0.01), abs=0.03)


class TestClosedForm:
    def fit(self, formula, **options):
        return config("closed_form", table="probes", response="value", options={"formula": formula, **options})

    @pytest.mark.parametrize(
        ("formula", "value"),
        [
            ("relu_kurtosis_ratio", lambda n, s, l: (1 + 5 / n) ** l),
            ("relu_log_norm_var", lambda n, s, l: 5 * l / n),
            ("tanh_norm_var", lambda n, s, l: 2 * l / (3 * n)),
        ],
    )
    def test_formula_against_itself_and_against_a_known_excess(self, formula, value):
        exact = primary(run(probes(value, layers=(2, 4)), self.fit(formula)))
        assert (exact["estimate"], exact["status"]) == (pytest.approx(0, abs=1e-12), "ok")
        table = probes(lambda n, s, l: 1.1 * value(n, s, l), layers=(2, 4))
        assert primary(run(table, self.fit(formula)))["estimate"] == pytest.approx(np.log(1.1), abs=1e-12)

    def test_ks_of_gaussian_products(self):
        row = primary(run(probes(lambda n, s, l: 0.98 / n), self.fit("ks_gaussian_product")))
        assert row["estimate"] == pytest.approx(np.log(0.98), abs=1e-12)

    def test_shapes_with_an_empty_setting_are_kept(self):
        table = probes(lambda n, s, l: 0.98 / n).assign(aspect=np.nan)
        row = primary(run(table, self.fit("ks_gaussian_product")))
        assert (row["estimate"], row["status"]) == (pytest.approx(np.log(0.98), abs=1e-12), "ok")

    def test_layers_are_filtered(self):
        table = probes(lambda n, s, l: 5 * l / n * (2 if l == 1 else 1) * (3 if l / n > 0.1 else 1), layers=(1, 4, 16))
        row = primary(run(table, self.fit("relu_log_norm_var", min_layer=2, max_ratio=0.1)))
        assert row["estimate"] == pytest.approx(0, abs=1e-12)

    def test_monte_carlo_errors_weight_the_shapes(self):
        # ln ratios 0, 0, 0, ln 2 with the last one measured a hundred times worse.
        table = probes(lambda n, s, l: (2 if n == 512 else 1) / n, seeds=1)
        table["se"] = table["value"] * np.where(table["width"] == 512, 1.0, 0.01)
        by_variant = run(table, self.fit("ks_gaussian_product")).fits.set_index("variant")["estimate"]
        # The weighted mean would be 0, surer than four shapes that scatter allow: plain t over them is wider.
        assert by_variant["reml_kh"] == pytest.approx(np.log(2) / 4)
        assert by_variant["cluster_t"] == pytest.approx(np.log(2) / 4)

    def test_layers_of_a_cell_are_not_counted_as_replicates(self):
        rng = np.random.default_rng(0)
        shift = {n: rng.normal() for n in WIDTHS}
        few = probes(lambda n, s, l: np.exp(0.1 * shift[n]) * 5 * l / n, layers=(4,))
        many = probes(lambda n, s, l: np.exp(0.1 * shift[n]) * 5 * l / n, layers=tuple(range(1, 20)))
        assert primary(run(many, self.fit("relu_log_norm_var")))["se"] == pytest.approx(
            primary(run(few, self.fit("relu_log_norm_var")))["se"], rel=1e-6
        )

    def test_unknown_formula(self):
        with pytest.raises(MusterError, match=r"options.formula: unknown name 'relu'.*Known: .*relu_kurtosis_ratio"):
            run(probes(lambda n, s, l: 1.0), self.fit("relu"))

    def test_every_formula_has_a_source(self):
        assert all(len(text) > 20 for text in CLOSED_FORMS.summary().values())


class TestOrdering:
    pair = {"a": {"parameterization": "mup"}, "b": {"parameterization": "sp"}}  # noqa: RUF012

    def test_difference_at_the_best_member(self):
        table = sweep({"sp": -0.5, "mup": 0.0}, level=lambda width, name: -0.2 if name == "mup" else 0.0, start=-6.5)
        row = primary(run(table, config("ordering", options={**self.pair, "best_over": "log2_lr"})))
        assert row["estimate"] == pytest.approx(-0.2, abs=1e-10)
        assert (row["dof"], row["variant"], row["n_cells"]) == (3, "cluster_t", 16)

    def test_at_a_fixed_member_and_without_one(self):
        table = sweep({"sp": 0.0, "mup": 0.0}, level=lambda width, name: 0.1 if name == "mup" else 0.0)
        one = config("ordering", options=self.pair)
        assert primary(run(table[np.isclose(table["log2_lr"], -5)], one))["estimate"] == pytest.approx(0.1, abs=1e-10)
        with pytest.raises(MusterError, match="differ in log2_lr"):
            run(table, one)

    def test_widths_are_the_replicates(self):
        # Differences by width −1, −2, −3, −4 for each of two seeds: t over 4 widths, not over 8 pairs.
        step = {width: -(index + 1.0) for index, width in enumerate(WIDTHS)}
        table = sweep({"sp": 0.0, "mup": 0.0}, level=lambda width, name: step[width] if name == "mup" else 0.0)
        fit = config("ordering", options={**self.pair, "best_over": "log2_lr"})
        by_variant = run(table, fit).fits.set_index("variant")
        assert by_variant.loc["cluster_t", "se"] == pytest.approx(np.std([1, 2, 3, 4], ddof=1) / 2, abs=1e-9)
        assert (by_variant.loc["cluster_t", "dof"], by_variant.loc["pairwise_t", "dof"]) == (3, 7)

    def test_a_lost_seed_breaks_its_pair_only(self):
        table = sweep({"sp": 0.0, "mup": 0.0}, level=lambda width, name: -0.1 if name == "mup" else 0.0)
        table = table[np.isclose(table["log2_lr"], -6)]
        table.loc[(table["width"] == 64) & (table["seed"] == 0) & (table["parameterization"] == "sp"), "diverged"] = (
            True
        )
        row = primary(run(table, config("ordering", options=self.pair)))
        assert row["estimate"] == pytest.approx(-0.1, abs=1e-10)
        assert "7 pairs over 4" in row["note"]

    def test_one_side_diverged_everywhere(self):
        table = sweep({"sp": 0.0, "mup": 0.0})
        table.loc[table["parameterization"] == "sp", "diverged"] = True
        row = primary(run(table, config("ordering", options={**self.pair, "best_over": "log2_lr"})))
        assert row["status"] == "too_few"


class TestMonotone:
    def test_worst_step_decides(self):
        drop = dict(zip(WIDTHS, (0.0, -0.3, -0.25, -0.5), strict=True))
        table = sweep(level=lambda width, name: drop[width], noise=1e-4, start=-6.0)
        by_variant = run(table, config("monotone", options={"best_over": "log2_lr"})).fits.set_index("variant")
        assert by_variant.loc["worst_step", "estimate"] == pytest.approx(0.05, abs=1e-3)
        assert by_variant.loc["mean_step", "estimate"] == pytest.approx(-0.5 / 3, abs=1e-3)
        assert "worst step 128 to 256, 2 of 3 steps fall" in by_variant.loc["worst_step", "note"]

    def test_one_seed_has_the_larger_error_of_basin_and_trend(self):
        table = sweep(level=lambda width, name: -0.001 * width, seeds=1)
        by_variant = run(table, config("monotone", options={"best_over": "log2_lr"})).fits.set_index("variant")
        assert by_variant["status"].to_dict() == {"worst_step": "ok", "mean_step": "no_se", "slope_t": "ok"}
        fixed = table[table["log2_lr"] == -6]
        assert primary(run(fixed, config("monotone")))["status"] == "no_se"
        # Five values, off a quadratic in ln x by a known pattern: its residual is the error, t(W − 3).
        widths = (64, 128, 256, 512, 1024)
        off = 0.01 * np.array([1, -4, 6, -4, 1]) / 6  # orthogonal to quadratics over equal steps
        level = dict(zip(widths, off, strict=True))
        bumpy = sweep({"sp": 0.0}, widths=widths, level=lambda width, name: level[width], seeds=1)
        row = primary(run(bumpy[bumpy["log2_lr"] == -6], config("monotone")))
        scatter = np.sqrt(np.square(off).sum() / 2)
        assert (row["dof"], row["status"]) == (2, "ok")
        assert json.loads(row["diagnostics"])["components"][0]["se"] == pytest.approx(np.sqrt(2) * scatter, rel=1e-4)

    def test_one_width(self):
        assert (
            primary(run(sweep(widths=(64,)), config("monotone", options={"best_over": "log2_lr"})))["status"]
            == "too_few"
        )


class TestRegret:
    def test_exact_regret_inside_and_outside_the_window(self):
        # ln loss = 0.08·u²: the optimum moves by 0.25 and 0.5 octaves, then by 1.5.
        row = primary(run(sweep({"sp": -0.25}, widths=(64, 128, 256)), config("regret")))
        assert row["estimate"] == pytest.approx(0.08 * 0.5**2, abs=1e-10)
        assert "worst at width 256" in row["note"]
        far = run(sweep({"sp": -0.5}), config("regret")).fits.set_index("variant")["estimate"]
        assert far["worst"] == pytest.approx(0.08 * 1.5**2, abs=0.003)
        assert far["mean"] == pytest.approx(0.08 * (0.25 + 1 + 2.25) / 3, abs=0.002)

    def test_telescoping_halves_its_spacing_at_each_doubling(self):
        """Optima at −5.8, −6.3, −6.8, −7.3, ln loss 0.08·u². From …, −6, −5 it goes by −6, −6.5, −7 to −7.5; from …,
        −6.5, −5.5 by −5.5, −6, −6.5 to −7, which is as far as three half octaves reach."""
        row = primary(run(sweep({"sp": -0.5}, seeds=2, noise=1e-9), config("telescope")))
        ends = [float(text.split("2^")[1].split()[0]) for text in row["note"].split(" of ")[0].split(", ")]
        assert sorted(ends) == [-7.5, -7.0]
        found = [each["estimate"] ** 2 for each in json.loads(row["diagnostics"])["components"]]
        assert sorted(found) == pytest.approx([0.08 * 0.2**2, 0.08 * 0.3**2], abs=1e-6)
        assert row["estimate"] == pytest.approx(0.08 * 0.3**2, abs=1e-6)
        still = primary(run(sweep({"sp": 0.0}, seeds=2, noise=1e-9), config("telescope")))
        assert still["note"].count("2^-6.5 after") == 2  # at −6.3: from −6 by halves, which whole octaves never leave
        lost = primary(run(sweep({"sp": -3.0}), config("telescope", options={"spacing": 0.5})))
        assert lost["status"] in ("edge", "diverged")

    def test_errors_come_from_both_optima(self):
        """√regret = √β₂ |u − v|: with equal curvatures its error is √β₂ √(se_u² + se_v²), beside the curvature's."""
        result = run(sweep({"sp": -0.25}, seeds=4, noise=0.002), config("regret"))
        row, optima = primary(result), result.optima
        components = json.loads(row["diagnostics"])["components"]
        assert [each["at"] for each in components] == [128, 256, 512]
        assert (row["dof"], row["status"]) == (8, "ok")  # four windows of five rates
        assert primary(run(sweep({"sp": -0.25}, seeds=2, noise=0.002), config("regret")))["dof"] == 4  # as many pairs
        expected = np.sqrt(0.08) * np.hypot(optima["se"].iloc[0], optima["se"].iloc[1])
        assert components[0]["se"] == pytest.approx(expected, rel=0.15)
        assert row["se"] > 0

    @pytest.mark.parametrize("name", ["regret", "telescope"])
    def test_what_can_be_attained_holds_a_rate_that_costs_nothing(self, name):
        """A claim whose region holds all that is attainable is refused: it asserts nothing."""
        row = primary(run(sweep({"sp": 0.0}, start=-6.0), config(name)))
        least, most = ESTIMATORS[name].attainable["regret"]
        assert row["estimate"] == pytest.approx(0, abs=1e-9)
        assert least <= row["estimate"] + 1e-9 < most

    def test_one_seed_has_an_error(self):
        row = primary(run(sweep({"sp": -0.25}, seeds=1, noise=0.002), config("regret")))
        assert row["status"] == "ok"
        assert row["ci_low"] < row["estimate"] < row["ci_high"]

    def test_transferred_rate_that_diverges(self):
        table = sweep({"sp": -0.5})
        table.loc[(table["width"] == 512) & (table["log2_lr"] > -6.1), "diverged"] = True
        assert primary(run(table, config("regret")))["status"] == "diverged"

    def test_edge_optimum_names_its_shape(self):
        row = primary(run(sweep({"sp": -3.0}), config("regret")))
        assert row["status"] == "edge"
        assert "edge at width 64 256 512" in row["note"]


class TestMean:
    def test_values_of_the_axis_are_the_replicates(self):
        level = dict(zip(WIDTHS, (0.5, 0.6, 0.7, 0.8), strict=True))
        fit = config("mean", table="probes", response="value", options={"pool": ["layer"]})
        result = run(probes(lambda n, s, l: level[n] + 0.1 * (l - 1.5), layers=(1, 2)), fit)
        row = primary(result)
        assert (row["estimate"], row["dof"]) == (pytest.approx(0.65), 3)
        assert row["se"] == pytest.approx(np.std([0.5, 0.6, 0.7, 0.8], ddof=1) / 2)
        assert result.fits.set_index("variant").loc["pooled_t", "dof"] == 7

    def test_nothing_finite(self):
        fit = config("mean", table="probes", response="value")
        row = primary(run(probes(lambda n, s, l: np.inf), fit))
        assert row["status"] == "too_few"
        assert "8 seeds left out" in row["note"]


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_every_estimator_describes_itself(name):
    estimator = ESTIMATORS[name]
    assert all([estimator.summary, estimator.source, estimator.assumes, estimator.fails]), name
    assert len({*estimator.variants}) == len(estimator.variants) >= 1
    assert len({*estimator.parameters}) == len(estimator.parameters)
    assert estimator.parameters or estimator.required_options, "no parameter, and no option that names some"
    assert estimator.min_points >= 1
    assert all(option.description for option in estimator.options.model_fields.values())


OF_SWEEPS_AND_PROBES = (
    "closed_form", "limit_rate", "lr_transfer", "lr_transfer_difference", "mean", "monotone", "ordering", "power_law",
    "regret", "telescope",
)  # fmt: skip


def fitted(name, widths=WIDTHS):
    """An estimator on sweeps, or sampled probes, of two parameterizations at these widths."""
    pair = {"a": {"parameterization": "sp"}, "b": {"parameterization": "mup"}}
    options = {
        "lr_transfer_difference": pair,
        "ordering": {**pair, "best_over": "log2_lr"},
        "monotone": {"best_over": "log2_lr"},
        "closed_form": {"formula": "ks_gaussian_product"},
    }.get(name, {})
    by = [] if name in ("lr_transfer_difference", "ordering") else ["parameterization"]
    if name in ("closed_form", "power_law", "mean"):
        sampled = probes(lambda n, s, l: (1 + 0.01 * s) / n, seeds=3)
        fit = config(name, table="probes", response="value", by=by, options=options)
        return run(sampled[sampled["width"].isin(widths)], fit)
    runs = sweep({"sp": -0.25, "mup": 0.0}, noise=1e-3, seeds=3)
    return run(runs[runs["width"].isin(widths)], config(name, by=by, options=options))


def test_declared_variants_and_columns_are_those_that_come_out():
    for name in OF_SWEEPS_AND_PROBES:
        result = fitted(name)
        assert tuple(result.fits["variant"].unique()) == ESTIMATORS[name].variants, name
        assert {"study", "fit", "estimator", *result.fits.columns} == set(FIT_COLUMNS), name
        assert bool(len(result.optima)) == ESTIMATORS[name].make_optima, name
        if len(result.optima):
            assert {"study", "fit", *result.optima.columns} == set(OPTIMUM_COLUMNS), name


@pytest.mark.parametrize("name", OF_SWEEPS_AND_PROBES)
def test_the_fewest_points_are_those_that_suffice(name):
    """A study with fewer values of its axis is refused before it runs: no fewer give an error bar, and these do."""
    least = ESTIMATORS[name].min_points
    enough, lacking = (fitted(name, WIDTHS[:count]).fits for count in (least, least - 1))
    first = enough["primary"] & (enough["parameter"] == enough["parameter"].iloc[0])
    assert np.isfinite(enough.loc[first, ["estimate", "se"]]).all(axis=None)
    assert not np.isfinite(lacking.loc[lacking["primary"], "se"]).any()


@pytest.mark.parametrize("name", OF_SWEEPS_AND_PROBES)
def test_rows_tell_the_range_of_their_axis(name):
    rows = fitted(name).fits
    assert (rows["x_min"].min(), rows["x_max"].max()) == (WIDTHS[0], WIDTHS[-1])
    assert rows[["x_min", "x_max"]].notna().all(axis=None)


def exponents_table(count, power=1, **columns):
    table = exponents.losses(lambda d: -power / d, dimensions=(4,), noise=0.01, seeds=1).assign(**columns)
    return table[table["examples"].isin(exponents.SIZES[:count])]


# Estimator → its fits of so many values of the axis, one seed each where seeds alone would do.
FEWEST = {
    "interval_exponents": lambda count: intervals.fit(
        intervals.table(seeds=1).query(f"width == 32 and depth in {intervals.DEPTHS[:count]}")
    ).fits,
    "isoflop": lambda count: isoflop.run(isoflop.table(budgets=isoflop.BUDGETS[:count], noise=3e-4)),
    "lr_batch_surface": lambda count: surfaces.run(
        surfaces.runs(sizes=surfaces.SIZES[:count], tokens=(4e9,), noise=1e-4), cells=["parameters"]
    ).fits.query("variant == 'surface_t'"),
    "regression": lambda count: exponents.fit(exponents_table(count), "regression"),
    "slope_equality": lambda count: exponents.fit(
        pd.concat([exponents_table(count, arm="a"), exponents_table(count, power=2, arm="b")]),
        "slope_equality", a={"arm": "a"}, b={"arm": "b"},
    ),
    "threshold_exponent": lambda count: thresholds.run(
        thresholds.TestExponent().table(widths=(32, 64, 128)[:count]), "threshold_exponent", "width", over="tokens"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FEWEST)
def test_the_fewest_points_of_other_tables_suffice(name):
    least = ESTIMATORS[name].min_points
    enough, lacking = (FEWEST[name](count) for count in (least, least - 1))
    assert np.isfinite(enough["se"]).any()
    assert enough.loc[np.isfinite(enough["se"]), ["x_min", "x_max"]].notna().all(axis=None)
    assert not np.isfinite(lacking["se"]).any()


def test_group_key_is_canonical():
    assert group_key({"b": np.int64(3), "a": 2.0}) == '{"a": 2, "b": 3}' == group_key({"a": 2, "b": 3})
    assert json.loads(group_key({"flag": np.bool_(True), "rate": -6.5})) == {"flag": True, "rate": -6.5}
