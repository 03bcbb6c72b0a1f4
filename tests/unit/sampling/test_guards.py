"""What a sampling cell writes: standard errors against the scatter over repeated cells, counts by hand."""

import importlib

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from muster.experiments import EXPERIMENTS, Context
from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.sampling import cluster_hessian, first_updates, multitasking_memory, output_law, random_network, relu_chain
from muster.sampling.graph_network import GraphCell, expected_factors, ring, second_eigenvalue
from muster.sampling.kaplan_counting import KaplanCountingCell, draw_runs
from muster.sampling.matrix_product import _matrices_per_step
from muster.sampling.random_features import RandomFeaturesCell
from muster.sampling.robust_interpolation import separation
from muster.sampling.siren import distance, normal_cdf
from muster.sampling.tables import Moments

REPEATS = 60
CELLS = {
    "matrix_product": {"width": 6, "depth": 4, "draws": 40},
    "relu_chain": {"width": 8, "depth": 3, "draws": 200},
    "graph_network": {"width": 32, "depth": 2, "draws": 60, "nodes": 8, "reach": 1},
    "attention_network": {"width": 16, "depth": 2, "draws": 60},
    "signal_propagation": {"width": 16, "depth": 2, "draws": 100},
    "teacher_student": {"width": 12, "samples": 24, "draws": 40},
    "label_chain": {"width": 12, "samples": 30, "draws": 40},
    "kernel_ridge": {"width": 12, "samples": 24, "draws": 40},
    "scaled_descent": {"width": 12, "condition": 2, "draws": 40},
}


@pytest.mark.parametrize("name", CELLS)
def test_standard_errors_are_the_scatter_over_repeated_cells(name):
    """√ of the mean squared error over 60 seeds, within four of its own standard errors (√(1/118) each, and skew)."""
    experiment = EXPERIMENTS[name]
    parts = [
        experiment.run(experiment.cell(seed=seed, **CELLS[name]), Context(progress=lambda line: None)).probes
        for seed in range(REPEATS)
    ]
    values = np.stack([part["value"].to_numpy(float) for part in parts])
    errors = np.stack([part["se"].to_numpy(float) for part in parts])
    known = np.isfinite(errors).all(axis=0) & (values.std(axis=0) > 1e-12)
    assert known.any()
    ratio = np.sqrt((errors**2).mean(axis=0)) / values.std(axis=0, ddof=1)
    assert np.exp(np.log(ratio[known]).mean()) == pytest.approx(1, abs=0.2)
    assert (ratio[known] > 0.5).all()
    assert (ratio[known] < 2).all()


def test_the_second_eigenvalue_of_a_bipartite_ring_is_negative_and_counts():
    """A ring of 6 nodes without loops: eigenvalues cos(2πk/6) = 1, ½, ½, −½, −½, −1, so that features oscillate."""
    six = np.roll(np.eye(6), 1, axis=1)
    assert second_eigenvalue((six + six.T) / 2) == pytest.approx(1)
    with_loops = ring(6, 1)  # (1 + 2 cos(2πk/6))/3 = 1, ⅔, ⅔, 0, 0, −⅓
    assert second_eigenvalue(with_loops) == pytest.approx(2 / 3)
    assert second_eigenvalue(with_loops @ with_loops - np.eye(6)) == pytest.approx(1)  # 1 − 1, ⁴⁄₉ − 1 …, −1, −1, −⁸⁄₉


@pytest.mark.parametrize("counting", ["non_embedding", "total"])
def test_flops_are_those_of_all_parameters_however_they_are_counted(counting):
    cell = KaplanCountingCell(counting=counting, regime="kaplan", seed=0)
    runs = draw_runs(cell, np.random.default_rng(0))
    np.testing.assert_allclose(runs["flops"], 6 * runs["parameters"] * runs["tokens"], rtol=1e-5)
    counted = runs["parameters" if counting == "total" else "parameters_no_embedding"]
    np.testing.assert_allclose(runs["compute"], 6 * counted * runs["tokens"], rtol=1e-5)


def test_a_jackknifed_distance_has_the_scatter_of_repeated_samples():
    """Of N(1, 1) from N(0, 1), where the distance is a share at one place; √ of the mean squared error over 80."""
    rng = np.random.default_rng(0)
    found = np.array([distance(1 + rng.standard_normal((200, 1)), normal_cdf) for _ in range(80)])
    assert np.sqrt(np.square(found[:, 1]).mean()) / found[:, 0].std(ddof=1) == pytest.approx(1, abs=0.3)


def test_distances_of_a_mixture_have_the_scatter_of_repeated_samples():
    """Kolmogorov and Wasserstein distance of N(0, S), S of a gamma law: far from normal, so that both are positive."""
    rng = np.random.default_rng(0)
    found = np.array([output_law.distances(rng.gamma(2.0, size=300)) for _ in range(100)])
    ratio = np.sqrt(np.square(found[:, :, 1]).mean(axis=0)) / found[:, :, 0].std(axis=0, ddof=1)
    assert ratio == pytest.approx([1, 1], abs=0.3)


def test_a_joint_distance_is_kolmogorovs_in_the_direction_of_the_largest_relative_variance():
    """Draws whose second output alone varies: the direction is the second axis, up to the grid of directions."""
    rng = np.random.default_rng(0)
    covariances = np.zeros((300, 2, 2))
    covariances[:, 0, 0], covariances[:, 1, 1] = 1.0, rng.gamma(2.0, size=300)
    kolmogorov, _ = output_law.distances(covariances[:, 1, 1])
    assert output_law.joint_distance(covariances).value == pytest.approx(kolmogorov.value, rel=0.02)


def test_the_tanh_chain_by_hand(monkeypatch):
    """All draws at once against portions of 40 of 100: each draws the layers of its own networks in turn."""
    monkeypatch.setattr(relu_chain, "TANH_CHUNK", 40 * 8)
    cell = relu_chain.ReluChainCell(width=8, depth=3, seed=0, draws=100, activation="tanh", input_variance=2.0)
    probes = EXPERIMENTS["relu_chain"].run(cell, Context(progress=lambda line: None)).probes
    rng, parts = np.random.default_rng([0, 8, 3]), []
    for count in (40, 40, 20):
        norms = [np.full(count, 2.0)]
        for _ in range(3):
            normal = rng.standard_normal((count, 8), dtype=np.float32)
            norms.append(np.square(np.tanh(np.sqrt(norms[-1])[:, None] * normal)).mean(axis=1))
        parts.append(norms[1:])
    logs = np.log(np.concatenate(parts, axis=1))
    found = probes.set_index(["probe", "layer"])
    for layer, values in enumerate(logs, start=1):
        mean, var = (found.loc[(f"log_norm_{name}", layer)] for name in ("mean", "var"))
        assert mean["value"] == pytest.approx(values.mean(), rel=1e-5)
        assert mean["se"] == pytest.approx(values.std(ddof=1) / 10, rel=1e-5)
        assert var["value"] == pytest.approx(values.var(ddof=1), rel=1e-5)
        fourth = np.mean((values - values.mean()) ** 4)
        assert var["se"] == pytest.approx(np.sqrt((fourth - values.var() ** 2) / 100), rel=1e-4)


@pytest.mark.parametrize(("branch", "scale"), [(False, 0.5), (True, 0.125)])
def test_the_error_of_an_expected_growth_is_scaled_as_the_growth_is(branch, scale):
    cell = GraphCell(width=8, depth=4, seed=0, weight_variance=1.0, branch=branch)
    (found,) = expected_factors(cell, np.array([[0.5, 0.7, 0.9]]))
    assert found == pytest.approx((branch + scale * 0.7, scale * 0.2 / np.sqrt(3)))


def test_a_classifier_starts_with_variance_one_over_the_fan_in(monkeypatch):
    """Mean square and mean of what the search of a trained network begins at, layer by layer; biases are weights."""
    starts = []

    def kept(objective, start, *arguments, **options):
        starts.append(start)
        raise StopIteration

    monkeypatch.setattr(cluster_hessian.optimize, "minimize", kept)
    cell = cluster_hessian.ClusterHessianCell(width=60, clusters=40, features=50, samples=80, seed=0)
    x, y = cluster_hessian.data(cell, np.random.default_rng(0))
    with pytest.raises(StopIteration):
        cluster_hessian.spectrum(cell, x, y, np.random.default_rng(1))
    inner, outer = np.split(starts[0], [60 * x.shape[1]])
    assert outer.size == 40 * 61
    for weights, fan_in in ((inner, x.shape[1]), (outer, 61)):
        error = (2 / weights.size) ** 0.5
        assert np.square(weights).mean() * fan_in == pytest.approx(1, abs=4.5 * error)
        assert weights.mean() * fan_in**0.5 == pytest.approx(0, abs=4.5 * error)


def test_a_settled_network_costs_one_sweep():
    """A sweep that turns nothing is the last: the random numbers that follow are those after one order of neurons."""
    patterns = np.ones((1, 50))
    swept, once = np.random.default_rng(0), np.random.default_rng(0)
    assert (multitasking_memory.settle(patterns, np.ones(50), swept) == 1).all()
    once.permutation(50)
    assert swept.random() == once.random()


@pytest.mark.parametrize("memory", ["tied", "untied"])
def test_a_memory_takes_one_step_that_removes_noise(memory, monkeypatch):
    """Its inputs have unit size and mean 0, a fifth of their square noise; the step makes the squared distance from
    the clean inputs, which go with the noisy ones by 1/√1.25, smaller by the rate times the squared gradient."""
    seen, recall = [], first_updates.recall

    def kept(cell, patterns, readout, x):
        seen.append((patterns.detach(), readout.detach(), x))
        return recall(cell, patterns, readout, x)

    monkeypatch.setattr(first_updates, "recall", kept)
    cell = first_updates.MemoryUpdatesCell(width=30, inputs=400, memory=memory, rule="sgd", seed=0)
    force, overlap, _ = first_updates.memory_changes(cell, np.random.default_rng(0))
    (before, readout, noisy), (after, moved, same) = seen
    assert (same == noisy).all()
    error = 4.5 * (2 / noisy.numel()) ** 0.5
    assert noisy.square().mean().item() == pytest.approx(1, abs=error)
    assert noisy.mean().item() == pytest.approx(0, abs=error)
    rng = np.random.default_rng(0)
    for _ in range(1 if memory == "tied" else 2):
        rng.standard_normal((30, 400))
    clean = torch.from_numpy(rng.standard_normal(tuple(noisy.shape))).to(noisy)
    assert (noisy * clean).mean().item() == pytest.approx(1.25**-0.5, abs=error)

    def loss(first, second):
        return (recall(cell, first, second, noisy)[1] - clean).square().mean()

    steps = [new - old for new, old in ((after, before), (moved, readout))][: 1 if memory == "tied" else 2]
    size, tiny = first_updates.RATE * cell.width, 1e-3
    at = [before + tiny * steps[0], (before if memory == "tied" else readout) + tiny * steps[-1]]
    fallen = loss(before, readout) - loss(*at)
    assert fallen.item() == pytest.approx(tiny * sum(step.square().sum().item() for step in steps) / size, rel=0.02)
    assert overlap == pytest.approx((noisy @ steps[0].T).square().mean().sqrt().item(), rel=1e-6)
    assert force > 0


def test_errors_of_moments_are_those_of_their_influence_functions():
    """Skewed values in two portions: mean square, over N, of what each value adds to mean, variance and Var/(E)²."""
    values = np.random.default_rng(0).gamma(2.0, size=50)
    moments = Moments()
    moments.add(values[:20])
    moments.add(values[20:])
    away, second, mean = values - values.mean(), values.var(), values.mean()
    square = away**2 - second
    relative = square / mean**2 - 2 * second * away / mean**3
    assert moments.mean() == pytest.approx((mean, values.std(ddof=1) / 50**0.5))
    assert moments.variance() == pytest.approx((values.var(ddof=1), square.std() / 50**0.5))
    assert moments.relative_variance() == pytest.approx((second / mean**2, relative.std() / 50**0.5))


def test_neurons_turn_in_fifty_blocks_a_sweep():
    """By hand, in whole numbers: the neurons of a block turn at once, towards what those before them have left."""
    cell, rng = multitasking_memory.MultitaskingCell(width=256, patterns=8, seed=0), np.random.default_rng(0)
    patterns, start = multitasking_memory.draw_patterns(cell, rng), rng.choice([-1.0, 1.0], 256)
    couplings = patterns.T @ patterns
    np.fill_diagonal(couplings, 0)
    state, before, order = start.copy(), np.zeros(256), np.random.default_rng(1)
    while (state != before).any():
        before = state.copy()
        for block in np.array_split(order.permutation(256), 50):
            state[block] *= np.where(couplings[block] @ state * state[block] < 0, -1, 1)
    assert (state != start).sum() > 50
    assert (multitasking_memory.settle(patterns, start, np.random.default_rng(1)) == state).all()


def test_two_neurons_that_turn_together_are_left_after_thirty_sweeps():
    """Both of one block against each other under one pattern: either turns towards where the other was, for ever."""

    class InOrder:
        permutation = staticmethod(np.arange)

    patterns, start = np.zeros((1, 100)), np.ones(100)
    patterns[0, :2], start[1] = 1.0, -1.0
    assert (multitasking_memory.settle(patterns, start, InOrder()) == start).all()


def test_pairs_are_looked_for_as_far_as_they_lie():
    """Far beyond where the first guess reaches: the second closest pair is the shortest once one point is missed."""
    up = np.random.default_rng(0).random((6, 2))
    down = up[:5] + np.array([40.0, 0.0])
    lengths = np.linalg.norm(up[:, None] - down, axis=2)
    best = max(np.delete(lengths, i, axis).min() for axis, count in enumerate(lengths.shape) for i in range(count))
    assert separation(up, down, 1) == pytest.approx(best)
    assert lengths.min() < best


@pytest.mark.parametrize("shape", [(8, 12), (12, 8)])
def test_four_samples_more_or_less_than_features_are_enough_for_a_mean_and_three_are_not(shape):
    width, samples = shape
    assert RandomFeaturesCell(width=width, samples=samples, seed=0).shape == (8, 12)
    with pytest.raises(ValidationError, match="the mean needs 4 between them"):
        RandomFeaturesCell(width=min(width, 11), samples=min(samples, 11), seed=0)


@pytest.mark.parametrize("landscape", ["minimum", "saddle"])
def test_factors_and_thresholds_of_multiplicative_noise_are_written_under_their_names(landscape):
    """Both within five standard errors of their closed forms."""
    experiment = EXPERIMENTS["multiplicative_sgd"]
    settings = {"landscape": landscape, "learning_rate": 0.2, "noise": 3.0, "batch_size": 2}
    formulas = {"lyapunov": "lyapunov_factor", "threshold": f"{landscape}_noise_threshold"}
    for quantity, formula in formulas.items():
        cell = experiment.cell(width=1, seed=0, quantity=quantity, reach=4, draws=200, **settings)
        row = experiment.run(cell, Context(progress=lambda line: None)).probes.iloc[0]
        assert row["probe"] == formula.removeprefix(f"{landscape}_")
        expected = CLOSED_FORMS[formula](pd.DataFrame([settings])).item()
        assert row["value"] == pytest.approx(expected, abs=5 * row["se"])
        assert 0 < row["se"] < 0.1 * expected


@pytest.mark.parametrize(
    ("name", "settings", "held"),
    [
        ("deep_bayes", {"depth": 5, "samples": 3, "draws": 20_000}, 5),
        ("attention_network", {"depth": 1, "tokens": 3, "draws": 2}, 8 * 8 + 3 * 8),
        ("graph_network", {"depth": 1, "nodes": 6, "reach": 1, "draws": 2}, 8 * 8 + 6 * 8),
        ("output_law", {"depth": 1, "draws": 100}, 3 * 8),
        ("siren", {"depth": 1, "units": 1024}, 8 * 8),
        ("signal_propagation", {"depth": 3, "draws": 100}, 2 * 8),
        ("signal_propagation", {"depth": 3, "draws": 100, "quantity": "ntk"}, 3 * 2 * 8),
    ],
)
def test_a_portion_of_the_draws_is_as_large_as_its_largest_arrays_allow(name, settings, held, monkeypatch):
    """Numbers of one draw of width 8 that are held at a time: what takes more does not fit, and draws differ."""
    experiment, seen = EXPERIMENTS[name], []

    def kept(draws, entries):
        seen.append(entries)
        return random_network.chunks(draws, entries)

    monkeypatch.setattr(importlib.import_module(f"muster.sampling.{name}"), "chunks", kept)
    experiment.run(experiment.cell(width=8, seed=0, **settings), Context(progress=lambda line: None))
    assert set(seen) == {held}


def test_products_are_made_orthogonal_before_six_digits_are_lost():
    """A condition number of n a matrix: six digits are one matrix of 1000 and three of 100."""
    assert [_matrices_per_step(n) for n in (2, 10, 100, 999, 1001, 2_000_000)] == [19, 6, 3, 2, 1, 1]
