"""Finished cells by content address, for reruns and for several users: one immutable folder a cell.

    <store>/objects/3f/3f2a…/manifest.json and the cell's files
    <store>/damaged/…    objects that no longer hold what was written, set aside under their address
    <store>/partial/…    objects in the making

The address is the sha256 of the identity: resolved settings, code fingerprint, hash of the data set's manifest,
versions of the numerical libraries; and the folder that a command runs in, which may read what nobody knows of. An
object appears whole, by one rename; whoever comes second discards his own, and is told where it is not the same. What
is taken out is checked by hash, byte for byte, before anything of it is written. Nothing is unpickled, no name found
inside an object is followed.

Only bytes that were read and are not those that were written count as damage. What cannot be read, for whatever reason,
is left where it is, and its cell is made anew: no state of the store fails a job that can compute. Hashes tell accident
from intent in neither direction: whoever may write into a store can put numbers of his own under any address, so a
store is shared with people whose numbers one would take by hand. Several users share one as git's repositories are
shared (`core.sharedRepository`): whatever is made below it gets the modes of the store's own folder, whatever the
umask. One who does not want to share sets MUSTER_STORE to a folder of his own.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from muster.columns import CELL_FILES, PROVENANCE
from muster.config.models import Config, shared_folder
from muster.digests import canonical, parse_json
from muster.errors import DamagedError
from muster.files import read_regular, sha256, write_bytes
from muster.plan.cells import PlannedCell

MANIFEST = "manifest.json"
NUMERICAL = ("numpy", "torch")
MOST_BYTES = 2**31  # of a file in an object: the largest so far has 40 MB
STALE_SECONDS = 86400.0  # a partial object older than this is left over from a job that was killed

Identity = dict[str, Any]
Say = Callable[[str], None]


def store_folder(config: Config) -> Path | None:
    """The folder of finished cells: MUSTER_STORE, else `store` of the configuration, else one that all scales share."""
    named = os.environ.get("MUSTER_STORE", config.store)
    if named in ("", False):
        return None
    return Path(str(named)).expanduser() if named else shared_folder(config.results) / "store"


def identity(cell: PlannedCell, code: str, data_dir: Path | None) -> Identity:
    """All that decides a cell's tables, up to float tolerance between devices."""
    here = {"folder": str(Path.cwd())} if cell.stage == "command" else {}
    return {
        **here,
        "cell": cell.key,
        "job": json.loads(cell.text),
        "code": code,
        "data": sha256(data_dir / "manifest.json") if data_dir else None,
        "versions": {name: version(name) for name in NUMERICAL},
    }


def address(of: Identity) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(canonical(of).encode()).hexdigest()


@dataclass(frozen=True)
class Object:
    """One folder of the store, whatever it holds."""

    path: Path
    address: str

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.lstat().st_size for file in self.path.iterdir())

    @property
    def used(self) -> float:
        """When it was made or last taken, in seconds since the epoch."""
        return (self.path / MANIFEST).lstat().st_mtime

    def manifest(self) -> dict[str, Any]:
        """Identity and hashes. Raises DamagedError unless it is the manifest of this very address, OSError as files."""
        try:
            found = parse_json(self._read(MANIFEST))
            if address(found["identity"]) != self.address or set(found["files"]) != set(CELL_FILES):
                raise ValueError("it does not belong to this address")
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(MANIFEST, str(error)) from None
        return found

    def files(self) -> dict[str, bytes]:
        """The cell's files, checked. Raises DamagedError naming the file; FileNotFoundError if the object is gone,
        another OSError if it cannot be read, which says nothing about what it holds.
        """
        hashes = self.manifest()["files"]
        content = {name: self._read(name) for name in CELL_FILES}
        for name, data in content.items():
            if hashlib.sha256(data).hexdigest() != hashes[name]:
                raise self._damaged(name, "its checksum does not match")
        return content

    def _read(self, name: str) -> bytes:
        # the folder first: one that another user's rename brings in meanwhile is absent, not short of a file
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            return read_regular(Path(name), MOST_BYTES, folder)
        except FileNotFoundError:
            if self._is(folder):
                raise self._damaged(name, "missing") from None
            raise
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise self._damaged(name, "a link") from None
            raise
        finally:
            os.close(folder)

    def _is(self, folder: int) -> bool:
        """Whether an open folder still lies at the object's place."""
        try:
            return os.path.samestat(os.fstat(folder), self.path.lstat())
        except OSError:
            return False

    def _damaged(self, name: str, found: str) -> DamagedError:
        return DamagedError(str(self.path / name), f"damaged: {found}", self.path)


class Store:
    """A folder of finished cells, which need not exist yet."""

    def __init__(self, folder: Path):
        self.folder = folder

    def object(self, address: str) -> Object:
        return Object(self.folder / "objects" / address[:2] / address, address)

    def objects(self) -> Iterator[Object]:
        """All objects, in the order of their addresses."""
        for path in sorted((self.folder / "objects").glob("??/*")):
            yield Object(path, path.name)

    def take(self, wanted: Identity, target: Path, say: Say) -> bool:
        """Write a finished cell's files into its folder; False if the store does not hold it whole.

        A damaged object is set aside and named, one that cannot be read is named; both count as absent. Raises
        MusterError if the target cannot be written.
        """
        found = self.object(address(wanted))
        try:
            content = found.files()
        except FileNotFoundError:
            return False
        except DamagedError as error:
            say(f"{error.place}: {error.found}; {self.set_aside(found)}, and the cell is made anew")
            return False
        except OSError as error:
            say(f"not taken from the store: {found.path} cannot be read ({reason(error)}); the cell is made anew")
            return False
        for name in CELL_FILES:
            write_bytes(target / name, content[name])
        with suppress(OSError):  # somebody else's, or read-only: it only looks unused for longer
            os.utime(found.path / MANIFEST)
        say(f"taken from the store, where it was finished before: {found.path}")
        return True

    def put(self, made: Identity, source: Path, say: Say) -> list[str]:
        """Keep a cell's files under its address. A store that cannot be written costs a line in the log, no more.

        An object that is there stays: others may have taken it. Returns the names of files, provenance aside, that
        were made now and are not the same there; a damaged object is set aside.
        """
        place = self.object(address(made))
        try:
            found = self._other(place, source, say) if os.path.lexists(place.path) else None
            if found is None and not self._put(made, source, place):
                found = self._other(place, source, say)  # somebody else's came first
        except OSError as error:
            say(f"not kept in the store: {place.path} ({reason(error)})")
            return []
        if found:
            names = ", ".join(found)
            say(f"not kept in the store, which keeps what was made first: other bytes in {names}: {place.path}")
        return found or []

    def _other(self, place: Object, source: Path, say: Say) -> list[str] | None:
        """Names of an object's files that are not the same as those in a folder; None if there is no whole object.

        Raises OSError if the one that is there cannot be read.
        """
        try:
            stored = place.files()
        except FileNotFoundError:
            return None
        except DamagedError as error:
            say(f"{error.place}: {error.found}; {self.set_aside(place)}")
            return None
        return [name for name in CELL_FILES if name != PROVENANCE and stored[name] != (source / name).read_bytes()]

    def _put(self, made: Identity, source: Path, place: Object) -> bool:
        """Make an object of a cell's files; False if one is there by now."""
        shared = self._make_folder("partial")
        partial = Path(tempfile.mkdtemp(dir=self.folder / "partial", prefix=place.address[:12] + "-"))
        try:
            hashes = {}
            for name in CELL_FILES:
                data = (source / name).read_bytes()
                hashes[name] = hashlib.sha256(data).hexdigest()
                (partial / name).write_bytes(data)  # no sync: what a power cut leaves of it, the hashes do not accept
            (partial / MANIFEST).write_text(json.dumps({"files": hashes, "identity": made}, sort_keys=True) + "\n")
            for file in partial.iterdir():
                file.chmod(shared & 0o444)
            self._make_folder("objects", place.path.parent.name)
            partial.chmod(shared)
            try:
                partial.rename(place.path)
            except OSError as error:  # what the rename met counts: gc may have removed it by now
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) and not place.path.is_dir():
                    raise
                return False
            return True
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _make_folder(self, *inner: str) -> int:
        """Make a folder of the store with the modes of the store itself, which it returns: those who share the store
        share all of it, whatever the umask of each."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shared = stat.S_IMODE(self.folder.stat().st_mode) & 0o2777
        path = self.folder
        for name in inner:
            path /= name
            try:
                path.mkdir()
            except FileExistsError:
                if not path.is_dir():
                    raise
            else:
                path.chmod(shared)
        return shared

    def set_aside(self, found: Object) -> str:
        """Move a damaged object out of the way; says where it is now. A sound one that somebody else has put in its
        place meanwhile stays."""
        target = self.folder / "damaged" / f"{found.address}-{time.time_ns()}"
        try:
            self._make_folder("damaged")
            found.path.rename(target)
            if _is_sound(Object(target, found.address)):
                target.rename(found.path)
                return "somebody else has replaced it"
        except FileNotFoundError:
            return "somebody else set it aside"
        except OSError as error:
            return f"it cannot be set aside ({reason(error)})"
        return f"set aside as {target}"

    def faulty(self) -> Iterator[tuple[Object, DamagedError | OSError]]:
        """Every object that fails its check, and every one that cannot be read."""
        for found in self.objects():
            try:
                found.files()
            except (DamagedError, OSError) as error:
                if not isinstance(error, FileNotFoundError):
                    yield found, error

    def unused(self, kept: Set[tuple[str, str]], days: float) -> Iterator[Object]:
        """Objects that nobody made or took for so many days, and whose (cell, code) is not among those kept."""
        oldest = time.time() - 86400 * days
        for found in self.objects():
            try:
                made = found.manifest()["identity"]
                if found.used < oldest and (made["cell"], made["code"]) not in kept:
                    yield found
            except (DamagedError, OSError):
                continue

    def remove(self, found: Object, days: float) -> bool:
        """Take an object away at once, then delete it: nobody sees half of it. False where somebody has used it since,
        or it cannot be removed."""
        try:
            if found.used >= time.time() - 86400 * days:
                return False
            self._make_folder("partial")
            doomed = Path(tempfile.mkdtemp(dir=self.folder / "partial", prefix="removed-"))
            try:
                found.path.rename(doomed / found.address)
            finally:
                shutil.rmtree(doomed, ignore_errors=True)
        except OSError:
            return False
        return True

    def leftovers(self) -> list[Path]:
        """Objects that were set aside, and partial ones of jobs that no longer run."""
        oldest = time.time() - STALE_SECONDS
        partial = [path for path in (self.folder / "partial").glob("*") if _modified(path) < oldest]
        return [*partial, *(self.folder / "damaged").glob("*")]


def reason(error: OSError) -> str:
    """Why the system refused something, in its words."""
    return error.strerror or str(error)


def _modified(path: Path) -> float:
    """When a path was last changed; now, if it is gone."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return time.time()


def _is_sound(found: Object) -> bool:
    try:
        found.files()
    except (DamagedError, OSError):
        return False
    return True
