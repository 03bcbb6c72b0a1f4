"""Directed acyclic graphs of hidden layers, and the learning-rate factor that depends on their paths alone.

Nodes 1 … L are hidden layers, each a sum over the nodes it reads; node 1 reads the input, node L alone is read by the
output. graph[v − 1] holds the sources of node v, 0 being the input. Sampling and planning read graphs too: no torch.
"""

from collections import Counter

import numpy as np

Graph = tuple[tuple[int, ...], ...]


def chain(depth: int) -> Graph:
    """Every layer reads the one before: a plain multi-layer perceptron."""
    return tuple((node,) for node in range(depth))


def random_graph(depth: int, density: float, seed: int) -> Graph:
    """Every pair of nodes is an edge with probability `density`; a node left without a source, or without a reader,
    gets one drawn at random, so that every node lies on a path from the input to the output."""
    rng = np.random.default_rng([seed, depth, round(1e6 * density)])
    sources: list[set[int]] = [{0}]
    for node in range(2, depth + 1):
        drawn = {below for below in range(1, node) if rng.random() < density}
        sources.append(drawn or {int(rng.integers(1, node))})
    for node in range(1, depth):
        if not any(node in each for each in sources[node:]):
            sources[int(rng.integers(node, depth))].add(node)
    return tuple(tuple(sorted(each)) for each in sources)


def graph_of(depth: int, density: float | None, seed: int) -> Graph:
    """The chain where no density is given, else the random graph of that seed."""
    return chain(depth) if density is None else random_graph(depth, density, seed)


def path_lengths(graph: Graph) -> Counter[int]:
    """Length in hidden layers → number of paths from the input to the output, one node at a time."""
    reaching = [Counter({0: 1})]
    for sources in graph:
        longer: Counter[int] = Counter()
        for source in sources:
            longer.update({length + 1: count for length, count in reaching[source].items()})
        reaching.append(longer)
    return reaching[-1]


def path_rate(graph: Graph) -> float:
    """(Σ_p L_p³)^−½ over the paths p of L_p hidden layers (Chen, Wu, Wang & Hanin 2024); L^−3/2 for a chain (Jelassi et
    al. 2023)."""
    return float(sum(count * length**3 for length, count in path_lengths(graph).items())) ** -0.5
