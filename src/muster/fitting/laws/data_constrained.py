"""Data-constrained law: repeated tokens and excess parameters are worth less with every repetition."""

import numpy as np

from muster.fitting.base import ESTIMATORS
from muster.fitting.laws.base import LAWS, Array, Law
from muster.fitting.laws.estimate import law_estimator
from muster.fitting.laws.starts import grid, project
from muster.fitting.laws.terms import log_sum

# The loss has several minima, from small r_d with large r_n to large r_d with small r_n: the grid spans both.
_R_D = (1.0, 4.0, 15.0, 50.0, 150.0)
_R_N = (0.7, 3.0, 15.0)
_EXPONENTS = (0.25, 0.45)


def worth(repeats: Array, constant: Array) -> tuple[Array, Array, Array]:
    """ln(1 + R* (1 − exp(−R/R*))), what R repetitions are worth, and its derivatives by R and by ln R*.

    repeats: R ≥ 0; constant: R* > 0; they broadcast. For R* → ∞ it is ln(1 + R): a repetition is worth as much as the
    first pass. Source: Muennighoff et al. (2023), definition of D'.
    """
    decay = np.exp(-repeats / constant)
    gained = -constant * np.expm1(-repeats / constant)
    return np.log1p(gained), decay / (1.0 + gained), (gained - repeats * decay) / (1.0 + gained)


def _log_value(theta: Array, x: Array) -> tuple[Array, Array]:
    log_r_d, log_r_n, log_alpha, log_beta, e, a, b = (theta[:, [i]] for i in range(7))
    alpha, beta = np.exp(log_alpha), np.exp(log_beta)
    n, d, u = np.log(x)
    u = np.minimum(u, d)

    # The base size is what U_D tokens can use: N itself, or the size at which a step in N and one in D gain the same.
    optimal = (log_alpha + a - log_beta - b + beta * u) / alpha
    excess = optimal < n
    base = np.where(excess, optimal, n)
    repeats_n = np.expm1(n - base)
    worth_n, by_repeats, by_r_n = worth(repeats_n, np.exp(log_r_n))
    worth_d, _, by_r_d = worth(np.expm1(d - u), np.exp(log_r_d))
    effective_n, effective_d = base + worth_n, u + worth_d
    value, (share_e, share_n, share_d) = log_sum(e, a - alpha * effective_n, b - beta * effective_d)

    # A larger base also means fewer repetitions of it; where nothing is in excess the parameters do not move the base.
    by_base = -alpha * share_n * np.where(excess, 1.0 - by_repeats * (1.0 + repeats_n), 0.0)
    columns = (
        -beta * share_d * by_r_d,
        -alpha * share_n * by_r_n,
        -alpha * share_n * effective_n + by_base * (1.0 / alpha - optimal),
        -beta * share_d * effective_d + by_base * (beta * u - 1.0) / alpha,
        share_e,
        share_n + by_base / alpha,
        share_d - by_base / alpha,
    )
    return value, np.stack(columns, axis=-1)


def _starts(x: Array, y: Array) -> Array:
    """Exponents and constants from a grid; E, A, B are solved for twice, because the base size depends on A/B."""
    n, d, u = np.log(x)
    u = np.minimum(u, d)
    starts = []
    for r_d, r_n, exponent in grid(_R_D, _R_N, _EXPONENTS):
        log_ratio = 0.0
        for _ in range(2):
            base = np.minimum(log_ratio / exponent + u, n)
            log_size = base + worth(np.expm1(n - base), r_n)[0]
            log_data = u + worth(np.expm1(d - u), r_d)[0]
            design = np.exp(-exponent * np.stack([np.zeros_like(y), log_size, log_data], axis=1))
            linear = project(design, y)
            log_ratio = np.log(linear[1] / linear[2])
        starts.append([r_d, r_n, exponent, exponent, *linear])
    return np.log(starts)


DATA_CONSTRAINED = LAWS.register("data_constrained")(
    Law(
        name="data_constrained",
        formula="L = E + A/N'^α + B/D'^β, D' = U_D (1 + R_D* (1 − exp(−R_D/R_D*))), R_D = D/U_D − 1, N' alike from "
        "the compute-optimal size U_N for U_D tokens",
        variables=("parameters", "tokens", "unique_tokens"),
        parameters=("r_d", "r_n", "alpha", "beta", "e", "a", "b"),
        log_value=_log_value,
        to_natural=np.exp,
        from_natural=np.log,
        starts=_starts,
        # What four passes over the same tokens are worth, as a share of as many new tokens.
        derived={"four_epochs": lambda p: np.exp(worth(np.array(3.0), p[:, 0])[0]) / 4.0},
        bounds={"r_d": (1e-2, 1e4), "r_n": (1e-2, 1e4), "alpha": (1e-3, 10.0), "beta": (1e-3, 10.0)},
    )
)

ESTIMATORS.register("data_constrained")(
    law_estimator(
        "data_constrained",
        source="Muennighoff et al. (2023), Scaling Data-Constrained Language Models, the laws of D' and N'; fit as "
        "in their utils/parametric_fit.ipynb, which takes e, a, b, alpha, beta from other runs: give those as "
        "`fixed` to estimate r_d and r_n alone",
        assumes="runs that end their learning-rate schedule; tokens repeated in whole passes; single-epoch "
        "behaviour known (fixed) or spanned by the table (runs with and without repetition, at several sizes)",
        fails="the objective has several minima and is nearly flat towards r_d = ∞ unless runs repeat their data "
        "well beyond r_d times; losses that rise again with repetition are outside of the law and pull r_d down",
    )
)
