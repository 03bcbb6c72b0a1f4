"""Closed forms of linear and kernel regression in high dimension, in the units of `muster.sampling.regression`."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.frames import require_columns
from muster.sampling.regression import power_tail

ANGLES = (np.arange(4096) + 0.5) * np.pi / 4096
TERMS = np.arange(1.0, 200_001)


def marchenko_pastur(aspect: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes λ and weights, both [rows, nodes], of the continuous part of the spectrum of XᵀX for P/d = aspect [rows].

    ρ(λ) = √((λ₊ − λ)(λ − λ₋))/(2πλ), λ± = (√α ± 1)²; the weight of λ = 0 is max(0, 1 − α) (Marchenko & Pastur 1967).
    With λ = 1 + α + 2√α cos θ, ρ dλ = 2α sin²θ/(πλ) dθ, smooth and periodic: midpoints in θ converge exponentially.
    """
    alpha = aspect[:, None]
    nodes = 1 + alpha + 2 * np.sqrt(alpha) * np.cos(ANGLES)
    return nodes, 2 * alpha * np.sin(ANGLES) ** 2 / nodes / len(ANGLES)


@CLOSED_FORMS.register("teacher_student_error")
def teacher_student_error(table: pd.DataFrame) -> pd.Series:
    """Excess error per feature at time t = step of a student that starts at 0: the mean over the Marchenko–Pastur law
    of e^(−2λt) + (1 − e^(−λt))²/(λ snr) (Advani & Saxe 2017; derived in the module regression)."""
    require_columns(table, ["aspect", "snr", "step"], "options.formula")
    cases = table[["aspect", "snr", "step"]].astype(float)
    distinct = cases.drop_duplicates()
    aspect, snr, t = (distinct[column].to_numpy() for column in distinct)
    nodes, weights = marchenko_pastur(aspect)
    decay = nodes * t[:, None]
    error = weights * (np.exp(-2 * decay) + np.square(np.expm1(-decay)) / nodes / snr[:, None])
    found = distinct.assign(error=error.sum(axis=1) + np.maximum(0, 1 - aspect))
    return pd.Series(cases.merge(found, how="left")["error"].to_numpy(), index=table.index)


@CLOSED_FORMS.register("unseen_share")
def unseen_share(table: pd.DataFrame) -> pd.Series:
    """1 − P/d: directions that no sample touches, where initial weights stay for ever (Advani & Saxe 2017)."""
    require_columns(table, ["aspect"], "options.formula")
    return 1 - table["aspect"]


@CLOSED_FORMS.register("label_chain_risk")
def label_chain_risk(table: pd.DataFrame) -> pd.Series:
    """Excess risk d/(T − d − 1) + n d/(T₀ − d − 1) of least squares after n = layer generations of synthetic labels, in
    units of the noise: width d, samples T, label_ratio T₀/T (Dohmatob, Feng & Kempe 2024).

    Exact at every size: each fit adds Xᵀ-projected noise, whose mean square is tr E(XᵀX)^(−1) = d/(T − d − 1).
    """
    require_columns(table, ["width", "samples", "label_ratio", "layer"], "options.formula")
    d, samples = table["width"], table["samples"]
    return d / (samples - d - 1) + table["layer"] * d / (samples * table["label_ratio"] - d - 1)


def ridge_pollution(width: int, samples: float, label_samples: float, decay: float, ridge_exponent: float) -> float:
    """Variance that one generation of synthetic labels adds to a ridge fit, in units of their noise; see below."""
    from scipy import optimize

    spectrum, ridge = np.arange(1.0, width + 1) ** -decay, samples**-ridge_exponent

    def gap(log_kappa: float) -> float:
        kappa = np.exp(log_kappa)
        return float(kappa * (1 - (spectrum / (spectrum + kappa)).sum() / samples) - ridge)

    # κ − λ = (κ/T) Σ λ_i/(λ_i + κ) lies between 0 and Σ λ_i/T.
    bounds = np.log(ridge), np.log(ridge + spectrum.sum() / samples) + 1e-9
    hidden = 1 / (1 + spectrum / np.exp(optimize.brentq(gap, *bounds, xtol=1e-14)))
    seen = np.square(1 - hidden).sum()
    shrunk = np.square(hidden).sum() * seen / (samples - seen)
    return float((seen + shrunk) / (label_samples - width - 1))


@CLOSED_FORMS.register("label_chain_pollution")
def label_chain_pollution(table: pd.DataFrame) -> pd.Series:
    """n/(T₀ − d − 1) · [S + H S/(T − S)], S = Σ (λ_i/(λ_i + κ))², H = Σ (κ/(λ_i + κ))²: what n = layer generations of
    synthetic labels add to the risk of a ridge λ = T^(−ridge_exponent), for a spectrum λ_i = i^(−decay), i ≤ d, where
    κ (1 − (1/T) Σ λ_i/(λ_i + κ)) = λ.

    Deterministic equivalent, derived here: the n fits leave an error of covariance n Λ^(−1)/(T₀ − d − 1), exactly, of
    which the ridge passes on (1 − λR) with R = (Σ̂ + λ)^(−1); λR ≃ κ (Λ + κ)^(−1) and λ² R Λ R ≃ κ² Λ (Λ + κ)^(−2) T/(T
    − S) (V. A. Marchenko and L. A. Pastur 1967; F. Bach, High-dimensional analysis of double descent, 2023). In the
    limit 1 ≪ T^(ridge_exponent/decay) ≪ d ≪ T it is ∝ T^(ridge_exponent/decay)/T₀, the power law of Dohmatob, Feng &
    Kempe (2024). At finite sizes d/T₀ and H/T raise it (by 12 % at d/T = 1/16), half a feature is missing from S, and d
    ends the spectrum.
    """
    columns = ["width", "samples", "label_ratio", "decay", "ridge_exponent", "layer"]
    require_columns(table, columns, "options.formula")
    found: dict[tuple[float, ...], float] = {}
    for case in set(table[columns[:-1]].itertuples(index=False, name=None)):
        width, samples, ratio, decay, exponent = case
        found[case] = ridge_pollution(int(width), samples, round(ratio * samples), decay, exponent)
    cases = table[columns[:-1]].itertuples(index=False, name=None)
    return table["layer"] * pd.Series([found[case] for case in cases], index=table.index)


def effective_ridge(decay: float, samples: float) -> float:
    """κ of Σ_i λ_i/(λ_i + κ) = n for λ_i = i^(−decay), i = 1, 2, …: sums to 2·10⁵, then ∫λ/κ."""
    from scipy import optimize

    spectrum, tail = TERMS**-decay, power_tail(len(TERMS), decay)[0]

    def gap(log_kappa: float) -> float:
        kappa = np.exp(log_kappa)
        return float(np.log((spectrum / (spectrum + kappa)).sum() + tail / kappa) - np.log(samples))

    guess = -decay * np.log(samples)
    return float(np.exp(optimize.brentq(gap, guess - 10 - decay, guess + 10 + decay, xtol=1e-12)))


@CLOSED_FORMS.register("overfitting_cost")
def overfitting_cost(table: pd.DataFrame) -> pd.Series:
    """E₀ = 1/(1 − (1/n) Σ (λ_i/(λ_i + κ))²), κ: Σ λ_i/(λ_i + κ) = n = samples, for a spectrum i^(−decay) (Zhou, Simon,
    Vardi & Srebro 2023).

    E₀ → decay as n → ∞: with x = κ i^decay the two sums become ∫ di/(1 + x) and ∫ di/(1 + x)², and integration by parts
    makes the second 1 − 1/decay of the first.
    """
    require_columns(table, ["decay", "samples"], "options.formula")
    cases = table[["decay", "samples"]].astype(float)
    found = {}
    for decay, samples in cases.drop_duplicates().itertuples(index=False):
        spectrum = TERMS**-decay
        share = spectrum / (spectrum + effective_ridge(decay, samples))
        found[decay, samples] = 1 / (1 - np.square(share).sum() / samples)
    return pd.Series([found[case] for case in cases.itertuples(index=False, name=None)], index=table.index)


@CLOSED_FORMS.register("resolution_limited_loss")
def resolution_limited_loss(table: pd.DataFrame) -> pd.Series:
    """n κ(n), the loss of n samples at infinite width or of n features at infinitely many samples, κ: Σ λ_i/(λ_i + κ) =
    n for λ_i = i^−(1 + kernel_exponent); n is `samples` for the probe data_limited, `width` for width_limited.

    The omniscient risk E₀ Σ (κ/(λ + κ))² v_i² at v_i² = λ_i, where E₀ = 1/(1 − (1/n) Σ (λ/(λ + κ))²) (see
    overfitting_cost) and Σ λκ²/(λ + κ)² = κ (n − Σ (λ/(λ + κ))²) = nκ/E₀. As κ ∝ n^−(1 + α), the loss falls like n^−α
    (Bahri et al. 2021, resolution-limited regime).
    """
    require_columns(table, ["kernel_exponent", "samples", "width", "probe"], "options.formula")
    n = table["samples"].where(table["probe"] == "data_limited", table["width"]).astype(float)
    cases = list(zip(1 + table["kernel_exponent"].astype(float), n, strict=True))
    found = {case: case[1] * effective_ridge(*case) for case in set(cases)}
    return pd.Series([found[case] for case in cases], index=table.index)


@CLOSED_FORMS.register("random_features_inflation")
def random_features_inflation(table: pd.DataFrame) -> pd.Series:
    """L(D, P)/L(∞) = (l − 1)/(l − s − 1) for least squares on random features without a ridge, s and l the smaller and
    the larger of D = samples and P = width, L(∞) the loss at l = ∞. Exact at every size and spectrum.

    D > P: what P features cannot express acts like independent label noise, whose regression on them adds P/(D − P −
    1), the trace of an inverse Wishart matrix over its dimension. D < P: given the samples, a test point's features are
    its regression on theirs plus an independent Gaussian part, which adds D/(P − D − 1) likewise. Both excesses fall
    like 1/l: the variance-limited regimes of Bahri et al. (2021).
    """
    require_columns(table, ["samples", "width"], "options.formula")
    sides = table[["samples", "width"]].astype(float)
    small, large = sides.min(axis=1), sides.max(axis=1)
    return (large - 1) / (large - small - 1)
