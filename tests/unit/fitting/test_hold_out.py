"""Runs that a law does not see: which they are, what is predicted for them, and how well that is met."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares

from muster.config.models import FitConfig, StudyConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, PREDICTION_COLUMNS
from muster.fitting.laws.hold_out import METRICS, Held, HoldOut, metric, relative_error
from muster.fitting.per_group import FAILED
from muster.fitting.study import fit_and_predict

ROWS = pd.DataFrame(
    {
        "size": [1.0, 2.0, 3.0, 4.0, 5.0, np.nan],
        "curve": ["a", "a", "b", "b", "c", "c"],
        "data": ["c4", "pile", "c4", "pile", "c4", "pile"],
    }
)
CASES = {
    "above": ({"column": "size", "above": 3}, [3, 4]),
    "quantile": ({"column": "size", "quantile": 0.5}, [3, 4]),
    "by value": ({"where": {"curve": "b"}}, [2, 3]),
    "by values": ({"where": {"curve": ["a", "c"]}}, [0, 1, 4, 5]),
    "several columns": ({"where": {"data": "c4", "size": {"at_least": 2, "below": 5}}}, [2]),
    "above and where": ({"column": "size", "above": 1, "where": {"data": "pile"}}, [1, 3]),
    "whole clusters": ({"column": "size", "above": 4, "clusters": "curve"}, [4, 5]),
    "missing": ({"where": {"size": {"known": False}}}, [5]),
}


@pytest.mark.parametrize("case", CASES)
def test_which_rows_are_held_out(case: str) -> None:
    options, expected = CASES[case]
    out = HoldOut.model_validate(options)
    assert np.flatnonzero(out.held(ROWS)).tolist() == expected
    assert [*out.mistakes(ROWS)] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"where": {"curv": "a", "siz": 1}}, ["where.curv: 'curv' is no column of the table. Did you mean 'curve'",
                                             "where.siz: 'siz' is no column"]),
        ({"column": "size", "above": 9}, ["options.hold_out: it holds no row of 6"]),
        ({"where": {"data": ["c4", "pile"]}}, ["it holds every row of 6"]),
        ({"column": "curve", "above": 1}, ["hold_out.column: column 'curve' is not numeric"]),
        ({"where": {"curve": {"above": 1}}}, ["hold_out.where.curve: 'a' in row 1 of 'curve' is not a number"]),
        ({"where": {"curve": False}}, ["hold_out.where.curve: found False for a column of texts. Put it in quotes"]),
        ({"column": "size", "above": 1, "clusters": "run"}, ["hold_out.clusters: 'run' is no column"]),
    ],
)  # fmt: skip
def test_what_a_table_tells_of_a_wrong_hold_out(options: dict, said: list[str]) -> None:
    found = [str(mistake) for mistake in HoldOut.model_validate(options).mistakes(ROWS)]
    assert len(found) == len(said)
    assert all(words in line for words, line in zip(said, found, strict=True))


@pytest.mark.parametrize(
    "options", [{}, {"column": "size"}, {"above": 1}, {"column": "a", "above": 1, "quantile": 0.5}, {"clusters": "a"}]
)
def test_a_hold_out_without_a_limit_is_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="give either `above` or `quantile`"):
        HoldOut.model_validate(options)


@pytest.mark.parametrize(
    "more", [{"column": "a", "above": 1}, {"where": {"a": 1}}, {"clusters": "a"}, {"quantile": 0.5}]
)
def test_each_in_turn_stands_alone(more: dict) -> None:
    with pytest.raises(ValueError, match="`each` holds every row out in turn: give it without"):
        HoldOut.model_validate({"each": "size", **more})


def test_each_value_is_held_out_once_and_the_fit_itself_sees_all() -> None:
    out = HoldOut(each="curve")
    assert [np.flatnonzero(fold).tolist() for fold in out.folds(ROWS)] == [[0, 1], [2, 3], [4, 5]]
    assert [np.flatnonzero(fold).tolist() for fold in HoldOut(each="size").folds(ROWS)] == [[i] for i in range(5)]
    assert not out.held(ROWS).any()
    assert [*out.mistakes(ROWS)] == []


def curves(noise: float = 0.002, seed: int = 0) -> pd.DataFrame:
    """Loss 2 + 40 steps^-0.5 of eight runs that differ by a factor of their own; the last three go further."""
    draw = np.random.default_rng(seed)
    rows = [
        (f"r{run}", 2.0**step, (2 + 40 * 2.0 ** (-step / 2)) * factor * np.exp(0.1 * noise * draw.normal()))
        for run in range(8)
        for factor in [np.exp(noise * draw.normal())]
        for step in range(4, 12 if run < 5 else 16)
    ]
    table = pd.DataFrame(rows, columns=["curve", "tokens", "loss"])
    return table.assign(run=[f"{i:03}" for i in range(len(table))], group=["x", "y"] * (len(table) // 2))


OUT = {"column": "tokens", "above": 3000.0, "clusters": "curve", "metrics": ["rmse_log", "mae", "r2"]}


def study(**fit: object) -> StudyConfig:
    options = {"form": "E + A / tokens^alpha", "columns": {"tokens": "tokens"}, "replicates": 100, "delta": "squares"}
    options["thorough"] = False
    given = {"estimator": "law", "response": "loss", "along": "tokens"} | fit
    given["options"] = options | fit.get("options", {})  # type: ignore[call-overload]
    return StudyConfig.model_validate(
        {"study": "held", "title": "t", "paper": "p", "slug": "held", "experiment": "import",
         "scales": {"laptop": {"grid": [{}]}}, "fits": {"law": given}}
    )  # fmt: skip


def test_predictions_are_rows_that_say_whether_they_were_met() -> None:
    table = curves()
    made = fit_and_predict(study(options={"clusters": "curve", "hold_out": OUT}), {"runs": table})
    rows = made.predictions
    assert [*rows] == [*PREDICTION_COLUMNS]
    held = table[table["curve"].isin(["r5", "r6", "r7"])]
    assert rows["run"].tolist() == held["run"].tolist()
    assert rows["cluster"].tolist() == held["curve"].tolist()
    np.testing.assert_allclose(rows["measured"], held["loss"])
    np.testing.assert_allclose(rows["x"], held["tokens"])
    fits = made.fits.set_index("parameter")["estimate"]
    np.testing.assert_allclose(rows["predicted"], fits["e"] + fits["a"] * held["tokens"] ** -fits["alpha"])
    assert (rows["inside"] == (rows["low"] <= rows["measured"]) & (rows["measured"] <= rows["high"])).all()
    assert rows["inside"].mean() > 0.8
    assert fits["extrapolation_error"] == pytest.approx(rows["error"].abs().mean())
    by_curve = rows.assign(square=np.log(rows["predicted"] / rows["measured"]) ** 2).groupby("cluster")["square"]
    assert fits["rmse_log"] == pytest.approx(np.sqrt(by_curve.mean()).mean())
    assert (made.fits.set_index("parameter").loc[["rmse_log", "mae", "r2"], "status"] == "ok").all()
    names = ESTIMATORS["law"].numbers(study(options={"hold_out": OUT}).fits["law"])
    assert names[-4:] == ["extrapolation_error", "rmse_log", "mae", "r2"]


def test_each_curve_is_predicted_by_a_refit_without_it() -> None:
    """Against a loop of refits by another minimizer: predictions, intervals' truth, and all metrics over them."""
    table = curves()
    out = {"each": "curve", "metrics": ["rmse_log", "mae", "r2"]}
    made = fit_and_predict(study(options={"clusters": "curve", "hold_out": out}), {"runs": table})
    rows, fits = made.predictions, made.fits.set_index("parameter")
    assert rows["run"].tolist() == table["run"].tolist()
    assert rows["cluster"].tolist() == table["curve"].tolist()

    def refit(part: pd.DataFrame) -> np.ndarray:
        def residual(p: np.ndarray) -> np.ndarray:
            return np.log(part["loss"]) - np.log(p[0] + p[1] * part["tokens"] ** -p[2])

        return least_squares(residual, [2, 40, 0.5], x_scale=[1, 10, 0.1], xtol=1e-14, ftol=1e-14, gtol=1e-14).x

    foretold = np.concatenate(
        [
            p[0] + p[1] * part["tokens"] ** -p[2]
            for curve, part in table.groupby("curve")
            for p in [refit(table[table["curve"] != curve])]
        ]
    )
    np.testing.assert_allclose(rows["predicted"], foretold, rtol=1e-6)
    np.testing.assert_allclose(fits.loc[["e", "a", "alpha"], "estimate"], refit(table), rtol=1e-5)
    error = np.abs(foretold / table["loss"] - 1)
    assert fits.loc["extrapolation_error", "estimate"] == pytest.approx(error.mean(), rel=1e-4)
    by_curve = [
        (p, y)
        for _, p, y in [
            (0, foretold[table["curve"] == c], table["loss"][table["curve"] == c]) for c in table["curve"].unique()
        ]
    ]
    assert fits.loc["rmse_log", "estimate"] == pytest.approx(
        np.mean([np.sqrt(np.mean(np.log(p / y) ** 2)) for p, y in by_curve]), rel=1e-4
    )
    assert fits.loc["mae", "estimate"] == pytest.approx(np.mean([np.abs(p - y).mean() for p, y in by_curve]), rel=1e-4)
    assert fits.loc["r2", "estimate"] == pytest.approx(
        np.mean([1 - ((p - y) ** 2).mean() / y.var(ddof=0) for p, y in by_curve])
    )
    assert (rows["inside"] == (rows["low"] <= rows["measured"]) & (rows["measured"] <= rows["high"])).all()
    assert rows["inside"].mean() > 0.9
    assert (fits["status"] == "ok").all()


def test_folds_that_share_all_but_a_few_rows_move_together() -> None:
    """The parameters' share of an error: standard deviations of the folds add up, as if they were one fit."""
    draw = np.random.default_rng(2)
    seen, labels = draw.uniform(1, 3, 12), np.repeat(np.arange(3), [2, 4, 6])
    predicted = seen * np.exp(0.1 * draw.normal(size=12))
    again = predicted * np.exp(0.05 * draw.normal(size=(300, 3)))[:, labels]
    held = Held(predicted, seen, again, labels, 7, labels)
    errors, replicates = np.abs(predicted / seen - 1), np.abs(again / seen - 1)
    shared = sum(replicates[:, labels == k].sum(axis=1).std(ddof=1) for k in range(3)) / 12
    own = sum((errors - errors.mean())[labels == k].sum() ** 2 for k in range(3)) * 3 / 2 / 12**2
    found = relative_error(held, np.nan)
    assert found.estimate == pytest.approx(errors.mean())
    assert found.se == pytest.approx(np.sqrt(own + shared**2))
    assert found.dof == pytest.approx((own + shared**2) ** 2 / (own**2 / 2 + shared**4 / 7))
    each = [np.abs(predicted - seen)[labels == k].mean() for k in range(3)]
    shared = np.mean([np.abs(again - seen)[:, labels == k].mean(axis=1).std(ddof=1) for k in range(3)])
    assert metric("mae", held).se == pytest.approx(np.sqrt(np.var(each, ddof=1) / 3 + shared**2))


def test_too_few_clusters_to_leave_one_out_are_told_of_a_table() -> None:
    def told(table: pd.DataFrame, **options: object) -> list[str]:
        fit = study(by=["data"] if "data" in table else [], options=options).fits["law"]
        return [str(mistake) for mistake in ESTIMATORS["law"].wrong(table, fit)]

    each = {"hold_out": {"each": "curve"}, "clusters": "curve"}
    assert told(curves(), **each) == []
    few = curves()[lambda rows: rows["curve"].isin(["r0", "r1", "r2", "r3"])]
    found = "options.hold_out.each: without curve r0 there are 3 clusters for 3 parameters. Bring 1 more"
    assert told(few, **each)[0].startswith(found)
    assert told(few, hold_out={"each": "curve"}) == []
    assert told(few, **each, fixed={"E": 2.0}) == []
    both = pd.concat([curves().assign(data="c4"), few.assign(data="pile")])
    assert len(told(both, **each)) == 1
    rows = few.groupby("curve").head(1)
    assert "there are 3 rows for 3 parameters" in told(rows, hold_out={"each": "curve"})[0]
    assert "'curv' is no column of the table. Did you mean 'curve'" in told(few, hold_out={"each": "curv"})[0]
    alone = told(few[few["curve"] == "r0"], hold_out={"each": "curve"})
    assert "'curve' has 1 value in 8 rows. Name a column with several" in alone[0]


def test_a_fold_that_cannot_be_fitted_leaves_its_rows_without_a_number() -> None:
    few = curves()[lambda rows: rows["curve"].isin(["r0", "r5"])]
    few = few[(few["curve"] == "r5") | (few["tokens"] < 50)]
    made = fit_and_predict(study(options={"clusters": False, "hold_out": {"each": "curve"}}), {"runs": few})
    gone = made.predictions["cluster"] == "r5"
    assert made.predictions.loc[gone, "predicted"].isna().all()
    assert (made.predictions.loc[gone, "note"] == "2 rows for 3 parameters").all()
    assert made.predictions.loc[~gone, "predicted"].notna().all()
    row = made.fits.set_index("parameter").loc["extrapolation_error"]
    assert "12 of 14 rows not predicted (2 rows for 3 parameters)" in row["note"]


def test_without_held_out_runs_there_is_an_empty_table() -> None:
    assert [*fit_and_predict(study(options={"clusters": False}), {"runs": curves()}).predictions] == [
        *PREDICTION_COLUMNS
    ]


def test_a_prediction_without_an_interval_says_why() -> None:
    few = curves()[lambda rows: rows["curve"].isin(["r3", "r4", "r5", "r6"])]
    made = fit_and_predict(study(options={"clusters": "curve", "hold_out": OUT}), {"runs": few})
    rows = made.predictions
    assert rows["predicted"].notna().all()
    assert rows["inside"].isna().all()
    assert rows["low"].isna().all()
    assert "clusters" in rows["note"].iloc[0]


def test_metrics_are_those_of_their_definitions_by_cluster() -> None:
    draw = np.random.default_rng(0)
    seen = draw.uniform(1, 3, 40)
    predicted = seen * np.exp(0.1 * draw.normal(size=40))
    labels = np.repeat(np.arange(4), 10)
    again = predicted * np.exp(0.01 * draw.normal(size=(200, 1)))
    own = {
        "rmse_log": lambda p, y: np.sqrt(np.mean((np.log(p) - np.log(y)) ** 2)),
        "mae": lambda p, y: np.mean(np.abs(p - y)),
        "r2": lambda p, y: 1 - np.sum((p - y) ** 2) / np.sum((y - y.mean()) ** 2),
    }
    for name, function in own.items():
        whole = metric(name, Held(predicted, seen, again, None, 30))
        assert whole.estimate == pytest.approx(function(predicted, seen))
        each = [function(predicted[labels == k], seen[labels == k]) for k in range(4)]
        found = metric(name, Held(predicted, seen, again, labels, 30))
        assert found.estimate == pytest.approx(np.mean(each))
        shared = np.var(
            [np.mean([function(p[labels == k], seen[labels == k]) for k in range(4)]) for p in again], ddof=1
        )
        mean = np.var(each, ddof=1) / 4
        assert found.se == pytest.approx(np.sqrt(mean + shared))
        assert found.dof == pytest.approx((mean + shared) ** 2 / (mean**2 / 3 + shared**2 / 30))
        left_out = [function(np.delete(predicted, i), np.delete(seen, i)) for i in range(40)]
        shared = np.var([function(p, seen) for p in again], ddof=1)
        assert whole.se == pytest.approx(np.sqrt(39 * np.var(left_out) + shared))
        assert np.isnan(metric(name, Held(predicted, seen, again, np.zeros(40), 30)).se)
    assert {*own} == {*METRICS}


def test_the_error_of_a_metric_covers_that_of_new_runs() -> None:
    """Mean absolute error of 30 runs with noise 0.1: its interval holds the true one in 91 to 98 % of 200 draws."""
    draw, hits = np.random.default_rng(1), 0
    truth = 0.1 * np.sqrt(2 / np.pi)
    for _ in range(200):
        seen = 2 + 0.1 * draw.normal(size=30)
        found = metric("mae", Held(np.full(30, 2.0), seen, np.full((2, 30), 2.0), None, 99))
        low, high = found.interval()
        hits += low <= truth <= high
    assert 0.91 <= hits / 200 <= 0.98


def test_a_group_whose_rows_are_refused_leaves_the_others() -> None:
    table = curves().assign(group=lambda rows: np.where(rows["curve"].isin(["r0", "r1", "r2", "r3"]), "x", "y"))
    table.loc[3, "loss"] = -1.0
    made = fit_and_predict(study(by=["group"], options={"clusters": False}), {"runs": table}).fits
    refused, fine = (made[made["group"] == f'{{"group": "{name}"}}'].set_index("parameter") for name in "xy")
    assert {*refused.index} == {*fine.index} == {"e", "a", "alpha"}
    assert (refused["status"] == FAILED).all()
    assert refused["estimate"].isna().all()
    assert "loss is -1 in run 003" in refused["note"].iloc[0]
    assert fine.loc["alpha", "estimate"] == pytest.approx(0.5, abs=0.05)
    with pytest.raises(MusterError, match="loss is -1 in run 003"):
        fit_and_predict(study(options={"clusters": False}), {"runs": table})


def test_mistakes_of_options_that_a_table_tells() -> None:
    fit = FitConfig(
        estimator="law", response="loss", along="tokens",
        options={"form": "E + A / tokens^alpha", "clusters": "curv", "hold_out": {"where": {"tokens": {"above": 1e9}}}},
    )  # fmt: skip
    said = [str(mistake) for mistake in ESTIMATORS["law"].wrong(curves(), fit)]
    assert len(said) == 2
    assert said[0].startswith("options.clusters: 'curv' is no column of the table. Did you mean 'curve'")
    assert said[1].startswith("options.hold_out: it holds no row of")


def test_each_group_has_the_vector_that_was_published_for_it() -> None:
    table = curves().assign(data=lambda rows: np.where(rows["curve"].isin(["r0", "r1", "r2", "r3"]), "c4", "pile"))
    theirs = [
        {"where": {"data": "c4"}, "values": {"alpha": 0.5}},
        {"where": {"data": "pile"}, "values": {"alpha": 0.9}},
    ]
    options = {"clusters": False, "published": {"theirs": theirs, "other": theirs[:1], "all": {"alpha": 0.5}}}
    fits = fit_and_predict(study(by=["data"], options=options), {"runs": table}).fits
    walds = fits[fits["parameter"] == "wald_theirs"].set_index("group")["note"]
    assert walds.str.contains("not rejected").tolist() == [True, False]
    assert fits["parameter"].tolist().count("wald_other") == 1
    assert fits["parameter"].tolist().count("wald_all") == 2
    wrong = {"clusters": False, "published": {"theirs": [{"where": {"size": 1}, "values": {"alpha": 0.5}}]}}
    with pytest.raises(MusterError, match=r"theirs: `where` names size\. One value for each `by` column: data"):
        fit_and_predict(study(by=["data"], options=wrong), {"runs": table})
