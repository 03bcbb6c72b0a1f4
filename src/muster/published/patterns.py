"""Regular expressions of a study on texts of others: bounded, and their named groups as columns."""

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

if TYPE_CHECKING:
    import pandas as pd

LONGEST_PATTERN = 500
LONGEST_TEXT = 2000  # characters in which a pattern is looked for: the time of a search may grow with their square


def _pattern(text: str) -> str:
    """A regular expression of bounded length. Raises ValueError for one that is none."""
    try:
        if len(text) > LONGEST_PATTERN:
            raise ValueError(f"a pattern may have {LONGEST_PATTERN} characters at most")
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"no regular expression: {error}") from None
    return text


def _naming(text: str) -> str:
    if not re.compile(text).groupindex:
        raise ValueError("name what it finds: (?P<loss>[0-9.]+) becomes the column `loss`")
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]
NamingPattern = Annotated[Pattern, AfterValidator(_naming)]


def found_in(pattern: str, text: str) -> dict[str, str] | None:
    """The named groups of a pattern's first place in a text, of which the beginning is looked at; None without any."""
    match = re.search(pattern, text[:LONGEST_TEXT])
    return None if match is None else {name: found for name, found in match.groupdict().items() if found is not None}


def as_numbers(frame: "pd.DataFrame", columns: "list[str]") -> "pd.DataFrame":
    """The frame with those columns of texts as numbers in which every text is one, as a reader of CSV has them."""
    import pandas as pd

    for name in columns:
        numbers = pd.to_numeric(frame[name], errors="coerce")
        if (numbers.notna() | frame[name].isna()).all() and numbers.notna().any():
            frame = frame.assign(**{name: numbers})
    return frame
