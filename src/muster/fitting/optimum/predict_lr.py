"""The best learning rate, and the loss there, at a width that nobody has swept."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from muster.statistics.linear import curvature_p

FAR = 0.5  # share of the swept range, in logarithms, beyond which an extrapolation is far
BENT_P = 0.05
LEVEL = 0.95

Array = NDArray[np.float64]


class Prediction(NamedTuple):
    """A value at x with its 95 % prediction interval. status: ok | too_few | bent | not_identified | not_converged."""

    quantity: str
    model: str
    x: float
    value: float
    low: float
    high: float
    status: str
    note: str


class Reach(NamedTuple):
    """How far a point lies outside the swept range: as a factor of the nearest end (1 inside), and whether far."""

    factor: float
    far: bool


def reach(x: ArrayLike, at: float) -> Reach:
    """Far is beyond an end of the swept range x [W] by more than half of the range, all in logarithms: from 64 … 1024,
    more than 4 times 1024."""
    x = np.asarray(x, float)
    factor = max(at / x.max(), x.min() / at, 1.0)
    return Reach(float(factor), bool(np.log(factor) > FAR * np.log(x.max() / x.min())))


def line_interval(log_x: ArrayLike, log_y: ArrayLike, at: float) -> tuple[float, float, float]:
    """Value and 95 % prediction interval at `at` of the least-squares line through log_y [W] on log_x [W], W ≥ 3.

    ŷ ± t(W − 2) · s · √(1 + 1/W + (at − x̄)²/Σ(x − x̄)²) (Draper & Smith 1998, Applied Regression Analysis, eq. 3.1.7):
    the 1 is the scatter of a single width around the line, which a confidence band would leave out.
    """
    from statsmodels.regression.linear_model import OLS

    x, y = np.asarray(log_x, float), np.asarray(log_y, float)
    fit = OLS(y, np.column_stack([np.ones_like(x), x])).fit()
    found = fit.get_prediction(np.array([[1.0, at]]))
    low, high = found.conf_int(obs=True, alpha=1 - LEVEL)[0]
    return float(found.predicted_mean[0]), float(low), float(high)


def predict_lr(x: ArrayLike, log2_lr: ArrayLike, at: float) -> Prediction:
    """The optimal learning rate at x = `at` from interior optima log2_lr [W] at x [W], on a line in log–log."""
    x = np.asarray(x, float)
    if len(x) < 3:
        return _none("lr", "line", at, "too_few", f"{len(x)} interior optima, 3 are needed")
    log_x = np.log(x)
    value, low, high = line_interval(log_x, log2_lr, np.log(at))
    bent = curvature_p(log_x, log2_lr)
    note = f"the optima bend away from a line (p = {bent:.2g})" if bent < BENT_P else ""
    return Prediction("lr", "line", at, 2.0**value, 2.0**low, 2.0**high, "ok", note)


def predict_loss(x: ArrayLike, loss: ArrayLike, at: float) -> list[Prediction]:
    """The loss at the optimum at x = `at`, from loss [W] > 0 at the optima of x [W], under two laws.

    `power` (A x^−α) misses any loss that no width removes, so its status is `bent` where a curve in log–log fits
    better; `power_offset` (E + A x^−α) is used where its three numbers are identified.
    """
    return [_power(x, loss, at), _power_offset(x, loss, at)]


def _power(x: ArrayLike, loss: ArrayLike, at: float) -> Prediction:
    log_x, log_y = np.log(np.asarray(x, float)), np.log(np.asarray(loss, float))
    if len(log_x) < 3:
        return _none("loss", "power", at, "too_few", f"{len(log_x)} interior optima, 3 are needed")
    bent = curvature_p(log_x, log_y)
    if bent < BENT_P:
        return _none("loss", "power", at, "bent", f"no power law: ln loss bends in ln x (p = {bent:.2g})")
    value, low, high = np.exp(line_interval(log_x, log_y, np.log(at)))
    return Prediction("loss", "power", at, value, low, high, "ok", "")


def _power_offset(x: ArrayLike, loss: ArrayLike, at: float) -> Prediction:
    """Least squares in ln loss; delta-method prediction interval with t(W − 3) (Seber & Wild 1989, Nonlinear
    Regression, eq. 5.22): ln f ± t · s · √(1 + gᵀ(JᵀJ)⁻¹g)."""
    from scipy import stats

    from muster.fitting.laws.power_offset import POWER_OFFSET
    from muster.fitting.laws.solve import fit_law

    name = "power_offset"
    rows, y = np.asarray(x, float)[None], np.asarray(loss, float)
    dof = len(y) - len(POWER_OFFSET.parameters)
    if dof < 1:
        return _none("loss", name, at, "too_few", f"{len(y)} interior optima, 4 are needed")
    fit = fit_law(POWER_OFFSET, rows, y)
    certificate = fit.certificate
    if certificate.bound_hit:
        return _none("loss", name, at, "not_identified", f"{', '.join(certificate.bound_hit)} not identified")
    if not certificate.converged:
        return _none("loss", name, at, "not_converged", "the fit did not converge")
    jacobian = POWER_OFFSET.log_value(fit.theta[None], rows)[1][0]
    value, gradient = POWER_OFFSET.log_value(fit.theta[None], np.array([[at]]))
    spread = np.linalg.lstsq(jacobian.T, gradient[0, 0], rcond=None)[0]
    variance = float(fit.residuals @ fit.residuals) / dof * (1 + float(spread @ spread))
    half = float(stats.t.ppf(0.5 + LEVEL / 2, dof)) * np.sqrt(variance)
    value, low, high = np.exp(value[0, 0] + np.array([0, -half, half]))
    return Prediction("loss", name, at, value, low, high, "ok", f"offset {fit.natural['e']:.4g}")


def _none(quantity: str, model: str, at: float, status: str, note: str) -> Prediction:
    return Prediction(quantity, model, at, np.nan, np.nan, np.nan, status, note)
