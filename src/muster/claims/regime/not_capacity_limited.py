"""`not_capacity_limited`: the best loss hardly changes over the axis."""

import numpy as np
from pydantic import Field

from muster.claims.regime.axis import nothing, optima_of, rows_of
from muster.claims.regime.base import REGIME_CHECKS, Checked, Measured, RegimeCheck
from muster.fitting.base import NoOptions
from muster.fitting.estimators.lr_transfer import MEMBER
from muster.fitting.frames import best_members


class CapacityOptions(NoOptions):
    """Options of `not_capacity_limited`."""

    max_change: float = Field(gt=0, description="Largest relative change of the best loss over the axis: 0.05 is 5 %")


def not_capacity_limited(measured: Measured, options: CapacityOptions) -> Checked:
    """Highest over lowest best loss of the values of the axis, minus 1: at the located optimum, else at the best rate.

    Where size limits the loss, the optimum moves with size for reasons that no parameterization can mend.
    """
    best = optima_of(measured)
    losses = best["loss_at_opt"].dropna().to_numpy(float) if len(best) else np.empty(0)
    if not len(losses):
        rows = rows_of(measured)
        over = MEMBER if MEMBER in rows.columns else None
        logs = best_members(rows, measured.fit.response, measured.fit.along, over)
        losses = np.exp(logs.mean().dropna().to_numpy(float))
    if len(losses) < 2:
        return nothing(0.0, options.max_change, f"the best loss is known at {len(losses)} values of the axis")
    note = f"best loss {losses[0]:.4g} to {losses[-1]:.4g} over {measured.fit.along}"
    return Checked(float(losses.max() / losses.min() - 1), 0.0, options.max_change, note)


REGIME_CHECKS.register("not_capacity_limited")(
    RegimeCheck(
        "The best loss changes little over the axis",
        not_capacity_limited,
        CapacityOptions,
        source="Yang et al. 2022, Section 6: transfer is of the optimum, not of the loss",
        fails="It does not find every drift of a task: optima move where the loss changes by 2 %, and stay where it "
        "changes by 6 %",
        blocks="refuted",
    )
)
