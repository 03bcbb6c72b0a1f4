"""Closed forms of associative memories."""

import pandas as pd

from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.frames import require_columns
from muster.sampling.associative_memory import CRITERION


@CLOSED_FORMS.register("hebbian_capacity")
def hebbian_capacity(table: pd.DataFrame) -> pd.Series:
    """N^(P−1) (1/z² − ρ)/((2P − 3)!! (1 + ρ)^P), ρ = (1 − r²)/(M r²), z the normal quantile of the share of flips: the
    K at which a neuron flips with that probability. P = bodies, r = quality, M = examples, N = width.

    Derived: the signal η̄_i (η̄·ξ/N)^(P−1) has mean r^P and relative variance ρ; each of K other archetypes adds E η̄_i² =
    r²(1 + ρ) times the moment of order 2P − 2 of a normal overlap of variance r²(1 + ρ)/N. Its P = 2, r = 1 is the
    signal-to-noise estimate of Hopfield's network (Hertz, Krogh & Palmer 1991, section 2.2).
    """
    from scipy.special import factorial2, ndtri

    require_columns(table, ["width", "bodies", "quality", "examples"], "options.formula")
    bodies = table["bodies"].astype(int)
    noise = (1 - table["quality"] ** 2) / (table["examples"] * table["quality"] ** 2)
    pairs = factorial2(2 * bodies.to_numpy() - 3)
    return table["width"] ** (bodies - 1) * (1 / ndtri(CRITERION) ** 2 - noise) / (pairs * (1 + noise) ** bodies)
