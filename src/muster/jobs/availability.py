"""Whether a data set's job has to run again because its origin has appeared: asked by Snakemake, at each plan."""

import json
from pathlib import Path

from muster.data import load_manifest, state
from muster.digests import unsealed
from muster.errors import DamagedError
from muster.plan.cells import PlannedData


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
