"""Jacobians of graph networks against finite differences; resistances against circuits, walks and every added edge."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from muster.sampling.graph_sensitivity import (
    SensitivityCell,
    best_edge,
    connected,
    measured,
    resistances,
    sensitivities,
    with_edge,
)
from tests.statistical.test_regression_laws import probes


def linked(edges, nodes):
    matrix = np.eye(nodes)
    for edge in edges:
        matrix = with_edge(matrix, edge)
    return matrix


def test_resistances_of_circuits():
    """In series 1 + 1 + 1; a ring of four in parallel: 1·3/4 next to each other, 2·2/4 across."""
    assert resistances(linked([(0, 1), (1, 2), (2, 3)], 4))[0][0, 3] == pytest.approx(3)
    ring = resistances(linked([(0, 1), (1, 2), (2, 3), (0, 3)], 4))[0]
    assert (ring[0, 1], ring[0, 2]) == pytest.approx((0.75, 1))


def test_resistances_are_sums_over_walks():
    """R = Σ_j (Â^j_uu/d_u + Â^j_vv/d_v − 2 Â^j_uv/√(d_u d_v)), which is why sensitivities should fall with R."""
    graph = connected(SensitivityCell(width=4, nodes=9, reach=2, seed=0), np.random.default_rng(0))
    root = 1 / np.sqrt(graph.sum(axis=1))
    mix = root[:, None] * graph * root
    walks = root[:, None] * sum(np.linalg.matrix_power(mix, j) for j in range(600)) * root
    expected = np.diag(walks)[:, None] + np.diag(walks) - 2 * walks
    assert_allclose(resistances(graph)[0], expected, atol=1e-9)


def test_the_best_edge_is_that_of_trying_all():
    for seed in (3, 7):  # where the edge with the largest change of voltages is another one
        graph = connected(SensitivityCell(width=4, nodes=16, reach=2, seed=0), np.random.default_rng(seed))
        totals = {tuple(e): resistances(with_edge(graph, tuple(e)))[0].sum() for e in np.argwhere(graph == 0)}
        assert totals[best_edge(graph)] == pytest.approx(min(totals.values()))
        assert np.ptp(list(totals.values())) > 0.5


def test_sensitivities_are_those_of_finite_differences():
    rng = np.random.default_rng(2)
    graph = connected(SensitivityCell(width=3, nodes=5, reach=1, seed=0), rng)
    h, weights, step = rng.standard_normal((5, 3)), rng.standard_normal((3, 3, 3)), 1e-6
    degree = graph.sum(axis=1)

    def layers(features):
        found = []
        for weight in weights:
            features = np.maximum(graph / np.sqrt(np.outer(degree, degree)) @ features @ weight, 0)
            found.append(features)
        return np.array(found)

    total = np.zeros((5, 5))
    for v in range(5):
        moves = [(layers(h + step * e) - layers(h - step * e)) / (2 * step) for e in np.eye(15).reshape(5, 3, 5, 3)[v]]
        total[:, v] = np.sqrt(np.square(moves).sum(axis=(0, 3))).sum(axis=0)
    assert_allclose(sensitivities(graph, h, weights), total + total.T, rtol=1e-6)
    cell = SensitivityCell(width=3, nodes=5, reach=1, seed=0)
    raw, over = (measured(cell.model_copy(update={"normalized": each}), graph, h, weights) for each in (False, True))
    assert_allclose(raw / over, [np.sqrt(degree[u] * degree[v]) for u in range(5) for v in range(u + 1, 5)])


def test_resistance_ranks_sensitivities_and_shuffled_it_does_not():
    rows = probes("graph_sensitivity", width=8, depth=6, nodes=16, draws=6).set_index("probe")
    assert rows["value"]["resistance_rank"] + 4.5 * rows["se"]["resistance_rank"] < -0.3
    assert rows["value"]["distance_rank"] < rows["value"]["resistance_rank"]
