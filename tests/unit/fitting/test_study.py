"""Fits of a whole study: columns, and mistakes placed in file, fit and field."""

import numpy as np
import pandas as pd
import pytest

from muster.config.models import FitConfig, StudyConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, FIT_COLUMNS, OPTIMUM_COLUMNS
from muster.fitting.study import check_fit, fit_study

RATES = np.arange(-9.0, -3.0, 0.5)


def study(**fits):
    return StudyConfig(
        study="demo", title="t", paper="p", slug="demo", experiment="train",
        scales={"laptop": {"grid": [{"width": [1]}]}}, fits=fits,
    )  # fmt: skip


def runs():
    rows = [
        {
            "study": "demo", "width": width, "depth": 3, "parameterization": name, "seed": 0, "log2_lr": rate,
            "diverged": False, "final_train_loss": np.exp(0.1 * (rate + 6) ** 2),
        }
        for name in ("sp", "mup") for width in (64, 128, 256) for rate in RATES
    ]  # fmt: skip
    return pd.DataFrame(rows)


LR = {"estimator": "lr_transfer", "response": "final_train_loss", "by": ["parameterization"]}


def test_tables_have_the_contract_columns_and_the_studys_order():
    optima, fits = fit_study(study(second=LR, first={**LR, "select": {"parameterization": "mup"}}), {"runs": runs()})
    assert tuple(fits.columns) == FIT_COLUMNS
    assert tuple(optima.columns) == OPTIMUM_COLUMNS
    assert list(fits["fit"].unique()) == ["second", "first"]
    assert set(fits["study"]) == {"demo"}
    assert list(fits.loc[fits["fit"] == "first", "group"].unique()) == ['{"parameterization": "mup"}']
    assert len(optima) == 9
    assert fits["primary"].sum() == 3


def test_an_empty_selection_is_a_row_not_a_crash():
    optima, fits = fit_study(study(exponent={**LR, "select": {"parameterization": "ntp"}}), {"runs": runs()})
    assert set(fits["status"]) == {"no_rows"}
    assert optima.empty
    assert tuple(optima.columns) == OPTIMUM_COLUMNS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"estimator": "lr_transfr"},
            r"fits\.exponent\.estimator: unknown name 'lr_transfr'\. Did you mean 'lr_transfer'",
        ),
        ({"response": "loss"}, r"fits\.exponent\.response: the table has no column 'loss'\. Columns: study, width"),
        ({"along": "batch_size"}, r"fits\.exponent\.along: the table has no column 'batch_size'"),
        ({"by": ["optimiser"]}, r"fits\.exponent\.by: the table has no column 'optimiser'"),
        ({"by": ["width"]}, r"fits\.exponent\.by: 'width' is the axis of the fit"),
        ({"by": []}, r"fits\.exponent\.by: 2 rows share .*differ in parameterization"),
        ({"select": {"rule": "full"}}, r"fits\.exponent\.select: the table has no column 'rule'"),
        ({"options": {"windw": 5}}, r"fits\.exponent\.options\.windw: Extra inputs.*window: Learning rates around"),
        ({"options": {"window": 3}}, r"fits\.exponent\.options\.window: .*greater than or equal to 4"),
        ({"primary": "mean"}, r"fits\.exponent\.primary: unknown variant 'mean'\. Known: ols_t, hc3, reml_kh"),
        ({"table": "probes"}, r"fits\.exponent\.table: 'probes' was not given\. Tables: runs"),
        ({"estimator": "power_law", "options": {"pool": ["head"]}}, r"options\.pool: the table has no column 'head'"),
        ({"estimator": "closed_form"}, r"fits\.exponent\.options\.formula: Field required"),
        ({"estimator": "closed_form", "options": {"formula": "relu"}}, r"options\.formula: unknown name 'relu'"),
        ({"estimator": "ordering", "options": {"a": {"rule": "x"}}}, r"fits\.exponent\.options\.b: Field required"),
        (
            {"estimator": "ordering", "options": {"a": {"rule": "x"}, "b": {"seed": 1}}},
            r"fits\.exponent\.options: a is .*Give both the same columns",
        ),
        (
            {"estimator": "ordering", "options": {"a": {"parameterization": "sp"}, "b": {"parameterization": "mup"}}},
            r"fits\.exponent\.by: 'parameterization' tells a from b",
        ),
    ],
)
def test_a_mistake_names_file_fit_and_field(change, message):
    with pytest.raises(MusterError, match=r"config/studies/demo\.yaml: .*" + message.removeprefix(r"fits\.exponent\.")):
        fit_study(study(exponent={**LR, **change}), {"runs": runs()})


def test_fits_are_checked_without_data():
    check_fit(study(exponent=LR), "exponent")
    with pytest.raises(MusterError, match="unknown variant"):
        check_fit(study(exponent={**LR, "primary": "median"}), "exponent")


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if len(ESTIMATORS[name].parameters) > 1])
def test_the_number_that_is_meant_by_default_is_the_estimators_first(name):
    (first, *_) = ESTIMATORS[name].parameters
    assert ESTIMATORS[name].first(FitConfig(estimator=name, response="final_train_loss")) == first


def test_a_row_without_a_name_gets_the_first():
    fit = {**LR, "estimator": "exponent_trend", "select": {"parameterization": "ntp"}, "options": {"across": "depth"}}
    _, fits = fit_study(study(trend=fit), {"runs": runs()})
    assert set(fits["parameter"]) == {"slope"}
