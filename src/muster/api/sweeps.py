"""Somebody's sweep, of any program, through the estimators, tests and figures of every study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pandas as pd

from muster.api.next_runs import Advice, advise
from muster.api.result import Result
from muster.api.sweep_records import (
    FIT,
    Record,
    exponent_records,
    optimum_records,
    prediction_records,
    runs_record,
    verdict_records,
)
from muster.claims.conditions import check_regimes
from muster.claims.ledger import judge
from muster.config.models import StudyConfig
from muster.errors import MusterError
from muster.fitting.frames import groups
from muster.fitting.study import fit_study
from muster.tables.sweeps import Columns, Sweep, read_sweep

if TYPE_CHECKING:
    from muster.plots import PlotData

REGRET, LIMIT = "regret", "limit"
STEADY = 5  # interior optima from which the exponent's upper half has one of its own
PANELS = 3  # figures' panels per row, one a group
TOLERATED = 0.01  # relative loss that a transferred rate may cost
LEARNING_RATES = ("lr", "learning_rate")
FIGURES = ("lr_sweep", "optimum_vs_axis")


@dataclass(frozen=True)
class SweepFit(Result):
    """What a table of runs says about transfer. DataFrames have a column for each of `by`, then their own.

    optima: best x of each shape with 95 % interval, or why there is none. exponents: d ln x / d ln scale by every
    variant of the estimator. verdicts: of the claim that |exponent| ≤ margin, then of the regret of using the narrowest
    shape's best x everywhere, and of the drift left beyond the widest. predictions: best x and loss at other scales.
    next_runs: what would decide what is open. notes: what was left out, taken to be, or not used. Figures: `lr_sweep`,
    loss against x; `optimum_vs_axis`, best x against the scale.
    """

    tables: ClassVar = ("optima", "exponents", "verdicts", "predictions")
    figures: ClassVar = FIGURES

    file: str
    sweep: Sweep
    study: StudyConfig
    found: "Found"
    at: tuple[float, ...]

    @property
    def columns(self) -> Columns:
        return self.sweep.columns

    @property
    def runs(self) -> pd.DataFrame:
        return self.sweep.runs

    @property
    def notes(self) -> list[str]:
        return self.sweep.notes

    @cached_property
    def records(self) -> Record:
        """Everything as plain lists and numbers: what `muster fit-table --json` prints."""
        optima = optimum_records(self.found.optima, self.sweep)
        verdicts = verdict_records(self.study, self.found.ledger)
        exponents = exponent_records(self.found.fits)
        return {
            "file": self.file,
            "columns": {role: getattr(self.columns, role) for role in ("x", "y", "scale", "seed")},
            "runs": runs_record(self.sweep),
            "notes": self.notes,
            "others": [other._asdict() for other in self.sweep.others],
            "optima": optima,
            "exponents": exponents,
            "verdicts": [row for row in verdicts if row["claim"] == FIT],
            "also": [row for row in verdicts if row["claim"] != FIT],
            "predictions": prediction_records(self.found.optima, self.at, self.columns.maximize),
            "next": [advice._asdict() for advice in advise(self.sweep, optima, exponents, verdicts)],
        }

    @property
    def optima(self) -> pd.DataFrame:
        return self.frame("optima")

    @property
    def exponents(self) -> pd.DataFrame:
        return self.frame("exponents")

    @property
    def verdicts(self) -> pd.DataFrame:
        return pd.concat([self.frame("verdicts"), self.frame("also")], ignore_index=True)

    @property
    def predictions(self) -> pd.DataFrame:
        return self.frame("predictions")

    @property
    def next_runs(self) -> list[Advice]:
        return [Advice(**record) for record in self.records["next"]]

    def summary(self) -> str:
        """The result as a reader wants it: what was read; then for each group optima, exponent, verdicts, advice."""
        from muster.api.text import text

        return text(self.records, self.columns)

    def plot_data(self) -> "PlotData":
        from muster.plots import PlotData

        return PlotData(self.study, "", runs=self.runs, optima=self.found.optima, fits=self.found.fits)


class Found(NamedTuple):
    """Optima and fits as `fit_study` returns them, and the ledger of the table's own claims."""

    optima: pd.DataFrame
    fits: pd.DataFrame
    ledger: pd.DataFrame


def fit_table(
    source: str | Path | pd.DataFrame,
    x: str | None = None,
    y: str | None = None,
    scale: str | None = None,
    *,
    seed: str | None = None,
    by: Sequence[str] = (),
    select: Mapping[str, Any] | None = None,
    adjust: Sequence[str] = (),
    maximize: bool = False,
    margin: float = 0.1,
    predict: Sequence[float] = (),
    run: str | None = None,
    step: str | None = None,
    finished: Sequence[str] = (),
    any_end: bool = False,
) -> SweepFit:
    """Fit a table of runs: optima of x at each value of `scale`, their exponent, and what it decides.

    source: a DataFrame or the path of a CSV, JSON, JSON-lines or Parquet file, an Optuna storage or an MLflow folder.
    Names that are left open are found by the usual words. margin: |exponent| that still counts as transfer. Other
    arguments as in `muster.tables.sweeps.Columns`. Raises MusterError naming line, column and remedy.
    """
    chosen = {str(name): str(value) for name, value in (select or {}).items()}
    asked = Columns(x, y, scale, seed, tuple(by), chosen, tuple(adjust), maximize, run, step, tuple(finished), any_end)
    if not margin > 0:
        raise MusterError("margin", f"found {margin:g}", "No estimate lies within a margin of 0: give one > 0")
    sweep = read_sweep(source, asked)
    name = "the table" if isinstance(source, pd.DataFrame) else str(source)
    study = _study(name, sweep, margin)
    try:
        optima, fits = fit_study(study, {"runs": sweep.runs})
        study = _study(name, sweep, margin, optima)
        regime = check_regimes(study, {"runs": sweep.runs}, optima, fits)
    except MusterError as error:
        raise MusterError(name, error.found, error.remedy) from None
    ledger = judge([study], {study.study: fits}, "", regimes={study.study: regime})
    return SweepFit(name, sweep, study, Found(optima, fits, ledger), tuple(predict))


def optimum(source: str | Path | pd.DataFrame, x: str | None = None, y: str | None = None, **options: Any) -> SweepFit:
    """The best x of one network, or of each group: `fit_table` without an axis. Its `.optima` has the intervals."""
    from muster.tables.sweeps.readers import read_cells

    cells = read_cells(source).cells
    return fit_table(cells.assign(**{"(one shape)": 1}), x, y, "(one shape)", **options)


def _study(name: str, sweep: Sweep, margin: float, optima: pd.DataFrame | None = None) -> StudyConfig:
    """The table as a study: its fits, and for every group the claims that it may decide.

    optima: once they are known, the conditions that so many of them can show.
    """
    columns = sweep.columns
    x, y, scale = (columns.named(role) for role in ("x", "y", "scale"))
    head = {"source": name, "provenance": "derived", "asserts": "limit", "predicted": 0}
    claims: list[Record] = []
    found = list(groups(sweep.runs, columns.by))
    for i, (group, _) in enumerate(found):
        own = head | {"where": group}
        claims += [
            {"claim": f"{FIT}-{i}", "statement": f"The best {x} does not change with {scale}", "fit": FIT,
             "test": "equivalence", "margin": margin, "regime": _regime(group, optima), **own},
            {"claim": f"{REGRET}-{i}", "statement": f"The best {x} of the smallest {scale} costs little at every other",
             "fit": REGRET, "test": "regret", "margin": TOLERATED, "headline": False, **own},
            {"claim": f"{LIMIT}-{i}", "statement": f"The best {x} is near its limit at the largest {scale}",
             "fit": LIMIT, "test": "equivalence", "margin": margin, "headline": False, **own},
        ]  # fmt: skip
    fit: Record = {"response": y, "along": scale, "by": columns.by}
    fits: Record = {FIT: fit | {"estimator": "lr_transfer"}, REGRET: fit | {"estimator": "regret"},
            LIMIT: fit | {"estimator": "limit_rate"}}  # fmt: skip
    if columns.adjust:
        fits = {FIT: fit | {"estimator": "lr_transfer_adjusted", "options": {"adjust": columns.adjust}}}
        claims = [claim for claim in claims if claim["fit"] == FIT]
    options: Record = {"columns": min(len(found), PANELS)}
    if x not in LEARNING_RATES:
        options["rate"] = x
    return StudyConfig.model_validate(
        {"study": "fit-table", "title": Path(name).name, "paper": name, "slug": "fit-table",
         "experiment": "command", "scales": {"laptop": {"grid": [{}]}}, "fits": fits, "claims": claims,
         "figures": {figure: {"plot": figure, "fit": FIT, "options": options} for figure in FIGURES}}
    )  # fmt: skip


def _regime(group: Record, optima: pd.DataFrame | None) -> list[Record]:
    """What must hold for a changing best x to refute transfer, which is a statement about a limit."""
    if optima is None:
        return []
    from muster.fitting.base import group_key

    own = optima[(optima["fit"] == FIT) & (optima["group"] == group_key(group))]
    steady = [{"check": "steady"}] if (own["status"] == "interior").sum() >= STEADY else []
    return [*steady, {"check": "not_converging"}]
