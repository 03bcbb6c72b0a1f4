"""First updates of memories and under learned optimizers against Stein's lemma, Adam's step and wrong exponents."""

import numpy as np
import pandas as pd
import pytest
import torch

from muster.sampling.first_updates import (
    GAIN,
    LearnedUpdatesCell,
    MemoryUpdatesCell,
    features,
    learned_changes,
    learned_step,
    recall,
)
from tests.statistical.test_regression_laws import decide, probes


@pytest.mark.parametrize(("activation", "slope"), [("tanh", 0.60571), ("relu2", np.sqrt(2 / np.pi))])
def test_tied_forces_point_along_the_input_as_by_steins_lemma(activation, slope):
    """E of force·x over ‖x‖² is GAIN E σ'(z), z normal, where ‖x‖² = N; untied it is 0."""
    cell = MemoryUpdatesCell(width=40_000, inputs=4, activation=activation, seed=0)
    rng = np.random.default_rng(0)
    patterns, other = (torch.from_numpy(rng.standard_normal((cell.width, 4)) / 2) for _ in range(2))
    x = torch.tensor([[1.0, -1, 1, 1]], dtype=torch.float64)
    assert recall(cell, patterns, patterns, x)[0] @ x[0] / 4 == pytest.approx(GAIN * slope, rel=0.05)
    assert abs(recall(cell, patterns, other, x)[0] @ x[0] / 4) < 0.02


def test_more_steps_of_recall_are_a_finer_euler_scheme():
    cell = MemoryUpdatesCell(width=3, depth=2, inputs=2, seed=0)
    patterns, x = torch.eye(3, 2, dtype=torch.float64), torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    half = (x + GAIN * 2 / 3 * torch.tanh(x)) / 2
    torch.testing.assert_close(recall(cell, patterns, patterns, x)[1], (half + GAIN * 2 / 3 * torch.tanh(half)) / 2)


def test_features_do_not_depend_on_the_size_of_gradients_and_hold_adams_step():
    gradient, mean, square = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 5, 4)))
    square = square**2
    found = features(gradient, mean, square)
    torch.testing.assert_close(features(3 * gradient, 3 * mean, 9 * square), found)
    adam = (torch.tensor([[1e-6], [0], [0], [0]], dtype=torch.float64), torch.tensor([1e6], dtype=torch.float64))
    torch.testing.assert_close(learned_step(adam, found), mean / square.sqrt())


def test_rates_of_mup_keep_changes_and_one_rate_lets_them_grow():
    """Relative to the first layer, whose rate is the same: the optimizer's own size, random, drops out."""
    widths = np.array([16, 64, 256])
    slopes = {}
    for rates in ("mup", "one"):
        cells = [LearnedUpdatesCell(width=int(n), steps=2, rates=rates, seed=0) for n in widths]
        found = [
            np.log([learned_changes(cell, seed, np.random.default_rng(seed)) for seed in range(8)]) for cell in cells
        ]
        relative = [(each - each[..., :1]).mean(axis=0)[0, 1:] for each in found]
        slopes[rates] = np.polyfit(np.log(widths), relative, 1)[0]
    assert (np.abs(slopes["mup"]) < 0.15).all()
    assert (slopes["one"] > 0.7).all()


def test_forces_have_their_exponents_and_wrong_ones_are_refuted():
    for memory, power, exponent in (("tied", 1, 0), ("tied", 0.5, 0.5), ("untied", 1, -0.5)):
        rows = pd.concat(
            probes("memory_updates", width=k, memory=memory, power=power, draws=30) for k in (128, 256, 512, 1024)
        )
        rows = rows[rows["probe"] == "force"]
        assert decide(rows, "width", exponent, margin=0.1) == "supported"
        for wrong in (exponent - 0.5, exponent + 0.5):
            assert decide(rows, "width", wrong, margin=0.1) == "refuted"
