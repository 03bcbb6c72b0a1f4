"""The first updates of networks whose weights are shared or whose optimizer is learned: how far each quantity moves.

Two experiments on random networks of width n, batches of normal inputs, and steps of rate RATE on fixed targets.

`memory_updates`: a dense associative memory of K = `width` patterns Ξ in N = `inputs` dimensions, entries of variance
1/N, x ← x + (γ Rᵀσ(Ξx) − x)/T for T = `depth` times, R = Ξ where `memory` is tied, γ = GAIN N K^−`power`. T.
Holtzman, D. Krotov and B. Hanin (2026); exponents are derived here. By Stein's lemma x·Ξᵀσ(Ξx) is (K/N) E[σ'] ‖x‖² +
O(√K): a tied sum is coherent from the start, γ must fall like 1/K, and with it the gradient: steps of SGD are times K,
those of signs as they are. Probes at the first batch: `force` = rms of γ Rᵀσ(Ξx), and after one step the rms changes
`overlap_change` of Ξx and `state_change` of the end.

`learned_updates`: a tanh network of three hidden layers under a learned optimizer: each weight's step is RATE times a
fixed random net of FEATURES features that do not depend on the gradient's size. B. Thérien, C.-É. Joseph, B. Knyazev,
E. Oyallon, I. Rish and E. Belilovsky, µLO (2024). Scale-free steps are as Adam's: under µP those of hidden weights and
of the readout are divided by n; with `rates` one they are not. Probe, after 1 and `steps` steps (`step`): `change`
(layer), the rms change of preactivations of fresh inputs, the last layer being the output.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.tables import Row, outcome, probe_rows

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
RATE, GAIN, BATCH, INPUTS, OUTPUTS, LAYERS = 1e-3, 0.5, 16, 8, 3, 3
FEATURES, UNITS = 4, 16
MOMENTUM, SQUARES = 0.9, 0.99  # decays of the learned optimizer's averages


class FirstUpdatesCell(Cell):
    """One width."""

    draws: int = Field(20, ge=2, le=10**5, description="Random networks sampled")


class MemoryUpdatesCell(FirstUpdatesCell):
    """One memory: K = `width`, T = `depth`."""

    free_names: ClassVar[tuple[str, ...]] = ("activation", "rule")

    inputs: int = Field(16, ge=2, le=10**4, description="N, dimension of a pattern")
    memory: Literal["tied", "untied"] = Field("tied", description="Whether patterns are read out by themselves")
    power: float = Field(1.0, ge=0, le=2, description="The readout's factor γ is ∝ K^−power")
    activation: Literal["tanh", "relu2"] = Field("tanh", description="σ; relu2: max(0, s)²")
    rule: Literal["sgd", "sign"] = Field("sign", description="Step: the gradient times K, or its signs over N")


class LearnedUpdatesCell(FirstUpdatesCell):
    """One network under a learned optimizer."""

    steps: int = Field(4, ge=2, le=100, description="Steps, each on a fresh batch")
    rates: Literal["mup", "one"] = Field("mup", description="Rates of tensors: µP's, or one for all")


def _normal(rng: np.random.Generator, *shape: int) -> "Tensor":
    import torch

    return torch.from_numpy(rng.standard_normal(shape))


def _rms(values: "Tensor") -> float:
    return float(values.detach().square().mean().sqrt())


def recall(cell: MemoryUpdatesCell, patterns: "Tensor", readout: "Tensor", x: "Tensor") -> "tuple[Tensor, Tensor]":
    """The force γ Rᵀσ(Ξx) on the states x [B, N], and the states after T steps."""
    import torch

    gain, force = GAIN * cell.inputs * cell.width**-cell.power, x
    for step in range(cell.depth):
        s = x @ patterns.T
        moved = gain * ((torch.tanh(s) if cell.activation == "tanh" else torch.relu(s) ** 2) @ readout)
        force = moved if step == 0 else force
        x = x + (moved - x) / cell.depth
    return force, x


def memory_changes(cell: MemoryUpdatesCell, rng: np.random.Generator) -> list[float]:
    """force, overlap_change and state_change of one memory that learns to remove noise of sd ½."""
    import torch

    patterns = (_normal(rng, cell.width, cell.inputs) / cell.inputs**0.5).requires_grad_()
    readout = (
        patterns
        if cell.memory == "tied"
        else (_normal(rng, cell.width, cell.inputs) / cell.inputs**0.5).requires_grad_()
    )
    clean = _normal(rng, BATCH, cell.inputs)
    noisy = (clean + 0.5 * _normal(rng, BATCH, cell.inputs)) / 1.25**0.5
    force, end = recall(cell, patterns, readout, noisy)
    weights = [patterns] if cell.memory == "tied" else [patterns, readout]
    gradients = torch.autograd.grad((end - clean).square().mean(), weights)
    with torch.no_grad():
        steps = [g * cell.width if cell.rule == "sgd" else torch.sign(g) / cell.inputs for g in gradients]
        new = [weight - RATE * step for weight, step in zip(weights, steps, strict=True)]
        moved = recall(cell, new[0], new[-1], noisy)[1]
        return [_rms(force), _rms(noisy @ (new[0] - patterns).T), _rms(moved - end)]


def learned_step(weights: "tuple[Tensor, Tensor]", features: "Tensor") -> "Tensor":
    """Output of the optimizer's net, odd in its features [..., FEATURES], as wide as they are otherwise."""
    import torch

    return torch.tanh(features @ weights[0]) @ weights[1]


def features(gradient: "Tensor", mean: "Tensor", square: "Tensor") -> "Tensor":
    """Adam's step, the gradient and its mean over their rms, and the gradient's sign: [..., FEATURES]."""
    import torch

    over_rms = [each / each.square().mean().sqrt() for each in (gradient, mean)]
    return torch.stack([mean / square.sqrt(), *over_rms, gradient.sign()], dim=-1)


def preactivations(matrices: "list[Tensor]", x: "Tensor") -> "list[Tensor]":
    """Preactivations of every layer, the output last."""
    import torch

    found = [x @ matrices[0]]
    for matrix in matrices[1:]:
        found.append(torch.tanh(found[-1]) @ matrix)
    return found


def learned_net(draw: int) -> "tuple[Tensor, Tensor]":
    """Weights of the optimizer's net of one draw, the same at every width: its own size is random."""
    rng = np.random.default_rng(draw)
    return _normal(rng, FEATURES, UNITS) / FEATURES**0.5, _normal(rng, UNITS) / UNITS**0.5


def learned_changes(cell: LearnedUpdatesCell, draw: int, rng: np.random.Generator) -> Array:
    """rms changes [2, layers] after one and after all steps, of one network under the optimizer of a draw."""
    import torch

    n = cell.width
    fans = [INPUTS, *[n] * LAYERS]
    matrices = [_normal(rng, fan, n) / fan**0.5 for fan in fans[:-1]] + [_normal(rng, n, OUTPUTS) / n]
    fresh, teacher = _normal(rng, 4 * BATCH, INPUTS), _normal(rng, INPUTS, OUTPUTS)
    before = preactivations(matrices, fresh)
    net = learned_net(draw)
    averages = [(torch.zeros_like(matrix), torch.zeros_like(matrix)) for matrix in matrices]
    found = []
    for step in range(1, cell.steps + 1):
        x = _normal(rng, BATCH, INPUTS)
        learning = [matrix.requires_grad_() for matrix in matrices]
        loss = (preactivations(learning, x)[-1] - torch.tanh(x @ teacher)).square().mean()
        gradients = torch.autograd.grad(loss, learning)
        with torch.no_grad():
            averages = [
                (MOMENTUM * m + (1 - MOMENTUM) * g, SQUARES * v + (1 - SQUARES) * g * g)
                for (m, v), g in zip(averages, gradients, strict=True)
            ]
            scaled = [(m / (1 - MOMENTUM**step), v / (1 - SQUARES**step)) for m, v in averages]
            moves = [learned_step(net, features(g, *each)) for g, each in zip(gradients, scaled, strict=True)]
            factors = [1.0 if cell.rates == "one" or fan == INPUTS else 1 / n for fan in fans]
            matrices = [w - RATE * f * move for w, f, move in zip(matrices, factors, moves, strict=True)]
            if step in (1, cell.steps):
                after = preactivations(matrices, fresh)
                found.append([_rms(new - old) for new, old in zip(after, before, strict=True)])
    return np.array(found)


def run_memory(cell: MemoryUpdatesCell, context: Context) -> Outcome:
    """Sample memories."""
    rng = generator(cell)
    found = np.array([memory_changes(cell, rng) for _ in range(cell.draws)])
    rows: list[Row] = []
    for probe, values in zip(("force", "overlap_change", "state_change"), found.T, strict=True):
        rows += probe_rows(probe, [geometric_mean(values)])
    return outcome(rows, flops=memory_cost(cell).flops)


def run_learned(cell: LearnedUpdatesCell, context: Context) -> Outcome:
    """Sample networks and optimizers."""
    rng = generator(cell)
    found = np.array([learned_changes(cell, draw, rng) for draw in range(cell.draws)])
    rows: list[Row] = [
        (step, "change", layer + 1, *geometric_mean(found[:, row, layer]))
        for row, step in enumerate((1, cell.steps))
        for layer in range(found.shape[2])
    ]
    return outcome(rows, flops=learned_cost(cell).flops)


def memory_cost(cell: MemoryUpdatesCell) -> Cost:
    """Products with the patterns, forth and back."""
    flops = 16.0 * cell.draws * cell.depth * BATCH * cell.width * cell.inputs
    return Cost(flops, 3e-3 * cell.draws + 5e-10 * flops, 3e8)


def learned_cost(cell: LearnedUpdatesCell) -> Cost:
    """The optimizer's net at every weight."""
    weights = float(cell.draws) * cell.steps * LAYERS * cell.width**2
    return Cost(2 * weights * FEATURES * UNITS, 5e-3 * cell.draws + 2e-7 * weights, 3e8 + 500.0 * cell.width**2)


EXPERIMENTS.register("memory_updates")(
    Experiment(
        summary="First update of a dense associative memory with tied or untied patterns: forces and changes",
        stage="sample",
        cell=MemoryUpdatesCell,
        cost=memory_cost,
        run=run_memory,
        example=probe_example("force", {"draws": 8}, {"width": [64, 128, 256]}, predicted=0),
    )
)
EXPERIMENTS.register("learned_updates")(
    Experiment(
        summary="First updates of a network under a learned optimizer, with µP's rates or one for all",
        stage="sample",
        cell=LearnedUpdatesCell,
        cost=learned_cost,
        run=run_learned,
        example=probe_example(
            "change", {"draws": 4}, {"width": [32, 64, 128]}, select={"step": 1, "layer": 2}, predicted=0
        ),
    )
)
