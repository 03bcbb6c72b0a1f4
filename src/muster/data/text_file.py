"""Any text in UTF-8 that the user names."""

import hashlib
from pathlib import Path

from pydantic import Field

from muster.data.base import DATASETS, Dataset, Origin, Places, Raw, stamp
from muster.data.text import TextOptions, split, text_dimensions
from muster.errors import MusterError, Unavailable

PIECES = 100  # that a file is cut into, so that the held-out part comes from all over it


class TextFileOptions(TextOptions):
    """Options of `text_file`."""

    path: str | None = Field(None, description="The file, from the folder that muster runs in")
    sha256: str | None = Field(None, description="Of the file: another content is refused; any if absent")


def _named(options: TextFileOptions) -> str:
    if options.path is None:
        raise MusterError("data_options.path", "no file is named", "Name a file of UTF-8 text, e.g. path: corpus.txt")
    return options.path


def obtain(options: TextFileOptions, places: Places) -> bytes:
    """The file. Raises MusterError if none is named or it is not UTF-8; Unavailable if it cannot be read, or is not
    what sha256 says.
    """
    place = f"data_options.path {_named(options)}"
    try:
        content = Path(_named(options)).expanduser().read_bytes()
    except OSError as error:
        raise Unavailable(f"{options.path} cannot be read ({error.strerror or error})") from None
    found = hashlib.sha256(content).hexdigest()
    if options.sha256 is not None and found != options.sha256.lower():
        raise Unavailable(f"{options.path} has checksum {found[:12]}…, expected {options.sha256[:12]}…")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        remedy = "Convert it, e.g. with iconv -t utf-8"
        raise MusterError(place, f"not UTF-8 from byte {error.start} on", remedy) from None
    return content


def state(options: TextFileOptions, folders: tuple[Path, ...]) -> str:
    """Changes when the file appears or changes."""
    return stamp([Path(options.path).expanduser()] if options.path else [])


def by_hand(options: TextFileOptions, folder: Path) -> str:
    """The file is the user's own: only he knows another place of it."""
    wanted, other = "", "name another place of it in data_options.path"
    if options.sha256:
        wanted, other = f" whose sha256 is {options.sha256}", f"{other}, or give data_options.sha256 its new value"
    return f"put the file{wanted} at {_named(options)}, or {other}"


def build(options: TextFileOptions, content: bytes) -> Raw:
    """Windows of bytes of the file's pieces, a tenth of which is held out."""
    size = max(options.context + 1, -(-len(content) // PIECES))
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    if len(pieces) < 2:
        remedy = f"Name a longer file: {2 * (options.context + 1)} bytes at least, thousands to learn from"
        raise MusterError(f"data_options.path {options.path}", f"{len(content)} bytes are too few to split", remedy)
    return split(pieces, options, "text_file", "pieces", {})


DATASETS.register("text_file")(
    Dataset(
        summary="Next-byte prediction on any file of UTF-8 text (option path)",
        options=TextFileOptions,
        dimensions=text_dimensions,
        build=build,
        origin=Origin(obtain, state, by_hand),
        licence="that of the file",
        source="the file named in data_options.path",
        axes=("context",),
    )
)
