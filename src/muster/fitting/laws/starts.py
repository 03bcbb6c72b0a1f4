"""Starting points of a fit: exponents on a grid, the linear coefficients solved for at each (variable projection)."""

import numpy as np

from muster.fitting.laws.base import Array

# A coefficient that non-negative least squares sets to zero starts at this share of the response instead: on a log
# scale zero is infinitely far away.
_SMALLEST_SHARE = 0.1


def project(design: Array, y: Array) -> Array:
    """Positive coefficients c [M] that minimize the relative error of design [R, M] c as a prediction of y [R] > 0.

    Relative errors are to first order the log residuals of a fit. Golub & Pereyra (1973) call this variable
    projection; Lawson & Hanson's (1974) non-negative least squares keeps every coefficient where a law needs it.
    """
    from scipy.optimize import nnls

    relative = design / y[:, None]
    size = np.linalg.norm(relative, axis=0)
    size = np.where(size > 0, size, 1.0)
    coefficients = nnls(relative / size, np.ones_like(y))[0]
    return np.asarray(np.maximum(coefficients, _SMALLEST_SHARE * np.sqrt(len(y))) / size, float)


def grid(*axes: tuple[float, ...]) -> Array:
    """All combinations of the values of several coordinates: [S, number of axes]."""
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1).astype(float)
