"""Row mpl_25 of ANCHORS.csv: the multi-power law of Luo et al. 2025 at its published parameters, on held-out schedules.

L(t) = L0 + A S1(t)^−α + B Σ_{k ≤ t} (η_k − η_{k−1}) (1 − (1 + C η_k^−γ S_k(t))^−β), S1 being the sum of rates up to t
and S_k(t) that from k to t. Parameters and schedules: config.py and data_loader.py of thu-yao-01-luo/MultiPowerLaw.
"""

import numpy as np
import pandas as pd
import pytest

L0, A, ALPHA, B, C, BETA, GAMMA = 3.04045406, 0.52468604, 0.50786857, 363.78751622, 2.06560812, 0.58279013, 0.64142257
WARMUP, PEAK, END = 2160, 3e-4, 3e-5


def rates(curve):
    """The schedule of a curve of 25M parameters, one rate a step."""
    name, *numbers = curve.split("_")
    total = 16000 if name == "wsdcon" else int(numbers[-1])
    step = np.arange(total, dtype=float)
    if name == "cosine":
        after = END + 0.5 * (PEAK - END) * (1 + np.cos(np.pi * (step - WARMUP) / (total - WARMUP)))
    elif name == "constant":
        after = np.full(total, PEAK)
    elif name == "wsdcon":
        after = np.where(step < 8000, PEAK, int(numbers[0]) * 1e-5)
    else:
        part = np.clip((step - int(numbers[0])) / (total - int(numbers[0])), 0, 1)
        after = PEAK ** (1 - part) * END**part if name == "wsd" else PEAK * (1 - part) + END * part
    return np.where(step < WARMUP, np.linspace(0, PEAK, WARMUP)[np.minimum(step, WARMUP - 1).astype(int)], after)


def predicted(schedule, steps):
    """Loss at the given steps, [len(steps)]."""
    area = np.cumsum(schedule)
    change = np.diff(schedule, prepend=schedule[0])
    moved = np.flatnonzero(change)  # steady rates add nothing
    losses = []
    for step in steps:
        k = moved[moved <= step]
        passed = area[step] - area[k - 1]
        drop = change[k] * (1 - (1 + C * schedule[k] ** -GAMMA * passed) ** -BETA)
        losses.append(L0 + A * area[step] ** -ALPHA + B * drop.sum())
    return np.array(losses)


def test_published_parameters_predict_held_out_schedules(shared_data):
    """mpl_25: mean absolute error .00376, a mean over six curves."""
    table = pd.read_csv(shared_data / "MultiPowerLaw/loss_curves.csv").query("size == 25 and heldout == 1")
    errors = []
    for curve, rows in table.groupby("curve"):
        schedule, steps = rates(curve), rows["step"].to_numpy(int)
        assert np.cumsum(schedule)[steps] == pytest.approx(rows["S1"].to_numpy(float), rel=1e-6)
        errors.append(np.abs(predicted(schedule, steps) - rows["loss"].to_numpy(float)).mean())
    assert len(errors) == 6
    assert np.mean(errors) == pytest.approx(0.00376, abs=5e-6)
