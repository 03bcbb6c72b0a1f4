"""Any text in UTF-8 that the user names."""

import hashlib
from pathlib import Path

from pydantic import Field

from muster.data.base import DATASETS, Dataset, Raw
from muster.data.text import TextOptions, split, text_dimensions
from muster.errors import MusterError

PIECES = 100  # that a file is cut into, so that the held-out part comes from all over it


class TextFileOptions(TextOptions):
    """Options of `text_file`."""

    path: str | None = Field(None, description="The file, from the folder that muster runs in")
    sha256: str | None = Field(None, description="Of the file: another content is refused; any if absent")


def read(options: TextFileOptions) -> bytes:
    """The file. Raises MusterError if none is named, it cannot be read, is not UTF-8, or not what sha256 says."""
    if options.path is None:
        raise MusterError("data_options.path", "no file is named", "Name a file of UTF-8 text, e.g. path: corpus.txt")
    place = f"data_options.path {options.path}"
    try:
        content = Path(options.path).read_bytes()
        content.decode("utf-8")
    except OSError as error:
        raise MusterError(place, f"unreadable ({error})", "Name a file that exists and may be read") from None
    except UnicodeDecodeError as error:
        remedy = "Convert it, e.g. with iconv -t utf-8"
        raise MusterError(place, f"not UTF-8 from byte {error.start} on", remedy) from None
    found = hashlib.sha256(content).hexdigest()
    if options.sha256 is not None and found != options.sha256.lower():
        remedy = "Restore the file, or give data_options.sha256 its new value"
        raise MusterError(place, f"its sha256 is {found}, not {options.sha256}", remedy)
    return content


def build(options: TextFileOptions) -> Raw:
    """Windows of bytes of the file's pieces, a tenth of which is held out."""
    content = read(options)
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
        licence="that of the file",
        source="the file named in data_options.path",
        axes=("context",),
    )
)
