"""Residuals of the response itself, as some published recipes have them, for the solver of log residuals."""

from dataclasses import replace

import numpy as np

from muster.fitting.laws.base import Array, Law


def linear_scale(law: Law) -> Law:
    """The same law, coordinates and bounds, for responses exp(y): its log residuals there are y − f(x; θ).

    A fit of it to exp(y) minimizes Huber's loss of y − f instead of that of ln y − ln f; its θ is that of `law`.
    """

    def log_value(theta: Array, x: Array) -> tuple[Array, Array]:
        value, gradient = law.log_value(theta, x)
        response = np.exp(value)
        return response, response[..., None] * gradient

    def starts(x: Array, y: Array) -> Array:
        return law.starts(x, np.log(y))

    return replace(law, log_value=log_value, starts=starts)
