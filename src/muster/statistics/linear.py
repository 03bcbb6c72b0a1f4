"""Slopes and means with t intervals: least squares, HC3, and random effects with Knapp–Hartung errors.

statsmodels gives the first two. It has a random-effects mean but no meta-regression and no REML for it, hence
`meta_regression`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]

# Errors of exactly zero (noise-free input) would make infinite weights.
_VARIANCE_FLOOR = 1e-30


class Estimate(NamedTuple):
    """A number with its standard error and t degrees of freedom; `intercept` for slopes, in the units of the
    response.

    ci: the 95 % interval where it is not the symmetric t interval (profile likelihood, bootstrap, Fieller); an end that
    the data do not bound is infinite.
    """

    estimate: float
    se: float
    dof: float
    intercept: float = np.nan
    ci: tuple[float, float] | None = None

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided interval: `ci` where it is given and `level` is 95 %, else t; NaN where the standard error is."""
        from scipy import stats

        if self.ci is not None and level == 0.95:
            return self.ci
        if not (np.isfinite(self.se) and self.dof > 0):
            return np.nan, np.nan
        half = float(stats.t.ppf(0.5 + level / 2, self.dof)) * self.se
        return float(self.estimate - half), float(self.estimate + half)


class MetaRegression(NamedTuple):
    """Coefficients [p], their covariance [p, p], between-unit variance τ² and degrees of freedom."""

    beta: Vector
    cov: NDArray[np.float64]
    tau2: float
    dof: int


def _design(x: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(x, float)
    return np.column_stack([np.ones_like(x), x])


def slope_ols(x: ArrayLike, y: ArrayLike) -> Estimate:
    """Least-squares slope of y [W] on x [W] with t(W−2)."""
    from statsmodels.regression.linear_model import OLS

    fit = OLS(np.asarray(y, float), _design(x)).fit()
    return Estimate(fit.params[1], fit.bse[1], fit.df_resid, fit.params[0])


def slope_hc3(x: ArrayLike, y: ArrayLike) -> Estimate:
    """The least-squares slope with HC3 errors (MacKinnon & White 1985) and t(W−2)."""
    from statsmodels.regression.linear_model import OLS

    fit = OLS(np.asarray(y, float), _design(x)).fit(cov_type="HC3", use_t=True)
    return Estimate(fit.params[1], fit.bse[1], fit.df_resid, fit.params[0])


def slope_reml_kh(x: ArrayLike, y: ArrayLike, se: ArrayLike) -> Estimate:
    """Slope of a random-effects meta-regression of y [W], with known errors se [W], on x [W]; NaN without errors."""
    if not np.isfinite(se).all():
        return Estimate(np.nan, np.nan, np.nan)
    fit = meta_regression(y, np.square(se), _design(x))
    return Estimate(fit.beta[1], float(np.sqrt(fit.cov[1, 1])), fit.dof, fit.beta[0])


def jackknife(partial: ArrayLike) -> float:
    """Standard error √((n − 1)/n Σ(θ₋ᵢ − θ̄)²) of a statistic from its n values without one unit each (Tukey 1958;
    Miller 1974); NaN below two units or where one of the values is missing."""
    partial = np.asarray(partial, float)
    n = len(partial)
    if n < 2 or not np.isfinite(partial).all():
        return np.nan
    return float(np.sqrt((n - 1) / n * np.square(partial - partial.mean()).sum()))


def enclosing(estimate: float, ends: tuple[float, float], dof: float) -> Estimate:
    """An estimate whose t interval reaches the farther end of a 95 % interval of another law (bootstrap, Fieller).

    A row's p is derived from estimate, se and dof: so that it contradicts the row's interval nowhere, the interval is
    made symmetric by widening its shorter side. An interval without an end leaves no standard error.
    """
    from scipy import stats

    half = max(estimate - ends[0], ends[1] - estimate)
    if not np.isfinite(half):
        return Estimate(estimate, np.nan, np.nan, ci=ends)
    return Estimate(estimate, float(half / stats.t.ppf(0.975, dof)), dof)


def wider(random: Estimate, plain: Estimate) -> Estimate:
    """A random-effects estimate, or plain t over the same shapes where its 95 % interval is the wider one.

    Weights 1/(se² + τ²) rest on errors that few points misjudge and on a τ² that few shapes cannot show: Knapp and
    Hartung's interval then covers .61–.85 instead of .95, plain t its nominal share. Röver, Knapp & Friede (2015)
    truncate for the same reason. Whole estimates are exchanged, so that number, error and interval are of one law.
    Without a random-effects estimate there is none.
    """
    if not np.isfinite(random.se):
        return random
    halves = [float(np.ptp(each.interval())) for each in (random, plain)]
    return plain if halves[1] > halves[0] else random


def mean_t(values: ArrayLike) -> Estimate:
    """Mean of values [n] with t(n−1)."""
    values = np.asarray(values, float)
    n = len(values)
    se = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return Estimate(float(values.mean()) if n else np.nan, se, n - 1)


def mean_reml_kh(values: ArrayLike, se: ArrayLike) -> Estimate:
    """Random-effects mean of values [n] with known errors se [n], Knapp–Hartung t(n−1)."""
    values = np.asarray(values, float)
    if len(values) < 2 or not np.isfinite(se).all():
        return Estimate(float(values.mean()) if len(values) else np.nan, np.nan, np.nan)
    fit = meta_regression(values, np.square(se), np.ones((len(values), 1)))
    return Estimate(fit.beta[0], float(np.sqrt(fit.cov[0, 0])), fit.dof)


def _weighted(y: Vector, weights: Vector, design: NDArray[np.float64]) -> tuple[Vector, Vector, Vector]:
    """Weighted least squares: coefficients, information matrix, residuals."""
    information = design.T * weights @ design
    beta = np.asarray(np.linalg.solve(information, design.T @ (weights * y)), float)
    return beta, information, y - design @ beta


def restricted_loglik(tau2: float, y: Vector, variance: Vector, design: NDArray[np.float64]) -> float:
    """Restricted log likelihood of y ~ N(Xβ, diag(variance + τ²)) up to a constant (Viechtbauer 2005, eq. 9)."""
    weights = 1 / (variance + tau2)
    _, information, residual = _weighted(y, weights, design)
    return 0.5 * float(np.log(weights).sum() - np.linalg.slogdet(information)[1] - (weights * residual**2).sum())


def meta_regression(values: ArrayLike, known: ArrayLike, design: NDArray[np.float64]) -> MetaRegression:
    """Random-effects meta-regression: values [W] = X [W, p] β + u + e, Var e [W] known, Var u = τ² by REML.

    The covariance is Knapp & Hartung's (2003): (XᵀŴX)⁻¹ times the weighted residual mean square, without truncation
    at 1, with W − p degrees of freedom. It allows for τ² being an estimate, which the usual (XᵀŴX)⁻¹ does not.
    """
    from scipy import optimize

    y = np.asarray(values, float)
    variance = np.maximum(np.asarray(known, float), _VARIANCE_FLOOR)
    dof = len(y) - design.shape[1]
    scale = float(np.sqrt(np.square(_weighted(y, np.ones_like(y), design)[2]).sum() / dof))
    tau2 = 0.0
    if scale > 0:
        # In units of the residual spread, and over τ rather than τ², so that the search resolves small values.
        def negative(tau: float) -> float:
            return -restricted_loglik(tau**2, y / scale, variance / scale**2, design)

        best = optimize.minimize_scalar(negative, bounds=(0.0, 10.0), method="bounded", options={"xatol": 1e-10})
        tau2 = float(best.x * scale) ** 2 if best.fun < negative(0.0) else 0.0
    weights = 1 / (variance + tau2)
    beta, information, residual = _weighted(y, weights, design)
    cov = np.linalg.inv(information) * float((weights * residual**2).sum()) / dof
    return MetaRegression(beta, cov, tau2, dof)


def curvature(x: ArrayLike, y: ArrayLike) -> Estimate:
    """The quadratic term of y [W] in x [W] with t(W−3): the local slope changes by twice of it per unit of x. NaN below
    W = 4."""
    from statsmodels.regression.linear_model import OLS

    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) < 4:
        return Estimate(np.nan, np.nan, np.nan)
    fit = OLS(y, np.vander(x - x.mean(), 3, increasing=True)).fit()
    return Estimate(float(fit.params[2]), float(fit.bse[2]), float(fit.df_resid))


def curvature_p(x: ArrayLike, y: ArrayLike) -> float:
    """Two-sided p of the quadratic term of y [W] in x [W]: small when a straight line is not enough. NaN below W =
    4."""
    from scipy import stats

    bend = curvature(x, y)
    return float(2 * stats.t.sf(abs(bend.estimate) / bend.se, bend.dof)) if bend.se > 0 else np.nan


def slopes(x: ArrayLike, y: ArrayLike, se: ArrayLike) -> dict[str, Estimate]:
    """Every reported variant of the slope of y [W] on x [W]; se [W] is read by `reml_kh` alone, which is the `wider` of
    that and least squares. W ≥ 3."""
    plain = slope_ols(x, y)
    return {"ols_t": plain, "hc3": slope_hc3(x, y), "reml_kh": wider(slope_reml_kh(x, y, se), plain)}


SLOPE_VARIANTS = ("ols_t", "hc3", "reml_kh")


def slope_note(x: ArrayLike, y: ArrayLike) -> str:
    """How far the slope leans on straightness and on the smallest x. `x` in natural logarithms. Empty below W = 4."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) < 4:
        return ""
    rest = x > x.min()
    without = slope_ols(x[rest], y[rest]).estimate
    return f"curvature p {curvature_p(x, y):.3g}, slope {without:.3g} without {np.exp(x.min()):.6g}"
