"""Specification curves: one thing changed at a time, the declared fit marked, nothing dropped in silence."""

import numpy as np
import pandas as pd
import pytest

from muster.config.models import StudyConfig
from muster.errors import MusterError
from muster.fitting import specification
from muster.fitting.specification import ALTERNATIVES, SPECIFICATION_COLUMNS, specification_curve, specification_curves
from muster.fitting.study import fit_study
from tests.unit.fitting import test_isoflop as isoflop
from tests.unit.fitting import test_lr_batch_surface as surfaces
from tests.unit.fitting.test_estimators import sweep
from tests.unit.fitting.test_regression import table

WIDTHS = (64, 96, 128, 192, 256)


def study(**fit):
    fits = {"lr": {"estimator": "lr_transfer", "response": "final_train_loss"} | fit}
    return StudyConfig(
        study="demo", title="t", paper="p", slug="p", experiment="train",
        scales={"laptop": {"grid": [{"width": 1}]}}, fits=fits,
    )  # fmt: skip


def runs(**fields):
    return sweep({"sp": -0.5, "mup": 0.0}, widths=WIDTHS, noise=0.003, **fields)


def curve(rows, **fit):
    tables = {"runs": rows}
    return specification_curve(study(**fit), "lr", tables, fit_study(study(**fit), tables)[1])


def test_the_declared_number_is_the_one_that_fit_study_gives():
    rows, by = runs(), {"by": ["parameterization"]}
    found = curve(rows, **by)
    assert tuple(found.columns) == SPECIFICATION_COLUMNS
    fits = fit_study(study(**by), {"runs": rows})[1]
    declared = found[found["declared"]].set_index("group")["estimate"]
    expected = fits[fits["primary"]].set_index("group")["estimate"]
    pd.testing.assert_series_equal(declared, expected)


def test_every_alternative_changes_one_thing_and_comes_in_all_variants():
    rows = runs().query("parameterization == 'sp'").assign(final_eval_loss=lambda t: 1.1 * t["final_train_loss"])
    found = curve(rows)
    assert found["label"].drop_duplicates().tolist() == [
        "as declared", "4 rates", "7 rates", "parabola through 3", "best of the grid", "1 rate(s) beside the best",
        "final_eval_loss", "without 64", "without 256",
    ]  # fmt: skip
    assert (found.groupby("label")["variant"].nunique() == 5).all()
    assert set(found["parameter"]) == {"exponent"}
    ols = found[found["variant"] == "ols_t"].set_index("label")
    np.testing.assert_allclose(ols["estimate"], -0.5, atol=0.2)
    assert ols["estimate"].nunique() > 5
    assert ols.loc["without 64", "n_cells"] == ols.loc["as declared", "n_cells"] - 2


def test_the_other_split_of_the_evaluation_loss_is_the_training_loss():
    rows = runs().query("parameterization == 'sp'").rename(columns={"final_train_loss": "final_eval_loss"})
    assert "final_train_loss" not in set(curve(rows, response="final_eval_loss")["label"])
    found = curve(rows.assign(final_train_loss=rows["final_eval_loss"]), response="final_eval_loss")
    assert "final_train_loss" in set(found["label"])


def test_the_declared_choice_is_not_its_own_alternative():
    labels = set(curve(runs().query("parameterization == 'sp'"), options={"window": 7})["label"])
    assert "7 rates" not in labels
    assert {"4 rates", "5 rates"} <= labels


def test_an_alternative_that_cannot_be_fitted_stays_with_its_reason():
    rows = runs().query("parameterization == 'sp'").assign(final_eval_loss=-1.0)
    found = curve(rows).set_index("label")
    assert found.loc["final_eval_loss", "status"] == "not_fitted"
    assert "not positive" in found.loc["final_eval_loss", "note"]
    assert np.isnan(found.loc["final_eval_loss", "estimate"])


def test_regression_leaves_out_one_variable_at_a_time():
    found = curve(
        table(), estimator="regression", response="final_eval_loss", along="parameters",
        options={"variables": ["parameters", "tokens"], "clusters": "family"},
    )  # fmt: skip
    assert {"without tokens", "without parameters"} <= set(found["label"])
    alone = found[(found["label"] == "without tokens") & (found["variant"] == "ols_t")]
    assert alone["parameter"].tolist() == ["parameters"]
    declared = found[found["declared"]]
    assert declared[["parameter", "variant"]].to_numpy().tolist() == [
        ["parameters", "cluster_t"], ["tokens", "cluster_t"]
    ]  # fmt: skip


OF_BUDGETS = {
    "4 sizes", "7 sizes", "2 octaves of size", "8 octaves of size", "whole curve", "linear loss",
    "1 size(s) beside the best", "3 size(s) beside the best", "without 1e+18", "without 1e+21",
}  # fmt: skip
OF_SURFACES = {
    "3 × 3 points", "7 × 7 points", "9 × 9 points", "rows within 0.10% of the best", "rows within 0.50% of the best",
    "rows within 1.00% of the best", "2 value(s) beside the best",
}  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "fit", "labels"),
    [
        (isoflop.table(noise=3e-4), {"estimator": "isoflop", "along": "flops"}, OF_BUDGETS),
        (
            surfaces.runs(tokens=(4e9,), noise=1e-4),
            {"estimator": "lr_batch_surface", "along": "parameters", "options": {"cells": ["parameters"]}},
            OF_SURFACES,
        ),
    ],
    ids=["isoflop", "lr_batch_surface"],
)
def test_every_alternative_of_a_valley_gives_another_number(rows, fit, labels):
    found = curve(rows, response="final_eval_loss", **fit)
    assert set(found["label"]) == {"as declared", *labels}
    assert found["estimate"].notna().all()
    assert found.groupby("label")["estimate"].agg(tuple).nunique() > len(labels) / 2


def test_power_laws_compare_means():
    rows = runs().query("parameterization == 'sp' and log2_lr == -6.5")
    found = curve(rows, estimator="power_law")
    assert {"arithmetic mean", "without 64"} <= set(found["label"])
    assert "geometric mean" not in set(found["label"])


def test_an_end_is_left_out_only_where_the_group_has_it():
    """mup lacks the smallest width of sp: its own smallest is the next one."""
    rows = runs().query("parameterization == 'sp' or width > 64")
    wider = runs().query("width == 256 and parameterization == 'mup'").assign(width=384)
    found = curve(pd.concat([rows, wider], ignore_index=True), by=["parameterization"])
    ends = found[found["choice"] == "width"].groupby("group")["label"].unique()
    assert {group: sorted(labels) for group, labels in ends.items()} == {
        '{"parameterization": "mup"}': ["without 384", "without 96"],
        '{"parameterization": "sp"}': ["without 256", "without 64"],
    }
    one = found[(found["variant"] == "ols_t") & (found["group"] == '{"parameterization": "mup"}')].set_index("label")
    assert (one.loc[["without 96", "without 384"], "n_cells"] == one.loc["as declared", "n_cells"] - 2).all()


@pytest.mark.parametrize(("dimensions", "shown"), [((3, 4, 6, 8, 12), 5), ((3, 4, 6, 8), 0)])
def test_trends_of_exponents_leave_out_one_exponent_and_keep_the_split(dimensions, shown):
    x, d, seeds = np.meshgrid([64, 128, 256, 512], dimensions, [0, 1])
    rng = np.random.default_rng(0)
    loss = x ** (-4 / d) * np.exp(0.01 * rng.standard_normal(x.shape))
    columns = {"examples": x, "features": d, "seed": seeds, "final_eval_loss": loss, "final_train_loss": loss**2}
    rows = pd.DataFrame({name: values.ravel() for name, values in columns.items()}).assign(width=96)
    found = curve(
        rows, estimator="exponent_trend", response="final_eval_loss", along="examples",
        options={"across": "features", "factor": -4, "power": -1},
    )  # fmt: skip
    assert set(found["choice"]) == ({"as declared", "features"} if shown else {"as declared"})
    others = found[(found["choice"] == "features") & (found["parameter"] == "slope") & (found["variant"] == "ols_t")]
    assert others["label"].tolist() == [f"without features {value}" for value in dimensions][:shown]
    np.testing.assert_allclose(others["estimate"], 1, atol=0.1)
    assert others["estimate"].nunique() == shown


def test_laws_compare_losses_and_rows(monkeypatch):
    monkeypatch.setattr(specification, "QUICK", 100)
    rng = np.random.default_rng(1)
    n = np.geomspace(1e6, 1e9, 16)
    noise = 0.01 * rng.standard_normal(16)
    noise[3] = 0.3
    rows = pd.DataFrame(
        {"run": np.arange(16).astype(str), "parameters": n, "final_eval_loss": (1.7 + 400 * n**-0.34) * np.exp(noise)}
    )
    found = curve(
        rows, estimator="power_offset", response="final_eval_loss", along="parameters", options={"replicates": 100}
    )
    labels = found["label"].drop_duplicates().tolist()
    assert labels == ["as declared", "least squares", "Huber, δ = 0.001", "without the 5 largest losses"]
    alpha = found[found["parameter"] == "alpha"].set_index("label")["estimate"]
    assert abs(alpha["as declared"] - 0.34) < abs(alpha["least squares"] - 0.34)
    assert found["declared"].sum() == found["parameter"].nunique()


def test_estimators_without_alternatives_and_unknown_fits_are_errors():
    assert {"lr_transfer", "lr_transfer_difference", "power_law", "regression"} <= {*ALTERNATIVES}
    with pytest.raises(MusterError, match=r"demo.yaml: fits.lr.estimator: mean has no alternatives"):
        specification_curve(study(estimator="mean"), "lr", {"runs": runs()}, pd.DataFrame())
    with pytest.raises(MusterError, match="no fit 'slope'"):
        specification_curve(study(), "slope", {"runs": runs()}, pd.DataFrame())


def test_the_curves_of_a_study_are_those_that_its_figures_show():
    figures = {
        name: {"plot": "specification_curve", "fit": "lr", "options": {"where": {"parameterization": name}}}
        for name in ("sp", "mup")
    }
    shown, tables = study(by=["parameterization"]), {"runs": runs()}
    fits = fit_study(shown, tables)[1]
    assert specification_curves(shown, tables, fits).empty
    shown = StudyConfig.model_validate({**shown.model_dump(), "figures": figures})
    found = specification_curves(shown, tables, fits)
    pd.testing.assert_frame_equal(found, specification_curve(shown, "lr", tables, fits))  # once, not once a figure
    assert found["estimate"].dtype == float


def test_an_empty_selection_is_an_empty_curve():
    found = curve(runs(), select={"width": 7})
    assert tuple(found.columns) == SPECIFICATION_COLUMNS
    assert found.empty


def test_a_group_of_few_values_keeps_its_ends_and_leaves_the_others_theirs():
    rows = runs()
    rows = rows[(rows["parameterization"] != "mup") | (rows["width"] < 256)]
    found = specification.dropped_ends(study(by=["parameterization"]).fits["lr"], rows)
    assert [each.label for each in found] == ["without 64", "without 256"]
