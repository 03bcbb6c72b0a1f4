"""The conditions of a study's claims, checked in the stage `fit`, which has its tables: the table regime.parquet."""

import json
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd
from pydantic import ValidationError

from muster.claims.components import row_of
from muster.claims.regime.base import REGIME_CHECKS, Checked, Measured
from muster.claims.tests import FAILED, PASSED, TOWARDS, UNCHECKED, Condition
from muster.config.models import ClaimConfig, FitConfig, RegimeConfig, StudyConfig
from muster.errors import FieldError, MusterError, dotted
from muster.fitting.base import NoOptions, clusters_of, group_key

REGIME_COLUMNS = ("study", "claim", "check", "value", "low", "high", "passed", "blocks", "towards", "note")


def check_regimes(
    study: StudyConfig, tables: Mapping[str, pd.DataFrame], optima: pd.DataFrame, fits: pd.DataFrame
) -> pd.DataFrame:
    """Every regime check of every claim of a study, one row each, with the columns REGIME_COLUMNS.

    A claim whose fit has no row gets none: nothing can be measured there. Raises a MusterError that names file, claim
    and check when a check cannot be made sense of.
    """
    rows = []
    for i, claim in enumerate(study.claims):
        row = primary_row(claim, fits)
        if row is None:
            continue
        measured = Measured(study, claim, study.fits[claim.fit], row_of(claim, row), tables, fits, optima)
        for j, regime in enumerate(claim.regime):
            field = ("claims", i, "regime", j)
            try:
                found = REGIME_CHECKS[regime.check].function(measured, options_of(regime, field))
            except MusterError as error:
                place = f"config/studies/{study.study}.yaml: {dotted(field)} of {claim.claim}: {error.place}"
                raise MusterError(place, error.found, error.remedy) from None
            rows.append({"study": study.study, "claim": claim.claim, "check": label(regime), **_told(regime, found)})
    kinds = {"value": "float64", "low": "float64", "high": "float64", "passed": "bool", "towards": "bool"}
    return pd.DataFrame(rows, columns=list(REGIME_COLUMNS)).astype(
        {name: kinds.get(name, "str") for name in REGIME_COLUMNS}
    )


def primary_row(claim: ClaimConfig, fits: pd.DataFrame) -> dict[str, Any] | None:
    """The row of a fits table that a claim is judged by: its group, its parameter (the first if it names none), the
    primary variant."""
    of_fit = fits[(fits["fit"] == claim.fit) & fits["primary"]]
    if len(of_fit):
        # Rows come in the order of the estimator's parameters: the first is the one that is meant by default.
        of_fit = of_fit[of_fit["parameter"] == (claim.parameter or of_fit["parameter"].iloc[0])]
    found = of_fit[of_fit["group"] == group_key(claim.where)]
    return None if found.empty else {str(name): value for name, value in found.iloc[0].items()}


def clusters_told(row: Mapping[str, Any], fit: FitConfig) -> str:
    """The clusters of dependent runs on which a fit's interval rests, in words; empty where each run is its own."""
    count = clusters_of(row)
    return "" if count is None else f"its interval rests on {count} clusters ({fit.options.get('clusters')})"


def options_of(regime: RegimeConfig, field: tuple[str | int, ...]) -> NoOptions:
    """The options of a check as a typed record. Raises FieldError for an unknown check or a wrong option."""
    try:
        kind = REGIME_CHECKS[regime.check].options
    except MusterError as error:
        raise FieldError((*field, "check"), error.found, error.remedy) from None
    try:
        return kind.model_validate(regime.options)
    except ValidationError as error:
        first = error.errors()[0]
        known = "; ".join(f"{key}: {option.description}" for key, option in kind.model_fields.items()) or "none"
        raise FieldError((*field, *first["loc"]), first["msg"], f"Options of {regime.check}: {known}") from None


def label(regime: RegimeConfig) -> str:
    """A check as the ledger names it: `steady(axis=width)`."""
    told = (
        f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in regime.options.items()
    )
    return f"{regime.check}({', '.join(told)})" if regime.options else regime.check


def _told(regime: RegimeConfig, found: Checked) -> dict[str, Any]:
    blocks = REGIME_CHECKS[regime.check].blocks
    return {"value": found.value, "low": found.low, "high": found.high, "passed": found.passed, "blocks": blocks,
            "towards": found.towards, "note": found.note}  # fmt: skip


def conditions_of(claim: ClaimConfig, regime: pd.DataFrame | None) -> Iterator[Condition]:
    """How the checks of a claim came out, from regime.parquet; `not checked` where that is not at hand."""
    rows = [] if regime is None else regime[regime["claim"] == claim.claim].to_dict("records")
    own = {row["check"]: row for row in rows}
    for declared in claim.regime:
        name = label(declared)
        yield _condition(own[name]) if name in own else Condition(name, UNCHECKED)


def _condition(row: Mapping[Hashable, Any]) -> Condition:
    """A row of regime.parquet in words: `steady(axis=width) 0.03 in [-0.1, 0.1]: passed`."""
    what = f"{row['check']} {row['value']:.6g} in [{row['low']:.6g}, {row['high']:.6g}]"
    if row["passed"]:
        return Condition(what, PASSED)
    outcome = TOWARDS if row["towards"] and row["blocks"] == "both" else FAILED
    return Condition(what, outcome, row["blocks"] == "refuted", row["note"])
