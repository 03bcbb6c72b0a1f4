"""CDNV and errors of the nearest mean against loops and the normal law, the training against torch."""

import numpy as np
import pytest
import torch
from scipy import stats

from muster.sampling import class_collapse
from muster.sampling.class_collapse import (
    ClassCollapseCell,
    examples,
    measured,
    nearest_mean_errors,
    normalized_variances,
    probes_of,
    trained,
)
from muster.sampling.random_network import generator
from muster.sampling.relu_network import initial
from tests.statistical.test_regression_laws import probes


def test_normalized_variances_are_those_of_a_loop_and_of_the_law():
    rng = np.random.default_rng(0)
    means = np.array([[0.0, 0, 0], [3, 0, 0], [0, 4, 0]])
    scales = np.array([1.0, 2, 0.5])
    features = means[:, None] + scales[:, None, None] * rng.standard_normal((3, 40_000, 3))
    found = normalized_variances(features)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        spread = [((features[k] - features[k].mean(axis=0)) ** 2).sum() / 40_000 for k in (i, j)]
        apart = ((features[i].mean(axis=0) - features[j].mean(axis=0)) ** 2).sum()
        assert found[i, j] == pytest.approx(sum(spread) / (2 * apart))
        law = 3 * (scales[i] ** 2 + scales[j] ** 2) / (2 * np.square(means[i] - means[j]).sum())
        assert found[i, j] == pytest.approx(law, rel=0.05)
    assert np.isinf(np.diagonal(found)).all()


def test_errors_of_the_nearest_mean_by_loops():
    rng = np.random.default_rng(0)
    queries, shots = rng.normal(size=(3, 7, 2)), rng.normal(size=(4, 3, 5, 2))
    every, between = [], np.zeros((3, 3))
    for episode in shots:
        centres = [each.mean(axis=0) for each in episode]
        for i in range(3):
            for query in queries[i]:
                far = [np.linalg.norm(query - centre) for centre in centres]
                every.append(int(np.argmin(far)) != i)
                for j in range(3):
                    between[i, j] += far[j] < far[i]
    found, pairs = nearest_mean_errors(queries, shots)
    assert found == pytest.approx(np.mean(every))
    np.testing.assert_allclose(pairs, (between + between.T) / (2 * 4 * 7))


def test_two_normal_classes_are_told_apart_as_often_as_the_normal_law_says():
    """With many shots the error is Φ(−d/2), d = 2 standard deviations apart; its V is p/d²."""
    rng = np.random.default_rng(0)
    means = np.array([[0.0, 0.0], [2.0, 0.0]])
    queries = means[:, None] + rng.standard_normal((2, 40_000, 2))
    shots = means[None, :, None] + rng.standard_normal((3, 2, 5000, 2))
    error, pairs = nearest_mean_errors(queries, shots)
    assert error == pytest.approx(stats.norm.cdf(-1), abs=0.005)
    assert pairs[0, 1] == pytest.approx(error)
    assert normalized_variances(queries)[0, 1] == pytest.approx(0.5, rel=0.03)


def test_classes_differ_in_their_signal_alone():
    rng = np.random.default_rng(0)
    means = rng.standard_normal((3, 8))
    x = examples(means, 20_000, rng)
    np.testing.assert_allclose(x.mean(axis=1)[:, :8], means, atol=0.02)
    np.testing.assert_allclose(x.mean(axis=1)[:, 8:], 0, atol=0.05)
    np.testing.assert_allclose(x.std(axis=1), [[0.3] * 8 + [1.0] * 24] * 3, rtol=0.03)


def test_training_is_torchs(monkeypatch):
    monkeypatch.setattr(class_collapse, "EXAMPLES", 30)
    cell = ClassCollapseCell(width=10, classes=3, steps=15, seed=0)
    weights = initial([32, 10, 10, 3], np.random.default_rng(0))
    leaves = [torch.tensor(part, requires_grad=True) for part in weights]
    accuracy = trained(cell, weights, np.random.default_rng(1))
    rng = np.random.default_rng(1)
    x = torch.tensor(examples(rng.standard_normal((3, 8)), 10, rng).reshape(30, 32))
    y, adam = torch.arange(3).repeat_interleave(10), torch.optim.Adam(leaves, lr=3e-3)
    for _ in range(15):
        h = torch.relu(x @ leaves[0] + leaves[1])
        scores = torch.relu(h @ leaves[2] + leaves[3]) @ leaves[4] + leaves[5]
        adam.zero_grad()
        torch.nn.functional.cross_entropy(scores, y).backward()
        adam.step()
    for part, leaf in zip(weights, leaves, strict=True):
        np.testing.assert_allclose(part, leaf.detach().numpy(), rtol=1e-6, atol=1e-8)
    assert accuracy == pytest.approx((scores.argmax(dim=1) == y).double().mean().item())


def test_the_probes_of_a_draw(monkeypatch):
    """Ratios and differences are those of the same network before and after; the bound has C − 1 = 19 and 1 + 1/5."""
    seen = []

    def kept(weights, queries, shots):
        seen.append(measured(weights, queries, shots))
        return seen[-1]

    monkeypatch.setattr(class_collapse, "measured", kept)
    cell = ClassCollapseCell(width=12, classes=4, steps=5, seed=0)
    found = probes_of(cell, generator(cell))
    (before, first, _), (after, last, correlation) = seen
    assert found["relative_variance"] == pytest.approx(after / before)
    assert found["error_change"] == pytest.approx(last - first)
    assert found["bound_ratio"] == pytest.approx(last / (19 * 1.2 * after))
    assert (found["variance"], found["error"], found["rank_correlation"]) == (after, last, correlation)


def test_features_without_training_are_judged_as_the_inputs_nearly_are():
    """Before training, rank correlation of V and error over pairs is high, and nothing changes in no step's time."""
    table = probes("class_collapse", width=64, classes=2, steps=1, draws=2).set_index("probe")["value"]
    assert table["relative_variance"] == pytest.approx(1, abs=0.1)
    assert abs(table["error_change"]) < 0.03
    assert table["rank_correlation"] > 0.5


def test_new_classes_collapse_with_enough_source_classes():
    few, many = (
        probes("class_collapse", width=32, classes=classes, steps=100, draws=2).set_index("probe")["value"]
        for classes in (2, 24)
    )
    assert many["relative_variance"] < few["relative_variance"] < 1
    assert many["error"] < 0.5 * few["error"]
