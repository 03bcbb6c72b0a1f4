"""Somebody's sweep, of any program, through the estimators, tests and figures of every study."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from muster.api.next_runs import Advice, advise
from muster.claims.conditions import check_regimes
from muster.claims.ledger import judge
from muster.config.models import StudyConfig
from muster.errors import MusterError
from muster.fitting.base import to_json
from muster.fitting.frames import groups
from muster.fitting.optimum.predict_lr import predict_loss, predict_lr, reach
from muster.fitting.study import fit_study
from muster.tables.sweeps import Columns, Sweep, read_sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIT, REGRET, LIMIT = "transfer", "regret", "limit"
ENOUGH = 5  # values of x that an interior optimum needs: two on each side of the best
STEADY = 5  # interior optima from which the exponent's upper half has one of its own
PANELS = 3  # figures' panels per row, one a group
TOLERATED = 0.01  # relative loss that a transferred rate may cost
LEARNING_RATES = ("lr", "learning_rate")
FIGURES = ("lr_sweep", "optimum_vs_axis")
Record = dict[str, Any]


@dataclass(frozen=True)
class SweepFit:
    """What a table of runs says about transfer. DataFrames have a column for each of `by`, then their own.

    optima: best x of each shape with 95 % interval, or why there is none. exponents: d ln x / d ln scale by every
    variant of the estimator. verdicts: of the claim that |exponent| ≤ margin, then of the regret of using the narrowest
    shape's best x everywhere, and of the drift left beyond the widest. predictions: best x and loss at other scales.
    next_runs: what would decide what is open. notes: what was left out, taken to be, or not used.
    """

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
        optima = _optima(self.found.optima, self.sweep)
        verdicts = _verdicts(self.study, self.found.ledger)
        exponents = _exponents(self.found.fits)
        return {
            "file": self.file,
            "columns": {role: getattr(self.columns, role) for role in ("x", "y", "scale", "seed")},
            "runs": _runs(self.sweep),
            "notes": self.notes,
            "others": [other._asdict() for other in self.sweep.others],
            "optima": optima,
            "exponents": exponents,
            "verdicts": [row for row in verdicts if row["claim"] == FIT],
            "also": [row for row in verdicts if row["claim"] != FIT],
            "predictions": _predictions(self.found.optima, self.at, self.columns.maximize),
            "next": [advice._asdict() for advice in advise(self.sweep, optima, exponents, verdicts)],
        }

    @property
    def optima(self) -> pd.DataFrame:
        return self._frame("optima")

    @property
    def exponents(self) -> pd.DataFrame:
        return self._frame("exponents")

    @property
    def verdicts(self) -> pd.DataFrame:
        return pd.concat([self._frame("verdicts"), self._frame("also")], ignore_index=True)

    @property
    def predictions(self) -> pd.DataFrame:
        return self._frame("predictions")

    @property
    def next_runs(self) -> list[Advice]:
        return [Advice(**record) for record in self.records["next"]]

    def _frame(self, name: str) -> pd.DataFrame:
        return pd.DataFrame([{**row["group"], **{k: v for k, v in row.items() if k != "group"}}
                             for row in self.records[name]])  # fmt: skip

    def summary(self) -> str:
        """The result as a reader wants it: what was read; then for each group optima, exponent, verdicts, advice."""
        from muster.api.text import text

        return text(self.records, self.columns)

    def json(self) -> str:
        """One JSON object, numbers to six digits."""
        return to_json(self.records)

    def plot(self, name: str = "lr_sweep") -> "Figure":
        """A Matplotlib figure: `lr_sweep`, loss against x, or `optimum_vs_axis`, best x against the scale."""
        from muster.plots import PlotData, render

        if name not in FIGURES:
            raise MusterError("plot", f"no figure {name!r}", f"Figures: {', '.join(FIGURES)}")
        data = PlotData(self.study, "", runs=self.runs, optima=self.found.optima, fits=self.found.fits)
        return render(name, data)

    def write(self, folder: Path) -> None:
        """Tables as CSV, groups as columns, and the two figures as SVG and PNG."""
        from muster.files import write_text
        from muster.plots import save
        from muster.tables.spreadsheet import quoted

        for name in ("optima", "exponents", "verdicts", "predictions"):
            frame = getattr(self, name)
            if len(frame):
                write_text(folder / f"{name}.csv", quoted(frame).to_csv(index=False, float_format="%.6g"))
        for name in FIGURES:
            save(self.plot(name), folder / f"{name}.svg", folder / f"{name}.png")


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


@dataclass(frozen=True)
class Transfer:
    """The exponent of optima along an axis and what it decides. estimates: a row a variant of the estimator."""

    estimates: pd.DataFrame
    verdict: str
    reason: str
    margin: float

    @property
    def estimate(self) -> float:
        return float(self.estimates["estimate"].iloc[0])

    @property
    def interval(self) -> tuple[float, float]:
        return float(self.estimates["ci_low"].iloc[0]), float(self.estimates["ci_high"].iloc[0])

    def summary(self) -> str:
        low, high = self.interval
        return (
            f"exponent {self.estimate:.3g} [{low:.3g}, {high:.3g}], {self.verdict} "
            f"(|exponent| ≤ {self.margin:g}): {self.reason}"
        )


def transfer(
    scale: Sequence[float] | np.ndarray | pd.Series,
    optima: Sequence[float] | np.ndarray | pd.Series,
    errors: Sequence[float] | np.ndarray | pd.Series | None = None,
    *,
    margin: float = 0.1,
) -> Transfer:
    """The exponent d ln optimum / d ln scale of optima [W] that were found elsewhere, and the equivalence test.

    errors: standard errors of ln optimum [W]; without them the variant with random effects is left out.
    """
    from muster.claims.tests import explain, on_its_own, verdict
    from muster.statistics.linear import slopes

    x, y = np.asarray(scale, float), np.asarray(optima, float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 3:
        raise MusterError("transfer", f"{x.size} scales and {y.size} optima", "Give three or more of both")
    if not (np.isfinite([x, y]).all() and (x > 0).all() and (y > 0).all()):
        raise MusterError("transfer", "a value that is not positive", "An exponent needs positive numbers")
    se = np.full(len(x), np.nan) if errors is None else np.asarray(errors, float)
    rows: list[Record] = []
    for variant, found in slopes(np.log(x), np.log(y), se).items():
        low, high = found.interval()
        rows.append({"variant": variant, "estimate": found.estimate, "se": found.se, "dof": found.dof,
                     "ci_low": low, "ci_high": high})  # fmt: skip
    row = {**rows[0], "test": "equivalence", "predicted": 0.0, "margin": margin, "n_cells": len(x), "scale": ""}
    alone = on_its_own(row)
    kept = [each for each in rows if math.isfinite(each["estimate"])]
    return Transfer(pd.DataFrame(kept), verdict(alone), explain(alone), margin)


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


def _runs(sweep: Sweep) -> Record:
    runs, columns = sweep.runs, sweep.columns
    return {
        "count": len(runs),
        "diverged": int(runs["diverged"].sum()),
        "groups": max(1, len(runs[list(columns.by)].drop_duplicates())) if columns.by else 1,
        "values_of_scale": runs[columns.named("scale")].nunique(),
        "values_of_x": runs["log2_lr"].nunique(),
        "seeds": runs["seed"].nunique() if columns.seed else None,
    }


def _optima(optima: pd.DataFrame, sweep: Sweep) -> list[Record]:
    """Optima with the hyperparameter as a plain number, and a maximized score as it was given."""
    records = []
    columns = sweep.columns
    for row in optima[optima["fit"] == FIT].to_dict("records"):
        group = json.loads(row["group"])
        record = {"group": group, "scale": row["x"], "status": row["status"]}
        names = {"optimum": "log2_lr_opt", "ci_low": "ci_low", "ci_high": "ci_high", "basin_low": "basin_low",
                 "basin_high": "basin_high", "grid_best": "grid_best"}  # fmt: skip
        record |= {name: 2.0 ** row[column] for name, column in names.items()}
        own = sweep.runs[sweep.runs[columns.named("scale")] == row["x"]]
        for name, value in group.items():
            own = own[own[name] == value]
        reason = _reason(row, columns.named("x"), own, columns.maximize)
        loss = 1 / row["loss_at_opt"] if columns.maximize else row["loss_at_opt"]
        records.append(record | {"loss": loss, "reason": reason})
    return records


def _reason(row: Mapping[Any, Any], x: str, own: pd.DataFrame, maximize: bool) -> str:
    """Why a shape has no interior optimum, and what would give it one. own: its runs."""
    status, tried = row["status"], own["log2_lr"].unique()
    if status == "interior":
        return ""
    what = "score" if maximize else "loss"
    if status == "diverged":
        return f"no {x} at which every run has a finite {what}"
    if status == "flat":
        peak = "maximum" if maximize else "minimum"
        return f"no {peak} stands out from the noise: sweep {x} wider, or add seeds"
    lost = own.loc[own["diverged"], "log2_lr"].unique()
    finite = np.setdiff1d(tried, lost)
    if len(tried) < ENOUGH:
        return f"{len(tried)} values of {x}: an interior optimum needs {ENOUGH}, two on each side of the best"
    for name, side, beyond, within in (
        ("largest", "larger", tried > row["grid_best"], finite > row["grid_best"]),
        ("smallest", "smaller", tried < row["grid_best"], finite < row["grid_best"]),
    ):
        if not beyond.any():
            return f"the best is the {name} {x}: sweep {side} ones"
        if not within.any():
            return (
                f"the best is the {name} {x} with a finite {what} in every run; the {beyond.sum()} {side} ones in the "
                "file diverged: sweep between them and the best"
            )
    side = "larger" if (finite > row["grid_best"]).sum() < 2 else "smaller"
    return f"one finite value of {x} {side} than the best: an interior optimum needs two on each side"


def _exponents(fits: pd.DataFrame) -> list[Record]:
    kept = ["variant", "primary", "estimate", "se", "dof", "ci_low", "ci_high", "status", "note"]
    rows = fits[fits["fit"] == FIT].to_dict("records")
    return [{"group": json.loads(row["group"])} | {name: row[name] for name in kept} for row in rows]


def _verdicts(study: StudyConfig, ledger: pd.DataFrame) -> list[Record]:
    kept = ["predicted", "margin", "estimate", "se", "dof", "ci_low", "ci_high", "p_support", "p_refute", "p_adjusted",
            "regime", "verdict", "reason"]  # fmt: skip
    rows = zip(study.claims, ledger.to_dict("records"), strict=True)
    return [{"group": dict(claim.where), "claim": claim.fit} | {name: row[name] for name in kept}
            for claim, row in rows]  # fmt: skip


def _predictions(optima: pd.DataFrame, at: Iterable[float], maximize: bool) -> list[Record]:
    """Predictions for every group and value, from the interior optima alone. No law of a score is known."""
    records = []
    for text, rows in optima[optima["fit"] == FIT].groupby("group", sort=False):
        inside = rows[rows["status"] == "interior"]
        x = inside["x"].to_numpy(float)
        for value in at:
            far = reach(x, value)._asdict() if len(x) else {"factor": math.nan, "far": True}
            made = [predict_lr(x, inside["log2_lr_opt"], value)]
            made += [] if maximize else predict_loss(x, inside["loss_at_opt"], value)
            records += [{"group": json.loads(str(text))} | prediction._asdict() | far for prediction in made]
    return records
