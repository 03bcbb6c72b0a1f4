"""Numbers pooled over groups, differences of means, and the scatter of runs, against SciPy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, parse_options


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
