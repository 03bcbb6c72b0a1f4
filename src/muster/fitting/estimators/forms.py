"""Which form has a curve: power law, power law with offset, exponential or broken power law?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import (
    ESTIMATORS,
    Estimator,
    FitResult,
    NoOptions,
    fit_rows,
    nothing,
    parse_options,
    primary_variant,
)
from muster.fitting.frames import count, groups, positive_axis, require_columns, require_unique
from muster.fitting.laws.power_offset import POWER_OFFSET
from muster.fitting.laws.solve import fit_law
from muster.fitting.usable import usable_rows
from muster.statistics.linear import mean_t

Array = NDArray[np.float64]
Predictor = Callable[[Array], Array]

VARIANTS = ("mean_t",)
PARAMETERS = ("aicc", "bic", "extrapolation")
BREAKS = 100
ROUNDING = 1e-12  # residuals of ln y below this are float noise: no likelihood can be made of them


def power(log_x: Array, log_y: Array) -> Predictor:
    """ln y = a − α ln x by least squares."""
    return _linear(lambda at: np.column_stack([np.ones_like(at), at]), log_x, log_y)


def exponential(log_x: Array, log_y: Array) -> Predictor:
    """ln y = a − k x by least squares."""
    return _linear(lambda at: np.column_stack([np.ones_like(at), np.exp(at)]), log_x, log_y)


def broken_power(log_x: Array, log_y: Array) -> Predictor:
    """ln y = a − α ln x − γ max(0, ln x − b): two power laws that meet at e^b, b by least squares on a grid.

    Each side keeps at least two points, else the break would serve a single one. With the line projected out of ln y
    and of a hinge h, that hinge lowers the sum of squares by (h·y)²/(h·h).
    """
    ordered = np.sort(log_x)
    breaks = np.linspace(ordered[1], ordered[-2], BREAKS)
    line, _ = np.linalg.qr(np.column_stack([np.ones_like(log_x), log_x]))
    hinges = np.maximum(0.0, log_x[:, None] - breaks)
    hinges -= line @ (line.T @ hinges)
    gains = np.square(log_y @ hinges) / np.square(hinges).sum(axis=0)
    best = breaks[int(gains.argmax())]
    return _linear(lambda at: np.column_stack([np.ones_like(at), at, np.maximum(0.0, at - best)]), log_x, log_y)


def power_offset(log_x: Array, log_y: Array) -> Predictor:
    """y = E + A x^−α by least squares of ln y, from the best of the law's projected starts.

    Only α is searched for, E and A being projected: the best start lies in the best basin, and many curves are fitted.
    """
    x, y = np.exp(log_x)[None], np.exp(log_y)
    starts = POWER_OFFSET.starts(x, y)
    errors = np.square(log_y - POWER_OFFSET.log_value(starts, x)[0]).sum(axis=1)
    fit = fit_law(POWER_OFFSET, x, y, starts=starts[errors.argmin()])
    return lambda at: POWER_OFFSET.log_value(fit.theta[None], np.exp(at)[None])[0][0]


def _linear(design: Callable[[Array], Array], log_x: Array, log_y: Array) -> Predictor:
    beta = np.linalg.lstsq(design(log_x), log_y, rcond=None)[0]
    return lambda at: design(at) @ beta


@dataclass(frozen=True)
class Form:
    """A form of a curve: its least-squares fit and how many parameters that has, a break included."""

    fit: Callable[[Array, Array], Predictor]
    parameters: int


FORMS = {
    "power": Form(power, 2),
    "power_offset": Form(power_offset, 3),
    "exponential": Form(exponential, 2),
    "broken_power": Form(broken_power, 4),
}
Name = Literal["power", "power_offset", "exponential", "broken_power"]
MIN_POINTS = max(form.parameters for form in FORMS.values()) + 3


class FormsOptions(NoOptions):
    """Options of `forms`."""

    form: Name = Field("power", description="The hypothesised form")
    rivals: list[Name] | None = Field(None, min_length=1, description="Forms it is compared with; all others if absent")
    curves: list[str] = Field(
        default=["seed"], description="Columns that tell curves apart, the replicates of the comparison"
    )
    horizon: int = Field(1, ge=1, description="Points beyond the fitted ones that an extrapolation is judged on")


def information_criteria(rss: float, points: int, parameters: int) -> tuple[float, float]:
    """AICc and BIC of a least-squares fit with normal errors, up to a constant that all forms share.

    n ln(RSS/n) + 2k + 2k(k + 1)/(n − k − 1) (Hurvich & Tsai 1989) and n ln(RSS/n) + k ln n (Schwarz 1978), where k
    counts the error variance too. n > k + 1.
    """
    k = parameters + 1
    fit = points * np.log(max(rss / points, ROUNDING**2))
    return float(fit + 2 * k + 2 * k * (k + 1) / (points - k - 1)), float(fit + k * np.log(points))


def extrapolation_error(fit: Callable[[Array, Array], Predictor], log_x: Array, log_y: Array, horizon: int) -> float:
    """ln of the root mean squared error of ln y over the `horizon` points that follow the first m, for every m from
    the least that all forms can be fitted to (rolling origin: Tashman 2000)."""
    errors = []
    for m in range(MIN_POINTS - 2, len(log_x) - horizon + 1):
        ahead = slice(m, m + horizon)
        errors.append(log_y[ahead] - fit(log_x[:m], log_y[:m])(log_x[ahead]))
    return float(np.log(max(np.sqrt(np.square(errors).mean()), ROUNDING)))


def criteria(log_x: Array, log_y: Array, horizon: int, forms: Sequence[str]) -> dict[str, dict[str, float]]:
    """Criterion → form → value, lower being better, of one curve in increasing x."""
    found: dict[str, dict[str, float]] = {parameter: {} for parameter in PARAMETERS}
    for name in forms:
        form = FORMS[name]
        rss = float(np.square(log_y - form.fit(log_x, log_y)(log_x)).sum())
        found["aicc"][name], found["bic"][name] = information_criteria(rss, len(log_x), form.parameters)
        found["extrapolation"][name] = extrapolation_error(form.fit, log_x, log_y, horizon)
    return found


def forms(table: pd.DataFrame, fit: FitConfig) -> FitResult:
    """By how much the hypothesised form beats the best of its rivals on each curve, averaged over curves: positive
    favours it.

    `aicc` and `bic`: difference of the criteria; `extrapolation`: difference of ln RMS error, rolling origin. Each
    curve is its own pair and the curves are the replicates (t over curves): one curve alone gives no error, so that
    nothing is decided. Curves with fewer than seven points cannot tell a broken power law from noise: left out and
    counted, `too_few` when none remains.
    """
    options = parse_options(FormsOptions, fit)
    rivals: list[str] = [*(options.rivals or (name for name in FORMS if name != options.form))]
    if options.form in rivals:
        raise MusterError("options.rivals", f"{options.form!r} is the hypothesised form", "Remove it from `rivals`")
    primary = primary_variant(fit, VARIANTS)
    columns = [name for name in options.curves if name != "seed" or name in table.columns]
    require_columns(table, columns, "options.curves")
    fits: list[dict[str, Any]] = []
    for group, rows in groups(table, fit.by):
        used, lost = usable_rows(rows, positive=[fit.response, fit.along])
        found, short = [], 0
        for _, curve in groups(used, columns):
            require_unique(curve, [*columns, fit.along])
            curve = curve.sort_values(fit.along)
            if len(curve) < MIN_POINTS + options.horizon - 1:
                short += 1
                continue
            log_x = positive_axis(curve[fit.along].to_numpy(float), fit.along)
            log_y = np.log(curve[fit.response].to_numpy(float))
            found.append(criteria(log_x, log_y, options.horizon, [options.form, *rivals]))
        notes = [f"{len(found)} curves", f"{short} curves are too short" if short else "", lost]
        for parameter in PARAMETERS:
            values = pd.DataFrame([curve[parameter] for curve in found], columns=[options.form, *rivals])
            gain = values[rivals].min(axis=1) - values[options.form]
            wins = values.idxmin(axis=1).value_counts() if len(values) else pd.Series(dtype=int)
            best = ", ".join(f"{name} {n}" for name, n in wins.items())
            fits += fit_rows(
                group,
                {"mean_t": mean_t(gain)} if found else nothing(VARIANTS),
                primary,
                parameter=parameter,
                status="ok" if found else "too_few",
                note=", ".join(filter(None, [f"best form: {best}" if best else "", *notes])),
                counts=count(used),
                x=used[fit.along].to_numpy(float),
                diagnostics={"mean": values.mean().to_dict() if found else {}},
            )
    return FitResult(pd.DataFrame(fits))


ESTIMATORS.register("forms")(
    Estimator(
        "Whether a curve is a power law rather than an offset, exponential or broken one: AICc, BIC, extrapolation",
        forms,
        VARIANTS,
        min_points=MIN_POINTS,
        parameters=PARAMETERS,
        source="Hurvich & Tsai 1989 (AICc), Schwarz 1978 (BIC), Tashman 2000 (rolling origin)",
        assumes="Independent normal errors of ln y of one size along a curve; curves are independent replicates",
        fails="Points of one training run are correlated and look like more than they are; the best of several rivals "
        "has an advantage over a single hypothesis, and BIC on a dozen points too little against a break that was "
        "searched for; a short range of x makes all forms alike",
        needs=(),
        options=FormsOptions,
    )
)
