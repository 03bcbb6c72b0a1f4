"""Closed forms of associative memories."""

import pandas as pd

from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.frames import require_columns
from muster.sampling.associative_memory import CRITERION


@CLOSED_FORMS.register("hebbian_capacity")
def hebbian_capacity(table: pd.DataFrame) -> pd.Series:
    """N^(P−1) (1/z² − ρ)/((2P − 3)!! (1 + ρ)^P), ρ = (1 − r²)/(M r²), z the normal quantile of the share of flips: the
    K at which a neuron flips with that probability. P = bodies, r = quality, M = examples, N = width.

    Derived: in the gauge ξ¹ = 1 the own term η̄_i m^(P−1) has, to order 1/N, mean r^P and relative variance ρ, that of
    η̄_i, as m = r + O(N^−½). Each other archetype adds η̄_i o^(P−1), whose factors are independent as o leaves out i:
    mean 0 by symmetry, variance E η̄_i² E o^(2P−2) with E η̄_i² = r²(1 + ρ), o ~ N(0, r²(1 + ρ)/N) and the normal moment
    (2P − 3)!! (P = 2: 1, P = 3: 3). K such terms make a normal sum, of variance V = ρ + (2P − 3)!! (1 + ρ)^P K/N^(P−1)
    relative to r^2P; the neuron flips with probability Φ(−V^−½). P = 2, r = 1 is the signal-to-noise estimate of
    Hopfield's network (Hertz, Krogh & Palmer 1991, section 2.2). Left out: −1.3/N of K at P = 3, the skewness of η̄_i.
    """
    from scipy.special import factorial2, ndtri

    require_columns(table, ["width", "bodies", "quality", "examples"], "options.formula")
    bodies = table["bodies"].astype(int)
    noise = (1 - table["quality"] ** 2) / (table["examples"] * table["quality"] ** 2)
    pairs = factorial2(2 * bodies.to_numpy() - 3)
    return table["width"] ** (bodies - 1) * (1 / ndtri(CRITERION) ** 2 - noise) / (pairs * (1 + noise) ** bodies)


@CLOSED_FORMS.register("multitasking_signal")
def multitasking_signal(table: pd.DataFrame) -> pd.Series:
    """d^(k − 1)(1 − d), d = dilution, k = layer: the overlap with pattern k of the state in which every neuron agrees
    with the first pattern that has an entry there, for N → ∞.

    Derived: the first k − 1 entries are 0 and the k-th is not with that probability; neurons that follow an earlier
    pattern agree with pattern k as often as not. The state is stable where a pattern outweighs all later ones, 1 − d >
    Σ_{k ≥ 2} m_k (Agliari, Alessandrelli, Barra & Ricci-Tersenghi 2023).
    """
    require_columns(table, ["dilution", "layer"], "options.formula")
    return table["dilution"] ** (table["layer"] - 1) * (1 - table["dilution"])
