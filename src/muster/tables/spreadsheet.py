"""Texts in CSV files that people open with a spreadsheet, which runs what looks like a formula."""

import re
from collections.abc import Callable

import pandas as pd

# What spreadsheets take for the start of a formula (OWASP, CSV injection), after any apostrophes that mark it as text.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def quoted(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with an apostrophe before each text that a spreadsheet would run: it then shows it instead."""
    return _each_text(frame, lambda text: f"'{text}" if _FORMULA.match(text) else text)


def unquoted(frame: pd.DataFrame) -> pd.DataFrame:
    """The inverse of `quoted`, for frames of texts."""
    return _each_text(frame, lambda text: text[1:] if text.startswith("'") and _FORMULA.match(text) else text)


def _each_text(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    columns = {}
    for name in frame.columns:
        if frame[name].dtype.kind not in "biuf":
            columns[name] = frame[name].map(lambda cell: change(cell) if isinstance(cell, str) else cell)
    return frame.assign(**columns)
