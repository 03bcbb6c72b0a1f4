"""`interior`: most shapes have an optimum with a finite interval."""

import json

import numpy as np
import pandas as pd
from pydantic import Field

from muster.claims.regime.axis import nothing, optima_within
from muster.claims.regime.base import REGIME_CHECKS, Checked, Measured, RegimeCheck
from muster.fitting.base import NoOptions


class InteriorOptions(NoOptions):
    """Options of `interior`."""

    share: float = Field(1.0, gt=0, le=1, description="Least share of the shapes")


def interior(measured: Measured, options: InteriorOptions) -> Checked:
    """Share of the shapes of the claim's group whose optimum is interior and has a finite interval.

    Of a difference, the shapes of both sides. Shapes that a grid loses at one end pull a slope towards 0.
    """
    optima = optima_within(measured)
    if optima.empty:
        optima = _cells(measured)
    if optima.empty:
        return nothing(options.share, 1.0, f"fit {measured.claim.fit} has no optima in this group")
    bounded = np.isfinite(optima[["ci_low", "ci_high"]].to_numpy(float)).all(axis=1)
    good = (optima["status"] == "interior").to_numpy() & bounded
    lost = " ".join(f"{x:g}" for x in optima["x"].to_numpy(float)[~good])
    note = f"none at {measured.fit.along} {lost}" if lost else f"all {len(optima)} shapes"
    return Checked(float(good.mean()), options.share, 1.0, note)


def _cells(measured: Measured) -> pd.DataFrame:
    """The optima that an estimator of other sizes than learning rates (`isoflop`) keeps in its diagnostics."""
    cells = json.loads(measured.row["diagnostics"] or "{}").get("cells", [])
    found = pd.DataFrame(cells)
    errors = [name for name in found.columns if name.startswith("se_")]
    if len(errors) != 1 or "status" not in found:
        return pd.DataFrame()
    error = found[errors[0]].astype(float)
    return pd.DataFrame({"x": found[measured.fit.along], "status": found["status"], "ci_low": -error, "ci_high": error})


REGIME_CHECKS.register("interior")(
    RegimeCheck(
        "Optima of enough shapes are interior, with finite intervals",
        interior,
        InteriorOptions,
        source="Fieller 1954: a vertex whose curvature is not significant has no finite interval",
        fails="An interval without error, as of a grid's best rate, counts as none",
    )
)
