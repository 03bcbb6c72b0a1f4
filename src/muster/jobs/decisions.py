"""The looks that `muster decide` took, one sealed file a study: what was planned, and what each look saw."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from muster.digests import unsealed
from muster.errors import MusterError

Looks = list[dict[str, Any]]


def decisions_file(results: Path, study: str) -> Path:
    return results / "decisions" / f"{study}.json"


def read_decisions(path: Path) -> tuple[dict[str, Any], Looks]:
    """The plan and the looks of a study. Raises a MusterError for a file that cannot be read or was changed."""
    try:
        written = unsealed(path.read_bytes())
        return dict(written["plan"]), list(written["looks"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "Restore it: looks that are forgotten void the level"
        raise MusterError(str(path), f"damaged ({error!r})", remedy) from None


def looks_taken(results: Path, studies: Iterable[str]) -> dict[str, Looks]:
    """What was seen of each study before its run was complete: a ledger says how often somebody looked."""
    files = {study: decisions_file(results, study) for study in studies}
    return {study: read_decisions(path)[1] for study, path in files.items() if path.exists()}
