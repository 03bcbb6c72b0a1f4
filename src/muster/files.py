"""Files and folders that are whole or absent, and what becomes of those that are damaged."""

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from muster.errors import DamagedError, MusterError

REMEDY = "Make the folder writable, free some space, or set `results:` in config/config.yaml"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` on a temporary name beside `path`, bring it to the disk, then rename it.

    Readers see the old file or the whole new one, after a kill and after a power cut alike. Raises MusterError naming
    the file if it cannot be written; the old one then stands.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o666 & ~_umask())
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except Exception as error:
        if isinstance(error, MusterError) or (refusal := _refusal(error)) is None:
            raise
        raise MusterError(str(path), f"cannot be written ({refusal.strerror or refusal})", REMEDY) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _refusal(error: BaseException | None) -> OSError | None:
    """The refusal of the system behind an error: writers may fail again over it and say something else."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A copy of a folder to change, which takes the folder's place when the body ends; an error leaves all as it was.

    A kill does so too: between the two renames at the end it leaves the old folder aside, and the next call puts it
    back. Raises MusterError if another process replaces the folder now, or naming what cannot be written.
    """
    new, old = (folder.with_name(f".{folder.name}.{word}") for word in ("new", "old"))
    with _writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_name(f".{folder.name}.lock")):
        try:
            with _writing(folder):
                _put_back(folder, old)
                shutil.rmtree(new, ignore_errors=True)
                if folder.exists():
                    shutil.copytree(folder, new, symlinks=True)
                new.mkdir(exist_ok=True)
            yield new
            with _writing(folder):
                os.sync()
                if folder.exists():
                    folder.rename(old)
                new.rename(folder)
        finally:
            _put_back(folder, old)
            shutil.rmtree(new, ignore_errors=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MusterError(str(path), f"cannot be written ({error.strerror or error})", REMEDY) from None


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock that ends with the process. Raises MusterError if another process has it."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MusterError(str(lock), "another process holds this lock", "Wait until it has ended") from None
        yield


def _put_back(folder: Path, old: Path) -> None:
    """Restore a folder that was set aside and has no successor; remove one that has."""
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def read_regular(path: Path, most: int, folder: int | None = None) -> bytes:
    """The bytes of a regular file: a pipe is never waited for, and no more than `most` bytes are ever read.

    folder: an open folder that the path is relative to, in which no link is followed. Raises OSError.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | (os.O_NOFOLLOW if folder is not None else 0)
    with os.fdopen(os.open(path, flags, dir_fd=folder), "rb") as file:
        found = os.fstat(file.fileno())
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        content = b"" if found.st_size > most else file.read(most + 1)
        if found.st_size > most or len(content) > most:
            raise OSError(errno.EFBIG, f"it is larger than {size_text(most)}", str(path))
        return content


def size_text(count: int) -> str:
    """Bytes as people say them: `64 MB`, `512 kB`."""
    return f"{count / 2**20:.3g} MB" if count >= 2**20 else f"{count / 2**10:.3g} kB"


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


SUMS = "SHA256SUMS"  # as `sha256sum --check` reads it


def write_sums(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write the checksums of files of a folder beside them, by name."""
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())
    write_text(folder / SUMS, "".join(lines))


def read_sums(folder: Path) -> dict[str, str]:
    """The checksums that stand in a folder, by name of the file. Raises OSError or ValueError for none, or no text."""
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    return {name: wanted for wanted, _, name in (line.partition("  ") for line in lines)}


def check_beside(path: Path) -> None:
    """Hold a file, be it there or not, against the checksums beside it; without any it is taken as it is.

    Raises DamagedError naming the file, whose folder has to go.
    """
    try:
        wanted = read_sums(path.parent).get(path.name)
        found = sha256(path) if path.exists() else None
    except FileNotFoundError:  # written before there were checksums
        return
    except ValueError:
        raise DamagedError(str(path.with_name(SUMS)), "damaged: no text", path.parent) from None
    if found != wanted:
        raise DamagedError(str(path), "damaged: its checksum does not match", path.parent)


@contextmanager
def setting_aside() -> Iterator[None]:
    """Move what a DamagedError names out of the way, as NAME.damaged, so that the next run makes it anew.

    Also a decorator. Raises MusterError in its place, naming what was damaged and where it lies now.
    """
    try:
        yield
    except DamagedError as error:
        try:
            for path in error.paths:
                _move(path, path.with_name(f"{path.name}.damaged"))
        except OSError as refusal:
            found = f"{error.found}; it cannot be set aside ({refusal.strerror})"
            raise MusterError(error.place, found, error.remedy) from None
        aside = ", ".join(f"{path}.damaged" for path in error.paths)
        remedy = f"It lies in {aside} now. Run again: it is made anew, or comes back with `dvc checkout`"
        raise MusterError(error.place, error.found, remedy) from None


def _move(path: Path, target: Path) -> None:
    """Rename a file or folder in place of an older target; one that somebody else has moved already is no matter."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    try:
        path.replace(target)
    except FileNotFoundError:
        return


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
