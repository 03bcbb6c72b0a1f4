"""What a learning-rate schedule amounts to."""

import numpy as np


def annealing_areas(learning_rates: np.ndarray, decay: float) -> tuple[np.ndarray, np.ndarray]:
    """S1 and S2 after every step of a schedule η_1 … η_T: two arrays [T], in units of learning rate × steps.

    S1(s) = Σ_{i≤s} η_i and S2(s) = Σ_{i≤s} Σ_{k≤i} (η_{k−1} − η_k) λ^{i−k}, with η_0 = η_1 so that the first step is no
    annealing, and λ = `decay`. The double sum is two nested recursions: the momentum of the annealing, and its sum.
    Source: Tissue, Wang & Wang (2024), definition of the forward and the annealing area.
    """
    from scipy.signal import lfilter

    rates = np.asarray(learning_rates, float)
    drops = -np.diff(rates, prepend=rates[:1])
    momentum = lfilter([1.0], [1.0, -decay], drops)
    return np.cumsum(rates), np.cumsum(momentum)
