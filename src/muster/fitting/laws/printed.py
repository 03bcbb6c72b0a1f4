"""Numbers as a paper prints them: a value, and the range of values that would have been printed alike."""

import math
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

_EXP = re.compile(r"exp\((.+)\)")


class Printed(NamedTuple):
    """A printed number, and the smallest and largest value that round to it."""

    value: float
    low: float
    high: float


def read_printed(text: float | str) -> Printed:
    """A number, `0.3480`, or `exp(7.6427)` for one whose logarithm was printed; half a unit of the last digit each way.

    A number of YAML has lost its zeros at the end, so that its range may be wider than what was printed: quote it. One
    without decimals has none of its digits in doubt: 400 is 400 ± 0.5, while the text `4e2` is 400 ± 50. Raises a
    ValueError for anything else.
    """
    if not isinstance(text, str):
        return _around(Decimal(repr(text)).normalize(), whole=True)
    found = _EXP.fullmatch(text.strip())
    try:
        printed = _around(Decimal(found[1] if found else text.strip()))
    except InvalidOperation:
        raise ValueError(f"{text!r} is no number, nor exp(a number)") from None
    return Printed(*map(math.exp, printed)) if found else printed


def values(vector: Mapping[str, float | str]) -> dict[str, float]:
    """Parameter → value of a published vector."""
    return {name: read_printed(text).value for name, text in vector.items()}


def _around(number: Decimal, whole: bool = False) -> Printed:
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{number} is not finite")
    half = Decimal(5).scaleb((min(exponent, 0) if whole else exponent) - 1)
    return Printed(float(number), float(number - half), float(number + half))
