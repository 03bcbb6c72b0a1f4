"""Data sets and published tables that could not be had: which cells lack them, which claims, and how to get them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from muster.columns import MISSING_FILE
from muster.config.models import FitConfig
from muster.digests import parse_json
from muster.errors import DamagedError
from muster.files import check_beside, write_text

RULE = "=" * 80


class Missing(NamedTuple):
    """One thing that could not be had.

    what: `data set fashion_mnist`, `source runs`. remedy: commands and places, in the imperative. cells: the values of
    the study's cell axes in each cell that lacks it.
    """

    what: str
    reason: str
    remedy: str
    cells: list[dict[str, Any]]

    def concerns(self, fit: FitConfig, where: Mapping[str, Any]) -> bool:
        """Whether a cell that lacks it would enter the group of a fit: unless an axis says that it would not."""
        return any(_enters(cell, fit.select) and _enters(cell, where) for cell in self.cells)


def _enters(cell: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    for column, value in wanted.items():
        if column in cell and cell[column] not in (value if isinstance(value, list) else [value]):
            return False
    return True


def explain_missing(missing: Sequence[Missing]) -> str:
    """The reason in the ledger of a claim that lacks something, with the remedies."""
    reasons = "; ".join(f"{lacking.what} not available, {lacking.reason}" for lacking in missing)
    remedies = "; ".join(dict.fromkeys(lacking.remedy for lacking in missing))
    return f"{reasons}: {remedies}; then run snakemake again"


def write_missing(missing: Sequence[Missing], folder: Path) -> None:
    """Write what a study's tables lack beside them; no file if they lack nothing."""
    path = folder / MISSING_FILE
    if missing:
        records = [lacking._asdict() for lacking in missing]
        write_text(path, json.dumps(records, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    else:
        path.unlink(missing_ok=True)


def read_missing(results: Path, study: str) -> list[Missing]:
    """What a study's tables lack. Raises DamagedError if the record cannot be read."""
    path = results / "tables" / study / MISSING_FILE
    check_beside(path)
    if not path.exists():
        return []
    try:
        return [Missing(**record) for record in parse_json(path.read_bytes())]
    except (ValueError, TypeError) as error:
        raise DamagedError(str(path), f"damaged ({error})", path.parent) from None


def describe_missing(results: Path, studies: Iterable[str]) -> str:
    """One visible block: what the studies lack, why, and how to get it; empty if they lack nothing."""
    needed_by: dict[tuple[str, str, str], list[str]] = {}
    for study in studies:
        for lacking in read_missing(results, study):
            needed_by.setdefault((lacking.what, lacking.reason, lacking.remedy), []).append(study)
    if not needed_by:
        return ""
    names = dict.fromkeys(study for own in needed_by.values() for study in own)
    lines = [RULE, f"NOT AVAILABLE, so that claims of {_number(len(names))} are `not run`; nothing else is concerned:"]
    for (what, reason, remedy), own in needed_by.items():
        lines += ["", f"{', '.join(own)}: {what}", f"  why: {reason}", f"  how to get it: {remedy}"]
    lines += [
        "",
        "Then run again: only what is missing is made. `muster fetch` tries whatever has an address.",
        f"To leave the studies out: `exclude: [{', '.join(names)}]` in config/config.yaml.",
        RULE,
    ]
    return "\n".join(lines)


def _number(studies: int) -> str:
    return "1 study" if studies == 1 else f"{studies} studies"
