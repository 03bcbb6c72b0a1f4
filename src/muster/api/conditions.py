"""Conditions on rows, such as `flops > 1e21` or `6*N*D >= 1e21`: formulas of columns; nothing is executed."""

import operator
import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from muster.errors import MusterError
from muster.fitting.laws import formula

_OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_PARTS = re.compile(r"([^<>=]+)(>=|<=|>|<)([^<>=]+)")


class Condition(NamedTuple):
    """A comparison of a formula of columns, or of one column of any name, with a number."""

    text: str
    left: str
    names: tuple[str, ...]
    sign: str
    bound: float

    def holds(self, table: pd.DataFrame) -> np.ndarray:
        """In which rows of a table that has the columns `names` it holds."""
        if self.names == (self.left,):
            values = table[self.left].to_numpy(float)
        else:
            values = formula.evaluate(self.left, {name: table[name].to_numpy(float) for name in self.names})
        return np.asarray(_OPERATORS[self.sign](np.broadcast_to(values, len(table)), self.bound))


def read_condition(text: str, place: str) -> Condition:
    """Raises a MusterError for what is no comparison with a number."""
    parts = _PARTS.fullmatch(text.strip())
    try:
        left, sign, bound = parts.groups() if parts else ("", "", "")
        number = float(bound)
    except ValueError:
        number = np.nan
    if np.isnan(number):
        raise MusterError(place, f"found {text!r}", "Write a column, one of > >= < <=, and a number: 'flops > 1e21'")
    left = left.strip()
    try:
        names = tuple(formula.names(left))
    except MusterError:
        names = (left,)  # a column whose name is no word
    if not names:
        raise MusterError(place, f"{left!r} names no column", "Write it as in 'flops > 1e21'")
    return Condition(text.strip(), left, names, sign, number)
