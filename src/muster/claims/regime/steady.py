"""`steady`: the exponent does not depend on where along an axis it is measured."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.claims.regime.axis import nothing, parameter_of, points_of, refit, rows_of
from muster.claims.regime.base import REGIME_CHECKS, Checked, Least, Measured, RegimeCheck
from muster.config.models import ClaimConfig, FitConfig, StudyConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, NoOptions, group_key
from muster.fitting.frames import require_columns
from muster.statistics.linear import curvature, curvature_p, slope_ols

Array = NDArray[np.float64]

BENT = 0.05
HALF = 3  # values that an exponent needs
WHOLE = 2 * HALF - 1  # values of which the upper half has as many


class SteadyOptions(NoOptions):
    """Options of `steady`."""

    axis: str | None = Field(
        None,
        description="The fit's own axis (absent), or another one, such as steps, at two values of which it is fitted",
    )
    factor: float = Field(4.0, gt=1, description="Another axis: the exponent here and at 1/factor of it are compared")
    against: str | None = Field(
        None,
        description="Another axis: the fit that measures the exponent at 1/factor; absent: a group of the same fit, "
        "with the axis in its `by` and in the claim's `where`",
    )
    most: float | None = Field(None, gt=0, description="Largest change that passes; the claim's margin if absent")


def steady(measured: Measured, options: SteadyOptions) -> Checked:
    """Change of the claim's exponent from the whole axis to its upper half, or from 1/factor of another axis to here.

    Own axis: that change is within the margin, and a quadratic in ln x does not improve the line (p ≥ 0.05, however
    small the bend); what fails first is the value that is shown. Its note has the size of the bend, the local exponents
    and where they lead if they approach a limit as x^−½. Another axis: the two horizons are declared as `against:
    <fit>`, whose selection has the shorter one, or as groups of one fit. `towards`: the exponent further up lies nearer
    to the prediction.
    """
    most = measured.claim.margin if options.most is None else options.most
    if most <= 0:
        raise MusterError("most", "the claim has no margin", "Say which change of the exponent passes: most: 0.1")
    if options.axis in (None, measured.fit.along):
        return _own_axis(measured, most)
    return _other_axis(measured, options, str(options.axis), most)


def _least(fit: FitConfig, options: SteadyOptions) -> Least | None:
    return Least(fit.along, WHOLE) if options.axis in (None, fit.along) else None


def _unlike(study: StudyConfig, claim: ClaimConfig, options: SteadyOptions) -> str:
    """Why the fit at the other horizon cannot be compared with the claim's; empty if it can."""
    if options.against not in study.fits:
        return ""
    wanted, other = parameter_of(claim, study.fits[claim.fit]), study.fits[options.against]
    there = ESTIMATORS[other.estimator].numbers(other)
    return "" if wanted in there else f"fit {options.against} has no {wanted}, but {', '.join(there)}"


def _towards(measured: Measured, before: float, after: float) -> bool:
    predicted = measured.claim.predicted
    return abs(after - predicted) < abs(before - predicted)


def _own_axis(measured: Measured, most: float) -> Checked:
    rows = rows_of(measured)
    require_columns(rows, [measured.fit.along], "along")
    log_x, log_y = points_of(measured)
    values = np.exp(log_x) if len(log_x) else np.unique(rows[measured.fit.along].dropna().to_numpy(float))
    upper = np.sort(values)[len(values) // 2 :]
    if len(upper) < HALF:
        return nothing(-most, most, f"{len(values)} usable values of {measured.fit.along}, {WHOLE} are needed")
    overall = float(measured.row["estimate"])
    above = refit(measured, rows[rows[measured.fit.along] >= upper[0] * (1 - 1e-9)])
    if not np.isfinite([overall, above]).all():
        return nothing(
            -most,
            most,
            f"no {parameter_of(measured.claim, measured.fit)} over {measured.fit.along} {upper[0]:g} and above",
        )
    note = f"exponent {overall:.3g} over all, {above:.3g} from {measured.fit.along} {upper[0]:.4g} on"
    p = curvature_p(log_x, log_y)
    if np.isfinite(p):
        note += f"; curvature p {p:.2g}, {_bend(log_x, log_y)}; {_where_it_leads(log_x, log_y)}"
    towards = _towards(measured, overall, above)
    if abs(above - overall) <= most and p < BENT:
        return Checked(p, BENT, 1.0, note, towards)
    return Checked(above - overall, -most, most, note, towards)


def _bend(log_x: Array, log_y: Array) -> str:
    """How far the exponent of the fitted parabola changes from end to end of the axis, with its 95 % interval."""
    found = curvature(log_x, log_y)
    change, low, high = (2 * np.ptp(log_x) * each for each in (found.estimate, *found.interval()))
    return f"{change:.2g} [{low:.2g}, {high:.2g}] from end to end"


def _where_it_leads(log_x: Array, log_y: Array) -> str:
    """Exponents of the lower and the upper half, and their limit if they approach it as x^−½ (Richardson 1911)."""
    cut = len(log_x) // 2
    low, high = slice(None, cut + 1), slice(cut, None)
    first, last = (float(slope_ols(log_x[half], log_y[half]).estimate) for half in (low, high))
    ratio = float(np.exp(-(log_x[high].mean() - log_x[low].mean()) / 2))
    return f"local exponents {first:.3g}, {last:.3g}, leading to {(last - ratio * first) / (1 - ratio):.3g}"


def _other_axis(measured: Measured, options: SteadyOptions, axis: str, most: float) -> Checked:
    where, name = dict(measured.claim.where), options.against or measured.claim.fit
    here = where.pop(axis, None)
    if options.against is None:
        if not isinstance(here, int | float):
            remedy = f"Name the fit at 1/{options.factor:g} of it (against: …), or give {axis} in `by` and in `where`"
            raise MusterError("axis", f"the claim's group has no {axis}", remedy)
        where[axis] = here / options.factor
    elif name not in measured.study.fits:
        raise MusterError("against", f"no fit {name!r}", f"Fits: {', '.join(measured.study.fits)}")
    fits = measured.fits
    rows = fits[(fits["fit"] == name) & fits["primary"] & (fits["group"] == group_key(where))]
    rows = rows[(rows["parameter"] == parameter_of(measured.claim, measured.fit)) & (rows["status"] == "ok")]
    before = float(rows["estimate"].iloc[0]) if len(rows) else np.nan
    after = float(measured.row["estimate"])
    if not np.isfinite([before, after]).all():
        return nothing(-most, most, f"no exponent of fit {name} in group {group_key(where)}")
    note = f"exponent {after:.3g}, at 1/{options.factor:g} of the {axis} {before:.3g}"
    return Checked(after - before, -most, most, note, _towards(measured, before, after))


REGIME_CHECKS.register("steady")(
    RegimeCheck(
        "The exponent does not change from the whole axis to its upper half, or with another axis such as the horizon",
        steady,
        SteadyOptions,
        source="Local exponents, as in finite-size scaling; quadratic term of least squares",
        fails="A bend that is seen fails however small: 5 % of true power laws at any precision, all of those with a "
        "correction at a high one. The exponent of an upper half is noisy: where the error of the whole one is .3 of "
        "the margin, 15 % of true power laws fail. A short range hides a slow bend",
        least=_least,
        unfit=_unlike,
    )
)
