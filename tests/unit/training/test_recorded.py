"""Recorded steps: on the CPU by a recorder that replays the very operations on the very tensors, as CUDA graphs do."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from muster.experiments import Context
from muster.optimizers import OPTIMIZERS
from muster.training import compiled, engine, recorded
from muster.training.engine import CHECK_EVERY, Data, Stack, train_stack
from tests.unit.native.test_kernels import cell, resmlp, tokens, toy_data, transformer, with_optimizer

FAMILIES = [
    (cell(bias=True), toy_data()),
    (cell(norm="layer", activation="gelu"), toy_data()),
    (resmlp(block_layers=2), toy_data()),
    (transformer(gains=True), tokens()),
]
FUSED = ["sgd", "momentum", "adam", "adamw"]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Tape(TorchDispatchMode):
    """Operations with their arguments and results. Numbers that Python made are part of it, and stay."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, found))
        return found

    def replay(self) -> None:
        for function, args, kwargs, before in self.calls:
            _write(before, function(*args, **kwargs))


def _write(before, after) -> None:
    """A new result goes where the recorded one lies, which later operations read."""
    if isinstance(before, torch.Tensor):
        if before.data_ptr() != after.data_ptr():
            before.copy_(after)
    elif isinstance(before, list | tuple):
        for one, other in zip(before, after, strict=True):
            _write(one, other)


class Recorder:
    """Counts recordings and replays."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, step):
        self.recorded += 1
        with Tape() as tape:
            step()

        def replay() -> None:
            self.replayed += 1
            tape.replay()

        return replay


@pytest.fixture
def tape(monkeypatch) -> Recorder:
    """Stacks on the CPU are recorded, as on CUDA."""
    found = Recorder()
    monkeypatch.setattr(compiled, "network", lambda stack: None)
    monkeypatch.setattr(recorded, "recorder", lambda device: found)
    return found


def run(c, data: Data, dtype: str = "float32", device: str = "cpu") -> Stack:
    if device != "cpu":
        move = lambda part: tuple(t.to(device) for t in part)  # noqa: E731
        x, y = move((data.x, data.y))
        data = Data(x, y, move(data.train), move(data.heldout), data.outputs, positions=data.positions)
    stack = Stack(c, list(range(len(c.log2_lr))), data, Context(dtype=dtype, progress=lambda line: None))
    with torch.no_grad():
        stack.start()
        while stack.step < c.steps and stack.members:
            stack.advance(CHECK_EVERY)
    return stack


def assert_same(first: Stack, second: Stack) -> None:
    assert first.members == second.members
    assert repr(first.records.curves) == repr(second.records.curves)
    assert first.records.diverged == second.records.diverged
    for name, value in {**first.weights, **first.optimizer.state}.items():
        assert torch.equal(value, {**second.weights, **second.optimizer.state}[name]), name


@pytest.mark.parametrize(("c", "data"), FAMILIES)
@pytest.mark.parametrize("optimizer", FUSED)
def test_replays_have_the_bits_of_single_launches(c, data, optimizer, tape, monkeypatch):
    c = with_optimizer(c, optimizer, weight_decay=0.1, log2_lr=[-12.0, -11.0, -10.0])
    replayed = run(c, data)
    assert (tape.recorded, tape.replayed) == (1, c.steps)
    monkeypatch.setattr(recorded, "recorder", lambda device: recorded.eager)
    assert_same(replayed, run(c, data))


@pytest.mark.parametrize(
    "changes", [{"clip": 0.5}, {"schedule": "cosine", "warmup_fraction": 0.2}, {"batch_size": 500}]
)
def test_what_changes_from_step_to_step_is_not_recorded(changes, tape, monkeypatch):
    c = cell(**changes)
    replayed = run(c, toy_data())
    monkeypatch.setattr(recorded, "recorder", lambda device: recorded.eager)
    assert_same(replayed, run(c, toy_data()))


@pytest.mark.parametrize("optimizer", FUSED)
def test_the_rules_are_those_of_the_optimizers(optimizer, tape, monkeypatch):
    """Against each optimizer's own `step`, in double precision."""
    c = cell(optimizer=optimizer, weight_decay=0.1, warmup_fraction=0.2, bias=True)
    data = toy_data()
    data = Data(data.x.double(), data.y, *((x.double(), y) for x, y in (data.train, data.heldout)), data.outputs)
    replayed = run(c, data, "float64")
    monkeypatch.setattr(recorded, "recorder", lambda device: None)
    plain = run(c, data, "float64")
    assert plain.recorded is None
    for name, w in plain.weights.items():
        torch.testing.assert_close(replayed.weights[name], w, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        [row[2:] for row in replayed.records.curves], [row[2:] for row in plain.records.curves], rtol=1e-9
    )


def test_a_retired_member_means_a_new_recording(tape, monkeypatch):
    c = cell(log2_lr=[-8.0, 40.0, -6.0], optimizer="sgd")
    replayed = run(c, toy_data())
    assert replayed.members == [0, 2]
    assert (tape.recorded, tape.replayed) == (2, c.steps)
    monkeypatch.setattr(recorded, "recorder", lambda device: recorded.eager)
    assert_same(replayed, run(c, toy_data()))


def test_resumed_has_the_bits_of_the_uninterrupted(tape, tmp_path, monkeypatch):
    c, quiet = cell(steps=60), Context(progress=lambda line: None)
    whole = train_stack(c, [0, 1, 2], toy_data(), quiet, "owner")
    monkeypatch.setattr(engine, "CHECKPOINT_SECONDS", -1.0)
    advance = Stack.advance

    def dies(self, most=1):
        if self.step >= 33:
            raise KeyboardInterrupt
        advance(self, most)

    monkeypatch.setattr(Stack, "advance", dies)
    context = Context(checkpoint_dir=tmp_path, progress=lambda line: None)
    with pytest.raises(KeyboardInterrupt):
        train_stack(c, [0, 1, 2], toy_data(), context, "owner")
    monkeypatch.setattr(Stack, "advance", advance)
    assert repr(train_stack(c, [0, 1, 2], toy_data(), context, "owner").curves) == repr(whole.curves)


def test_a_number_of_python_would_be_found_out(tape):
    """The tape keeps what a graph would keep: a rate that is no tensor stays that of the recording."""
    w, rates = torch.zeros(3), iter([1.0, 2.0])
    replay = tape(lambda: w.add_(next(rates)))
    replay()
    assert w.tolist() == [2.0] * 3  # and not 3


@pytest.mark.parametrize("optimizer", sorted(set(OPTIMIZERS) - set(FUSED)))
def test_other_optimizers_are_not_recorded(optimizer, tape):
    assert run(cell(optimizer=optimizer, steps=4), toy_data()).recorded is None
    assert tape.recorded == 0


def test_bfloat16_is_recorded_too(tape, monkeypatch):
    replayed = run(cell(steps=20), toy_data(), "bfloat16")
    assert tape.recorded == 1
    monkeypatch.setattr(recorded, "recorder", lambda device: recorded.eager)
    assert_same(replayed, run(cell(steps=20), toy_data(), "bfloat16"))


@needs_cuda
@pytest.mark.parametrize(("c", "data"), FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_graph_has_the_bits_of_single_launches_on_cuda(c, data, dtype, monkeypatch):
    graph = run(c, data, dtype, "cuda")
    assert graph.recorded is not None
    monkeypatch.setattr(recorded, "recorder", lambda device: recorded.eager)
    assert_same(graph, run(c, data, dtype, "cuda"))


@needs_cuda
@pytest.mark.parametrize(("c", "data"), FAMILIES)
def test_cuda_agrees_with_the_cpu(c, data):
    curves = [[row[2:] for row in run(c, data, device=device).records.curves] for device in ("cpu", "cuda")]
    np.testing.assert_allclose(*curves, rtol=2e-3)


@needs_cuda
def test_a_retired_member_means_a_new_graph_on_cuda(monkeypatch):
    c = cell(log2_lr=[-8.0, 40.0, -6.0], optimizer="sgd")
    graph = run(c, toy_data(), device="cuda")
    assert graph.members == [0, 2]
    monkeypatch.setattr(recorded, "recorder", lambda device: recorded.eager)
    assert_same(graph, run(c, toy_data(), device="cuda"))
