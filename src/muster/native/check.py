"""The kernels against torch on small networks that use all they know: run once by every process that loads them.

python -m muster.native.check LIBRARY [DTYPE]     the same for a library that was built with other flags
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from muster.native import reference
from muster.native.binding import RULES, Library, open_library
from muster.native.dtypes import KERNELS
from muster.native.graph import ACTIVATIONS, Graph
from muster.native.network import Network
from muster.native.program import Loss
from muster.native.reference import Multiply

Shapes = dict[str, tuple[int, ...]]
Case = tuple[Graph, Shapes, Tensor, Tensor, Loss]


def largest_error(library: Library, multiply: Multiply = reference.multiply) -> float:
    """Largest deviation of losses, gradients and one step of each rule, relative to the tensor's largest entry.

    multiply: what the library's product of activations and weights means.
    """
    return max(max(_gradient_error(library, case, multiply), _step_error(library, case, multiply)) for case in cases())


def cases() -> Iterator[Case]:
    """Small networks of each family, with odd sizes."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((37, 5), np.float32))
    yield *_mlp(), x, torch.from_numpy(rng.integers(0, 11, 37)), Loss("cross_entropy", 1e-2)
    yield *_resmlp(), x, torch.from_numpy(rng.standard_normal((37, 3), np.float32)), Loss("squared_error")
    tokens = torch.from_numpy(rng.integers(0, 9, (2, 2, 41)))
    for graph, shapes in _transformers():
        yield graph, shapes, tokens[0], tokens[1], Loss("cross_entropy")


class _Ones(dict[str, float]):
    """A multiplier of 1.25 for every tensor."""

    def __missing__(self, name: str) -> float:
        return 1.25


def _mlp() -> tuple[Graph, Shapes]:
    graph, h, fan_in = Graph(_Ones()), 0, 5
    shapes: Shapes = {}
    graph.input(5)
    for activation in ACTIVATIONS:
        name, width = f"w_{activation}", 13
        h = graph.dense(h, name, width, bias=f"b_{name}", activation=activation)
        shapes |= {name: (fan_in, width), f"b_{name}": (width,)}
        fan_in = width
    graph.dense(h, "readout", 11)
    return graph, shapes | {"readout": (fan_in, 11)}


def _resmlp() -> tuple[Graph, Shapes]:
    graph = Graph(_Ones())
    h = graph.dense(graph.input(5), "w1", 7)
    read = graph.normalize(h, "layer", gain="g2", activation="gelu")
    h = graph.dense(read, "w2", 7, bias="b2", add=h, factor=0.5)
    h = graph.dense(graph.activate(h, "tanh"), "w3", 7, add=h)
    h = graph.dense(graph.dense(h, "w5", 7, activation="relu"), "w6", 7, add=h)
    graph.dense(graph.normalize(h, "layer", gain="g4"), "w4", 3)
    shapes: Shapes = {"w1": (5, 7), "g2": (7,), "w2": (7, 7), "b2": (7,), "w3": (7, 7), "g4": (7,), "w4": (7, 3)}
    return graph, shapes | {"w5": (7, 7), "w6": (7, 7)}


def _transformers() -> Iterator[tuple[Graph, Shapes]]:
    width, heads = 12, 2
    shapes: Shapes = {
        "token": (9, width), "position": (41, width), "qkv": (width, 3 * width), "g_query": (6,), "g_key": (6,),
        "merge": (width, width), "up": (width, 20), "down": (10, width), "readout": (width, 9),
    }  # fmt: skip
    plain = Graph(_Ones(), sequences=True)
    h = plain.embed("token", "position", width)
    mixed = plain.attend(plain.dense(plain.normalize(h, "layer"), "qkv", 3 * width), heads, 0.4)
    h = plain.dense(mixed, "merge", width, add=h, factor=0.7)
    plain.readout(plain.normalize(h, "layer"), "token", 9)
    yield plain, {name: shapes[name] for name in ("token", "position", "qkv", "merge")}
    modern = Graph(_Ones(), sequences=True)
    h = modern.embed("token", None, width)
    z = modern.dense(modern.normalize(h, "rms"), "qkv", 3 * width)
    z = modern.heads(z, heads, norm="rms", gains=("g_query", "g_key"), rotary=True)
    h = modern.dense(modern.attend(z, heads, 0.4), "merge", width, add=h, factor=0.7)
    z = modern.dense(modern.normalize(h, "rms"), "up", 20)
    h = modern.dense(modern.gate(z), "down", width, add=h)
    modern.dense(modern.normalize(h, "rms"), "readout", 9)
    yield modern, {name: shape for name, shape in shapes.items() if name != "position"}


def start(shapes: Mapping[str, tuple[int, ...]], members: int = 1) -> dict[str, Tensor]:
    """Weights [E, ...] that keep activations near 1."""
    rng = np.random.default_rng(1)
    found = {}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape) * 0.8 / np.sqrt(shape[0] if len(shape) > 1 else 4.0)
        found[name] = torch.from_numpy(values).float().expand(members, *shape).clone()
    return found


def network(library: Library, case: Case, weights: Mapping[str, Tensor], rule: str, state: int) -> tuple[Network, list]:
    """The case's network on these weights, with as many state tensors as the rule steps."""
    graph, _, x, _, loss = case
    states = [{name: torch.zeros_like(w) for name, w in weights.items()} for _ in range(state)]
    found = Network(
        library,
        graph,
        weights,
        batch=len(x),
        context=x.shape[1],
        loss=loss,
        evaluation_loss=loss,
        rule=rule,
        state=states,
    )
    return found, states


def _relative(found: Tensor, expected: Tensor) -> float:
    error = (found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp(min=1e-3)
    return float(error) if torch.isfinite(error) else float("inf")


def by_autograd(
    case: Case, weights: Mapping[str, Tensor], multiply: Multiply = reference.multiply
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of the first member in double precision."""
    graph, _, x, y, loss = case
    leaves = {name: w[0].double().requires_grad_() for name, w in weights.items()}
    with torch.enable_grad():
        values = x if graph.sequences else x.double()
        value = reference.mean_loss(reference.output(graph, leaves, values, multiply), y, loss)
    return value.detach(), dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))


def _gradient_error(library: Library, case: Case, multiply: Multiply) -> float:
    weights = start(case[1])
    expected, by_graph = by_autograd(case, weights, multiply)
    found, _ = network(library, case, weights, "gradient", 0)
    gradients = {name: torch.empty_like(w) for name, w in weights.items()}
    losses = found.gradients(gradients, case[2], case[3])[0], found.evaluate(case[2], case[3])[0]
    errors = [_relative(gradients[name][0], g) for name, g in by_graph.items()]
    return max(*errors, *(_relative(loss, expected) for loss in losses))


def _step_error(library: Library, case: Case, multiply: Multiply) -> float:
    """One step of each rule from a state of ½ everywhere."""
    numbers = {
        "rate": 1e-3, "root": 1.5, "epsilon": 1e-2, "couple": 0.1, "keep": 0.9, "beta1": 0.8, "gain1": 0.2,
        "beta2": 0.7, "gain2": 0.3,
    }  # fmt: skip
    errors = []
    for rule in set(RULES) - {"gradient"}:
        weights = start(case[1])
        before = {name: w[0].double() for name, w in weights.items()}
        _, gradients = by_autograd(case, weights, multiply)
        found, states = network(library, case, weights, rule, {"sgd": 0, "momentum": 1, "adam": 2}[rule])
        for state in states:
            for s in state.values():
                s.fill_(0.5)
        found.train({name: np.array(value) for name, value in numbers.items()}, case[2][None], case[3][None])
        for name, w in weights.items():
            g = gradients[name] + 0.1 * before[name]
            errors.append(_relative(w[0], _stepped(rule, before[name], g)))
    return max(errors)


def _stepped(rule: str, w: Tensor, g: Tensor) -> Tensor:
    """The rule's step with the numbers above from a state of ½."""
    if rule == "sgd":
        return w - 1e-3 * g
    if rule == "momentum":
        return w - 1e-3 * (0.4 + g)
    m, v = 0.4 + 0.2 * g, 0.35 + 0.3 * g.square()
    return 0.9 * w - 1e-3 * m / (1.5 * v.sqrt() + 1e-2)


if __name__ == "__main__":
    kernels = KERNELS[(sys.argv[2:] or ["float32"])[0]]()
    found = largest_error(open_library(Path(sys.argv[1])), kernels.multiply)
    print(f"largest error {found:.1e}")
    sys.exit(not found <= kernels.tolerance)
