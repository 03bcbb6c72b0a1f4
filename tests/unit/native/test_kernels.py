"""The compiled kernels against float64 autograd, against torch.optim, and bit for bit against themselves."""

import platform
import time

import numpy as np
import pandas as pd
import pytest
import torch

from muster import native
from muster.data import write_dataset
from muster.experiments import Context
from muster.native import build, check, reference
from muster.native.binding import open_library
from muster.optimizers import OPTIMIZERS
from muster.parameterizations import usual_rule
from muster.training import compiled, engine
from muster.training.engine import CHECK_EVERY, Batches, Data, Stack, train, train_stack
from muster.training.train import TrainCell

F32, F64 = Context(progress=lambda line: None), Context(dtype="float64", progress=lambda line: None)
INPUTS, OUTPUTS, VOCABULARY, CONTEXT = 7, 10, 11, 37
X86 = platform.machine() in ("x86_64", "AMD64")
OTHER_BUILD = ("-mavx2", "-mfma") if X86 else (build.CPU, "-fno-tree-vectorize")
RATES = [-9.0, -7.0, -5.0]

MLPS = [
    {},
    {"bias": True, "activation": "tanh"},
    {"activation": "gelu", "norm": "layer", "bias": True},
    {"activation": "identity"},
    {"norm": "layer", "parameterization": "ntp"},
]
RESMLPS = [
    {},
    {"bias": True, "activation": "tanh"},
    {"block_layers": 2, "bias": True, "norm": "layer", "activation": "gelu"},
    {"block_layers": 2},
    {"norm": "layer", "activation": "gelu"},
]
TRANSFORMERS = [
    {},
    {"gains": True, "tied": True},
    {"feedforward": "relu2", "attention_scale": "inverse", "z_loss": 1e-3},
    {"feedforward": "swiglu", "norm": "rms", "positions": "rotary", "bias": True},
    {"qk_norm": True, "gains": True, "positions": "rotary"},
    {"norm": "rms", "gains": True, "qk_norm": True, "feedforward": "relu"},
]


def toy_data(outputs: int = OUTPUTS, examples: int = 150) -> Data:
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.standard_normal((examples, INPUTS), np.float32))
    y = torch.from_numpy(rng.integers(0, outputs, examples))
    return Data(x, y, (x[:70], y[:70]), (x[70:], y[70:]), outputs)


def tokens(context: int = CONTEXT, examples: int = 24) -> Data:
    drawn = torch.from_numpy(np.random.default_rng(3).integers(0, VOCABULARY, (examples, context + 1)))
    x, y = drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()
    return Data(x, y, (x[:9], y[:9]), (x[9:], y[9:]), VOCABULARY, positions=context)


def cell(**changes) -> TrainCell:
    settings = {
        "width": 24, "depth": 2, "seed": 1, "log2_lr": RATES, "base_width": 8, "batch_size": 16, "steps": 40,
        "optimizer": "adam", "parameterization": "mup", "evaluations": 2, "evaluation_examples": 70,
    }  # fmt: skip
    settings |= changes
    return TrainCell(**({"rule": usual_rule(OPTIMIZERS[settings["optimizer"]].update)} | settings))


def resmlp(**changes) -> TrainCell:
    return cell(**{"family": "resmlp", "depth": 3, "base_depth": 2, "parameterization": "completep"} | changes)


def dag(**changes) -> TrainCell:
    return cell(**{"family": "dag_mlp", "depth": 4, "activation": "tanh"} | changes)


def transformer(**changes) -> TrainCell:
    settings = {
        "family": "transformer", "norm": "layer", "head_width": 8, "base_depth": 2, "data": "python_text",
        "data_options": {"encoding": "tokens", "context": 16}, "batch_size": 4, "optimizer": "adamw",
    }  # fmt: skip
    return cell(**settings | changes)


def with_optimizer(c: TrainCell, optimizer: str, **changes) -> TrainCell:
    """The cell with another optimizer, and that one's own settings."""
    own = OPTIMIZERS[c.optimizer].settings.model_fields
    settings = {name: value for name, value in c.model_dump(exclude_none=True).items() if name not in own}
    return TrainCell(**(settings | {"optimizer": optimizer} | changes))


def run(c: TrainCell, data: Data, members: list[int] | None = None, most: int = CHECK_EVERY) -> Stack:
    """A stack trained to the end in calls of at most so many steps."""
    stack = Stack(c, list(range(len(c.log2_lr))) if members is None else members, data, F32)
    with torch.no_grad():
        stack.start()
        while stack.step < c.steps and stack.members:
            stack.advance(most)
    return stack


def everything(stack: Stack) -> dict[str, torch.Tensor]:
    return {**stack.weights, **stack.optimizer.state}


def assert_same_bits(first: Stack, second: Stack) -> None:
    assert first.members == second.members
    assert repr(first.records.curves) == repr(second.records.curves)
    for name, value in everything(first).items():
        assert torch.equal(value, everything(second)[name]), name


@pytest.fixture(scope="module", autouse=True)
def library() -> native.Library:
    found = native.load()
    assert found is not None, native.status().reason
    return found


def assert_gradients_are_exact(c: TrainCell, data: Data) -> None:
    """Of every tensor, to 1e-5 of its largest entry, from weights that have left their start."""
    stack = Stack(c, [0, 1], data, F32)
    assert stack.native is not None
    generator = torch.Generator().manual_seed(0)
    for w in stack.weights.values():
        if w.dim() == 2:  # biases start at 0, gains at 1
            w.add_(0.3 * torch.randn(w.shape, generator=generator))
    exact = Stack(c, [0, 1], _double(data), F64)
    exact.weights = {name: w.double() for name, w in stack.weights.items()}
    exact.workspace = None
    x, y = stack.batches[0]
    with torch.no_grad():
        loss = stack.compute_gradients(x, y)
        expected = exact.compute_gradients(*exact.batches[0])
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    for name, g in exact.gradients.items():
        largest = float(g.abs().max())
        error = float((stack.gradients[name].double() - g).abs().max())
        assert error <= 1e-5 * largest + 1e-9, (name, error, largest)


def _double(data: Data) -> Data:
    def wide(part):
        return part.double() if part.is_floating_point() else part

    x = wide(data.x)
    train, heldout = ((wide(split[0]), split[1]) for split in (data.train, data.heldout))
    return Data(x, data.y, train, heldout, data.outputs, positions=data.positions)


@pytest.mark.parametrize("width", [1, 7, 13, 33])
@pytest.mark.parametrize("batch", [1, 50])
@pytest.mark.parametrize("outputs", [1, 10, 17])
def test_gradients_at_odd_shapes(width, batch, outputs):
    for variant in MLPS[: 3 if width > 1 else 2]:
        assert_gradients_are_exact(cell(width=width, batch_size=batch, **variant), toy_data(outputs))


@pytest.mark.parametrize("variant", MLPS)
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_gradients_of_every_mlp(variant, loss):
    z_loss = {"z_loss": 1e-2} if loss == "cross_entropy" else {}
    assert_gradients_are_exact(cell(loss=loss, width=70, batch_size=67, **z_loss, **variant), toy_data())


@pytest.mark.parametrize("variant", RESMLPS)
@pytest.mark.parametrize("width", [13, 33])
def test_gradients_of_every_resmlp(variant, width):
    assert_gradients_are_exact(resmlp(width=width, batch_size=50, **variant), toy_data())


@pytest.mark.parametrize("density", [None, 0.7])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_gradients_of_graphs(density, activation):
    assert_gradients_are_exact(dag(edge_density=density, activation=activation), toy_data())


@pytest.mark.parametrize("variant", TRANSFORMERS)
@pytest.mark.parametrize("context", [5, 32, 37, 70])
def test_gradients_of_every_transformer(variant, context):
    assert_gradients_are_exact(transformer(batch_size=3, **variant), tokens(context))


@pytest.mark.parametrize(
    ("c", "data"),
    [
        *((cell(**v), toy_data()) for v in MLPS),
        *((resmlp(**v), toy_data()) for v in RESMLPS),
        (dag(edge_density=0.7), toy_data()),
        *((transformer(**v), tokens()) for v in TRANSFORMERS),
    ],
)
def test_what_a_family_describes_is_the_family(c, data):
    """Without the kernels: the graph, read by plain torch, has the family's own output."""
    stack = Stack(c, [0], _double(data), F64)
    graph = stack.model.native(stack.multiplier)
    x = stack.data.x[:3]
    expected = stack.model.output(stack.weights, stack.multiplier, x.unsqueeze(0))[0]
    found = reference.output(graph, {name: w[0] for name, w in stack.weights.items()}, x)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_fused_optimizers_equal_torch_optim_over_50_steps(optimizer):
    """Both take the kernels' gradients, so that nothing but the step is compared."""
    c = cell(optimizer=optimizer, steps=50, weight_decay=0.1, warmup_fraction=0.2, bias=True, log2_lr=[-7.0])
    fused = run(c, toy_data())
    assert fused.native.rule == {"adamw": "adam"}.get(optimizer, optimizer)
    plain = Stack(c, [0], toy_data(), F32)
    groups = [
        {"params": [w], "lr": 2.0**-7 * (s := plain.scaling[name]).lr, "weight_decay": 0.1 * s.weight_decay}
        for name, w in plain.weights.items()
    ]
    kinds = {"sgd": torch.optim.SGD, "momentum": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    options = {"momentum": {"momentum": 0.9}, "adam": {"eps": 1e-8}, "adamw": {"eps": 1e-8}}.get(optimizer, {})
    by_torch = kinds[optimizer](groups, **options)
    peak = [group["lr"] for group in by_torch.param_groups]
    for step in range(c.steps):
        for group, lr in zip(by_torch.param_groups, peak, strict=True):
            group["lr"] = lr * plain.schedule[step]
        with torch.no_grad():
            plain.compute_gradients(*plain.batches[step])
        for name, w in plain.weights.items():
            w.grad = plain.gradients[name]
        by_torch.step()
    for name, w in plain.weights.items():
        torch.testing.assert_close(fused.weights[name], w, rtol=2e-5, atol=2e-6 * float(w.abs().max()))


@pytest.mark.parametrize(
    "changes", [{"optimizer": "adafactor"}, {"clip": 0.5}, {"optimizer": "adamw", "weight_decay": -0.1}]
)
def test_what_is_not_fused_takes_native_gradients(changes):
    c = cell(steps=12, **changes)
    stack = run(c, toy_data())
    assert stack.native.rule == "gradient"
    eager = Stack(c, [0, 1, 2], _double(toy_data()), F64)
    with torch.no_grad():
        eager.start()
        for _ in range(c.steps):
            eager.advance()
    np.testing.assert_allclose(
        [row[2:] for row in stack.records.curves], [row[2:] for row in eager.records.curves], rtol=1e-4
    )


FAMILIES = [
    (cell(bias=True, norm="layer"), toy_data()),
    (resmlp(bias=True), toy_data()),
    (transformer(gains=True), tokens()),
]


@pytest.mark.parametrize(("c", "data"), FAMILIES)
def test_again_gives_the_same_bits(c, data):
    assert_same_bits(run(c, data), run(c, data))


@pytest.mark.parametrize(("c", "data"), FAMILIES)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_many_steps_a_call_give_the_bits_of_single_ones(c, data, optimizer):
    c = with_optimizer(c, optimizer, log2_lr=[-12.0, -11.0, -10.0])
    several = run(c, data)
    assert several.members == [0, 1, 2]
    assert_same_bits(several, run(c, data, most=1))


@pytest.mark.parametrize(("c", "data"), FAMILIES)
def test_a_member_alone_has_its_bits_in_the_stack(c, data):
    together = run(c, data)
    for e in together.members:
        alone = run(c, data, [e])
        for name, value in everything(alone).items():
            assert torch.equal(value[0], everything(together)[name][together.members.index(e)])


def test_a_retired_neighbour_leaves_the_bits_alone():
    c = cell(log2_lr=[-8.0, 40.0, -6.0], optimizer="sgd")
    together, without = run(c, toy_data()), run(cell(log2_lr=[-8.0, -6.0], optimizer="sgd"), toy_data())
    assert together.members == [0, 2]
    assert without.members == [0, 1]
    for name, value in everything(together).items():
        assert torch.equal(value, everything(without)[name])


def test_resumed_has_the_bits_of_the_uninterrupted(tmp_path, monkeypatch):
    c = cell(steps=60, probes=["coordinate_check"], probe_steps=[5, 45])
    whole = train_stack(c, [0, 1, 2], toy_data(), F32, "owner")
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
    resumed = train_stack(c, [0, 1, 2], toy_data(), context, "owner")
    assert resumed.path == "native"
    assert repr(resumed.curves) == repr(whole.curves)
    assert repr(resumed.probes) == repr(whole.probes)


@pytest.mark.parametrize(("c", "data"), FAMILIES)
def test_another_build_gives_the_same_bits(c, data, monkeypatch, library):
    """AVX2 against AVX-512 where the machine has both."""
    other = open_library(build.build(OTHER_BUILD))
    assert other.path != library.path
    here = run(c, data)
    monkeypatch.setattr(native, "load", lambda dtype: other)
    there = run(c, data)
    assert there.native._library is other
    assert_same_bits(here, there)


def test_threads_change_no_bit():
    threads = torch.get_num_threads()
    alone = run(cell(), toy_data())
    torch.set_num_threads(2)
    try:
        shared = run(cell(), toy_data())
    finally:
        torch.set_num_threads(threads)
    assert len(shared.native._scratches) == 2
    assert_same_bits(alone, shared)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "identity"])
def test_divergence_is_seen_at_the_step_of_the_eager_engine(optimizer, activation, monkeypatch):
    c = cell(
        optimizer=optimizer,
        activation=activation,
        steps=64,
        divergence_ratio=3.0,
        log2_lr=[-8.0, 6.0, 20.0, 60.0, 120.0],
    )
    ours = run(c, toy_data())
    monkeypatch.setattr(compiled, "network", lambda stack: None)
    eager = run(c, toy_data())
    assert eager.native is None
    assert ours.records.diverged == eager.records.diverged
    assert ours.records.diverged


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("activation", ["identity", "relu", "tanh", "gelu"])
def test_what_is_not_finite_passes_as_in_torch(activation, value):
    """A weight of the first layer reaches the loss, or does not, as in torch."""
    c = cell(activation=activation, loss="squared_error", width=33)
    ours = Stack(c, [0], toy_data(), F32)
    ours.weights["w1"][0, 0, 5] = value
    eager = Stack(c, [0], toy_data(), F32)
    eager.native, eager.workspace = None, None
    eager.weights["w1"].copy_(ours.weights["w1"])
    with torch.no_grad():
        losses = [stack.compute_gradients(*stack.batches[0]) for stack in (ours, eager)]
    torch.testing.assert_close(*losses, equal_nan=True, rtol=1e-4, atol=0)
    for name, g in eager.gradients.items():
        assert torch.equal(torch.isfinite(ours.gradients[name]), torch.isfinite(g)), name


def test_denormals_are_flushed_within_a_call_and_nowhere_else():
    c = cell(log2_lr=[-9.0], steps=10)
    stack = Stack(c, [0], toy_data(), F32)
    stack.weights["w1"].zero_()
    stack.weights["w2"].zero_()
    tiny = torch.tensor(1e-41)
    stack.optimizer.state["v.w1"].fill_(tiny)
    with torch.no_grad():
        stack.take_steps(2)
    assert (stack.optimizer.state["v.w1"] == 0).all()
    assert (tiny * 1.0).item() != 0


@pytest.mark.parametrize(("c", "data"), FAMILIES)
def test_evaluation_equals_torch_and_starts_once(c, data, monkeypatch):
    stack = run(c, data)
    found = stack.evaluate(data.train)
    monkeypatch.setattr(stack, "native", None)
    with torch.no_grad():
        torch.testing.assert_close(found, stack.evaluate(data.train), rtol=1e-5, atol=0)
    fresh = Stack(c, [0, 1, 2], data, F32)
    asked = []
    evaluate = fresh.native.evaluate
    monkeypatch.setattr(
        fresh.native, "evaluate", lambda x, y, members: asked.append(members) or evaluate(x, y, members)
    )
    assert len(fresh.evaluate(data.heldout).unique()) == 1
    assert asked == [1]


def test_stacks_of_a_cell_share_the_evaluation_of_their_start(tmp_path, monkeypatch):
    options = {"train": 200, "heldout": 100}
    write_dataset("digits", options, tmp_path)
    context = Context(data_dir=tmp_path, progress=lambda line: None)
    c = cell(data="digits", data_options=options, steps=4)
    together = train(c, context)
    monkeypatch.setattr(engine, "most_members", lambda *sizes: 1)
    starts = []
    evaluate = Stack.evaluate

    def counted(self, split):
        if not self.step:
            starts.append(list(self.members))
        return evaluate(self, split)

    monkeypatch.setattr(Stack, "evaluate", counted)
    alone = train(c, context)
    assert starts == [[0], [0]]  # both splits, by the first of three stacks
    curves = [found.curves.sort_values(["log2_lr", "step"], ignore_index=True) for found in (alone, together)]
    pd.testing.assert_frame_equal(*curves)


def test_denormals_do_not_slow_it():
    """Moments of dead units: without the flush a step takes many times as long."""

    def seconds(moment: float) -> float:
        stack = Stack(cell(width=128, log2_lr=[-9.0], steps=10**4), [0], toy_data(), F32)
        taken = []
        for _ in range(5):
            for name, state in stack.optimizer.state.items():
                state.fill_(moment if name.endswith("w2") else 0.0)
            stack.weights["w1"].zero_()  # no gradient reaches the second matrix: its moments only decay
            begun = time.process_time()
            with torch.no_grad():
                stack.take_steps(16)
            taken.append(time.process_time() - begun)
        return min(taken)

    assert seconds(1e-39) < 3 * seconds(1e-3)


def test_tokens_and_classes_without_a_row_are_refused():
    data = toy_data(outputs=4)
    data.y[:] = 9
    stack = Stack(cell(), [0], data, F32)
    with pytest.raises(IndexError, match="outside 0 … 3"):
        stack.compute_gradients(*stack.batches[0])


def test_the_check_at_load_sees_a_wrong_number(library, monkeypatch):
    assert check.largest_error(library) < 1e-5
    monkeypatch.setattr(check, "_stepped", lambda rule, w, g: w - 1.001e-2 * g)
    assert check.largest_error(library) > 1e-5
    monkeypatch.undo()
    monkeypatch.setitem(reference._BY_KIND, "gate", lambda op, w, z, context: z.chunk(2, 1)[1])
    assert check.largest_error(library) > 1e-5


def test_double_precision_takes_the_old_path():
    assert Stack(cell(), [0], _double(toy_data()), F64).native is None


def test_the_notes_of_a_cell_say_what_trained_it(tmp_path, monkeypatch):
    options = {"train": 200, "heldout": 100}
    write_dataset("digits", options, tmp_path)
    context = Context(data_dir=tmp_path, progress=lambda line: None)
    c = cell(data="digits", data_options=options, steps=4)
    assert train(c, context).notes["engine"] == "native"
    monkeypatch.setattr(compiled, "network", lambda stack: None)
    assert train(c, context).notes["engine"] == "workspace"
    assert train(c.model_copy(update={"norm": "layer"}), context).notes["engine"] == "autograd"


@pytest.mark.parametrize("batch", [16, 150])
def test_a_block_of_batches_is_the_batches(batch):
    batches = Batches(toy_data(), 5, batch)
    x, y = batches.block(7, 5)  # 9 batches of 16 an epoch: it goes over the end
    for k in range(5):
        assert torch.equal(x[k], batches[7 + k][0])
        assert torch.equal(y[k], batches[7 + k][1])


def test_a_call_ends_where_something_is_due():
    stack = Stack(cell(steps=50, probe_steps=[5, 45]), [0], toy_data(), F32)
    ends = []
    with torch.no_grad():
        stack.start()
        while stack.step < 50:
            stack.advance(CHECK_EVERY)
            ends.append(stack.step)
    assert ends == [5, 16, 25, 41, 45, 50]
