"""Lion against Algorithm 2 of Chen et al. 2023, written out; whole runs are held against the package lion-pytorch."""

import numpy as np
import pytest
import torch

from muster.optimizers import OPTIMIZERS, Hyper
from muster.training.cell import TrainCell

MEMBERS, SHAPE, STEPS = 3, (4, 5), 12
RATES, DECAY = [0.01, 0.05, 0.3], [0.0, 0.1, 0.5]


def algorithm_2(start: np.ndarray, gradients: list[np.ndarray], rate: float, decay: float, beta1: float, beta2: float):
    """θ after the steps: c = β₁m + (1 − β₁)g, θ ← θ − η(sign(c) + λθ), m ← β₂m + (1 − β₂)g."""
    theta, m = start.copy(), np.zeros_like(start)
    for step, g in enumerate(gradients):
        c = beta1 * m + (1 - beta1) * g
        theta = theta - rate * schedule(step) * (np.sign(c) + decay * theta)
        m = beta2 * m + (1 - beta2) * g
    return theta


def schedule(step: int) -> float:
    return 1 - step / STEPS


@pytest.mark.parametrize("betas", [{}, {"beta1": 0.95, "beta2": 0.98}, {"beta1": 0.0, "beta2": 0.0}])
def test_members_follow_the_paper(betas):
    rng = np.random.default_rng(0)
    start = rng.standard_normal(SHAPE)
    gradients = [rng.standard_normal((MEMBERS, *SHAPE)) for _ in range(STEPS)]
    cell = TrainCell(width=1, seed=0, steps=1, log2_lr=[0.0], optimizer="lion", **betas)
    weights = {"w": torch.from_numpy(start).expand(MEMBERS, *SHAPE).clone()}
    optimizer = OPTIMIZERS["lion"](weights, {"w": Hyper(RATES, [0.0] * MEMBERS, DECAY)}, cell)
    optimizer.bind()
    for step, g in enumerate(gradients):
        optimizer.step({"w": torch.from_numpy(g)}, schedule(step))
    chosen = (betas.get("beta1", 0.9), betas.get("beta2", 0.99))
    for e in range(MEMBERS):
        expected = algorithm_2(start, [g[e] for g in gradients], RATES[e], DECAY[e], *chosen)
        np.testing.assert_allclose(weights["w"][e].numpy(), expected, rtol=1e-12, atol=1e-13)


def test_the_size_of_gradients_does_not_matter():
    """Update(gradient=0): a factor on all gradients changes nothing, which Adam has only at ε = 0."""
    rng = np.random.default_rng(1)
    gradients = [torch.from_numpy(rng.standard_normal((1, *SHAPE))) for _ in range(STEPS)]
    cell = TrainCell(width=1, seed=0, steps=1, log2_lr=[0.0], optimizer="lion")
    ends = []
    for factor in (1.0, 2.0**-40):
        weights = {"w": torch.ones(1, *SHAPE, dtype=torch.float64)}
        optimizer = OPTIMIZERS["lion"](weights, {"w": Hyper([0.1], [0.0], [0.0])}, cell)
        optimizer.bind()
        for g in gradients:
            optimizer.step({"w": g * factor}, 1.0)
        ends.append(weights["w"])
    assert torch.equal(*ends)
    assert OPTIMIZERS["lion"].update.scale_free
