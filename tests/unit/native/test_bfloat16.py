"""Kernels with products in bfloat16: what they compute, how near float32 they stay, and that bits repeat."""

import numpy as np
import pytest
import torch

from muster import native
from muster.errors import MusterError
from muster.experiments import Context
from muster.native import build, check, machine
from muster.native.bfloat16.rounding import multiply, rounded
from muster.native.binding import Library, open_library
from muster.native.dtypes import KERNELS
from muster.native.graph import Graph
from muster.native.program import Loss
from muster.training.engine import CHECK_EVERY, Stack
from tests.unit.native.test_kernels import (
    F32,
    FAMILIES,
    MLPS,
    RESMLPS,
    TRANSFORMERS,
    assert_same_bits,
    cell,
    everything,
    resmlp,
    tokens,
    toy_data,
    transformer,
)

BF16 = Context(dtype="bfloat16", progress=lambda line: None)
BY_VECTORS = (build.CPU, "-mno-amx-bf16", "-mno-amx-int8", "-mno-amx-tile")
CASES = [
    *((cell(**v), toy_data()) for v in MLPS),
    *((resmlp(**v), toy_data()) for v in RESMLPS),
    *((transformer(**v), tokens()) for v in TRANSFORMERS),
]


@pytest.fixture(scope="module", params=["as the machine has it", "vectors"])
def library(request) -> Library:
    flags = BY_VECTORS if request.param == "vectors" else (build.CPU,)
    try:
        return open_library(build.build(flags, "bfloat16"))
    except MusterError as error:
        pytest.skip(error.found)


@pytest.fixture
def loaded(library, monkeypatch) -> Library:
    """What stacks get that ask for bfloat16."""
    before = native.load
    monkeypatch.setattr(native, "load", lambda dtype="float32": library if dtype == "bfloat16" else before(dtype))
    return library


def run(c, data, members=None, most=CHECK_EVERY, context=BF16) -> Stack:
    stack = Stack(c, list(range(len(c.log2_lr))) if members is None else members, data, context)
    assert stack.native is not None
    with torch.no_grad():
        stack.start()
        while stack.step < c.steps and stack.members:
            stack.advance(most)
    return stack


def linear_gradient(library: Library, features: int, outputs: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """∂loss/∂w of one layer and squared error by the kernels, and by loops over rounded factors in double precision."""
    rng = np.random.default_rng(features + outputs + batch)
    x, y = (torch.from_numpy(rng.standard_normal((batch, n), np.float32)) for n in (features, outputs))
    graph = Graph({"w": 1.0})
    graph.dense(graph.input(features), "w", outputs)
    weights = {"w": torch.from_numpy(rng.standard_normal((1, features, outputs), np.float32))}
    found, _ = check.network(library, (graph, {}, x, y, Loss("squared_error")), weights, "gradient", 0)
    gradients = {"w": torch.empty_like(weights["w"])}
    found.gradients(gradients, x, y)
    a, b = rounded(x).double().numpy(), rounded(weights["w"][0]).double().numpy()
    f = np.array([[sum(a[n] * b[:, k]) for k in range(outputs)] for n in range(batch)]).astype(np.float32)
    residual = rounded(torch.from_numpy((f - y.numpy()) * np.float32(1 / batch))).double().numpy()
    expected = np.array([[sum(a[:, i] * residual[:, k]) for k in range(outputs)] for i in range(features)])
    return gradients["w"][0].double(), torch.from_numpy(expected)


@pytest.mark.parametrize("features", [1, 7, 33, 70])
@pytest.mark.parametrize("outputs", [1, 10, 17, 65])
@pytest.mark.parametrize("batch", [1, 50, 129])
def test_a_product_is_the_sum_over_rounded_factors(library, features, outputs, batch):
    """An output within 1e-7 of the middle between two numbers may be rounded to the other one: one in thousands."""
    found, expected = linear_gradient(library, features, outputs, batch)
    error = (found - expected).abs() / expected.abs().max()
    assert error.max() < 2e-3
    assert error.median() < 1e-6


def test_the_reference_rounds_all_three_products():
    h, w = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 4), (4, 3)))
    df = torch.randn(5, 3, dtype=torch.float64)
    z = multiply(h, w, 2.0)
    dh, dw = torch.autograd.grad(z, (h, w), df)
    a, b, c = (rounded(each.detach()) for each in (h, w, df))
    torch.testing.assert_close(z.detach(), 2.0 * a @ b)
    torch.testing.assert_close(dh, 2.0 * c @ b.T)
    torch.testing.assert_close(dw, 2.0 * a.T @ c)
    assert (a - h.detach()).abs().max() > 0
    assert ((a - h.detach()).abs() <= 2.0**-8 * h.detach().abs()).all()


def test_the_check_at_load_knows_the_rounding(library):
    assert check.largest_error(library, multiply) < KERNELS["bfloat16"]().tolerance
    assert check.largest_error(library) > 4 * KERNELS["bfloat16"]().tolerance


@pytest.mark.parametrize(("c", "data"), CASES)
def test_gradients_stay_near_those_in_float32(loaded, c, data):
    """In norm, to a tenth: units of ReLU near 0 fall on the other side, one of them a twentieth of a small batch."""
    stack, exact = Stack(c, [0, 1], data, BF16), Stack(c, [0, 1], data, F32)
    x, y = stack.batches[0]
    with torch.no_grad():
        losses = [each.compute_gradients(x, y) for each in (stack, exact)]
    torch.testing.assert_close(*losses, rtol=0.01, atol=0)
    for name, g in exact.gradients.items():
        assert (stack.gradients[name] - g).norm() <= 0.1 * g.norm() + 1e-6, name
    assert any(not torch.equal(stack.gradients[name], g) for name, g in exact.gradients.items())


@pytest.mark.parametrize(("c", "data"), FAMILIES)
def test_losses_stay_near_those_in_float32(loaded, c, data):
    curves = [[row[2:] for row in run(c, data, context=context).records.curves] for context in (BF16, F32)]
    assert curves[0] != curves[1]
    np.testing.assert_allclose(*curves, rtol=0.03)


@pytest.mark.parametrize(("c", "data"), FAMILIES)
def test_bits_repeat(loaded, c, data):
    """Again, in single steps, and a member alone."""
    together = run(c, data)
    assert_same_bits(together, run(c, data))
    assert_same_bits(together, run(c, data, most=1))
    alone = run(c, data, [together.members[-1]])
    for name, value in everything(alone).items():
        assert torch.equal(value[0], everything(together)[name][-1])


def test_threads_and_a_retired_neighbour_change_no_bit(loaded):
    c = cell(log2_lr=[-8.0, 40.0, -6.0], optimizer="sgd")
    together, without = run(c, toy_data()), run(cell(log2_lr=[-8.0, -6.0], optimizer="sgd"), toy_data())
    assert together.members == [0, 2]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert_same_bits(together, run(c, toy_data()))
    finally:
        torch.set_num_threads(before)
    for name, value in everything(together).items():
        assert torch.equal(value, everything(without)[name])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_reaches_the_loss(loaded, value):
    stack = Stack(cell(activation="identity", loss="squared_error"), [0], toy_data(), BF16)
    stack.weights["w1"][0, 0, 5] = value
    with torch.no_grad():
        assert not torch.isfinite(stack.compute_gradients(*stack.batches[0])).any()


def test_weights_and_moments_stay_in_float32(loaded):
    """A step far below bfloat16's resolution still moves the weights."""
    stack = run(cell(log2_lr=[-16.0], steps=4), toy_data())
    before = stack.initial([0])
    change = (stack.weights["w1"] - before["w1"]).abs()
    assert 0 < change.max() < 2.0**-9 * before["w1"].abs().max()


def test_a_cpu_without_such_products_leaves_them_to_torch(monkeypatch, capsys):
    machine.status.cache_clear()
    machine.load.cache_clear()
    monkeypatch.setattr(build.build, "__defaults__", ((), "float32"))
    try:
        assert Stack(cell(), [0], toy_data(), BF16).native is None
    finally:
        machine.status.cache_clear()
        machine.load.cache_clear()
    said = capsys.readouterr().out
    assert said == "native kernels are not used: this CPU has no products in bfloat16. torch does them in its own way\n"
