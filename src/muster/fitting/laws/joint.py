"""The joint law of model size and data: L(N, D) = E + A/N^α + B/D^β."""

import numpy as np

from muster.fitting.base import ESTIMATORS
from muster.fitting.laws.base import LAWS, Array, Law
from muster.fitting.laws.estimate import law_estimator
from muster.fitting.laws.starts import grid, project

EXPONENTS = (0.1, 0.3, 0.5, 1.0)


def log_value(theta: Array, x: Array) -> tuple[Array, Array]:
    """ln(E + A N^−α + B D^−β) [B, R] and its gradient [B, R, 5] in (α, β, E, ln A, ln B), from x = (N, D) [2, R].

    E is its own coordinate, bounded by zero: on a log scale a descent towards E = 0 would never arrive.
    """
    log_n, log_d = np.log(x)
    alpha, beta, e, a, b = (theta[:, [i]] for i in range(5))
    size = np.exp(a - alpha * log_n)
    data = np.exp(b - beta * log_d)
    total = e + size + data
    gradient = np.empty((*total.shape, 5))
    np.divide(size, total, out=gradient[..., 3])
    np.divide(data, total, out=gradient[..., 4])
    np.multiply(gradient[..., 3], -log_n, out=gradient[..., 0])
    np.multiply(gradient[..., 4], -log_d, out=gradient[..., 1])
    np.divide(1.0, total, out=gradient[..., 2])
    return np.log(total), gradient


def to_natural(theta: Array) -> Array:
    """(α, β, E, ln A, ln B) → (α, β, E, A, B), [B, 5]."""
    return np.concatenate([theta[:, :3], np.exp(theta[:, 3:])], axis=1)


def from_natural(natural: Array) -> Array:
    """(α, β, E, A, B) → (α, β, E, ln A, ln B), [B, 5]."""
    return np.concatenate([natural[:, :3], np.log(natural[:, 3:])], axis=1)


def starts(x: Array, y: Array) -> Array:
    """Sixteen pairs of exponents with E, A, B projected at each: θ [16, 5]."""
    pairs = grid(EXPONENTS, EXPONENTS)
    linear = [project(np.stack([np.ones_like(y), x[0] ** -alpha, x[1] ** -beta], 1), y) for alpha, beta in pairs]
    return from_natural(np.concatenate([pairs, linear], axis=1))


JOINT = LAWS.register("joint_law")(
    Law(
        name="joint_law",
        formula="L(N, D) = E + A/N^alpha + B/D^beta",
        variables=("parameters", "tokens"),
        parameters=("alpha", "beta", "e", "a", "b"),
        log_value=log_value,
        to_natural=to_natural,
        from_natural=from_natural,
        starts=starts,
        # Under C ∝ N D the loss is least at N ∝ C^(β/(α+β)) and D ∝ C^(α/(α+β)): Hoffmann et al. (2022), equation 4.
        derived={
            "compute_exponent": lambda p: p[:, 1] / (p[:, 0] + p[:, 1]),
            "tokens_exponent": lambda p: p[:, 0] / (p[:, 0] + p[:, 1]),
        },
        bounds={
            "alpha": (1e-3, 10.0),
            "beta": (1e-3, 10.0),
            "e": (0.0, np.inf),
            "a": (1e-12, np.inf),
            "b": (1e-12, np.inf),
        },
    )
)

ESTIMATORS.register("joint_law")(
    law_estimator(
        "joint_law",
        source="Hoffmann et al. 2022, equation 2 and appendix D.3; Besiroglu et al. 2024",
        assumes="Independent relative errors between runs (or clusters) around one curve; N and D vary separately",
        fails="One ratio of tokens to parameters leaves A and B unidentified; runs of other recipes shift E",
    )
)
