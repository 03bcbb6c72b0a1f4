"""What has been published, and what of it may be passed on."""

from pathlib import Path
from typing import Any

from muster.columns import SOURCES_FILE
from muster.digests import parse_json, unsealed
from muster.errors import DamagedError, MusterError
from muster.files import check_beside

# Terms under which somebody else's numbers may be passed on. Whatever a publisher states otherwise stays out.
SHAREABLE = {
    *("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "Unlicense"),
    *("CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0", "ODC-By-1.0", "PDDL-1.0"),
}


def shareable(licence: str) -> bool:
    """Whether a licence, stated by its SPDX name, allows a table to be passed on."""
    return licence.split(";")[0].split(",")[0].strip() in SHAREABLE


def withheld(published: Path) -> dict[str, str]:
    """Studies whose tables hold third parties' numbers under no licence that allows passing them on → that licence.

    Raises MusterError for a record of sources that cannot be read: what is unknown must not be passed on.
    """
    found: dict[str, str] = {}
    for path in sorted(published.glob(f"tables/*/{SOURCES_FILE}")):
        for notes in _read(path).values():
            if not shareable(str(notes.get("licence"))):
                found[path.parent.name] = str(notes.get("licence"))
    return found


def records(published: Path) -> dict[str, dict[str, Any]]:
    """Study → what `muster publish` noted of it: scale, cells and codes, what its tables and fits were made from.

    Raises MusterError naming a record that cannot be read.
    """
    return {path.stem: _read(path) for path in sorted(published.glob("records/*.json"))}


def first_declared(results: Path, published: Path | None, study: str) -> dict[str, Any]:
    """What a study's claims said when its tables in these results were first made, as `collect` noted it; given where
    the published run lies, of tables that were not made here what `muster publish` noted. Empty where nobody did."""
    path = results / "provenance" / "tables" / f"{study}.json"
    if published and not path.exists():
        path = published / "records" / f"{study}.json"
    try:
        return dict(unsealed(path.read_bytes()).get("declared", {}))
    except (OSError, ValueError, TypeError):
        return {}


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.name == SOURCES_FILE:
            check_beside(path)
            content = parse_json(path.read_bytes())
            if not isinstance(content, dict):
                raise ValueError("no JSON object")
        else:
            content = unsealed(path.read_bytes())
    except (OSError, ValueError, TypeError, DamagedError) as error:
        name = path.parent.name if path.name == SOURCES_FILE else path.stem
        raise MusterError(str(path), f"cannot be read ({error})", f"Delete it and run: muster publish {name}") from None
    return content
