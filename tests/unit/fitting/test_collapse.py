"""Curve collapse: known exponents, free levels, what cannot be identified, and the permutation test."""

import json

import numpy as np
import pandas as pd
import pytest

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS
from muster.fitting.estimators.collapse import (
    CollapseOptions,
    Curve,
    distance,
    find_collapse,
    permutation_p,
    shift_range,
)

WIDTHS = (64, 128, 256, 512, 1024)
RATES = np.arange(-12.0, -1.9, 0.5)


def bowl(offset):
    """A lopsided basin with its minimum at 0, as loss over ln(learning rate) is."""
    return 0.05 * (np.exp(0.6 * offset) - 0.6 * offset)


def table(exponent=-0.5, widths=WIDTHS, seeds=3, noise=0.0, scatter=0.0, level=0.0, rates=RATES):
    rng = np.random.default_rng(0)
    rows = []
    for width in widths:
        middle = -6.3 * np.log(2) + exponent * np.log(width / 256) + scatter * rng.standard_normal()
        for seed in range(seeds):
            y = bowl(rates * np.log(2) - middle) + level * np.log(width) + noise * rng.standard_normal(len(rates))
            rows.append(pd.DataFrame({"width": width, "seed": seed, "log2_lr": rates, "final_train_loss": np.exp(y)}))
    return pd.concat(rows, ignore_index=True).assign(diverged=False)


def run(frame, **options):
    options = {"over": "log2_lr", **options}
    fit = FitConfig(estimator="collapse", response="final_train_loss", along="width", options=options)
    return ESTIMATORS["collapse"].function(frame, fit).fits.set_index(["parameter", "variant"])


def curve(s=1.0, shift=0.0, step=0.3, points=20):
    log_x = np.arange(points) * step - 3
    return Curve(s, log_x, bowl(log_x - shift), np.nan)


class TestDistance:
    def test_nothing_is_left_at_the_true_shift(self):
        a, b = curve(shift=0.7), curve()
        values = distance(a, b, np.array([0.0, 0.6, 0.7, 0.8]), "shared")
        assert values[2] < 1e-8
        assert values[2] < values[[1, 3]].min() / 100
        assert values[0] > values[1]

    def test_the_mean_square_of_a_constant_difference(self):
        a, b = curve(), curve()
        raised = Curve(b.s, b.log_x, b.log_y + 0.2, np.nan)
        assert distance(a, raised, np.array([0.0]), "shared")[0] == pytest.approx(0.04)
        assert distance(a, raised, np.array([0.0]), "free")[0] == pytest.approx(0, abs=1e-12)

    def test_no_overlap_is_no_distance(self):
        assert np.isnan(distance(curve(), curve(), np.array([50.0]), "shared")[0])

    def test_the_range_of_shifts_leaves_the_overlap(self):
        a, b = curve(points=21), curve(points=11)  # 6 and 3 long, both from −3
        low, high = shift_range(a, b, 0.5)
        for shift in (low, high):
            left, right = max(a.log_x[0] - shift, b.log_x[0]), min(a.log_x[-1] - shift, b.log_x[-1])
            assert right - left == pytest.approx(1.5)


class TestExponent:
    @pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.0, 0.25])
    def test_both_variants_recover_it(self, exponent):
        rows = run(table(exponent))
        assert rows.loc["exponent", "estimate"].to_numpy() == pytest.approx([exponent] * 2, abs=2e-3)
        assert set(rows["status"]) <= {"ok", "no_se"}
        assert rows.loc[("exponent", "shift_t"), "dof"] == 3

    def test_noise_and_scatter(self):
        rows = run(table(noise=2e-3, scatter=0.1))
        for variant in ("shift_t", "jackknife"):
            row = rows.loc[("exponent", variant)]
            assert row["ci_low"] < -0.5 < row["ci_high"]
            assert 0.01 < row["se"] < 0.2

    def test_levels_may_differ_where_they_are_free(self):
        frame = table(level=-0.1)
        assert run(frame, level="free").loc[("exponent", "shift_t"), "estimate"] == pytest.approx(-0.5, abs=2e-3)
        shared = run(frame).loc[("exponent", "jackknife"), "estimate"]
        assert abs(shared + 0.5) > 0.02

    def test_an_axis_that_is_no_logarithm(self):
        frame = table()
        frame["lr"] = 2.0 ** frame["log2_lr"]
        assert run(frame, over="lr").loc[("exponent", "shift_t"), "estimate"] == pytest.approx(-0.5, abs=2e-3)

    def test_the_distance_is_one_when_only_seeds_differ(self):
        row = run(table(noise=2e-3, seeds=8)).loc[("distance", "shift_t")]
        assert row["estimate"] == pytest.approx(1.0, abs=0.25)
        bad = run(table(noise=2e-3, seeds=8, level=-0.05)).loc[("distance", "shift_t")]
        assert bad["estimate"] > 5

    def test_one_seed_has_no_distance(self):
        rows = run(table(seeds=1, noise=1e-3))
        assert rows.loc[("distance", "shift_t"), "status"] == "no_se"
        assert rows.loc[("exponent", "shift_t"), "status"] == "ok"


class TestPermutation:
    def test_all_relabellings_of_five_curves(self):
        row = run(table(noise=1e-3)).iloc[0]
        # The truth and, evenly spaced as the widths are, its mirror image: 2 of 120.
        assert json.loads(row["diagnostics"])["permutation_p"] == pytest.approx(2 / 120, abs=1e-6)
        assert "permutation p 0.0167" in row["note"]

    def test_places_that_have_nothing_to_do_with_the_axis(self):
        rng = np.random.default_rng(5)
        values = []
        for _ in range(12):
            places = rng.permutation(5)
            curves = [curve(w, 0.35 * place) for w, place in zip(WIDTHS, places, strict=True)]
            values.append(permutation_p(curves, CollapseOptions(over="x")))
        assert np.mean(values) > 0.25

    def test_random_relabellings_beyond_the_limit(self):
        row = run(table(noise=1e-3), permutations=50).iloc[0]
        p = json.loads(row["diagnostics"])["permutation_p"]
        assert p * 50 == pytest.approx(round(p * 50))
        assert p <= 0.1


class TestWhatCannotBe:
    def test_two_curves_are_too_few(self):
        rows = run(table(widths=(64, 128)))
        assert set(rows["status"]) == {"too_few"}
        assert rows["estimate"].isna().all()

    def test_an_exponent_beyond_the_overlap_is_not_identified(self):
        frame = table(exponent=-1.0, widths=(1, 64, 4096), level=0.0)
        rows = run(frame, overlap=0.9)
        assert set(rows["status"]) == {"not_identified"}
        assert rows["se"].isna().all()

    def test_places_that_no_exponent_brings_together_are_not_identified(self):
        """The curve in the middle lies 20 octaves beyond both others: each pair has a shift, all have no exponent."""
        frame = table(0.0, widths=(64, 128, 256), noise=0.001)
        frame.loc[frame["width"] == 128, "log2_lr"] += 20
        found = run(frame)
        assert set(found["status"]) == {"not_identified"}
        assert found["se"].isna().all()

    def test_points_that_a_seed_lost_are_left_out(self):
        frame = table()
        far = frame["log2_lr"] > -4
        frame.loc[far & (frame["seed"] == 1), ["final_train_loss", "diverged"]] = [1e9, True]
        row = run(frame).loc[("exponent", "shift_t")]
        assert row["estimate"] == pytest.approx(-0.5, abs=2e-3)
        assert "20 rows left out" in row["note"]

    def test_curves_with_too_few_points_are_left_out(self):
        frame = table()
        rows = run(frame[(frame["width"] != 64) | (frame["log2_lr"] < -10.9)])
        assert rows.loc[("exponent", "shift_t"), "x_min"] == 128

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t.assign(final_train_loss=-1.0), "final_train_loss takes the value -1"),
            (lambda t: t.drop(columns="log2_lr"), "no column 'log2_lr'"),
            (lambda t: pd.concat([t, t.iloc[[0]]]), "occurs 2 times"),
        ],
    )
    def test_clear_errors(self, change, message):
        with pytest.raises(MusterError, match=message):
            run(change(table()))


def test_relabelled_curves_collapse_worse():
    curves = [curve(w, -0.5 * np.log(w / 64)) for w in WIDTHS]
    log_s = np.log(WIDTHS)
    options = CollapseOptions(over="x")
    right = find_collapse(curves, log_s, options)
    wrong = find_collapse(curves, log_s[[1, 0, 2, 4, 3]], options)
    assert right.exponent == pytest.approx(-0.5, abs=1e-3)
    assert wrong.quality > 100 * right.quality
