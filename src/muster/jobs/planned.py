"""What a run was planned from and what it must make anew, in one file that all of its jobs read.

The file lies below the results, which jobs on any machine see: one string of a process's environment, which Linux
limits to 128 KiB, then names it however many cells there are. It is named before it is written, when the Snakefile is
read: executors for other machines take the environment of their jobs from there.
"""

import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from muster.digests import sealed, unsealed
from muster.errors import MusterError
from muster.files import write_text

VARIABLE = "MUSTER_PLANNED"  # names the file


REMEDY = (
    "Start Snakemake again, without --no-hooks: the handler `onstart` writes what jobs must know. In a workflow that "
    "uses muster as a module, state handlers of your own before it"
)


class Planned(NamedTuple):
    """What a job is told by the run that it belongs to."""

    found: frozenset[str] = frozenset()  # words `STUDY:stamp` and `code:fingerprint`; empty where jobs do not plan anew
    anew: frozenset[str] = frozenset()  # keys of cells that were deleted or are forced: never copied from the store


def name_planned(results: Path) -> bool:
    """Name this run's file in the environment of the jobs to come. False where this is a job of another run, which has
    named its own."""
    if os.environ.get(VARIABLE):
        return False
    os.environ[VARIABLE] = str(results / "planned" / f"{uuid.uuid4().hex}.json")
    return True


def write_planned(found: Iterable[str], anew: Iterable[str]) -> Path:
    """Write the file that the environment names, before the first job starts."""
    path = Path(os.environ[VARIABLE])
    write_text(path, sealed({"found": sorted(found), "anew": sorted(anew)}))
    return path


def forget_planned() -> None:
    """Remove the file once no job is left to read it."""
    Path(os.environ[VARIABLE]).unlink(missing_ok=True)


def read_planned() -> Planned | None:
    """What the environment names; None where no run started this job. Raises MusterError if the file is gone."""
    name = os.environ.get(VARIABLE)
    if not name:
        return None
    try:
        content = unsealed(Path(name).read_bytes())
        return Planned(frozenset(content["found"]), frozenset(content["anew"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"cannot be read ({error})"
        raise MusterError(name, found, REMEDY) from None
