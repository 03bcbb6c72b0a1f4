"""`stationary`: runs last long against the slowest time constant."""

import numpy as np
from pydantic import Field, model_validator

from muster.claims.regime.axis import nothing, numeric, rows_of
from muster.claims.regime.base import REGIME_CHECKS, Checked, Measured, RegimeCheck
from muster.fitting.base import NoOptions
from muster.fitting.frames import MEMBER_PREFIX, require_columns


class StationaryOptions(NoOptions):
    """Options of `stationary`."""

    tau: float | str | None = Field(None, description="Slowest time constant in steps: a number, or the column of it")
    rates: list[str] = Field(
        default_factory=list,
        description="Instead of tau: columns whose product is the slowest rate per step, as [log2_lr, weight_decay]",
    )
    times: float = Field(3.0, gt=0, description="Least number of time constants")
    steps: str = Field("steps", description="Column of the horizon")

    @model_validator(mode="after")
    def _one_of_two(self) -> "StationaryOptions":
        if (self.tau is None) == (not self.rates):
            raise ValueError("give tau or rates")
        return self


def stationary(measured: Measured, options: StationaryOptions) -> Checked:
    """Smallest steps/τ among the rows that the claim's fit uses: after m time constants e^−m of the start is left."""
    rows = rows_of(measured)
    steps = numeric(rows, options.steps, "steps")
    if options.rates:
        require_columns(rows, options.rates, "rates")
        values = [numeric(rows, name, "rates") for name in options.rates]
        logged = [name.startswith(MEMBER_PREFIX) for name in options.rates]
        rate = np.prod([np.exp2(v) if log else v for v, log in zip(values, logged, strict=True)], axis=0)
        times = steps * rate
    else:
        tau = numeric(rows, options.tau, "tau") if isinstance(options.tau, str) else float(options.tau or np.nan)
        times = steps / tau
    times = times[np.isfinite(times)]
    if not len(times):
        return nothing(options.times, np.inf, "no row has a horizon and a time constant")
    return Checked(float(times.min()), options.times, np.inf, f"{times.min():.3g} time constants in the shortest run")


REGIME_CHECKS.register("stationary")(
    RegimeCheck(
        "Runs last long against the slowest time constant",
        stationary,
        StationaryOptions,
        source="Exponential relaxation: e^−m of the start is left after m time constants",
        fails="Relaxation by a power law has no time constant; a slower mode than the named one goes unseen",
    )
)
