"""The stacked engine against plain loops, against autograd, and against itself cut in other ways."""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from muster.data import DATASETS, Arrays, load_dataset, write_dataset
from muster.errors import MusterError
from muster.experiments import Context
from muster.optimizers import OPTIMIZERS
from muster.parameterizations import usual_rule
from muster.training import checkpoint, device, engine, schedules
from muster.training.cell import TrainCell
from muster.training.engine import Batches, Data, Stack, stack_sizes, train, train_stack
from muster.training.losses import LOSSES
from muster.training.probes.coordinates import alignment, coordinate_check
from muster.training.probes.kernel import tangent_kernel
from muster.training.snapshot import Snapshot
from muster.training.stacks import STACK_BYTES
from tests.parity import reference

F64 = Context(dtype="float64")
INPUTS, OUTPUTS = 7, 4
RATES = [-9.0, -7.0, -5.0]
ONCE = [name for name in OPTIMIZERS if name not in ("muon_jordan", "muon_unscaled")]  # muon, times another number


def toy_data(dtype=torch.float64, examples: int = 96) -> Data:
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.standard_normal((examples, INPUTS))).to(dtype)
    y = torch.from_numpy(rng.integers(0, OUTPUTS, examples))
    return Data(x, y, (x[:32], y[:32]), (x[32:64], y[32:64]), OUTPUTS)


def cell(**changes) -> TrainCell:
    settings = {
        "width": 24, "depth": 2, "seed": 1, "log2_lr": RATES, "base_width": 8, "batch_size": 16, "steps": 10,
        "optimizer": "adam", "parameterization": "mup", "evaluations": 2, "evaluation_examples": 32,
    }  # fmt: skip
    settings |= changes
    return TrainCell(**({"rule": usual_rule(OPTIMIZERS[settings["optimizer"]].update)} | settings))


def advance(stack: Stack, steps: int) -> Stack:
    with torch.no_grad():
        if stack.step == 0:
            stack.start()
        for _ in range(steps):
            stack.advance()
    return stack


def trained(c: TrainCell, members: list[int] | None = None, context: Context = F64) -> Stack:
    return advance(Stack(c, list(range(len(c.log2_lr))) if members is None else members, toy_data(), context), c.steps)


def test_fresh_batches_share_no_random_numbers_with_each_other_or_the_initial_weights():
    numbers = []

    def fresh(rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.from_numpy(rng.standard_normal((count, INPUTS)))
        return x, torch.zeros(count, dtype=torch.int64)

    for seed in (1, 2):
        batches = Batches(replace(toy_data(), fresh=fresh), seed, 8)
        numbers += [batches[step][0][0, 0].item() for step in range(6)]
        weights = Stack(cell(seed=seed, width=8, depth=4, parameterization="sp"), [0], toy_data(), F64).initial([0])
        drawn = {name: w.flatten() for name, w in weights.items() if w.abs().sum() > 0}
        shares = [(batches[step][0].flatten()[:8] / w[:8]).numpy() for step in range(6) for w in drawn.values()]
        assert min(np.ptp(share) for share in shares) > 1e-3  # no batch is a multiple of a layer
    assert len(set(numbers)) == len(numbers)


def test_a_stream_gives_inputs_and_targets(monkeypatch):
    """The streams that there are reconstruct their inputs: one whose targets are others."""

    def stream(options, rng, count):
        return rng.standard_normal((count, 2, 3), np.float32), np.arange(count)

    monkeypatch.setitem(DATASETS._entries, "sparse_features", replace(DATASETS["sparse_features"], stream=stream))
    rows = np.zeros((4, 3), np.float32)
    given = cell(data="sparse_features", data_options={"features": 3, "train": 4, "heldout": 4})
    data = Data.of(Arrays(rows, rows, rows, rows), given, torch.device("cpu"), torch.float64)
    x, y = data.fresh(np.random.default_rng(1), 5)
    assert (tuple(x.shape), y.tolist()) == ((5, 6), [0, 1, 2, 3, 4])


@pytest.mark.parametrize("optimizer", sorted(set(ONCE) - {"shampoo", "soap"}))  # of these: test_matrix_optimizers
@pytest.mark.parametrize("variant", [{}, {"bias": True, "activation": "tanh"}, {"activation": "gelu", "bias": True}])
def test_stacked_equals_a_loop_of_torch_optim(optimizer, variant):
    decay = 0.0 if optimizer == "adafactor" else 0.1
    epsilon = {"epsilon": reference.ADAFACTOR_EPS[0]} if optimizer == "adafactor" else {}
    c = cell(optimizer=optimizer, weight_decay=decay, warmup_fraction=0.2, **epsilon, **variant)
    stack = trained(c)
    fresh = Stack(c, [0], toy_data(), F64)
    start = fresh.initial([0])
    names = [n for n in start if n.startswith("w")]
    biases = [n for n in start if n.startswith("b")]
    batches = [fresh.batches[i] for i in range(c.steps)]
    for e, rate in enumerate(RATES):
        looped = reference.train(
            [start[n][0] for n in names],
            [fresh.scaling[n] for n in names],
            batches,
            optimizer=optimizer,
            lr=2.0**rate,
            loss=torch.nn.functional.cross_entropy,
            biases=[start[n][0] for n in biases],
            bias_scalings=[fresh.scaling[n] for n in biases],
            activation={"relu": torch.relu, "tanh": torch.tanh, "gelu": torch.nn.functional.gelu}[c.activation],
            weight_decay=decay,
            schedule=lambda step: fresh.schedule[step],
        )
        for name, expected in zip([*names, *biases], [*looped.weights, *looped.biases], strict=True):
            torch.testing.assert_close(stack.weights[name][e], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimizer", ONCE)
def test_a_member_does_not_depend_on_its_stack(optimizer):
    c = cell(optimizer=optimizer, log2_lr=[RATES[0], 30.0, *RATES[1:]], steps=40, divergence_ratio=3.0)
    together = trained(c)
    for e in together.members:
        alone = trained(c, [e])
        i = together.members.index(e)
        for name, w in alone.weights.items():
            torch.testing.assert_close(together.weights[name][i], w[0], rtol=1e-12, atol=1e-12)


def test_diverged_members_are_retired_and_never_imputed(tmp_path):
    write_dataset("digits", {"train": 200, "heldout": 100}, tmp_path / "data")
    c = cell(
        data="digits", data_options={"train": 200, "heldout": 100}, optimizer="sgd", log2_lr=[-5.0, 40.0], steps=30
    )
    runs = train(c, Context(data_dir=tmp_path / "data", progress=lambda line: None)).runs.set_index("log2_lr")
    assert not runs.loc[-5.0, "diverged"]
    assert math.isfinite(runs.loc[-5.0, "final_train_loss"])
    assert runs.loc[40.0, "diverged"]
    assert math.isnan(runs.loc[40.0, "final_train_loss"])
    assert runs.loc[40.0, "steps"] < 30


@pytest.mark.parametrize("variant", [{}, {"bias": True, "activation": "tanh"}, {"activation": "identity"}])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_backward_by_hand_equals_autograd(variant, loss):
    c = cell(loss=loss, **variant)
    by_hand, by_graph = (Stack(c, [0, 1, 2], toy_data(), F64) for _ in range(2))
    by_graph.workspace = None
    assert by_hand.workspace is not None
    x, y = by_hand.batches[0]
    with torch.no_grad():
        losses = [stack.compute_gradients(x, y) for stack in (by_hand, by_graph)]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
    for name, g in by_graph.gradients.items():
        torch.testing.assert_close(by_hand.gradients[name], g, rtol=1e-12, atol=1e-13)


def test_bfloat16_autocast_stays_near_float32():
    c = cell(steps=30, log2_lr=[-8.0, -7.0])
    losses = [
        [row[2] for row in advance(Stack(c, [0, 1], toy_data(torch.float32), Context(dtype=dtype)), 30).records.curves]
        for dtype in ("float32", "bfloat16")
    ]
    assert losses[1] != losses[0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.02)


def test_cuda_without_a_device_is_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.resolve("auto").type == "cpu"
    with pytest.raises(MusterError, match="device: auto"):
        device.resolve("cuda")


def test_layer_norm_trains_and_keeps_activations_at_unit_size():
    stack = trained(cell(norm="layer", parameterization="sp"))
    with torch.no_grad():
        h = stack.model.sites(stack.weights, stack.multiplier, stack.stacked(stack.data.x[:16]))[1].h_ExBxI
    assert stack.workspace is None
    assert h.square().mean() == pytest.approx(0.5, abs=0.1)  # half of a normalized ReLU input survives


@pytest.mark.parametrize("name", ["cross_entropy", "squared_error"])
def test_loss_gradients_equal_autograd(name):
    f = torch.randn(3, 8, OUTPUTS, dtype=torch.float64, requires_grad=True)
    y = torch.randint(0, OUTPUTS, (8,))
    loss_E, gradient = LOSSES[name](f.detach().clone(), y)
    if name == "cross_entropy":
        direct = torch.stack([torch.nn.functional.cross_entropy(member, y) for member in f])
    else:
        direct = 0.5 * (f - torch.nn.functional.one_hot(y, OUTPUTS)).square().sum(-1).mean(1)
    torch.testing.assert_close(loss_E, direct.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(direct.sum(), f)[0])


def test_stacks_cover_all_members_once_and_wide_nets_get_small_ones():
    cpu = torch.device("cpu")
    assert sorted(itertools.chain(*stack_sizes(10**4, 10**4, 15, cpu))) == list(range(15))
    assert len(stack_sizes(10**4, 10**4, 15, cpu)) == 1
    assert [len(s) for s in stack_sizes(10**6, 10**6, 4, cpu)] == [1, 1, 1, 1]
    assert [len(s) for s in stack_sizes(10**8, 10**8, 10, torch.device("cuda"))] == [5, 5]


def test_float32_results_do_not_depend_on_threads_or_stacks(monkeypatch, tmp_path):
    options = {"train": 200, "heldout": 100}
    write_dataset("digits", options, tmp_path / "data")
    c = cell(data="digits", data_options=options, width=64, steps=60)
    context = Context(data_dir=tmp_path / "data", progress=lambda line: None)
    threads = torch.get_num_threads()
    losses = []
    for count, stack_bytes in ((1, 2**23), (2, 2**23), (1, 1)):
        torch.set_num_threads(count)
        monkeypatch.setitem(STACK_BYTES, "cpu", stack_bytes)
        losses.append(train(c, context).runs.final_train_loss.to_numpy())
    torch.set_num_threads(threads)
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-4)
    np.testing.assert_allclose(losses[2], losses[0], rtol=2e-4)


@pytest.mark.parametrize("optimizer", ONCE)
def test_resumed_equals_uninterrupted_bit_for_bit(optimizer, tmp_path, monkeypatch):
    c = cell(
        optimizer=optimizer, log2_lr=[-8.0, 30.0, -5.0], steps=50, probes=["coordinate_check"], probe_steps=[5, 45]
    )
    data, members = toy_data(torch.float32), [0, 1, 2]
    quiet = Context(progress=lambda line: None)
    whole = train_stack(c, members, data, quiet, "owner")

    interrupted = Context(checkpoint_dir=tmp_path, progress=lambda line: None)
    monkeypatch.setattr(engine, "CHECKPOINT_SECONDS", -1.0)
    original = Stack.advance

    def dies(self, most=1):
        if self.step >= 33:
            raise KeyboardInterrupt
        original(self, most)

    monkeypatch.setattr(Stack, "advance", dies)
    with pytest.raises(KeyboardInterrupt):
        train_stack(c, members, data, interrupted, "owner")
    monkeypatch.setattr(Stack, "advance", original)
    started = []
    monkeypatch.setattr(Stack, "start", lambda self: started.append(self))
    resumed = train_stack(c, members, data, interrupted, "owner")
    assert not started
    assert resumed.curves == whole.curves
    assert repr(resumed.probes) == repr(whole.probes)  # repr: NaN equals itself, floats to the last bit
    assert resumed.diverged == whole.diverged


def test_checkpoints_of_others_and_damaged_ones_are_not_resumed(tmp_path, capsys):
    path = tmp_path / "stack0.pt"
    checkpoint.save(path, "mine", {"step": 3})
    assert checkpoint.load(path, "mine") == {"step": 3}
    assert checkpoint.load(path, "other") is None
    path.write_bytes(path.read_bytes()[:40])
    assert checkpoint.load(path, "mine") is None
    assert "unreadable" in capsys.readouterr().out
    assert checkpoint.load(tmp_path / "none.pt", "mine") is None


def test_batches_are_a_function_of_seed_and_step_alone():
    data = toy_data()
    forward, backward = Batches(data, 5, 16), Batches(data, 5, 16)
    seen = [forward[i][0] for i in range(12)]
    for i in reversed(range(12)):
        assert torch.equal(backward[i][0], seen[i])
    epoch = torch.cat(seen[:6])
    assert len(torch.unique(epoch, dim=0)) == 96  # every example once an epoch
    assert not torch.equal(seen[0], seen[6])
    assert not torch.equal(Batches(data, 6, 16)[0][0], seen[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ("cosine", [0.5, 1, *[0.5 * (1 + math.cos(math.pi * i / 6)) for i in range(6)]]),
        ("wsd", [0.5, 1, 1, 1, 1, 1, 2 / 3, 1 / 3]),
    ],
)
def test_schedules(name, expected):
    settings = {"decay_fraction": 0.5} if name == "wsd" else {}
    c = cell(schedule=name, steps=8, warmup_fraction=0.25, **settings)
    assert schedules.factors(c) == pytest.approx(expected)


@pytest.mark.parametrize("pair", [("sp", "ntp"), ("mup", "mfp")])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adafactor"])
@pytest.mark.parametrize("rule", ["full_alignment", "no_alignment", "omega_out_1"])
def test_shifted_parameterizations_give_the_same_run(pair, optimizer, rule):
    """PARAMETERIZATIONS: a reparametrization moves no trajectory, so sp ≡ ntp and mup ≡ mfp (Yang & Hu 2021, eq. 4)."""
    epsilon = {"adam": 1e-8, "adafactor": 1e-15}.get(optimizer)
    settings = {
        "optimizer": optimizer,
        "rule": rule,
        "epsilon": epsilon,
        "epsilon_rule": "scaled",
        "width": 32,
        "bias": True,
    }
    first, second = (trained(cell(parameterization=name, **settings)) for name in pair)
    curves = [np.array([row[2:] for row in stack.records.curves]) for stack in (first, second)]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-10)


@pytest.mark.parametrize("name", ["sp", "ntp", "mfp", "mup"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adafactor"])
def test_every_parameterization_is_sp_at_the_base_shape(name, optimizer):
    settings = {"optimizer": optimizer, "width": 8, "base_width": 8, "depth": 2, "base_depth": 2}
    ours, sp = trained(cell(parameterization=name, **settings)), trained(cell(parameterization="sp", **settings))
    assert ours.records.curves == sp.records.curves


def snapshot(stack: Stack, examples: int = 5) -> Snapshot:
    x = stack.stacked(stack.data.x[:examples])
    w_0 = stack.initial(stack.members)
    with torch.no_grad():
        sites = [stack.model.sites(w, stack.multiplier, x) for w in (w_0, stack.weights)]
    return Snapshot(
        model=stack.model,
        multiplier=stack.multiplier,
        lr_factor={name: s.lr for name, s in stack.scaling.items()},
        w_0=w_0,
        w_t=stack.weights,
        sites_0=sites[0],
        sites_t=sites[1],
        x_ExBxI=x,
        optimizer=stack.optimizer,
        step=stack.step,
        train=(stack.data.x, stack.data.y),
        heldout=stack.data.heldout,
        loss=stack.loss,
    )


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_tangent_kernel_equals_the_jacobian_product(activation):
    stack = trained(
        cell(optimizer="sgd", parameterization="ntp", bias=True, activation=activation, rule="full_alignment")
    )
    s = snapshot(stack)
    kernel = tangent_kernel(s, s.w_t)
    for e in range(len(RATES)):
        weights = {name: w[e : e + 1] for name, w in s.w_t.items()}
        jacobian = torch.func.jacrev(lambda w: stack.model.output(w, stack.multiplier, s.x_ExBxI[:1])[0])(weights)
        expected = sum(
            s.lr_factor[name] * torch.einsum("iko,jko->ij", j.flatten(2), j.flatten(2)) for name, j in jacobian.items()
        )
        torch.testing.assert_close(kernel[e], expected / OUTPUTS, rtol=1e-10, atol=1e-12)


def test_coordinate_check_splits_the_change_exactly():
    stack = trained(cell(optimizer="sgd", activation="tanh"))
    s = snapshot(stack)
    for at_0, at_t in zip(s.sites_0, s.sites_t, strict=True):
        name = at_t.weight
        from_weights = torch.bmm(at_t.h_ExBxI, s.w_t[name] - s.w_0[name]) * s.multiplier[name]
        from_inputs = torch.bmm(at_t.h_ExBxI - at_0.h_ExBxI, s.w_0[name]) * s.multiplier[name]
        torch.testing.assert_close(from_weights + from_inputs, at_t.z_ExBxO - at_0.z_ExBxO, rtol=1e-10, atol=1e-12)
    readings = {(name, layer): value for name, layer, value in coordinate_check(s)}
    assert readings["input_change_term", 1].abs().max() == 0  # the data do not change
    torch.testing.assert_close(readings["weight_change_term", 1], readings["activation_change_rms", 1])


def test_alignment_is_one_half_for_noise_and_one_for_a_rank_one_update():
    generator = torch.Generator().manual_seed(0)
    n = 1024
    h = torch.randn(1, 4, n, generator=generator, dtype=torch.float64)
    noise = torch.randn(1, n, n, generator=generator, dtype=torch.float64)
    aligned = h[:, :1].mT @ torch.randn(1, 1, n, generator=generator, dtype=torch.float64)
    site = SimpleNamespace(weight="w1", h_ExBxI=h[:, :1], z_ExBxO=None)
    for change, exponent in ((noise, 0.5), (aligned, 1.0)):
        s = SimpleNamespace(step=1, sites_t=[site], w_0={"w1": torch.zeros_like(change)}, w_t={"w1": change})
        ((_, layer, value),) = alignment(s)
        assert layer == 1
        assert value.item() == pytest.approx(exponent, abs=0.01)


def test_epsilon_probe_reads_the_gradient_after_one_step():
    c = cell(steps=1, evaluations=1, epsilon=1e-3, probes=["epsilon"], probe_steps=[1])
    stack = Stack(c, [0, 1, 2], toy_data(), F64)
    with torch.no_grad():
        stack.start()
        stack.compute_gradients(*stack.batches[0])
    gradients = {name: g.clone() for name, g in stack.gradients.items()}
    with torch.no_grad():
        stack.advance()
    readings = {(row[2], row[3]): row[4] for row in stack.records.probes if row[0] == 0 and row[1] == 1}
    for layer in (1, 2, 3):
        g = gradients[f"w{layer}"][0]
        assert readings["gradient_rms", layer] == pytest.approx(g.square().mean().sqrt().item(), rel=1e-9)
        assert readings["eps_killed", layer] == pytest.approx((g.abs() < 1e-3).double().mean().item(), abs=1e-12)


def test_probes_and_curves_are_taken_when_they_are_due():
    c = cell(probes=["coordinate_check", "feature_change", "ntk", "epsilon", "alignment"], probe_steps=[4, 10])
    records = trained(c).records
    assert sorted({row[1] for row in records.curves}) == [0, 5, 10]
    steps = {
        name: sorted({row[1] for row in records.probes if row[2] == name})
        for name in {row[2] for row in records.probes}
    }
    assert steps["activation_rms"] == [0, 4, 10]
    assert steps["ntk_entry"] == [0]
    for name in ("activation_change_rms", "feature_change", "ntk_change", "eps_killed", "alignment"):
        assert steps[name] == [4, 10]


def test_examples_are_a_random_subset_of_the_seed(tmp_path):
    options = {"train": 60, "heldout": 20}
    write_dataset("digits", options, tmp_path / "data")
    arrays = load_dataset(tmp_path / "data")

    def data(**changes):
        c = cell(data="digits", data_options=options, **changes)
        return Data.of(arrays, c, torch.device("cpu"), torch.float64)

    def rows(found):
        return {tuple(row) for row in found.x.tolist()}

    whole, part, again, other = data(), data(examples=24), data(examples=24), data(examples=24, seed=2)
    assert len(part.x) == len(part.y) == 24
    assert rows(part) < rows(whole)
    assert torch.equal(part.x, again.x)
    assert rows(part) != rows(other)
    assert len(part.train[0]) == 24
    labels = {tuple(x): y for x, y in zip(whole.x.tolist(), whole.y.tolist(), strict=True)}
    assert [labels[tuple(x)] for x in part.x.tolist()] == part.y.tolist()
    with pytest.raises(MusterError, match="holds 60 training examples"):
        data(examples=61)


def test_features_set_the_dimension_of_the_data():
    c = cell(data="teacher", data_options={"train": 50, "outputs": 2}, features=5)
    assert c.data_options == {"train": 50, "outputs": 2, "features": 5}
    with pytest.raises(ValidationError, match="features is read by sparse_features and teacher, not by data 'digits'"):
        cell(data="digits", features=5)


def test_a_run_s_losses_are_those_of_its_last_evaluation(tmp_path):
    write_dataset("mnist1d", {"train": 64, "heldout": 32}, tmp_path)
    given = cell(data="mnist1d", data_options={"train": 64, "heldout": 32}, steps=6, evaluations=3)
    found = train(given, replace(F64, data_dir=tmp_path, progress=lambda line: None))
    last = found.curves.sort_values("step").groupby("log2_lr").last()
    runs = found.runs.set_index("log2_lr")
    for name in ("train_loss", "eval_loss"):
        pd.testing.assert_series_equal(runs[f"final_{name}"], last[name], check_names=False, check_index=False)
    assert (runs["final_train_loss"] != runs["final_eval_loss"]).all()
