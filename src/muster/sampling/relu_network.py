"""Small fully connected ReLU networks in binary64 and Adam, for experiments that train a few of them on the way.

A network is a list of weights W₁, b₁, W₂, b₂, …: h₀ = x, h_k = max(h_{k−1} W_k + b_k, 0), without the maximum at the
end. Dimensions: n inputs.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def initial(sizes: Sequence[int], rng: np.random.Generator) -> list[Array]:
    """Weights and biases uniform on ±1/√fan-in, as torch's linear layers begin."""
    weights = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        weights += [rng.uniform(-1, 1, shape) / fan_in**0.5 for shape in ((fan_in, fan_out), (fan_out,))]
    return weights


def forward(weights: list[Array], x: Array) -> list[Array]:
    """x, every hidden layer and the outputs, all [n, units]."""
    layers = [x]
    for k in range(0, len(weights), 2):
        z = layers[-1] @ weights[k] + weights[k + 1]
        layers.append(np.maximum(z, 0) if k + 2 < len(weights) else z)
    return layers


def gradients(weights: list[Array], layers: list[Array], slope: Array) -> list[Array]:
    """Of a loss by all weights, from its gradient by the outputs [n, outputs]."""
    found: list[Array] = []
    for k in range(len(layers) - 2, -1, -1):
        found = [layers[k].T @ slope, slope.sum(axis=0), *found]
        if k:
            slope = (slope @ weights[2 * k].T) * (layers[k] > 0)
    return found


class Adam:
    """Adam without decay (D. Kingma and J. Ba, 2015); `step` changes the weights in place."""

    def __init__(
        self, weights: list[Array], rate: float, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8
    ) -> None:
        self.weights, self.rate, self.betas, self.epsilon = weights, rate, betas, epsilon
        self.means, self.squares = ([np.zeros_like(part) for part in weights] for _ in range(2))
        self.steps = 0

    def step(self, changes: list[Array]) -> None:
        self.steps += 1
        slow, slower = self.betas
        for part, mean, square, change in zip(self.weights, self.means, self.squares, changes, strict=True):
            mean += (1 - slow) * (change - mean)
            square += (1 - slower) * (change**2 - square)
            root = np.sqrt(square / (1 - slower**self.steps)) + self.epsilon
            part -= self.rate / (1 - slow**self.steps) * mean / root
