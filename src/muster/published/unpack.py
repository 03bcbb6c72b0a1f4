"""Compressed files, archives and folders of other people: read in memory and in bounds, never extracted."""

import bz2
import hashlib
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from muster.errors import MusterError

TEXT_LIMIT = 64 * 2**20  # bytes of one table, expanded: as many as a plain file may have
ARCHIVE_LIMIT = 256 * 2**20  # bytes unpacked
MOST_FILES = 100_000
XZ_MEMORY = 2**27  # bytes; `xz -9` asks for half of that
ZIP = b"PK\x03\x04"
Wanted = Callable[[str], bool]


def unreadable(found: str) -> MusterError:
    return MusterError("reader", found, "Check that file, reader and reader_options belong together")


def expanded(data: bytes, limit: int | None = None, what: str = "the archive") -> bytes:
    """What a compressed file (gzip, bzip2, xz) expands to, or the bytes themselves: in steps, so that it never takes
    more than it may (ARCHIVE_LIMIT unless told).

    A tar file may declare headers of gigabytes, but not bring them along uncompressed.
    """
    limit = ARCHIVE_LIMIT if limit is None else limit
    openers: tuple[tuple[bytes, Callable[[], Any]], ...] = (
        (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
        (b"BZh", bz2.BZ2Decompressor),
        (b"\xfd7zXZ", lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY)),
    )
    opener = next((make for magic, make in openers if data.startswith(magic)), None)
    if opener is None:
        return data
    found = bytearray()
    while data:
        stream, waiting = opener(), data
        while not stream.eof:
            part = stream.decompress(waiting, limit + 1 - len(found))
            found += part
            if len(found) > limit:
                raise _too_much(what, limit)
            waiting = getattr(stream, "unconsumed_tail", b"")
            if not part and not waiting and not stream.eof:
                raise EOFError("the compressed data end too early")
        data = stream.unused_data.lstrip(b"\0")
    return bytes(found)


def _too_much(what: str, limit: int) -> MusterError:
    return unreadable(f"{what} unpacks to more than {limit >> 20} MB")


def text_of(data: bytes, member: str | None = None) -> bytes:
    """The text of a table: a .gz, .bz2 or .xz expanded, of a .zip its only file, or the one called `member`.

    Raises MusterError for more than one table may have, and for a member that is not there or has to be named.
    """
    try:
        if not data.startswith(ZIP):
            if member is not None:
                raise unreadable(f"no zip archive that could hold {member!r}")
            return expanded(data, TEXT_LIMIT, "the file")
        files = _zip_files(data, TEXT_LIMIT)
        names = [entry.path for entry in files]
        if member is None and len(names) != 1:
            raise unreadable(f"the archive holds {_listed(names)}: name one with `member`")
        chosen = next((entry for entry in files if member in (None, entry.path)), None)
        if chosen is None:
            raise unreadable(f"the archive holds no {member!r} but {_listed(names)}")
        return chosen.read()
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise unreadable(f"not readable as a compressed file ({error})") from None


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "no file"


class _Entry(NamedTuple):
    """A regular file of an archive."""

    path: str
    read: Callable[[], bytes]


def is_archive(data: bytes) -> bool:
    """Whether bytes begin as a tar or zip archive does, whatever follows. Raises MusterError for damaged ones."""
    if data.startswith(ZIP):
        return True
    with _as_tar():
        return expanded(data)[257:262] == b"ustar"


def archive_files(data: bytes, wanted: Wanted = lambda path: True) -> dict[str, bytes]:
    """The wanted regular files of a tar or zip archive, by path, without the folder that holds all, if one does.

    Raises MusterError for an archive with a path that leaves its folder, or that unpacks to too much.
    """
    with _as_tar():
        entries = _zip_files(data, ARCHIVE_LIMIT) if data.startswith(ZIP) else [*_tar_files(data)]
        tops = {entry.path.partition("/")[0] if "/" in entry.path else None for entry in entries}
        cut = len(f"{tops.pop()}/") if len(tops) == 1 and None not in tops else 0
        return {entry.path[cut:]: entry.read() for entry in entries if wanted(entry.path[cut:])}


@contextmanager
def _as_tar() -> Iterator[None]:
    """Damage of an archive in one line."""
    try:
        yield
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise unreadable(f"not readable as a tar archive ({error})") from None


def _inside(name: str) -> str:
    """A path in an archive. Raises MusterError for one that leaves it."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts:
        raise unreadable(f"the archive holds the path {name!r}, which leaves its folder")
    return str(PurePosixPath(*parts))


def _tar_files(data: bytes) -> Iterator[_Entry]:
    total = 0
    archive = tarfile.open(fileobj=io.BytesIO(expanded(data)), mode="r:")  # noqa: SIM115 (nothing is held but memory)
    for count, member in enumerate(archive):
        path = _inside(member.name)
        total += member.size
        if total > ARCHIVE_LIMIT:
            raise _too_much("the archive", ARCHIVE_LIMIT)
        if count >= MOST_FILES:
            raise unreadable(f"the archive holds more than {MOST_FILES} files")
        if member.isfile():
            content = archive.extractfile(member)
            yield _Entry(path, content.read if content else bytes)


def _zip_files(data: bytes, limit: int) -> list[_Entry]:
    """Files of a zip archive, each bounded by what all of them may have together."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        infos = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise unreadable(f"not readable as a zip archive ({error})") from None
    if len(infos) > MOST_FILES or sum(info.file_size for info in infos) > limit:
        raise _too_much("the archive", limit)
    return [_Entry(_inside(info.filename), _zip_reader(archive, info)) for info in infos]


def _zip_reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
            raise unreadable(f"{info.filename!r} is encrypted, or compressed otherwise than by deflate")
        try:
            with archive.open(info) as file:
                content = file.read(info.file_size + 1)  # of what it declares, which is bounded, not of what it holds
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise unreadable(f"{info.filename!r} is not readable in its zip archive ({error})") from None
        if len(content) != info.file_size:
            raise unreadable(f"{info.filename!r} has {len(content)} bytes, its archive says {info.file_size}")
        return content

    return read


def pack(folder: Path, wanted: Wanted) -> bytes:
    """The wanted regular files below a folder as an archive, so that a folder is read as its archive would be.

    Links are not followed. Raises MusterError for more files or bytes than an archive may have.
    """
    buffer, total, count = io.BytesIO(), 0, 0
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink() or not path.is_file() or not wanted(name):
                continue
            total, count = total + path.stat().st_size, count + 1
            if total > ARCHIVE_LIMIT or count > MOST_FILES:
                found = f"more than {MOST_FILES} files or {ARCHIVE_LIMIT >> 20} MB of them"
                raise MusterError(str(folder), found, "Let `files` name tables of runs alone, not checkpoints")
            info = tarfile.TarInfo(f"{folder.name or 'folder'}/{name}")
            content = path.read_bytes()
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def files_checksum(files: dict[str, bytes]) -> str:
    """sha256 over `sha256sum`-like lines of files, sorted by path.

    An archive's own checksum will not do: hosts compress the same tree anew and do not promise the same bytes.
    """
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
