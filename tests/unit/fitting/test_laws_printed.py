"""Numbers as a paper prints them."""

import math

import pytest

from muster.fitting.laws.printed import read_printed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.3480", (0.348, 0.34795, 0.34805)),
        (0.3480, (0.348, 0.3475, 0.3485)),
        (400, (400, 399.5, 400.5)),
        ("4e2", (400, 350, 450)),
        (" exp(7.6427) ", (math.exp(7.6427), math.exp(7.64265), math.exp(7.64275))),
    ],
)
def test_values_that_would_have_been_printed_alike(text, expected):
    assert read_printed(text) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("text", ["about 3", "exp(x)", "inf"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match="is no"):
        read_printed(text)
