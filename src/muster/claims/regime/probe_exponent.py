"""`probe_exponent`: the mechanism behind a claim holds, seen in the exponent of a probe."""

import numpy as np
from pydantic import Field

from muster.claims.regime.axis import nothing, rows_of
from muster.claims.regime.base import REGIME_CHECKS, Checked, Least, Measured, RegimeCheck
from muster.fitting.base import NoOptions
from muster.fitting.frames import require_columns
from muster.statistics.linear import slope_ols

VALUES = 3  # that a slope needs


class ProbeOptions(NoOptions):
    """Options of `probe_exponent`."""

    probe: str = Field(description="The probe, as in column `probe`")
    along: str | None = Field(None, description="Axis of the exponent; the fit's if absent")
    exponent: float = Field(alias="is", description="The exponent that the mechanism has")
    within: float = Field(gt=0, description="Largest deviation that passes")
    layer: int | None = Field(None, description="One layer; all, averaged in the logarithm, if absent")


def probe_exponent(measured: Measured, options: ProbeOptions) -> Checked:
    """d ln value / d ln x of a probe at its last step, by least squares over the geometric means at each x."""
    low, high = options.exponent - options.within, options.exponent + options.within
    along = options.along or measured.fit.along
    rows = rows_of(measured, "probes", apart_from=("probe", "layer", "step"))
    require_columns(rows, ["probe", "step", "value", "layer"], "probe")
    require_columns(rows, [along], "along")
    rows = rows[rows["probe"] == options.probe]
    if options.layer is not None:
        rows = rows[rows["layer"] == options.layer]
    if rows.empty:
        return nothing(low, high, f"no rows of probe {options.probe}")
    rows = rows[rows["step"] == rows.groupby(along)["step"].transform("max")]
    positive = rows[np.isfinite(rows["value"]) & (rows["value"] > 0) & (rows[along] > 0)]
    means = np.log(positive["value"]).groupby(positive[along]).mean()
    if len(means) < VALUES:
        return nothing(
            low, high, f"{len(means)} values of {along} with a positive {options.probe}, {VALUES} are needed"
        )
    line = slope_ols(np.log(means.index.to_numpy(float)), means.to_numpy(float))
    return Checked(float(line.estimate), low, high, f"{options.probe} along {along}, standard error {line.se:.2g}")


REGIME_CHECKS.register("probe_exponent")(
    RegimeCheck(
        "The mechanism holds: a probe has its exponent along an axis",
        probe_exponent,
        ProbeOptions,
        source="Least squares of logarithms over the values of the axis",
        fails="Seeds of one size count once; a mechanism may hold in the mean of layers and fail in one",
        least=lambda fit, options: Least(options.along or fit.along, VALUES),
    )
)
