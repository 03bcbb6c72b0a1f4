"""Closed forms of sketched least squares and of forgetting, in the units of `muster.sampling.sketching`."""

import pandas as pd

from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.frames import require_columns


@CLOSED_FORMS.register("sketched_risk")
def sketched_risk(table: pd.DataFrame) -> pd.Series:
    """E|β̂ − β|² for noise of variance 1, exact at p = width, n = samples, m = round(sketch·p), |β| = snr.

    m < p − 1: snr²(1 − m/p) + m/(p − m − 1), whatever the sketch, as (SX)⁺S depends on the row space of S alone. m > p
    + 1: p/(m − p − 1) with orthonormal rows; with a Gaussian S, p/(n − p − 1)·(m + n − 2p − 1)/(m − p − 1), because S
    turns the n − p residual directions into fresh noise. Between them there is no mean. Derived;
    limits: Chen, Zeng, Yang & Sun 2023.
    """
    require_columns(table, ["width", "samples", "sketch", "snr", "method"], "options.formula")
    n, p = table["samples"], table["width"]
    m = (table["sketch"] * p).round().where(table["method"] != "full", n)
    over = table["snr"] ** 2 * (1 - m / p) + m / (p - m - 1)
    gaussian = p / (n - p - 1) * (m + n - 2 * p - 1) / (m - p - 1)
    under = gaussian.where(table["method"] == "gaussian", p / (m - p - 1))
    return over.where(m < p, under).where((m - p).abs() > 1)


@CLOSED_FORMS.register("best_sketch_risk")
def best_sketch_risk(table: pd.DataFrame) -> pd.Series:
    """2α − 1 with α = snr > 1: the lowest limit of the risk over sizes m < p, at m/p = 1 − 1/α (see best_sketch)."""
    require_columns(table, ["snr"], "options.formula")
    return 2 * table["snr"] - 1


@CLOSED_FORMS.register("best_sketch")
def best_sketch(table: pd.DataFrame) -> pd.Series:
    """m/p = 1 − 1/α: where α²(1 − x) + x/(1 − x), the risk of a sketch of x·p < p rows, has its minimum: α² = 1/(1 −
    x)². For α = snr > 1 and n > m rows. Derived; Chen, Zeng, Yang & Sun 2023."""
    require_columns(table, ["snr"], "options.formula")
    return 1 - 1 / table["snr"]


@CLOSED_FORMS.register("forgetting")
def forgetting(table: pd.DataFrame) -> pd.Series:
    """E|X₁(w₂ − w₁)|²/E|X₁w₁|² for p → ∞ at γ = d/p = aspect and g = similarity, α = 1 − g.

    Derived by free probability. The second task's samples are the first's times a rotation that is the identity on a
    free share g of the dimensions, Haar on the others. (T₁ − 2T₂ + T₃)/γ with T₁ = γ² + g²γ(1 − γ), T₂ = g c₃ +
    2γg(γ − c₂), T₃ = α[2γ²(γ² + αγ(1 − γ)) − γ⁴] + 4γg(c₂ − c₃) + g c₄, where c_k are the moments of a projection of
    trace γ compressed to the share g, with free cumulants κ₁ = γ, κ₂ = gγ(1 − γ), κ₃ = g²γ(1 − γ)(1 − 2γ), κ₄ = g³(γ −
    6γ² + 10γ³ − 5γ⁴) (compression: Nica & Speicher 2006, Lecture 14). Limits: γ → 0: g²(1 − g)²; γ → 1: 2α.
    """
    require_columns(table, ["aspect", "similarity"], "options.formula")
    y, g = table["aspect"], table["similarity"]
    a = 1 - g
    k2, k3 = g * y * (1 - y), g**2 * y * (1 - y) * (1 - 2 * y)
    k4 = g**3 * (y - 6 * y**2 + 10 * y**3 - 5 * y**4)
    c2, c3 = k2 + y**2, k3 + 3 * k2 * y + y**3
    c4 = k4 + 4 * k3 * y + 2 * k2**2 + 6 * k2 * y**2 + y**4
    first = y**2 + g**2 * y * (1 - y)
    second = g * c3 + 2 * y * g * (y - c2)
    third = a * (2 * y**2 * (y**2 + a * y * (1 - y)) - y**4) + 4 * y * g * (c2 - c3) + g * c4
    return (first - 2 * second + third) / y
