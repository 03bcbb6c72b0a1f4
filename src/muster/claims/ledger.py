"""The ledger: one row a claim, with the estimate that was held against it and the verdict."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from muster.claims.components import row_of
from muster.claims.tests import explain, p_value, verdict
from muster.config.models import ClaimConfig, StudyConfig
from muster.errors import MusterError
from muster.files import write_text
from muster.fitting.base import group_key
from muster.tables.missing import Missing, explain_missing

COLUMNS = (
    "claim", "study", "slug", "paper", "statement", "source", "provenance", "test", "predicted", "margin", "estimate",
    "se", "dof", "ci_low", "ci_high", "n_cells", "n_runs", "p_value", "p_holm", "verdict", "reason", "scale", "figure",
)  # fmt: skip
NUMBERS = ("predicted", "margin", "estimate", "se", "dof", "ci_low", "ci_high", "p_value", "p_holm")
COUNTS = ("n_cells", "n_runs")
FLOAT_FORMAT = "%.6g"
TO_CONFIRM = "predicted value to be confirmed in the paper"


def judge(
    studies: Sequence[StudyConfig],
    fits: Mapping[str, pd.DataFrame],
    scale: str | Mapping[str, str],
    missing: Mapping[str, Sequence[Missing]] | None = None,
    kept: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Hold every claim of the studies against its fit: the ledger, with the columns COLUMNS, claims in the studies'
    order.

    fits: study name → fits table; a study without one gets `not run`. scale: of all fits, or by study. missing: study
    name → data sets and published tables that could not be had; claims about cells that lack one get `not run` for that
    reason. kept: an earlier ledger; a study without fits that stands in it keeps the numbers of its rows. Holm's
    step-down runs over all headline claims of these studies; one that has no p-value counts as p = 1, so that the
    family is the one
    declared before the run. Numbers are rounded to six digits first: the verdict is that of the row as it is written.
    Raises a MusterError when two claims share a name.
    """
    earlier = _kept_rows(kept)
    rows: list[dict[str, Any]] = []
    for study in studies:
        if study.study in earlier and study.study not in fits:
            rows += earlier[study.study]
            continue
        at = scale if isinstance(scale, str) else scale[study.study]
        rows += _measured_rows(study, fits.get(study.study), at, (missing or {}).get(study.study, ()))
    _check_names(rows)
    _adjust(rows)
    for row in rows:
        undecided = row.pop("missing")
        row["p_holm"] = _six_digits(row["p_holm"])
        row["verdict"] = verdict(row)
        row["reason"] = undecided if undecided and row["verdict"] != "not judged" else explain(row)
        if row["provenance"] == "unconfirmed":
            row["reason"] += f"; {TO_CONFIRM}"
    return _typed(pd.DataFrame(rows, columns=list(COLUMNS)))


def _kept_rows(ledger: pd.DataFrame | None) -> dict[str, list[dict[str, Any]]]:
    """Study name → rows of an earlier ledger as `_measured_rows` makes them; a row that nothing could be decided from
    keeps its reason."""
    kept: dict[str, list[dict[str, Any]]] = {}
    for written in [] if ledger is None else ledger.to_dict("records"):
        row = {str(name): value for name, value in written.items()}
        undecided = not row["n_cells"] or math.isnan(row["p_value"])
        row["missing"] = row["reason"].removesuffix(f"; {TO_CONFIRM}") if undecided else ""
        row["headline"] = not math.isnan(row["p_holm"])
        kept.setdefault(row["study"], []).append(row)
    return kept


def _measured_rows(
    study: StudyConfig, fits: pd.DataFrame | None, scale: str, missing: Sequence[Missing]
) -> list[dict[str, Any]]:
    """One row a claim of the study, before p-values are adjusted."""
    rows = []
    for claim in study.claims:
        lacking = [part for part in missing if part.concerns(study.fits[claim.fit], claim.where)]
        rows.append(_measure(study, claim, None if lacking else fits, scale))
        if lacking:
            rows[-1]["missing"] = explain_missing(lacking)
    return rows


def _check_names(rows: Sequence[Mapping[str, Any]]) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        if row["claim"] in seen:
            place = f"config/studies/{row['study']}.yaml: claims.{row['claim']}"
            raise MusterError(place, f"the name is taken by study {seen[row['claim']]!r}", "Name each claim once")
        seen[row["claim"]] = row["study"]


def _measure(study: StudyConfig, claim: ClaimConfig, fits: pd.DataFrame | None, scale: str) -> dict[str, Any]:
    """The row of one claim up to its raw p-value.

    `missing` says why there is no p-value, `headline` whether the claim belongs to Holm's family.
    """
    fit, missing = _find(claim, fits)
    row: dict[str, Any] = {
        "claim": claim.claim,
        "study": study.study,
        "slug": study.slug,
        "paper": study.paper,
        "statement": claim.statement,
        "source": claim.source,
        "provenance": claim.provenance,
        "test": claim.test,
        "predicted": _six_digits(claim.predicted),
        "margin": _six_digits(claim.margin),
        **{name: _six_digits(fit.get(name, math.nan)) for name in ("estimate", "se", "dof", "ci_low", "ci_high")},
        "n_cells": int(fit.get("n_cells", 0)),
        "n_runs": int(fit.get("n_runs", 0)),
        "scale": scale,
        "figure": f"figures/{study.study}/{claim.figure}.svg" if claim.figure else "",
        "missing": missing,
        "headline": claim.headline,
    }
    row["p_value"] = _six_digits(p_value(row)) if not missing else math.nan
    return row


def _find(claim: ClaimConfig, fits: pd.DataFrame | None) -> tuple[dict[str, Any], str]:
    """The primary fit row of a claim, and why nothing can be decided from it (empty when something can)."""
    if fits is None:
        return {}, "the study was not run"
    of_fit = fits[(fits["fit"] == claim.fit) & fits["primary"]]
    if len(of_fit):
        # Rows come in the order of the estimator's parameters: the first is the one that is meant by default.
        of_fit = of_fit[of_fit["parameter"] == (claim.parameter or of_fit["parameter"].iloc[0])]
    wanted = group_key(claim.where)
    found = of_fit[of_fit["group"] == wanted]
    if found.empty:
        known = "; ".join(of_fit["group"].unique()) or "none"
        return {}, f"fit {claim.fit} has no group {wanted} (it has: {known})"
    row = {str(name): value for name, value in found.iloc[0].items()}
    if row["status"] != "ok":
        note = f": {row['note']}" if row["note"] else ""
        return row, f"status {row['status']}{note}"
    return row_of(claim, row), ""


def _adjust(rows: Sequence[dict[str, Any]]) -> None:
    """Set `p_holm` of every row: Holm-adjusted over the headline claims, NaN for the others."""
    from statsmodels.stats.multitest import multipletests

    family = [row for row in rows if row["headline"]]
    for row in rows:
        row["p_holm"] = math.nan
    if not family:
        return
    raw = [1.0 if math.isnan(row["p_value"]) else row["p_value"] for row in family]
    for row, adjusted in zip(family, multipletests(raw, method="holm")[1], strict=True):
        row["p_holm"] = float(adjusted)


def _six_digits(value: Any) -> float:
    return float(FLOAT_FORMAT % float(value))


def _typed(ledger: pd.DataFrame) -> pd.DataFrame:
    kinds = {name: "float64" if name in NUMBERS else "int64" if name in COUNTS else "str" for name in COLUMNS}
    return ledger.astype(kinds)


def write_ledger(ledger: pd.DataFrame, folder: Path, shown: Mapping[str, str] | None = None) -> None:
    """Write claims.csv, claims.json, metrics.json and LEDGER.md, each atomically. Same ledger, same bytes.

    shown: as in `markdown`.
    """
    ordered = ledger[list(COLUMNS)]
    write_text(folder / "claims.csv", ordered.to_csv(index=False, float_format=FLOAT_FORMAT, lineterminator="\n"))
    records = [{name: _json_value(value) for name, value in row.items()} for row in ordered.to_dict("records")]
    write_text(folder / "claims.json", json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(folder / "metrics.json", json.dumps(_metrics(ordered), indent=1, sort_keys=True) + "\n")
    write_text(folder / "LEDGER.md", markdown(ordered, shown))


def _metrics(ledger: pd.DataFrame) -> dict[str, Any]:
    """Numbers by name, as `dvc metrics diff` compares them: verdicts counted, and each claim's finite estimate."""
    finite = ledger[ledger["estimate"].map(math.isfinite)]
    return {
        "verdicts": {verdict: int(count) for verdict, count in ledger["verdict"].value_counts().items()},
        "estimates": {
            study: {row["claim"]: _six_digits(row["estimate"]) for _, row in rows.iterrows()}
            for study, rows in finite.groupby("study")
        },
    }


def read_ledger(folder: Path) -> pd.DataFrame:
    """The ledger of a folder as `judge` made it; empty numbers are NaN, empty texts are empty strings."""
    raw = pd.read_csv(folder / "claims.csv", dtype=str, keep_default_na=False)
    return _typed(raw.assign(**{name: pd.to_numeric(raw[name], errors="raise") for name in (*NUMBERS, *COUNTS)}))


def _json_value(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else _six_digits(value) if math.isfinite(value) else str(value)
    return value


def markdown(ledger: pd.DataFrame, shown: Mapping[str, str] | None = None) -> str:
    """LEDGER.md: a count of verdicts, then one table per paper, figures linked relative to the folder of the ledger.

    shown: the ledger's name of a figure → the file that shows it, both below the results; others are named without a
    link. None: every figure lies where the ledger says.
    """
    scales = ", ".join(ledger["scale"].unique())
    counts = ledger["verdict"].value_counts()
    order = ("supported", "refuted", "inconclusive", "not run", "not judged")
    tally = ", ".join(f"{counts[name]} {name}" for name in order if name in counts)
    summary = f"{len(ledger)} claims at scale {scales}: {tally}." if len(ledger) else "No claims."
    legend = (
        "Brackets hold 95 % intervals; n counts cells / runs. "
        "Headline claims (**bold**) are decided after Holm's correction over all of them."
    )
    lines = ["# Ledger", "", summary, "", legend]
    for paper, claims in ledger.groupby("paper", sort=False):
        lines += [
            "",
            f"## {as_text(str(paper))}",
            "",
            "| claim | statement | source | prediction | estimate | n | verdict | reason | figure |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_markdown_row(row, shown) for row in claims.to_dict("records")),
        ]
    return "\n".join(lines) + "\n"


def _markdown_row(row: Mapping[Any, Any], shown: Mapping[str, str] | None) -> str:
    name = row["claim"] if math.isnan(row["p_holm"]) else f"**{row['claim']}**"
    statement, source, reason = (as_text(row[column]) for column in ("statement", "source", "reason"))
    cells = [name, statement, f"{source} ({row['provenance']})", _prediction(row), _estimate(row)]
    cells += [f"{row['n_cells']} / {row['n_runs']}", row["verdict"], reason, _figure(row["figure"], shown)]
    return "| " + " | ".join(cells) + " |"


def as_text(text: str) -> str:
    """Markdown of a table's cell or a heading that is read as the very characters of a line of text.

    Dollars stand in a `span`, as GitHub's manual has it: it reads formulas between them even where a backslash stands
    before them. What means nothing stays: an underscore within a word, brackets that no link follows, a lone `&`.
    """
    line = " ".join(text.split())
    line = re.sub(r"([\\`*~|]|(?<![^\W_])_|_(?![^\W_])|(?<=\])[(\[])", r"\\\1", line)
    line = re.sub(r" (#+)$", r" \\\1", line)  # would close a heading
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line).replace("<", "&lt;")
    return line.replace("$", "<span>$</span>")


def _figure(name: str, shown: Mapping[str, str] | None) -> str:
    """A link to a figure, or its name where it is not shown: `relu-kurtosis/kurtosis`."""
    if name and (shown is None or name in shown):
        return f"[figure](../{name if shown is None else shown[name]})"
    return name.removeprefix("figures/").removesuffix(".svg")


def _prediction(row: Mapping[Any, Any]) -> str:
    """The claimed region as a reader would write it: `0 ± 0.1`, `≤ 0`, `≥ 0.5`."""
    signs = {"less": "≤", "ordering": "≤", "regret": "≤", "vector": "≤", "greater": "≥"}
    predicted, margin = f"{row['predicted']:.4g}", f"{row['margin']:.4g}"
    if row["test"] not in signs:
        return f"{predicted} ± {margin}"
    slack = {"≤": f" + {margin}", "≥": f" − {margin}"}[signs[row["test"]]] if row["margin"] else ""
    return f"{signs[row['test']]} {predicted}{slack}"


def _estimate(row: Mapping[Any, Any]) -> str:
    if math.isnan(row["estimate"]):
        return "–"
    if math.isnan(row["ci_low"]):
        return f"{row['estimate']:.3g}"
    return f"{row['estimate']:.3g} [{row['ci_low']:.3g}, {row['ci_high']:.3g}]"
