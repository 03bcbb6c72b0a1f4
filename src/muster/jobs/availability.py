"""Whether a job has to run again because what it is made from has appeared: asked by Snakemake, at each plan."""

import json
from collections.abc import Iterable
from pathlib import Path

from muster.data import load_manifest, state
from muster.digests import unsealed
from muster.errors import DamagedError
from muster.plan.cells import PlannedCell, PlannedData
from muster.published import source


def planned_state(dataset: PlannedData, results: Path, folders: tuple[Path, ...]) -> str:
    """What lies on this machine of a data set's origin; of one that has been made, what its job was planned with.

    As a parameter of the job: a data set that could not be had is made once its origin appears, and one that was made
    outlives its origin.
    """
    try:
        made = "unavailable" not in load_manifest(results / "data" / dataset.key)
        record = unsealed((results / "provenance" / "data" / f"{dataset.key}.json").read_bytes())
        if made:
            return str(record["config"]["state"])
    except (DamagedError, OSError, ValueError, KeyError, TypeError):
        pass
    return state(dataset.name, json.loads(dataset.options), folders)


def planned_source_state(cell: PlannedCell, results: Path, folders: Iterable[Path]) -> str:
    """What lies on this machine of the table that a cell imports; of one that was imported from a copy which is not at
    hand any more, or may not be read, the checksum of that copy, so that the finished cell outlives it.

    What a job downloaded lies below `results`, and is no copy.
    """
    found = source.state(cell.cell.table, folders)  # type: ignore[attr-defined]
    if found not in (source.ABSENT, source.FORBIDDEN):
        return found
    try:
        notes = unsealed((results / "runs" / cell.key / "provenance.json").read_bytes())["notes"]
        checksum = str(notes["sha256"])
        return found if (results / "sources" / "downloaded" / checksum).exists() else checksum
    except (OSError, ValueError, KeyError, TypeError):  # none, damaged, or of a table that could not be had
        return found
