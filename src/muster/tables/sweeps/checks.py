"""What a column of somebody's table must hold to be used, and what its cells are then taken to be."""

import math
from typing import Any

import numpy as np

from muster.errors import MusterError
from muster.tables.sweeps.cells import Cells, parse_number

EQUAL = 1e-6  # relative difference below which two rates are one, written by two programs


def require_cells(raw: Cells, column: str) -> None:
    """Raises MusterError for the first row without a cell in a column."""
    if raw.cells[column].isna().any():
        row = int(np.flatnonzero(raw.cells[column].isna())[0])
        raise MusterError(raw.place(row, column), "the cell is empty", "Fill it, or --select rows that have it")


def positive_numbers(raw: Cells, column: str) -> np.ndarray:
    """A column as floats > 0. Raises MusterError for the first that is none."""
    values = raw.numbers(column)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(wrong):
        remedy = "It must be a positive number, given as it is and not as a logarithm"
        raise MusterError(raw.place(int(wrong[0]), column), f"found {values[wrong[0]]:g}", remedy)
    return values


def positive_losses(raw: Cells, column: str, losses: np.ndarray, remedy: str) -> None:
    """Raises MusterError for a loss that is known and has no logarithm."""
    wrong = np.flatnonzero(np.isfinite(losses) & (losses <= 0))
    if len(wrong):
        raise MusterError(raw.place(int(wrong[0]), column), f"found {losses[wrong[0]]:g}", remedy)


def snapped(values: np.ndarray) -> np.ndarray:
    """Values that differ by less than `EQUAL` become the first of them: a rate written by two programs is one rate."""
    known, inverse = np.unique(values, return_inverse=True)
    if len(known) < 2:
        return values
    apart = np.diff(known) > EQUAL * np.abs(known[1:])
    first = np.concatenate([[0], np.flatnonzero(apart) + 1])
    cluster = np.concatenate([[0], np.cumsum(apart)])
    return np.asarray(known[first][cluster][inverse])


def labels_of(raw: Cells, column: str) -> list[Any]:
    """Values of a column that tells groups or seeds apart: numbers if all are."""
    numbers = [parse_number(cell) for cell in raw.cells[column]]
    if any(number is None or not math.isfinite(number) for number in numbers):
        return [str(cell) for cell in raw.cells[column]]
    known = snapped(np.array(numbers, float)).tolist()
    return [int(number) if number.is_integer() else number for number in known]
