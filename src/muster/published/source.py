"""Where a published table comes from: a copy on disk, else its address; nothing is used without its checksum.

A source is looked up as `<folder>/<file>` in the folders that the user names. Only then is its address tried, briefly
and with a limit on size. What arrives is kept in the folder `sources` of the results, which all scales share, never in
the repository: most licences would not allow it.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from muster.config.models import Name, Section
from muster.download import TIMEOUT, download
from muster.errors import MusterError, Unavailable, redacted
from muster.files import write_bytes
from muster.published.readers import READERS

ABSENT, FORBIDDEN = "absent", "refused without permission"  # states of a copy on disk
SIZE_LIMIT = 64 * 2**20  # bytes; the largest table that a study names is 4 MB


def _below(path: str) -> str:
    """A relative path that stays below its folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in path:
        raise ValueError("A path relative to the folder of sources, without '..', such as mine/runs.csv")
    return path


def _web(address: str | None) -> str | None:
    if address is not None and not address.startswith(("https://", "http://")):
        raise ValueError("An address that starts with https:// (or none for a table of your own)")
    if address is not None and redacted(address) != address:
        raise ValueError("An address without credentials: they would be written to logs and records")
    return address


def _known(reader: str) -> str:
    if reader not in READERS:
        raise ValueError(READERS.remedy(reader))
    return reader


def _checksum(text: str) -> str:
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError("64 hexadecimal digits in lower case, as sha256sum prints them")
    return text


class Form(Section):
    """One form in which a table may lie on disk."""

    file: Annotated[str, AfterValidator(_below)] = Field(description="Path below the folder of sources")
    sha256: Annotated[str, AfterValidator(_checksum)] | None = Field(
        None, description="Checksum of the file (of an archive: of the files that are read); none only without address"
    )
    reader: Annotated[Name, AfterValidator(_known)] = Field("csv", description="`muster list readers`")
    reader_options: dict[Name, Any] = Field(default_factory=dict, description="Options of the reader")

    @model_validator(mode="after")
    def _readable(self) -> "Form":
        READERS[self.reader].parse(self.reader_options)
        return self

    def checksum(self, data: bytes) -> str:
        """The checksum of a file's bytes as `sha256` means it. Raises MusterError if an archive cannot be opened."""
        return READERS[self.reader].checksum(data, self.reader_options)

    def bytes_at(self, path: Path) -> bytes:
        """The bytes of a copy on disk; of a folder those of its archive."""
        return READERS[self.reader].packed(path, self.reader_options) if path.is_dir() else path.read_bytes()


class Source(Form):
    """A published table: its address, pinned to a version, with checksum and licence; or a file of one's own."""

    address: Annotated[str | None, AfterValidator(_web)] = Field(
        None, description="Where it is published, pinned to a commit; absent for a table of one's own"
    )
    licence: str = Field(min_length=1, description="As the publisher states it; `none stated` if he does not")
    alternatives: list[Form] = Field(default_factory=list, description="Other forms that a local copy may have")

    @model_validator(mode="after")
    def _pinned(self) -> "Source":
        unpinned = [form.file for form in self.forms if form.sha256 is None]
        if self.address and unpinned:
            raise ValueError(f"{unpinned[0]} has an address but no sha256: give the checksum of the published file")
        return self

    @property
    def forms(self) -> tuple[Form, ...]:
        return (self, *self.alternatives)


class Obtained(NamedTuple):
    """The bytes of a source: in which form, with which checksum, and where they were found."""

    data: bytes
    form: Form
    sha256: str
    place: str


def source_folder(configured: str | None) -> Path | None:
    """The user's own folder of published tables: MUSTER_SOURCES, else the one in config.yaml, if any."""
    named = os.environ.get("MUSTER_SOURCES") or configured
    return Path(named).expanduser() if named else None


def obtain(source: Source, folders: Iterable[Path], kept: Path | None, *, timeout: float = TIMEOUT) -> Obtained:
    """A source's bytes, verified: from the folders in order, from what was downloaded before, else from its address.

    kept: folder where downloads stay, by checksum. Raises Unavailable with every reason why.
    """
    problems, folders = [], list(dict.fromkeys(folders))
    for form, path in _copies(source, folders):
        if why := READERS[form.reader].forbidden():
            problems.append(f"{path}: {why}")
            continue
        data = form.bytes_at(path)
        found = form.checksum(data)
        if form.sha256 in (None, found):
            return Obtained(data, form, found, str(path))
        problems.append(f"{path} has checksum {found[:12]}…, expected {str(form.sha256)[:12]}…")
    if source.address is None:
        problems.append(f"no {source.file} in {', '.join(map(str, folders)) or 'any folder'}")
        raise Unavailable("; ".join(problems))
    if why := READERS[source.reader].forbidden():
        raise Unavailable("; ".join(problems or [why]))
    try:
        return _downloaded(source, kept, timeout)
    except Unavailable as error:
        raise Unavailable("; ".join([*problems, str(error)])) from None


def state(source: Source, folders: Iterable[Path]) -> str:
    """What a job would find on disk: the checksum of the copy that it would take, or refuse; `absent` without any.

    Downloads that a job made itself do not count: they must not look like a change to the next run.
    """
    refused = ABSENT
    for form, path in _copies(source, folders):
        if READERS[form.reader].forbidden():
            refused = FORBIDDEN
            continue
        try:
            found = form.checksum(form.bytes_at(path))
        except (OSError, MusterError):
            found = "unreadable"
        if form.sha256 in (None, found):
            return found
        refused = f"refused {found}"
    return refused


def _copies(source: Source, folders: Iterable[Path]) -> Iterator[tuple[Form, Path]]:
    for folder in folders:
        for form in source.forms:
            path = folder / form.file
            if path.is_dir() and READERS[form.reader].wanted:
                yield form, path
            elif path.is_file():
                if path.stat().st_size > SIZE_LIMIT:
                    raise MusterError(str(path), f"larger than {SIZE_LIMIT >> 20} MB", "Give a table of runs, not logs")
                yield form, path


def _downloaded(source: Source, kept: Path | None, timeout: float) -> Obtained:
    copy = kept / str(source.sha256) if kept else None
    if copy is not None and copy.is_file():
        data = copy.read_bytes()
        if source.checksum(data) == source.sha256:
            return Obtained(data, source, source.sha256, str(copy))
    try:
        data = download(str(source.address), timeout=timeout)
        found = source.checksum(data)
    except MusterError as error:
        raise Unavailable(f"what its address sends is {error.found}") from None
    if found != source.sha256:
        changed = f"what its address sends has checksum {found[:12]}…, expected {str(source.sha256)[:12]}…"
        raise Unavailable(changed)
    if copy is not None:
        write_bytes(copy, data)
    return Obtained(data, source, found, str(source.address))
