"""What DVC keeps of the results, what stays out of it, and the times of files that came from it."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from muster.columns import SOURCES_FILE
from muster.errors import MusterError
from muster.files import write_text

TRACKED = ("data", "runs", "tables")  # a pointer each, so that figures need the tables alone
MADE_FROM_THEM = ("fits", "ledger", "figures")

# Terms under which somebody else's numbers may be passed on. Whatever a publisher states otherwise stays out.
SHAREABLE = {
    *("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "Unlicense"),
    *("CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0", "ODC-By-1.0", "PDDL-1.0"),
}

OPENING = "# Published tables that may not be passed on, and damaged files: written by `muster track`"
CLOSING = "# end of what `muster track` wrote"


def shareable(licence: str) -> bool:
    """Whether a licence, stated by its SPDX name, allows a table to be passed on."""
    return licence.split(";")[0].split(",")[0].strip() in SHAREABLE


def withheld(results: Path) -> dict[Path, str]:
    """Folders of tables and cells with third parties' numbers under no licence that allows passing them on → licence.

    Raises MusterError for a record of sources that cannot be read: what is unknown must not be published.
    """
    found: dict[Path, str] = {}
    for path in sorted(results.glob(f"tables/*/{SOURCES_FILE}")):
        for notes in _read(path).values():
            if not shareable(str(notes.get("licence"))):
                found[path.parent] = str(notes.get("licence"))
    for path in sorted(results.glob("runs/import/*/provenance.json")):
        licence = str(_read(path).get("notes", {}).get("licence"))
        if not shareable(licence):
            found[path.parent] = licence
    return found


def _read(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        remedy = f"Delete the folder {path.parent} and run snakemake again"
        raise MusterError(str(path), f"cannot be read ({error})", remedy) from None
    return content


def write_ignored(ignore: Path, folders: Iterable[Path]) -> None:
    """Bring a .dvcignore up to date: its own section is replaced, other lines stay."""
    lines = ignore.read_text(encoding="utf-8").splitlines() if ignore.exists() else []
    if OPENING in lines and CLOSING in lines:
        del lines[lines.index(OPENING) : lines.index(CLOSING) + 1]
    own = [OPENING, *(f"/{folder.as_posix()}" for folder in folders), "*.damaged", CLOSING]
    write_text(ignore, "\n".join([*lines, *own]) + "\n")


def settle_times(results: Path, files: Iterable[Path]) -> int:
    """Give files one equal modification time, not later than that of anything made from them; returns how many.

    A file that belongs to somebody else's shared cache is replaced by a copy of one's own. Raises MusterError naming a
    file that cannot be changed.
    """
    files = list(files)
    made = [path for folder in MADE_FROM_THEM for path in _files(results / folder)]
    times = [path.lstat().st_mtime_ns for path in files] + [path.stat().st_mtime_ns for path in [*files, *made]]
    for path in files:
        try:
            _set(path, min(times))
        except OSError as error:
            raise MusterError(str(path), f"its time cannot be set ({error.strerror})", "Make it your own") from None
    return len(files)


def _set(path: Path, nanoseconds: int) -> None:
    try:
        os.utime(path, ns=(nanoseconds, nanoseconds))
    except PermissionError:
        temporary = path.with_name(f".{path.name}.settled")
        shutil.copyfile(path, temporary)
        temporary.replace(path)
        os.utime(path, ns=(nanoseconds, nanoseconds))
    if path.is_symlink():
        os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=False)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
