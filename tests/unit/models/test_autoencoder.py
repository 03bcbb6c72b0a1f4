"""Sparse features, the tied autoencoder, growth to norm 1, and probes of representations."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from muster.data import dataset_key, prepare
from muster.data.sparse_features import LARGEST, SparseFeaturesOptions, probabilities, stratified, stream
from muster.experiments import Context
from muster.training.cell import TrainCell
from muster.training.engine import Batches, Data, Stack
from muster.training.probes import representation

F64 = Context(dtype="float64")
SPARSE = {"train": 64, "heldout": 96, "features": 12, "decay": 1.5}


def cell(**changes) -> TrainCell:
    settings = {
        "width": 3, "seed": 1, "log2_lr": [-6.0, -4.0], "family": "autoencoder", "data": "sparse_features",
        "data_options": SPARSE, "loss": "squared_error", "optimizer": "adamw", "rule": "constant", "base_width": 3,
        "base_depth": 1, "batch_size": 16, "steps": 20, "evaluations": 1, "evaluation_examples": 96,
    }  # fmt: skip
    return TrainCell(**(settings | changes))


def data_of(c: TrainCell) -> Data:
    return Data.of(prepare(c.data, c.data_options)[0], c, torch.device("cpu"), torch.float64)


def stack_of(c: TrainCell, steps: int = 0) -> Stack:
    stack = Stack(c, list(range(len(c.log2_lr))), data_of(c), F64)
    with torch.no_grad():
        stack.start()
        for _ in range(steps):
            stack.advance()
    return stack


def test_fresh_examples_have_the_power_law_frequencies_and_uniform_values():
    x, y = stream(SparseFeaturesOptions(features=12, decay=1.5), np.random.default_rng(0), 100_000)
    p = np.array([i**-1.5 for i in range(1, 13)])
    p /= p.sum()
    active = x > 0
    np.testing.assert_allclose(active.mean(0), p, atol=4 * np.sqrt(p.max() / 100_000))
    assert np.corrcoef(active[:, 0], active[:, 1])[0, 1] == pytest.approx(0, abs=0.015)
    assert x[active].mean() == pytest.approx(LARGEST / 2, rel=0.01)
    assert x[active].var() == pytest.approx(LARGEST**2 / 12, rel=0.02)
    assert y is x


def test_stratified_examples_hold_every_tail_of_features_to_within_one_event():
    options = SparseFeaturesOptions(features=200, decay=2)
    x = stratified(options, np.random.default_rng(5), 4096).astype(float)
    p = probabilities(200, 2)
    for first in (0, 3, 20, 100):
        assert abs((x[:, first:] > 0).sum() - 4096 * p[first:].sum()) <= 1
    assert (x[:, 20:] ** 2).sum() / 4096 == pytest.approx(p[20:].sum() * LARGEST**2 / 3, rel=0.03)


def test_sparse_data_keep_their_units_and_their_code_is_part_of_the_manifest(monkeypatch):
    arrays, manifest = prepare("sparse_features", SPARSE)
    assert manifest["standardised"] == {}
    assert arrays.train_x.min() == 0
    assert not arrays.train_x.any(axis=1).all()
    np.testing.assert_array_equal(arrays.heldout_x, arrays.heldout_y)
    monkeypatch.setattr("muster.data.sparse_features.LARGEST", 3.0)
    assert prepare("sparse_features", SPARSE)[1]["stream"] != manifest["stream"]


def test_batches_of_a_distribution_are_fresh_and_a_function_of_seed_and_step():
    c = cell(batch_size=1000)
    data = data_of(c)
    one, other = Batches(data, 1, 1000), Batches(data, 1, 1000)
    assert len(one[0][0]) == 1000
    assert torch.equal(one[5][0], other[5][0])
    assert not torch.equal(one[5][0], one[6][0])
    assert not torch.equal(one[5][0], Batches(data, 2, 1000)[5][0])


def test_the_axis_decay_is_an_option_of_the_data():
    c = cell(decay=2.5, features=9)
    assert c.data_options["decay"] == 2.5
    assert dataset_key(c.data, c.data_options) != dataset_key(c.data, SPARSE)
    assert data_of(c).x.shape[1] == 9


@pytest.mark.parametrize("activation", ["relu", "identity", "tanh"])
def test_gradients_by_hand_are_those_of_autograd(activation):
    c = cell(activation=activation)
    stack = stack_of(c, steps=3)
    x, y = stack.batches[7]
    stack.weights["b2"].normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    by_hand_loss = stack.compute_gradients(x, y).clone()
    by_hand = {name: g.clone() for name, g in stack.gradients.items()}
    stack.workspace = None
    loss = stack.compute_gradients(x, y)
    torch.testing.assert_close(loss, by_hand_loss)
    for name, g in stack.gradients.items():
        torch.testing.assert_close(g, by_hand[name])
    w, b = stack.weights["w1"][1], stack.weights["b2"][1]
    f = {"relu": torch.relu, "identity": lambda z: z, "tanh": torch.tanh}[activation](x @ w @ w.T + b)
    torch.testing.assert_close(loss[1], 0.5 * (f - y).square().sum(1).mean())


def test_rows_start_with_mean_square_norm_init_gain_squared():
    c = cell(features=4000, width=30, init_gain=0.5)
    norms = Stack(c, [0], data_of(c), F64).initial([0])["w1"][0].square().sum(1)
    assert norms.mean() == pytest.approx(0.25, rel=0.02)


def test_negative_decay_draws_rows_to_norm_1_and_leaves_vectors_alone():
    c = cell(weight_decay=-0.5, log2_lr=[-3.0])
    stack = stack_of(c)
    stack.weights["b2"].fill_(0.3)
    before = stack.weights["w1"].clone()
    for g in stack.gradients.values():
        g.zero_()
    stack.optimizer.step(stack.gradients, 0.5)
    norm = before.norm(dim=2, keepdim=True)
    expected = before - (2**-3 * 0.5) * 0.5 * (norm - 1) * before / norm
    torch.testing.assert_close(stack.weights["w1"], expected)
    assert (stack.weights["b2"] == 0.3).all()
    for _ in range(400):
        stack.optimizer.step(stack.gradients, 1.0)
    torch.testing.assert_close(stack.weights["w1"].norm(dim=2), torch.ones(1, 12, dtype=torch.float64))


def test_only_adamw_takes_a_negative_decay():
    with pytest.raises(ValidationError, match="only the optimizer adamw"):
        cell(weight_decay=-1.0, optimizer="adam")


def readings(stack: Stack, probe: str) -> dict:
    stack.cell = stack.cell.model_copy(update={"probes": [probe]})
    with torch.no_grad():
        stack.record_probes()
    return {(e, name): value for e, _, name, _, value in stack.records.probes}


def test_superposition_is_read_behind_the_layer_that_reconstructs():
    stack = stack_of(cell(), steps=5)
    readings(stack, "superposition")
    assert {(name, layer) for _, _, name, layer, _ in stack.records.probes} >= {("reconstruction_error", 2)}


def test_superposition_against_loops_over_features():
    stack = stack_of(cell(), steps=5)
    stack.weights["w1"][0, :4] *= 5
    found = readings(stack, "superposition")
    x = stack.data.heldout[0].numpy()
    for e in range(2):
        w, b = stack.weights["w1"][e].numpy(), stack.weights["b2"][e].numpy()
        f = np.maximum(x @ w @ w.T + b, 0)
        assert found[e, "reconstruction_error"] == pytest.approx(np.mean(np.sum((f - x) ** 2, axis=1)))
        norms = np.linalg.norm(w, axis=1)
        assert found[e, "represented"] == pytest.approx(np.mean(norms > 0.5))
        overlaps = [(w[i] @ w[j] / norms[i] / norms[j]) ** 2 for i in range(12) for j in range(12) if i != j]
        assert found[e, "squared_overlap"] == pytest.approx(np.mean(overlaps))


def test_accuracy_counts_right_classes_of_both_splits(monkeypatch):
    monkeypatch.setattr(representation, "SLICE", 4)
    options = {"modulus": 5, "train": 15, "heldout": 10}
    c = cell(family="mlp", data="modular_addition", data_options=options, width=16, steps=40, decay=None, features=None)
    stack = stack_of(c, steps=40)
    found = readings(stack, "accuracy")
    for name, (x, y) in {"heldout": stack.data.heldout, "train": (stack.data.x, stack.data.y)}.items():
        h = torch.relu(x @ stack.weights["w1"][1] * stack.multiplier["w1"])
        right = (h @ stack.weights["w2"][1]).argmax(1) == y
        assert found[1, f"{name}_accuracy"] == pytest.approx(right.double().mean().item())


@pytest.mark.parametrize(("activation", "by_hand"), [("relu", True), ("tanh", True), ("gelu", False)])
def test_gradients_are_made_by_hand_where_the_output_tells_the_derivative(activation, by_hand):
    stack = stack_of(cell(activation=activation), steps=2)
    assert (stack.workspace is not None) is by_hand
    assert torch.isfinite(stack.weights["w1"]).all()
