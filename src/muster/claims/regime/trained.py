"""`trained`: runs at the best rate have learned, and have come to rest."""

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from muster.claims.regime.axis import nothing, rows_of
from muster.claims.regime.base import REGIME_CHECKS, Checked, Measured, RegimeCheck
from muster.fitting.base import NoOptions
from muster.fitting.frames import MEMBER_PREFIX, require_columns

LATE = 0.75  # the last quarter starts here


class TrainedOptions(NoOptions):
    """Options of `trained`."""

    below: float | None = Field(None, gt=0, description="Largest final loss, as a share of the trivial loss")
    late_change: float | None = Field(None, gt=0, description="Largest relative fall of the loss in the last quarter")
    trivial: float | None = Field(
        None,
        gt=0,
        description="Loss of a model that has learned nothing, ln 10 for ten classes; the first one if absent",
    )
    loss: str = Field("train_loss", description="Column of the curves")

    @model_validator(mode="after")
    def _something(self) -> "TrainedOptions":
        if self.below is None and self.late_change is None:
            raise ValueError("give below, late_change, or both")
        return self


def trained(measured: Measured, options: TrainedOptions) -> Checked:
    """Share of the trivial loss that is left, and relative change of the loss over the last quarter of steps, each the
    worst value of the axis, from curves averaged over seeds at the rate with the lowest final loss.

    What fails first is the value that is shown. The loss before the quarter is read by interpolation between steps.
    """
    bound = options.below if options.below is not None else float(options.late_change or 0)
    curves = rows_of(measured, "curves")
    along = measured.fit.along
    require_columns(curves, ["step", options.loss, along], "loss")
    members = [column for column in curves.columns if column.startswith(MEMBER_PREFIX)]
    found = [_last_quarter(own, members, options.loss) for _, own in curves.groupby(along)]
    kept = [each for each in found if each is not None]
    if not kept:
        return nothing(0.0, bound, "no curve has two finite losses")
    first, before, last = np.array(kept).T
    shares = last / (options.trivial if options.trivial is not None else first)
    changes = np.abs(last / before - 1)
    note = f"{shares.max():.3g} of the trivial loss left, last quarter {changes.max():.2g}"
    if options.below is not None and (options.late_change is None or shares.max() > options.below):
        return Checked(float(shares.max()), 0.0, options.below, note)
    return Checked(float(changes.max()), 0.0, float(options.late_change or 0), note)


def _last_quarter(rows: pd.DataFrame, members: list[str], loss: str) -> tuple[float, float, float] | None:
    """First loss, loss at three quarters of the steps and last loss, at the best rate; None without two losses."""
    last = rows[rows["step"] == rows["step"].max()]
    if members:
        means = last.groupby(members)[loss].agg(lambda values: values.mean(skipna=False)).dropna()
        if means.empty:
            return None
        best = means.idxmin()
        wanted = best if isinstance(best, tuple) else (best,)
        rows = rows[(rows[members] == list(wanted)).all(axis=1)]
    curve = rows.groupby("step")[loss].mean().dropna()
    if len(curve) < 2:
        return None
    at = np.interp(LATE * curve.index[-1], curve.index.to_numpy(float), curve.to_numpy(float))
    return float(curve.iloc[0]), float(at), float(curve.iloc[-1])


REGIME_CHECKS.register("trained")(
    RegimeCheck(
        "Runs at the best rate have learned, and their loss is flat in the last quarter",
        trained,
        TrainedOptions,
        source="Ours: a statement on trained networks needs trained networks",
        fails="A schedule that decays to zero is flat at its end wherever it stands; a curve evaluated at few steps is "
        "interpolated",
    )
)
