"""What a run was planned from and what it must make anew, in one file that all of its jobs read.

The file lies below the results, which jobs on any machine see, and is named by the digest of its content: one string
of a process's environment, which Linux limits to 128 KiB, then names it however many cells there are.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from muster.digests import canonical, digest
from muster.errors import MusterError
from muster.files import write_text

VARIABLE = "MUSTER_PLANNED"  # names the file; empty until the first job starts


class Planned(NamedTuple):
    """What a job is told by the run that it belongs to."""

    found: frozenset[str] = frozenset()  # words `STUDY:stamp` and `code:fingerprint`; empty where jobs do not plan anew
    anew: frozenset[str] = frozenset()  # keys of cells that were deleted or are forced: never copied from the store


def write_planned(results: Path, found: Iterable[str], anew: Iterable[str]) -> Path:
    """Write the file and name it in the environment of the jobs to come."""
    content = {"found": sorted(found), "anew": sorted(anew)}
    path = results / "planned" / f"{digest(content)}.json"
    write_text(path, canonical(content) + "\n")
    os.environ[VARIABLE] = str(path)
    return path


def read_planned() -> Planned | None:
    """What the environment names; None where no run started this job. Raises MusterError if the file is gone."""
    name = os.environ.get(VARIABLE)
    if not name:
        return None
    try:
        content = json.loads(Path(name).read_text())
        return Planned(frozenset(content["found"]), frozenset(content["anew"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"cannot be read ({error})"
        raise MusterError(name, found, "Start Snakemake again: it writes what its jobs must know") from None
