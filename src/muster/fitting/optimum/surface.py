"""The optimal learning rate and batch size of one cell: vertex of a 2-D log-quadratic, with Fieller's intervals.

ln loss = β₀ + β₁u + β₂v + β₁₁u² + β₁₂uv + β₂₂v², u and v octaves of learning rate and batch size from the best point.
The 2-D companion of `optimum`, with the same rules for what counts as a minimum.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muster.fitting.optimum.quadratic import BASIN, CURVATURE_T, ROUNDING
from muster.statistics.fieller import fieller, vertex_se

Array = NDArray[np.float64]

COEFFICIENTS = 6


@dataclass(frozen=True)
class SurfaceOptimum:
    """The optimum of one cell; pairs are (learning rate, batch size) in log2.

    status: interior, edge (the best point lies at the rim of the grid), flat (curvature not shown, or the vertex
    outside the window), saddle (a maximum in some direction), too_few. Numbers are NaN unless interior, but for `edge`
    the interval holds the neighbours that bracket the best value (±inf at the rim).
    """

    status: str
    best: tuple[float, float]
    n_points: int
    vertex: tuple[float, float] = (np.nan, np.nan)
    se: tuple[float, float] = (np.nan, np.nan)
    ci: tuple[tuple[float, float], tuple[float, float]] = ((np.nan, np.nan), (np.nan, np.nan))
    loss: float = np.nan
    basin: tuple[float, float] = (np.nan, np.nan)


def neighbourhood(values: Array, best: float, size: int) -> tuple[Array, tuple[float, float], int]:
    """The `size` distinct values around the best, the neighbours that bracket it, and how many lie on its emptier
    side."""
    grid = np.unique(values)
    at = int(np.searchsorted(grid, best))
    start = int(np.clip(at - size // 2, 0, max(len(grid) - size, 0)))
    bracket = (
        float(grid[at - 1]) if at else -np.inf,
        float(grid[at + 1]) if at + 1 < len(grid) else np.inf,
    )
    return grid[start : start + size], bracket, min(at, len(grid) - 1 - at)


def coordinate(beta: Array, cov: Array, axis: int, quantile: float) -> tuple[float, float, tuple[float, float]]:
    """One coordinate of the vertex with its delta-method error and Fieller's interval, in octaves from the best point.

    Setting the gradient to zero and eliminating the other coordinate leaves D·u + c = 0 with D = 4β₁₁β₂₂ − β₁₂² and
    c = 2β₂₂β₁ − β₁₂β₂ (for v: indices exchanged): a ratio of two numbers that are nearly normal, whose covariance
    follows from that of β [6] by the delta method. Both formulas of the 1-D vertex −b₁/(2b₂) then hold with b₁ = c,
    b₂ = D/2.
    """
    _, b1, b2, b11, b12, b22 = beta
    if axis == 0:
        offset, d_offset = 2 * b22 * b1 - b12 * b2, [0, 2 * b22, -b12, 0, -b2, 2 * b1]
    else:
        offset, d_offset = 2 * b11 * b2 - b12 * b1, [0, -b12, 2 * b11, 2 * b2, -b1, 0]
    half_determinant, d_half = 2 * b11 * b22 - b12**2 / 2, [0, 0, 0, 2 * b22, -b12, 2 * b11]
    line = np.array([0.0, offset, half_determinant])
    jacobian = np.array([np.zeros(COEFFICIENTS), d_offset, d_half])
    line_cov = jacobian @ cov @ jacobian.T
    vertex = float(-line[1] / (2 * line[2]))
    return vertex, vertex_se(line, line_cov), fieller(line, line_cov, quantile)


def find_surface(log2_lr: Array, log2_batch: Array, log_loss: Array, window: int, min_side: int) -> SurfaceOptimum:
    """The optimum of one cell from its points [R] by least squares on the window × window grid around the best."""
    from scipy import stats
    from statsmodels.regression.linear_model import OLS

    at = int(log_loss.argmin())
    best = (float(log2_lr[at]), float(log2_batch[at]))
    near_lr, bracket_lr, side_lr = neighbourhood(log2_lr, best[0], window)
    near_batch, bracket_batch, side_batch = neighbourhood(log2_batch, best[1], window)
    if min(side_lr, side_batch) < min_side:
        return SurfaceOptimum("edge", best, len(log_loss), ci=(bracket_lr, bracket_batch))
    chosen = np.isin(log2_lr, near_lr) & np.isin(log2_batch, near_batch)
    u, v, y = log2_lr[chosen] - best[0], log2_batch[chosen] - best[1], log_loss[chosen]
    design = np.column_stack([np.ones_like(u), u, v, u**2, u * v, v**2])
    if len(y) <= COEFFICIENTS or np.linalg.matrix_rank(design) < COEFFICIENTS:
        return SurfaceOptimum("too_few", best, len(y))
    fit = OLS(y, design).fit()
    beta, cov = np.asarray(fit.params), np.asarray(fit.cov_params())
    hessian = np.array([[2 * beta[3], beta[4]], [beta[4], 2 * beta[5]]])
    curvatures, directions = np.linalg.eigh(hessian)
    a, b = directions[:, 0]
    along = np.array([0, 0, 0, 2 * a * a, 2 * a * b, 2 * b * b])
    shown = max(CURVATURE_T * float(np.sqrt(along @ cov @ along)), ROUNDING)
    if curvatures[0] < -shown:
        return SurfaceOptimum("saddle", best, len(y))
    (lr, lr_se, lr_ci), (batch, batch_se, batch_ci) = (
        coordinate(beta, cov, axis, float(stats.t.ppf(0.975, fit.df_resid))) for axis in (0, 1)
    )
    inside = u.min() <= lr <= u.max() and v.min() <= batch <= v.max()
    if curvatures[0] <= shown or not inside:
        return SurfaceOptimum("flat", best, len(y))
    # With the batch size tuned anew at every rate, the loss rises by Δu² / (2 (H⁻¹)₁₁).
    half = float(np.sqrt(2 * BASIN * np.linalg.inv(hessian)[0, 0]))
    return SurfaceOptimum(
        "interior",
        best,
        len(y),
        vertex=(best[0] + lr, best[1] + batch),
        se=(lr_se, batch_se),
        ci=((best[0] + lr_ci[0], best[0] + lr_ci[1]), (best[1] + batch_ci[0], best[1] + batch_ci[1])),
        loss=float(np.exp(beta[0] + (beta[1] * lr + beta[2] * batch) / 2)),
        # The surface is not trusted beyond the points that made it.
        basin=(best[0] + max(lr - half, u.min()), best[0] + min(lr + half, u.max())),
    )
