"""`ratio`: one size stays small against another."""

import numpy as np
from pydantic import Field

from muster.claims.regime.axis import nothing, numeric, rows_of
from muster.claims.regime.base import REGIME_CHECKS, Checked, Measured, RegimeCheck
from muster.fitting.base import NoOptions


class RatioOptions(NoOptions):
    """Options of `ratio`."""

    a: str = Field(description="Column of the numerator, such as depth")
    b: str = Field(description="Column of the denominator, such as width")
    most: float = Field(gt=0, description="Largest a/b that passes")


def ratio(measured: Measured, options: RatioOptions) -> Checked:
    """Largest a/b among the rows that the claim's fit uses. Theories of width at fixed depth hold up to O(depth/width)
    (Hanin & Nica 2020)."""
    rows = rows_of(measured)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = numeric(rows, options.a, "a") / numeric(rows, options.b, "b")
    if not len(values) or np.isnan(values).all():
        return nothing(0.0, options.most, "no row has both sizes")
    return Checked(float(np.nanmax(values)), 0.0, options.most, f"largest {options.a}/{options.b}")


REGIME_CHECKS.register("ratio")(
    RegimeCheck(
        "One size stays small against another in every run that is used",
        ratio,
        RatioOptions,
        source="Hanin & Nica 2020: corrections in depth/width",
        fails="A bound on the ratio bounds no constant: corrections may be large below it",
    )
)
