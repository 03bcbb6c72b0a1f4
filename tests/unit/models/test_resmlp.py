"""The residual family against a loop of plain torch networks, against autograd, and the depth table it must obey."""

import math

import numpy as np
import pytest
import torch

from muster.data import dimensions
from muster.experiments import Context
from muster.models.shapes.resmlp import tensors
from muster.parameterizations import branch_multiplier
from muster.training.cell import TrainCell
from muster.training.engine import Data, Stack

F64 = Context(dtype="float64")
INPUTS, OUTPUTS = 7, 4
RATES = [-9.0, -6.0]
ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "gelu": torch.nn.functional.gelu, "identity": lambda h: h}
OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "momentum": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adafactor": torch.optim.Adafactor,
}
VARIANTS = [
    {},
    {"bias": True, "activation": "tanh"},
    {"block_layers": 2},
    {"block_layers": 2, "bias": True, "activation": "tanh"},
    {"block_layers": 2, "bias": True, "norm": "layer", "activation": "gelu"},
    {"norm": "layer"},
]
BY_HAND = [*VARIANTS, {"activation": "identity"}, {"norm": "layer", "bias": True, "activation": "gelu"}]


def toy_data(examples: int = 48) -> Data:
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.standard_normal((examples, INPUTS)))
    y = torch.from_numpy(rng.integers(0, OUTPUTS, examples))
    return Data(x, y, (x[:16], y[:16]), (x[16:32], y[16:32]), OUTPUTS)


def cell(**changes) -> TrainCell:
    settings = {
        "family": "resmlp", "width": 16, "depth": 6, "seed": 1, "log2_lr": RATES, "base_width": 8, "base_depth": 2,
        "batch_size": 16, "steps": 6, "optimizer": "adam", "parameterization": "completep", "evaluations": 2,
        "evaluation_examples": 16,
    }  # fmt: skip
    return TrainCell(**(settings | changes))


def trained(c: TrainCell, data: Data | None = None) -> Stack:
    stack = Stack(c, list(range(len(c.log2_lr))), data or toy_data(), F64)
    with torch.no_grad():
        stack.start()
        for _ in range(c.steps):
            stack.advance()
    return stack


def plain_forward(c: TrainCell, w, scaling, x):
    """One network, written as the papers write it: f and the stream h_0 … h_L."""
    act, per_block = ACTIVATIONS[c.activation], c.block_layers or 1

    def linear(number, h):
        z = h @ w[f"w{number}"] * scaling[f"w{number}"].multiplier
        return z + w[f"b{number}"] * scaling[f"b{number}"].multiplier if c.bias else z

    def norm(number, h):
        if c.norm == "none":
            return h
        return torch.nn.functional.layer_norm(h, h.shape[-1:], w[f"g{number}"] * scaling[f"g{number}"].multiplier)

    stream, number = [linear(1, x)], 2
    for _ in range(c.depth):
        h = norm(number, stream[-1])
        branch = linear(number, act(h)) if per_block == 1 else linear(number + 1, act(linear(number, h)))
        stream.append(stream[-1] + branch * branch_multiplier(c))
        number += per_block
    h = norm(number, stream[-1])
    return linear(number, act(h) if per_block == 1 else h), stream


def looped(c: TrainCell, stack: Stack, e: int, start) -> dict[str, torch.Tensor]:
    """Train one network with torch.optim, a group a tensor."""
    w = {name: values[0].clone().requires_grad_() for name, values in start.items()}
    groups = []
    for name, leaf in w.items():
        s = stack.scaling[name]
        group = {"params": [leaf], "lr": 2.0 ** c.log2_lr[e] * s.lr, "weight_decay": c.weight_decay * s.weight_decay}
        if c.optimizer.startswith("adam"):
            group["eps"] = c.epsilon * s.eps
        if c.optimizer == "adafactor":
            group["eps"] = (c.epsilon * s.eps, 1e-3)
        groups.append(group)
    options = {"momentum": c.momentum} if c.optimizer == "momentum" else {}
    optimizer = OPTIMIZERS[c.optimizer](groups, **options)
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(c.steps):
        x, y = stack.batches[step]
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * stack.schedule[step]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(plain_forward(c, w, stack.scaling, x)[0], y).backward()
        optimizer.step()
    return {name: leaf.detach() for name, leaf in w.items()}


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("variant", VARIANTS)
def test_stacked_equals_a_loop_of_torch_optim(optimizer, variant):
    c = cell(
        optimizer=optimizer,
        weight_decay=0.0 if optimizer == "adafactor" else 0.1,
        parameterization="depth_mup",
        **variant,
    )
    stack = trained(c)
    fresh = Stack(c, [0], toy_data(), F64)
    start = fresh.initial([0])
    for e in range(len(RATES)):
        for name, expected in looped(c, fresh, e, start).items():
            torch.testing.assert_close(stack.weights[name][e], expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("variant", BY_HAND)
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_backward_by_hand_equals_autograd(variant, loss):
    c = cell(loss=loss, parameterization="dmft", **variant)
    by_hand, by_graph = (Stack(c, [0, 1], toy_data(), F64) for _ in range(2))
    by_graph.workspace = None
    assert by_hand.workspace is not None
    with torch.no_grad():
        for stack in (by_hand, by_graph):  # biases start at 0, gains at 1: move them, so that a wrong factor shows
            for name, w in stack.weights.items():
                if name[0] in "bg":
                    w.copy_(torch.linspace(-0.5, 0.5, w.numel(), dtype=w.dtype).view(w.shape))
        for batch in (0, 1):  # twice: nothing may be left over in a buffer
            losses = [stack.compute_gradients(*stack.batches[batch]) for stack in (by_hand, by_graph)]
            torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
            for name, g in by_graph.gradients.items():
                torch.testing.assert_close(by_hand.gradients[name], g, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_stream_is_read_after_every_block(variant):
    c = cell(**variant)
    stack = Stack(c, [0, 1], toy_data(), F64)
    x = stack.data.x[:5]
    w = {name: values[0] for name, values in stack.weights.items()}
    f, expected = plain_forward(c, w, stack.scaling, x)
    with torch.no_grad():
        stream = stack.model.stream(stack.weights, stack.multiplier, stack.stacked(x))
        output = stack.model.output(stack.weights, stack.multiplier, stack.stacked(x))
    assert len(stream) == c.depth + 1
    for ours, theirs in zip(stream, expected, strict=True):
        torch.testing.assert_close(ours[1], theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(output[0], f, rtol=1e-12, atol=1e-12)


def test_sites_are_all_matrix_products():
    stack = Stack(cell(block_layers=2, bias=True), [0], toy_data(), F64)
    sites = stack.model.sites(stack.weights, stack.multiplier, stack.stacked(stack.data.x[:3]))
    assert [site.weight for site in sites] == [f"w{i}" for i in range(1, 15)]
    for site in sites:
        bias = stack.weights[site.weight.replace("w", "b")].unsqueeze(1)
        product = torch.bmm(site.h_ExBxI, stack.weights[site.weight]) * stack.multiplier[site.weight]
        torch.testing.assert_close(site.z_ExBxO, product + bias, rtol=1e-12, atol=1e-14)


def test_what_lies_inside_a_branch():
    shape = dimensions("mnist1d", {})
    found = tensors(cell(bias=True, norm="layer", block_layers=2, depth=2), shape.features, shape.outputs)
    assert [t.name for t in found if t.branch] == ["g2", "w2", "b2", "w3", "b3", "g4", "w4", "b4", "w5", "b5"]
    assert [t.name for t in found if not t.branch] == ["w1", "b1", "g6", "w6", "b6"]


@pytest.mark.parametrize("name", ["mup", "mfp", "depth_mup", "completep", "dmft"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adafactor"])
def test_every_parameterization_is_sp_at_the_base_shape(name, optimizer):
    settings = {"optimizer": optimizer, "width": 8, "depth": 2, "bias": True}
    ours, sp = (trained(cell(parameterization=form, **settings)) for form in (name, "sp"))
    assert ours.records.curves == sp.records.curves


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_completep_is_mup_with_a_branch_multiplier_and_epsilon(optimizer):
    """Exactly: at α = 1 Adam's rates know no depth; µP given the multiplier and SGD's L^(2α − 1) is CompleteP."""
    completep = cell(optimizer=optimizer, weight_decay=0.1, epsilon_rule="constant")
    mup = cell(optimizer=optimizer, weight_decay=0.1, parameterization="mup_table8", decay_rule="completep")
    ours, theirs = Stack(completep, [0, 1], toy_data(), F64), Stack(mup, [0, 1], toy_data(), F64)
    assert ours.model.branch_multiplier == 1 / 3
    assert theirs.model.branch_multiplier == 1
    if optimizer == "sgd":
        assert ours.scaling["w2"].lr == 3 * theirs.scaling["w2"].lr
        return
    assert ours.scaling == theirs.scaling
    theirs.model.branch_multiplier = 1 / 3
    with torch.no_grad():
        for stack in (ours, theirs):
            stack.start()
            for _ in range(completep.steps):
                stack.advance()
    assert ours.records.curves == theirs.records.curves


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adafactor"])
@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_shifted_parameterizations_give_the_same_run(optimizer, alpha):
    """dmft is a shift of depth_mup: the same losses once ε follows the gradient."""
    epsilon = {"adam": 1e-8, "adafactor": 1e-15}.get(optimizer)
    settings = {"optimizer": optimizer, "branch_exponent": alpha, "epsilon": epsilon, "epsilon_rule": "scaled"}
    curves = [
        np.array([row[2:] for row in trained(cell(parameterization=name, bias=True, **settings)).records.curves])
        for name in ("depth_mup", "dmft", "mup")
    ]
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-10)
    np.testing.assert_allclose(curves[2], curves[0], rtol=1e-10)


def _movement(optimizer: str, alpha: float, depth: int, rule: str, seed: int) -> float:
    """log RMS of the change of the last stream state in one step of the blocks' weights; a loss linear in f."""
    epsilon = {"epsilon": 1e-16} if optimizer == "adam" else {}
    c = cell(
        optimizer=optimizer, parameterization="mup", branch_exponent=alpha, depth=depth, base_depth=1, width=128,
        base_width=128, init_gain=0.5, activation="tanh", log2_lr=[-12.0], seed=seed,
        rule=rule, schedule="constant", **epsilon,
    )  # fmt: skip
    stack = Stack(c, [0], toy_data(), F64)
    direction = torch.from_numpy(np.random.default_rng(seed).standard_normal((16, OUTPUTS)))
    stack.training_loss = lambda f, y: ((f * direction).mean((1, 2)), direction.expand_as(f) / direction.numel())
    x = stack.stacked(stack.data.x[:16])
    readout = f"w{depth + 2}"
    with torch.no_grad():  # one readout for all depths: its draw alone would move the numbers by ten per cent
        draw = np.random.default_rng(seed).standard_normal((1, 128, OUTPUTS))
        stack.weights[readout].copy_(torch.from_numpy(draw) * stack.scaling[readout].init_std)
        before = stack.model.stream(stack.weights, stack.multiplier, x)[-1]
        stack.compute_gradients(stack.data.x[:16], stack.data.y[:16])
        for name in ("w1", readout):
            stack.gradients[name].zero_()
        stack.optimizer.step(stack.gradients, 1.0)
        after = stack.model.stream(stack.weights, stack.multiplier, x)[-1]
    return (after - before).square().mean().sqrt().log().item()


@pytest.mark.parametrize(
    ("optimizer", "alpha", "constant"), [("sgd", 0.5, 0), ("sgd", 1.0, -1), ("adam", 0.5, 0.5), ("adam", 1.0, 0)]
)
def test_the_last_layer_moves_by_as_much_at_any_depth(optimizer, alpha, constant):
    """One-step slope of RMS(Δz_L) in L = 8 … 64: 0 under the rule, what the rule takes away at a constant rate."""
    depths, seeds = (8, 16, 32, 64), range(6)
    rules = {"full_alignment": 0} | ({"constant": constant} if constant else {})
    for rule, expected in rules.items():
        moved = [[_movement(optimizer, alpha, depth, rule, seed) for seed in seeds] for depth in depths]
        slope = np.polyfit(np.log(depths), np.mean(moved, axis=1), 1)[0]
        assert slope == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("family", ["mlp", "resmlp"])
def test_sixty_four_layers_train(family):
    c = cell(family=family, depth=64, base_depth=64, steps=40, log2_lr=[-12.0], activation="tanh", evaluations=1)
    losses = [row[2] for row in trained(c).records.curves]
    assert math.isfinite(losses[-1])
    assert losses[-1] < losses[0]


def test_unit_scaling_trains():
    c = cell(parameterization="umup", log2_lr=[-3.0], steps=40, evaluations=1, norm="layer", block_layers=2)
    losses = [row[2] for row in trained(c).records.curves]
    assert losses[-1] < losses[0]
