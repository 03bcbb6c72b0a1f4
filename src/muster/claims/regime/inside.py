"""`inside`: sizes lie in the range that the paper speaks of."""

import numpy as np
from pydantic import Field

from muster.claims.regime.axis import nothing, numeric, rows_of
from muster.claims.regime.base import REGIME_CHECKS, Checked, Measured, RegimeCheck
from muster.errors import MusterError
from muster.fitting.base import NoOptions


class InsideOptions(NoOptions):
    """Options of `inside`."""

    column: str = Field(description="Column whose values are held against the range")
    range: tuple[float, float] | None = Field(
        None, description="Smallest and largest value; the claim's `published` range of the column if absent"
    )


def inside(measured: Measured, options: InsideOptions) -> Checked:
    """The value of the column that lies furthest out of the range, or the last one in it, among the rows that the
    claim's fit uses."""
    low, high = _range(measured, options)
    values = numeric(rows_of(measured), options.column, "column")
    values = values[~np.isnan(values)]
    if not len(values):
        return nothing(low, high, f"no row has a {options.column}")
    note = f"{options.column} from {values.min():g} to {values.max():g}"
    furthest = values[np.maximum(low - values, values - high).argmax()]
    return Checked(float(furthest), low, high, note)


def _range(measured: Measured, options: InsideOptions) -> tuple[float, float]:
    if options.range is not None:
        return options.range
    published = measured.claim.published.get(options.column)
    ends = published if isinstance(published, tuple) else (published, published)
    if not all(isinstance(end, int | float) for end in ends):
        remedy = "Give the paper's range there, or range: [smallest, largest] here"
        raise MusterError("column", f"the claim's `published` has no numbers for {options.column!r}", remedy)
    return float(ends[0]), float(ends[1])  # type: ignore[arg-type]


REGIME_CHECKS.register("inside")(
    RegimeCheck(
        "Sizes lie in the range that the paper speaks of",
        inside,
        InsideOptions,
        source="The claim's own `published`",
        fails="A range of one size says nothing of the others that a paper held fixed",
    )
)
