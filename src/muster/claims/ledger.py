"""The ledger: one row a claim, with the estimate that was held against it and the verdict."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from muster.claims.changed import Declared, changes
from muster.claims.components import row_of
from muster.claims.conditions import conditions_of, primary_row
from muster.claims.families import (
    CONTROL,
    HEADLINE,
    decide,
    expected_false,
    false_discovery,
    family_text,
    run_of,
    slug_of,
)
from muster.claims.page import UNRUN, markdown, tally
from muster.claims.tests import (
    BETWEEN,
    DECIDED,
    KNOWN,
    UNMEASURED,
    Condition,
    explain,
    p_refute,
    p_support,
    test_text,
)
from muster.config.models import PUBLISHED, ClaimConfig, StudyConfig
from muster.errors import DamagedError, MusterError
from muster.files import SUMS, read_sums, sha256, write_sums, write_text
from muster.fitting.base import group_key
from muster.tables.missing import Missing, explain_missing
from muster.tables.spreadsheet import quoted, unquoted

COLUMNS = (
    "claim", "study", "slug", "paper", "statement", "source", "provenance", "asserts", "stance", "criterion", "test",
    "predicted", "margin", "estimate", "se", "dof", "ci_low", "ci_high", "n_cells", "n_runs", "p_support", "p_refute",
    "p_adjusted", "family", "regime", "verdict", "agrees", "same_as", "reason", "scale", "figure",
)  # fmt: skip
NUMBERS = (
    "predicted", "margin", "estimate", "se", "dof", "ci_low", "ci_high", "p_support", "p_refute", "p_adjusted",
)  # fmt: skip
COUNTS = ("n_cells", "n_runs")
FLOAT_FORMAT = "%.6g"
TO_CONFIRM = "; predicted value to be confirmed in the paper"


def judge(
    studies: Sequence[StudyConfig],
    fits: Mapping[str, pd.DataFrame],
    scale: str | Mapping[str, str],
    missing: Mapping[str, Sequence[Missing]] | None = None,
    kept: pd.DataFrame | None = None,
    regimes: Mapping[str, pd.DataFrame] | None = None,
    first: Mapping[str, Declared] | None = None,
) -> pd.DataFrame:
    """Hold every claim of the studies against its fit: the ledger, with the columns COLUMNS, claims in the studies'
    order.

    fits: study name → fits table; a study without one gets `not run`. scale: of all fits, or by study. missing: study
    name → data sets and published tables that could not be had; claims about cells that lack one get `not run` for that
    reason. regimes: study name → its regime.parquet; checks that do not stand there were `not checked`. first:
    study name → what its claims said when its tables were first made; the reason tells what has changed. kept: an
    earlier ledger; a study without fits that stands in it keeps the numbers of its rows, and what they were held
    against; a claim that has moved to another study stays where it was until that one has fits. Numbers are rounded to
    six digits first: the verdict is that of the row as it is written. Raises a MusterError when two claims share a
    name.
    """
    earlier = _kept_rows(kept)
    said = first or {}
    changed = {study.study: changes(study, said[study.study]) for study in studies if study.study in said}
    rows: list[dict[str, Any]] = []
    measured = {claim.claim for study in studies if study.study in fits for claim in study.claims}
    standing = {row["claim"] for name, kept_rows in earlier.items() if name not in fits for row in kept_rows} - measured
    for study in studies:
        if study.study in earlier and study.study not in fits:
            rows += [row for row in earlier[study.study] if row["claim"] in standing]
            continue
        if study.study not in fits:  # a claim that came from another study stands there until this one is run
            study = study.model_copy(update={"claims": [one for one in study.claims if one.claim not in standing]})
        at = scale if isinstance(scale, str) else scale[study.study]
        found, regime = fits.get(study.study), (regimes or {}).get(study.study)
        rows += _measured_rows(study, found, regime, at, (missing or {}).get(study.study, ()))
    _check_names(rows)
    decide(rows, _six_digits)
    run = run_of(rows)
    for row in rows:
        unfound = row.pop("missing")
        row["reason"] = unfound if row["verdict"] == "not run" else explain(row)
        row["reason"] += _partial(row, run)
        if (told := changed.get(row["study"], {}).get(row["claim"])) and row["verdict"] not in (
            "not run",
            "not judged",
        ):
            row["reason"] += f"; {told}"
        if row["provenance"] == "unconfirmed":
            row["reason"] += TO_CONFIRM
    return _typed(pd.DataFrame(rows, columns=list(COLUMNS)))


def _kept_rows(ledger: pd.DataFrame | None) -> dict[str, list[dict[str, Any]]]:
    """Study name → rows of an earlier ledger as `_measured_rows` makes them; a claim that was not run keeps its
    reason."""
    kept: dict[str, list[dict[str, Any]]] = {}
    for row in [] if ledger is None else rows_of(ledger):
        kept.setdefault(row["study"], []).append(row | {"missing": row["reason"].removesuffix(TO_CONFIRM)})
    return kept


def _measured_rows(
    study: StudyConfig,
    fits: pd.DataFrame | None,
    regime: pd.DataFrame | None,
    scale: str,
    missing: Sequence[Missing],
) -> list[dict[str, Any]]:
    """One row a claim of the study, before p-values are adjusted."""
    rows = []
    for claim in study.claims:
        lacking = [part for part in missing if part.concerns(study.fits[claim.fit], claim.where)]
        rows.append(_measure(study, claim, None if lacking else fits, regime, scale))
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


def _measure(
    study: StudyConfig, claim: ClaimConfig, fits: pd.DataFrame | None, regime: pd.DataFrame | None, scale: str
) -> dict[str, Any]:
    """The row of one claim up to its own p-values; `missing` says why there is none."""
    fit, missing = _find(claim, fits)
    status = _status(fit)
    told = [*([status] if status else []), *(conditions_of(claim, regime) if fit else ())]
    told += [Condition(f"{CONTROL}{name}", KNOWN) for name in claim.controls]
    row: dict[str, Any] = {
        "claim": claim.claim,
        "study": study.study,
        "slug": study.slug,
        "paper": study.paper,
        "statement": claim.statement,
        "source": claim.source,
        "provenance": claim.provenance,
        "asserts": claim.asserts,
        "stance": claim.stance,
        "criterion": claim.criterion,
        "test": test_text(claim.test, claim.prediction_se),
        "predicted": _six_digits(claim.predicted),
        "margin": _six_digits(claim.margin),
        **{name: _six_digits(fit.get(name, math.nan)) for name in ("estimate", "se", "dof", "ci_low", "ci_high")},
        "n_cells": int(fit.get("n_cells", 0)),
        "n_runs": int(fit.get("n_runs", 0)),
        "family": family_text(study.slug, claim.stance, claim.headline),
        "regime": BETWEEN.join(condition.text for condition in told),
        "same_as": claim.same_as or "",
        "scale": scale,
        "figure": f"figures/{study.study}/{claim.figure}.svg" if claim.figure else "",
        "missing": missing,
    }
    measured = fit and not status
    return row | {
        "p_support": _six_digits(p_support(row)) if measured else math.nan,
        "p_refute": _six_digits(p_refute(row)) if measured else math.nan,
    }


def _find(claim: ClaimConfig, fits: pd.DataFrame | None) -> tuple[dict[str, Any], str]:
    """The primary fit row of a claim, and why there is none, or nothing in it."""
    if fits is None:
        return {}, UNRUN
    row = primary_row(claim, fits)
    if row is None:
        known = "; ".join(fits[(fits["fit"] == claim.fit) & fits["primary"]]["group"].unique()) or "none"
        return {}, f"fit {claim.fit} has no group {group_key(claim.where)} (it has: {known})"
    if status := _status(row):
        return row, f"{status.what}{f': {status.note}' if status.note else ''}"
    return row_of(claim, row), ""


def _status(fit: Mapping[str, Any]) -> Condition | None:
    """What an estimator says of a number that it could not give, as a condition that was not met."""
    if not fit or fit["status"] == "ok":
        return None
    return Condition(f"status {fit['status']}", UNMEASURED, note=str(fit["note"]))


def _partial(row: Mapping[str, Any], run: Mapping[str, tuple[int, int]]) -> str:
    """What a decision, or none, owes to headline claims of the family that were not run and count as p = 1."""
    done, of = run.get(slug_of(row), (0, 0))
    if done == of or row["verdict"] not in (*DECIDED, "inconclusive"):
        return ""
    return f"; of its family {done} of {of} headline claims were run"


def _six_digits(value: Any) -> float:
    return float(FLOAT_FORMAT % float(value))


def _typed(ledger: pd.DataFrame) -> pd.DataFrame:
    kinds = {name: "float64" if name in NUMBERS else "int64" if name in COUNTS else "str" for name in COLUMNS}
    return ledger.astype(kinds)


def rows_of(ledger: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a ledger as its pure functions take them."""
    return [{str(name): value for name, value in row.items()} for row in ledger.to_dict("records")]


def is_headline(ledger: pd.DataFrame) -> pd.Series:
    """Which rows of a ledger are headline claims of their paper's family."""
    return ledger["family"].str.endswith(f": {HEADLINE}")


def write_ledger(
    ledger: pd.DataFrame,
    folder: Path,
    shown: Mapping[str, str] | None = None,
    questions: Mapping[str, str | None] | None = None,
) -> None:
    """Write claims.csv, claims.json, metrics.json and LEDGER.md, each atomically, and at last their checksums. Same
    ledger, same bytes.

    shown, questions: as in `markdown`.
    """
    ordered = ledger[list(COLUMNS)]
    rows = rows_of(ordered)
    records = [{name: _json_value(value) for name, value in row.items()} for row in rows]
    q = false_discovery(rows)
    texts = {
        "claims.csv": quoted(ordered).to_csv(index=False, float_format=FLOAT_FORMAT, lineterminator="\n"),
        "claims.json": json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "metrics.json": json.dumps(_metrics(ordered, rows, q), indent=1, sort_keys=True) + "\n",
        "LEDGER.md": markdown(rows, q, expected_false(rows), shown, questions),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    write_sums(folder, {name: text.encode() for name, text in texts.items()})


def _metrics(ledger: pd.DataFrame, rows: Sequence[Mapping[str, Any]], q: Mapping[str, float]) -> dict[str, Any]:
    """Numbers by name, as `dvc metrics diff` compares them: verdicts and facts counted, each claim's finite estimate,
    its q over the ledger, and how many decisions are false on average at most."""
    counted = tally(rows)
    return {
        "verdicts": {verdict: int(count) for verdict, count in ledger["verdict"].value_counts().items()},
        "facts": {"agrees": counted.agree, "contradicts": counted.contradict, "open": sum(counted.open.values())},
        "expected_false_decisions": _six_digits(expected_false(rows)),
        "estimates": _by_study(rows, {row["claim"]: row["estimate"] for row in rows}),
        "false_discovery_q": _by_study(rows, q),
    }


def _by_study(rows: Sequence[Mapping[str, Any]], values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Study → claim → its finite number."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if math.isfinite(value := values.get(row["claim"], math.nan)):
            found.setdefault(row["study"], {})[row["claim"]] = _six_digits(value)
    return found


def read_ledger(folder: Path) -> pd.DataFrame:
    """The ledger of a folder as `judge` made it; empty numbers are NaN, empty texts are empty strings.

    Raises a MusterError for a ledger that is not, in any of its files, what was written.
    """
    check_ledger(folder)
    path = folder / "claims.csv"
    raw = pd.read_csv(path, dtype=str, keep_default_na=False)
    if tuple(raw.columns) != COLUMNS:
        raise _damaged(folder, path.name, "it has other columns than those of this version")
    raw = raw.assign(**unquoted(raw[[name for name in COLUMNS if name not in (*NUMBERS, *COUNTS)]]))
    return _typed(raw.assign(**{name: pd.to_numeric(raw[name], errors="raise") for name in (*NUMBERS, *COUNTS)}))


def check_ledger(folder: Path) -> None:
    """Hold the files of a ledger against their checksums. Raises a MusterError that names the first that differs."""
    try:
        sums = read_sums(folder)
    except OSError:
        raise _damaged(folder, SUMS, "it is missing: nothing tells whether the ledger is what was judged") from None
    except ValueError:
        raise _damaged(folder, SUMS, "it is no text") from None
    if "claims.csv" not in sums:
        raise _damaged(folder, SUMS, "it does not name claims.csv")
    for name, wanted in sums.items():
        try:
            found = sha256(folder / name)
        except (OSError, ValueError):
            raise _damaged(folder, name, "it is missing") from None
        if found != wanted:
            raise _damaged(folder, name, "it is not what was written: its checksum differs")


def _damaged(folder: Path, name: str, found: str) -> MusterError:
    place = str(folder / name)
    if folder.resolve().is_relative_to(PUBLISHED.resolve()):
        return MusterError(place, found, f"Restore the folder (git checkout -- {folder}), or publish every study anew")
    return DamagedError(place, found, folder)


def _json_value(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else _six_digits(value) if math.isfinite(value) else str(value)
    return value
