"""What every estimator shares: the registry, the columns of its results, and how a row is made.

A row's p is derived from `estimate`, `se` and `dof` by t, and by nothing else. Its interval is estimate ± t(dof) · se
wherever it carries a standard error: an estimator whose interval is of another law (bootstrap, Fieller) reports the
symmetric interval that reaches its farther end (`muster.statistics.linear.enclosing`). A row without a standard error
decides nothing; the interval it may still carry (`Estimate.ci`) shows what the data leave open.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError

from muster.config.models import FitConfig, Scalar, Section
from muster.errors import MusterError
from muster.registry import Registry
from muster.statistics.linear import Estimate

FIT_COLUMNS = (
    "study", "fit", "estimator", "variant", "primary", "group", "parameter", "estimate", "se", "dof", "ci_low",
    "ci_high", "n_cells", "n_runs", "status", "note", "intercept", "x_min", "x_max", "diagnostics", "certificate",
)  # fmt: skip
OPTIMUM_COLUMNS = (
    "study", "fit", "group", "along", "x", "log2_lr_opt", "se", "ci_low", "ci_high", "status", "loss_at_opt",
    "basin_low", "basin_high", "grid_best", "n_points", "n_runs",
)  # fmt: skip
PREDICTION_COLUMNS = (  # of runs that were held out; `error` is relative, `cluster` empty where the fit has none
    "study", "fit", "group", "run", "cluster", "x", "measured", "predicted", "low", "high", "inside", "error", "note",
)  # fmt: skip

Selection = dict[str, Scalar | list[Scalar]]
Options = TypeVar("Options", bound="NoOptions")


def clusters_of(row: Mapping[Any, Any]) -> int | None:
    """On how many clusters of dependent runs the interval in a row of FIT_COLUMNS rests; None where each run is its
    own."""
    return json.loads(row.get("diagnostics") or "{}").get("clusters")


class NoOptions(Section):
    """The options of an estimator that has none; base class of all others."""


class PoolOptions(NoOptions):
    """Options of an estimator that may average several rows of a run."""

    pool: list[str] = Field(
        default_factory=list, description="Columns (layer, log2_lr, ...) that are averaged within a run"
    )


class PairOptions(NoOptions):
    """Options of an estimator that compares two groups of rows."""

    a: Selection = Field(min_length=1, description="Column → value or values: the rows of group a")
    b: Selection = Field(min_length=1, description="The rows of group b: the same columns, other values")


class Counts(NamedTuple):
    """How many cells and runs stand behind a fit."""

    n_cells: int
    n_runs: int


class FitResult(NamedTuple):
    """`fits`: one row per group and variant. `optima`: one row per group and shape, empty for most estimators.
    `predictions`: one row per run that was held out of a fit, empty where none was.

    Columns as in FIT_COLUMNS, OPTIMUM_COLUMNS and PREDICTION_COLUMNS, without `study`, `fit` and `estimator`, which
    `fit_study` adds.
    """

    fits: pd.DataFrame
    optima: pd.DataFrame = pd.DataFrame()
    predictions: pd.DataFrame = pd.DataFrame()


class Fitted(NamedTuple):
    """One number of one group of rows, as an estimator returns it, under some or all of its variants.

    estimates: by variant; empty if there is none. parameter: which number; may be left open by an estimator of one.
    primary: the variant that decides if the fit names none, instead of the estimator's first. counts: cells and runs
    behind it, those of the group's rows if None. x: values of the axis that entered. Status and note: see `fit_rows`.
    """

    estimates: Mapping[str, Estimate]
    parameter: str = ""
    status: str = "ok"
    note: str = ""
    counts: Counts | None = None
    x: Sequence[float] | np.ndarray = ()
    diagnostics: Mapping[str, Any] | None = None
    certificate: Mapping[str, Any] | None = None
    primary: str | None = None


class Optima(NamedTuple):
    """Optima of one group, as rows of optima.parquet; `group` holds what labels a row beyond the group itself."""

    rows: list[dict[str, Any]]


class Predictions(NamedTuple):
    """Runs that a fit was not made of, as rows of predictions.parquet, without `study`, `fit` and `group`."""

    rows: pd.DataFrame


@dataclass(frozen=True)
class Estimator:
    """A registered estimator and what a study must offer it, so that a grid can be judged before it runs.

    variants: names of all reported variants; the first decides claims unless the fit names another `primary`.
    parameters: names of the numbers it returns; the first is the one that claims and figures mean unless they name one.
    more: names of those that follow from a fit's options. check: raises a MusterError for options whose types alone do
    not tell that they are wrong. ask: what a table leaves open about a fit of it, which the study should say; empty for
    nothing. wrong: mistakes in the fit's options that only a table tells, with their fields. attainable: the range of
    those numbers that cannot take every value. two_ends: those that only a region with two ends tests fairly.
    min_points: distinct values of `along` that it needs. needs: columns that the table must have. source, assumes,
    fails: where the method comes from, what must hold for its interval, and how it goes wrong when that does not.
    """

    summary: str
    function: Callable[[pd.DataFrame, FitConfig], FitResult]
    variants: tuple[str, ...]
    min_points: int
    parameters: tuple[str, ...] = ("exponent",)
    source: str = ""
    assumes: str = ""
    fails: str = ""
    needs: tuple[str, ...] = ("seed",)
    options: type[NoOptions] = NoOptions
    make_optima: bool = False
    more: Callable[[FitConfig], list[str]] = lambda fit: []
    check: Callable[[Any], None] = lambda options: None
    ask: Callable[[pd.DataFrame, FitConfig], str] = lambda rows, fit: ""
    wrong: Callable[[pd.DataFrame, FitConfig], Iterable[MusterError]] = lambda rows, fit: ()
    attainable: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    two_ends: frozenset[str] = frozenset()
    required_options: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        required = tuple(name for name, option in self.options.model_fields.items() if option.is_required())
        object.__setattr__(self, "required_options", required)

    def numbers(self, fit: FitConfig) -> list[str]:
        """The names of all numbers that a fit returns."""
        return [*self.parameters, *self.more(fit)]

    def first(self, fit: FitConfig) -> str:
        """The number that claims and figures mean unless they name one; empty where a fit's options tell of none."""
        return next(iter(self.numbers(fit)), "")

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return f"{self.summary}\n\nSource: {self.source}\nAssumes: {self.assumes}\nFails: {self.fails}"


ESTIMATORS: Registry[Estimator] = Registry("estimator", modules=("muster.fitting.estimators", "muster.fitting.laws"))


def parse_options(kind: type[Options], fit: FitConfig) -> Options:
    """The fit's options as a typed record; a wrong one raises a MusterError that lists what is allowed."""
    try:
        return kind.model_validate(fit.options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        known = "; ".join(f"{key}: {option.description}" for key, option in kind.model_fields.items()) or "none"
        raise MusterError(f"options.{name}" if name else "options", first["msg"], f"Options: {known}") from None


def primary_variant(fit: FitConfig, variants: Sequence[str]) -> str:
    """The variant that decides claims: the fit's choice, else the estimator's first."""
    if fit.primary is None:
        return variants[0]
    if fit.primary not in variants:
        raise MusterError("primary", f"unknown variant {fit.primary!r}", f"Known: {', '.join(variants)}")
    return fit.primary


def plain(value: Any) -> Scalar:
    """A value as YAML would spell it: NumPy scalars become Python's, whole floats become integers."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def group_key(group: Mapping[str, Any]) -> str:
    """The canonical JSON of a group (sorted keys), by which claims and figures find their fit."""
    return json.dumps({name: plain(group[name]) for name in sorted(group)}, separators=(", ", ": "))


def fit_rows(
    group: Mapping[str, Any],
    estimates: Mapping[str, Estimate],
    primary: str,
    *,
    parameter: str = "",
    status: str = "ok",
    note: str = "",
    counts: Counts,
    x: Sequence[float] | np.ndarray = (),
    diagnostics: Mapping[str, Any] | None = None,
    certificate: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """One row per variant of one parameter. An `ok` fit whose variant lacks a standard error gets status `no_se`.

    When status is not `ok` the rows carry no standard error, so that nothing can be decided from them; an explicit
    interval (`Estimate.ci`) stays, because it shows what the data leave open. parameter: `fit_study` fills it for
    estimators that return one number. diagnostics, certificate: small records
    that are stored as JSON, the same for all rows of the fit.
    """
    rows = []
    for variant, estimate in estimates.items():
        usable = status == "ok" and np.isfinite(estimate.se)
        shown = estimate if usable else estimate._replace(se=np.nan, dof=np.nan)
        low, high = shown.interval()
        rows.append(
            {
                "variant": variant,
                "primary": variant == primary,
                "group": group_key(group),
                "parameter": parameter,
                "estimate": float(shown.estimate),
                "se": float(shown.se),
                "dof": float(shown.dof),
                "ci_low": low,
                "ci_high": high,
                "n_cells": counts.n_cells,
                "n_runs": counts.n_runs,
                "status": "no_se" if status == "ok" and not usable else status,
                "note": note,
                "intercept": float(shown.intercept),
                "x_min": float(np.min(x)) if len(x) else np.nan,
                "x_max": float(np.max(x)) if len(x) else np.nan,
                "diagnostics": to_json(diagnostics),
                "certificate": to_json(certificate),
            }
        )
    return rows


def to_json(record: Mapping[str, Any] | None) -> str:
    """A record as canonical JSON with six significant digits; NaN and infinities become null, no record `{}`."""

    def tidy(value: Any) -> Any:
        value = value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
        if isinstance(value, float):
            return float(f"{value:.6g}") if np.isfinite(value) else None
        if isinstance(value, (list, tuple)):
            return [tidy(item) for item in value]
        if isinstance(value, Mapping):
            return {str(key): tidy(item) for key, item in value.items()}
        return value

    return json.dumps(tidy(record or {}), sort_keys=True, separators=(", ", ": "))


def no_estimates(variants: Sequence[str]) -> dict[str, Estimate]:
    """A set of variants without a number, for fits that could not be made."""
    return {variant: Estimate(np.nan, np.nan, np.nan) for variant in variants}
