"""The kernel of a graph against a wide sampled network; paths against all of them; the limit of deep chains."""

import itertools

import numpy as np
import pandas as pd
import pytest

from muster.models.graphs import chain, random_graph
from muster.sampling.dag_kernel import DagKernelCell, bend, correlations, effective, least_eigenvalue, relu_kernel
from tests.statistical.test_regression_laws import decide, probes

DIAMOND = ((0,), (1,), (1, 2), (1, 3))  # node 3 reads 1 and 2, node 4 reads 1 and 3


def unit(count, dimension, seed=0):
    x = np.random.default_rng(seed).standard_normal((count, dimension))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_the_least_eigenvalue_is_that_of_a_wide_network():
    rng, units, x = np.random.default_rng(0), 4000, unit(4, 3)
    h = [x]
    for sources in DIAMOND:  # weights of variance 2/(sources × units), 1 at the inputs
        z = 0
        for source in sources:
            fan_in, variance = h[source].shape[1], 2 / len(sources)
            scale = variance / fan_in if source else 1 / len(sources)
            z = z + h[source] @ rng.standard_normal((fan_in, units)) * np.sqrt(scale)
        h.append(np.maximum(z, 0))
    sampled = np.linalg.eigvalsh(2 * h[-1] @ h[-1].T / units)[0]
    assert least_eigenvalue(DIAMOND, x @ x.T) == pytest.approx(sampled, rel=0.08)
    chained = least_eigenvalue(chain(4), x @ x.T)
    assert abs(chained / sampled - 1) > 0.12  # another graph has another


def test_the_relu_kernel_is_the_mean_of_products():
    g = np.random.default_rng(0).standard_normal((2, 400_000))
    for rho in (-0.9, 0.3, 0.9):
        other = rho * g[0] + np.sqrt(1 - rho**2) * g[1]
        told = 2 * (np.maximum(g[0], 0) * np.maximum(other, 0)).mean()
        assert relu_kernel(np.array(rho)) == pytest.approx(told, abs=0.01)
    assert relu_kernel(np.array([1 + 1e-15, 0, -1])) == pytest.approx([1, 1 / np.pi, 0], abs=1e-9)


def test_effective_depth_and_width_are_those_of_all_paths():
    """Of the diamond: 1-4, 1-3-4, 1-2-3-4, lengths 2, 3, 4; of a random graph, every subset of its nodes is tried."""
    assert effective(DIAMOND) == (3, 1)
    assert effective(chain(7)) == (7, 1 / 7)
    graph = random_graph(7, 0.6, 3)
    inner = itertools.chain.from_iterable(itertools.combinations(range(2, 7), k) for k in range(6))
    lengths = []
    for middle in inner:
        path = [1, *middle, 7]
        if all(low in graph[high - 1] for low, high in itertools.pairwise(path)):
            lengths.append(len(path))
    assert effective(graph) == pytest.approx((np.mean(lengths), len(lengths) / np.mean(lengths)))


def test_a_bend_is_below_zero_where_the_middle_is_highest():
    depth = np.linspace(1, 5, 41)
    assert bend(depth, -((depth - 3) ** 2)) < -0.9
    assert bend(depth, 2 * depth) == pytest.approx(0, abs=1e-9)
    assert bend(np.full(4, 2.0), np.arange(4.0)) == 0
    x = (depth - depth.mean()) / depth.std()
    assert bend(7 * depth + 1, 3 + 0.5 * x**2 * 5) == pytest.approx(1 / np.std(x**2), rel=1e-6)


def test_deep_chains_approach_the_limit_and_another_power_is_refuted():
    x = unit(6, 4)
    limits = [least_eigenvalue(chain(n), x @ x.T) * n**2 / (4.5 * np.pi**2) for n in (256, 1024)]
    assert limits == pytest.approx([1, 1], abs=0.2)
    assert abs(limits[1] - 1) < 0.5 * abs(limits[0] - 1)
    parts = [probes("dag_kernel", width=4, inputs=6, depth=n, chains=True, draws=2) for n in (256, 384, 512, 768, 1024)]
    rows = pd.concat(parts)
    assert set(rows["probe"]) == {"chain_least"}
    assert decide(rows, "depth", -2.0, margin=0.1) == "supported"
    assert decide(rows, "depth", -1.5, margin=0.1) == "refuted"


def test_depth_raises_the_least_eigenvalue_of_similar_inputs_and_lowers_that_of_orthogonal_ones():
    found = {}
    for width in (4, 48):
        x = unit(24, width)
        cell = DagKernelCell(width=width, depth=5, seed=0)
        found[width] = correlations(cell, x @ x.T, np.random.default_rng(0))
    assert found[4][0] > 0.5 > -0.5 > found[48][0]
    assert np.sign(found[4][1]) == -np.sign(found[48][1])  # wide graphs are shallow ones
    rows = probes("dag_kernel", width=4, depth=5, draws=2).set_index("probe")["value"]
    assert (rows["depth_rank"] > 0, rows["width_rank"] < 0) == (True, True)
