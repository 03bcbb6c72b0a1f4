"""Numbers pooled over groups, differences of means, and the scatter of runs, against SciPy."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, parse_options
from muster.statistics.components import Component, against


def fitted(table, estimator, response="y", along="width", by=(), /, **options):
    fit = FitConfig(estimator=estimator, response=response, along=along, by=list(by), options=options)
    ESTIMATORS[estimator].check(parse_options(ESTIMATORS[estimator].options, fit))
    return ESTIMATORS[estimator].function(table, fit).fits.set_index("variant")


def draws(seed=0, a=5, b=8):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"side": ["a"] * a + ["b"] * b, "y": rng.normal([1.0] * a + [1.5] * b, [0.1] * a + [0.4] * b)})


def test_unpaired_means_are_welchs():
    table = draws()
    found = fitted(table, "mean_difference", a={"side": "a"}, b={"side": "b"})
    a, b = (table.loc[table["side"] == side, "y"] for side in "ab")
    for variant, equal in (("welch_t", False), ("pooled_t", True)):
        expected = stats.ttest_ind(a, b, equal_var=equal)
        row = found.loc[variant]
        assert row["estimate"] / row["se"] == pytest.approx(expected.statistic)
        assert row["dof"] == pytest.approx(expected.df)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(expected.confidence_interval()))


def test_paired_means_are_students_and_pairs_must_be_unique():
    rng = np.random.default_rng(1)
    one = rng.normal(0, 1, 6)
    y = np.concatenate([one + 0.1 * rng.normal(size=6), one])
    table = pd.DataFrame({"side": ["a"] * 6 + ["b"] * 6, "size": [*range(6)] * 2, "y": y})
    row = fitted(table, "mean_difference", a={"side": "a"}, b={"side": "b"}, paired=["size"]).loc["welch_t"]
    expected = stats.ttest_rel(table["y"][:6], table["y"][6:])
    assert row["estimate"] / row["se"] == pytest.approx(expected.statistic)
    assert row["dof"] == 5
    with pytest.raises(MusterError, match="rows share"):
        fitted(
            table.assign(size=1, seed=table.index), "mean_difference", a={"side": "a"}, b={"side": "b"}, paired=["size"]
        )


def test_one_draw_has_no_difference():
    found = fitted(draws(a=1), "mean_difference", a={"side": "a"}, b={"side": "b"})
    assert (found["status"] == "too_few").all()


def test_scatter_is_the_pooled_one_and_its_interval_that_of_chi_squared():
    table = pd.DataFrame({"record": np.repeat([1, 2, 3], [4, 6, 1]), "y": np.random.default_rng(2).normal(size=11)})
    row = fitted(table, "scatter", within=["record"]).loc["chi2"]
    groups = [table.loc[table["record"] == record, "y"] for record in (1, 2)]
    total = sum(((each - each.mean()) ** 2).sum() for each in groups)
    assert row["estimate"] == pytest.approx(np.sqrt(total / 8))
    assert row["dof"] == 8
    farther = np.sqrt(total / stats.chi2.ppf(0.025, 8)) - row["estimate"]
    assert row["ci_high"] - row["estimate"] == pytest.approx(farther)
    assert f"Bartlett p {stats.bartlett(*groups).pvalue:.2g}" in row["note"]
    assert fitted(table[:2], "scatter").loc["chi2", "status"] == "too_few"


def lines(slopes, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    parts = []
    for name, slope in slopes.items():
        for width in (1, 2, 4, 8, 16, 32):
            y = width**slope * np.exp(noise * rng.normal())
            parts.append({"dataset": name, "seed": 0, "width": width, "y": y})
    return pd.DataFrame(parts)


def test_groups_are_the_replicates_of_a_pooled_number():
    table = lines({"a": 0.4, "b": 0.5, "c": 0.7})
    found = fitted(table, "pooled", estimator="power_law", across=["dataset"])
    single = [fitted(part, "power_law").iloc[0]["estimate"] for _, part in table.groupby("dataset")]
    expected = stats.t.interval(0.95, 2, np.mean(single), stats.sem(single))
    assert found.loc["mean_t", "estimate"] == pytest.approx(np.mean(single))
    assert (found.loc["mean_t", "ci_low"], found.loc["mean_t", "ci_high"]) == pytest.approx(expected)
    assert found.loc["reml_kh", "se"] >= found.loc["mean_t", "se"] * (1 - 1e-9)


def test_a_group_without_a_number_is_named_and_leaves_the_others():
    table = pd.concat([lines({"a": 0.4, "b": 0.5}), lines({"short": 1.0}).query("width < 4")])
    row = fitted(table, "pooled", estimator="power_law", across=["dataset"]).loc["mean_t"]
    assert row["status"] == "ok"
    assert row["dof"] == 1
    assert "left out: short too_few" in row["note"]


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"estimator": "power_lawn"}, "options.estimator"),
        ({"estimator": "power_law", "variant": "ols"}, "options.primary"),
        ({"estimator": "power_law", "parameter": "offset"}, "options.parameter"),
        ({"estimator": "lr_transfer", "options": {"window": 1}}, "options.options.window"),
    ],
)
def test_what_the_inner_estimator_does_not_know_is_told_before_a_run(options, place):
    with pytest.raises(MusterError) as told:
        fitted(lines({"a": 0.4}), "pooled", across=["dataset"], **options)
    assert told.value.place == place


def test_a_mean_needs_no_axis_and_of_several_the_largest_is_judged_with_its_own_error():
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"record": np.repeat([1, 2, 3, 4], [5, 3, 20, 1]), "y": rng.normal(size=29)})
    row = fitted(table, "mean_of_runs").loc["largest"]
    every = stats.ttest_1samp(table["y"], 0)
    assert (row["estimate"] / row["se"], row["dof"]) == pytest.approx((every.statistic, 28))
    groups = [table.loc[table["record"] == record, "y"] for record in (1, 2, 3)]
    row = fitted(table, "mean_of_runs", across=["record"]).loc["largest"]
    assert "one run: 4" in row["note"]
    # A claim on all of them goes by the largest of the one-sided p.
    components = [Component(**each) for each in json.loads(row["diagnostics"])["components"]]
    judged = against(components, -np.inf, 2.0)
    largest_p = max(stats.ttest_1samp(each, 2.0, alternative="less").pvalue for each in groups)
    p = stats.t.sf((2.0 - judged.estimate) / judged.se, judged.dof)
    assert p == pytest.approx(largest_p, rel=1e-4)
    assert (fitted(table[-1:], "mean_of_runs")["status"] == "too_few").all()


def test_slopes_that_share_their_scatter_are_compared_pair_by_pair():
    a, b = (
        lines({name: slope}, noise=0.05, seed=seed) for seed, (name, slope) in enumerate({"a": 0.7, "b": 0.4}.items())
    )
    shared = np.exp(np.random.default_rng(4).normal(size=6))
    table = pd.concat([a.assign(y=a["y"] * shared), b.assign(y=b["y"] * shared)])
    pair = {"a": {"dataset": "a"}, "b": {"dataset": "b"}}
    row = fitted(table, "slope_equality", paired=True, **pair).loc["welch_t"]
    expected = stats.linregress(np.log(a["width"]), np.log(a["y"] / b["y"]))
    assert (row["estimate"], row["se"], row["dof"]) == pytest.approx((expected.slope, expected.stderr, 4))
    assert row["se"] < 0.2 * fitted(table, "slope_equality", **pair).loc["welch_t", "se"]
    few = fitted(table[table["width"] < 4], "slope_equality", paired=True, **pair)
    assert (few["status"] == "too_few").all()
