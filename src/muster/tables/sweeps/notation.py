"""How a file writes its numbers: with a decimal point or comma, with separators of thousands or without.

A column is read by what all its cells allow. Where they allow both, the file's other columns decide; where these say
nothing either, the column is ambiguous and whoever needs it is asked: `1,024` is 1024 or 1.024.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd

_EXPONENT = r"(?:[eE][-+]?\d+)?"
_PLAIN = re.compile(rf"[-+]?(?:\d+\.?\d*|\.\d+){_EXPONENT}")
_SPACES = "   '’"
# A decimal point, thousands by commas, spaces or apostrophes; and a decimal comma, thousands by points or spaces.
_POINT = re.compile(
    rf"[-+]?(?:(?:[1-9]\d{{0,2}}(?:([,{_SPACES}])\d{{3}})(?:\1\d{{3}})*|\d+)(?:\.\d*)?|\.\d+){_EXPONENT}"
)
_COMMA = re.compile(rf"[-+]?(?:(?:[1-9]\d{{0,2}}(?:([.{_SPACES}])\d{{3}})(?:\1\d{{3}})*|\d+)(?:,\d*)?|,\d+){_EXPONENT}")
_UNUSUAL = re.compile(rf"[-+]?[\d.,{_SPACES}]*[,{_SPACES}][\d.,{_SPACES}]*{_EXPONENT}")
_UNUSUAL_LINE = re.compile(f"^{_UNUSUAL.pattern}$", re.MULTILINE)
_WORDS = frozenset({"nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity", "none", "null", "na", "n/a"})


class Understood(NamedTuple):
    """Cells whose numbers are written as Python writes them, the ambiguous columns with what they may mean, and those
    of decimal commas with a number read so."""

    cells: pd.DataFrame
    ambiguous: dict[str, str]
    commas: dict[str, str]


def understood(cells: pd.DataFrame) -> Understood:
    """A file's numbers, however it writes them.

    Only columns of numbers are touched, and only where some cell of the file has a comma, space or apostrophe within a
    number.
    """
    if not any(_has_unusual(cells[name]) for name in cells):
        return Understood(cells, {}, {})
    numbers = {str(name): [str(cell) for cell in cells[name].unique() if _is_text(cell)] for name in cells}
    numbers = {name: texts for name, texts in numbers.items() if texts and (_all(_POINT, texts) or _all(_COMMA, texts))}
    styles = {name: (_all(_POINT, texts), _all(_COMMA, texts)) for name, texts in numbers.items()}
    point = any(as_point and not as_comma for as_point, as_comma in styles.values())
    comma = any(as_comma and not as_point for as_point, as_comma in styles.values())
    ambiguous: dict[str, str] = {}
    commas: dict[str, str] = {}
    changed: dict[str, list[Any]] = {}
    for name, (as_point, as_comma) in styles.items():
        if as_point and as_comma:
            unclear = next((text for text in numbers[name] if re.search("[.,]", text)), None)
            if unclear and point == comma:
                if all(_PLAIN.fullmatch(text) for text in numbers[name]):
                    continue
                ambiguous[name] = f"{unclear!r} may be {_plain(unclear, False)} or {_plain(unclear, True)}"
                continue
            as_comma = comma
        with_comma = next((text for text in numbers[name] if as_comma and "," in text), None)
        if with_comma:
            commas[name] = f"{with_comma!r} is {_plain(with_comma, True)}"
        changed[name] = [_plain(cell, as_comma) if _is_text(cell) else cell for cell in cells[name]]
    read = {name: pd.Series(values, dtype=object) for name, values in changed.items()}
    return Understood(cells.assign(**read), ambiguous, commas)


def _is_text(cell: Any) -> bool:
    return isinstance(cell, str) and cell.lower() not in _WORDS


def _has_unusual(column: pd.Series) -> bool:
    texts = [cell for cell in column if isinstance(cell, str)]
    if not _UNUSUAL_LINE.search("\n".join(texts)):  # one search of all cells: a tenth of the time of one a cell
        return False
    return any(len(text) < 40 and _UNUSUAL.fullmatch(text) for text in texts)


def _all(pattern: re.Pattern[str], texts: Iterable[str]) -> bool:
    return all(pattern.fullmatch(text) for text in texts)


def _plain(text: str, comma: bool) -> str:
    """A number as Python reads it."""
    text = re.sub(f"[{_SPACES}{'.' if comma else ','}]", "", text)
    return text.replace(",", ".") if comma else text
