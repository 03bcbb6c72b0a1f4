"""Texts in CSV files that spreadsheets would run are shown, and come back as they were."""

import io

import pandas as pd
import pytest

from muster.tables.spreadsheet import quoted, unquoted

TEXTS = ["=1+1", "+1", "-2 is the slope", "@SUM(A1)", "\t=1", "'=1", "''=1", "'tis", "plain", "", "a=b", "−1"]


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_begins_as_a_formula_and_each_comes_back(text: str) -> None:
    frame = pd.DataFrame({"text": [text], "number": [-0.5]})
    written = quoted(frame)
    assert not written["text"][0].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert written["number"][0] == -0.5
    read = pd.read_csv(io.StringIO(written.to_csv(index=False)), dtype=str, keep_default_na=False)
    assert unquoted(read[["text"]])["text"][0] == text


def test_only_what_would_be_run_is_changed() -> None:
    frame = pd.DataFrame({"text": ["plain", "'tis", "a - b"]})
    pd.testing.assert_frame_equal(quoted(frame), frame)
