"""Hessians of batches: products and eigenvalues against the explicit matrix, theory where it is exact."""

import pytest
import torch

from muster.training import curvature
from muster.training.curvature import flatten, hessian_product, largest_eigenvalue, unflatten
from muster.training.probes import PROBES, hessian
from muster.training.probes.hessian import batch_hessian
from tests.unit.training.test_engine import cell, snapshot, trained

RATES = [-3.0, -4.0]


def state(loss="squared_error", **changes):
    settings = {"optimizer": "sgd", "parameterization": "sp", "activation": "tanh", "width": 6, "steps": 20}
    return snapshot(trained(cell(**(settings | {"log2_lr": RATES, "loss": loss} | changes))))


def double(weights):
    return {name: w.double() for name, w in weights.items()}


def explicit(s, e, x, y, loss):
    """The Hessian of member e by automatic differentiation of a loss written without the engine."""
    one = {name: w[e : e + 1].double() for name, w in s.w_t.items()}

    def value(vector):
        f = s.model.output(unflatten(vector[None], one), s.multiplier, x[None])[0]
        if loss == "cross_entropy":
            return torch.nn.functional.cross_entropy(f, y)
        return 0.5 * (f - torch.nn.functional.one_hot(y, f.shape[-1])).square().sum(-1).mean()

    return torch.func.jacrev(torch.func.jacrev(value))(flatten(one)[0])


@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_products_and_eigenvalues_are_those_of_the_hessian(loss):
    s = state(loss)
    x, y = s.train
    product = hessian_product(s, double(s.w_t), x, y)
    v = torch.randn(
        len(RATES), flatten(s.w_t).shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    top, vector = largest_eigenvalue(product, v)
    for e in range(len(RATES)):
        matrix = explicit(s, e, x, y, loss)
        torch.testing.assert_close(product(v)[e], matrix @ v[e], rtol=1e-6, atol=1e-8)
        values, vectors = torch.linalg.eigh(matrix)
        assert top[e].item() == pytest.approx(values[-1].item(), rel=1e-4)
        assert abs(vector[e] @ vectors[:, -1]).item() == pytest.approx(1, abs=1e-2)


def test_lanczos_finds_the_top_of_each_member():
    matrices = torch.diag_embed(torch.tensor([[1.0, 5.0, -9.0, 2.0], [3.0, 2.5, 0.0, -1.0]], dtype=torch.float64))
    start = torch.ones(2, 4, dtype=torch.float64)
    top, v = largest_eigenvalue(lambda u: torch.einsum("eij,ej->ei", matrices, u), start)
    torch.testing.assert_close(top, torch.tensor([5.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(v.norm(dim=1), torch.ones(2, dtype=torch.float64))


def test_the_probe_measures_nothing_before_training_and_every_batch_size_after(monkeypatch):
    monkeypatch.setattr(hessian, "SINGLES", 8)
    s = state(steps=4)
    s.step = 0
    assert list(batch_hessian(s)) == []
    s.step = 4
    readings = {(name, layer): value for name, layer, value in batch_hessian(s)}
    assert {layer for name, layer in readings if name == "batch_hessian_excess"} == {4, 8, 16}
    assert all(value.shape == (len(RATES),) for value in readings.values())
    # The largest eigenvalue bounds every quotient, and theory is ∝ 1/B by definition.
    assert all((value > -1e-6).all() for (name, _), value in readings.items() if name == "batch_hessian_excess")
    theory = [readings["batch_hessian_theory", b] * b for b in (4, 8, 16)]
    torch.testing.assert_close(theory[0], theory[2])


def test_the_declared_cost_is_what_a_reading_takes(monkeypatch):
    counted = {"gradients": 0, "examples": 0}

    def counting(s, weights, x, y):
        product = hessian_product(s, weights, x, y)

        def count(v):
            counted["gradients"] += 2
            counted["examples"] += 2 * len(x)
            return product(v)

        return count

    s = state(steps=20)
    monkeypatch.setattr(curvature, "hessian_product", counting)
    list(batch_hessian(s))
    assert PROBES["batch_hessian"].cost(len(s.train[0]))._asdict() == pytest.approx(counted, rel=0.5)


def test_the_theory_is_second_order_perturbation_theory(monkeypatch):
    monkeypatch.setattr(hessian, "SINGLES", 4000)
    s = state(steps=4)
    x, y = s.train
    readings = {(name, layer): value for name, layer, value in batch_hessian(s)}
    weights = double(s.w_t)
    for e in range(len(RATES)):
        matrix = explicit(s, e, x, y, "squared_error")
        values, vectors = torch.linalg.eigh(matrix)
        v = vectors[:, -1]
        noise = torch.zeros((), dtype=torch.float64)
        for i in range(len(x)):
            hv = hessian_product(s, weights, x[i : i + 1], y[i : i + 1])(v.expand(len(RATES), -1))[e] - matrix @ v
            noise += (hv - (hv @ v) * v).square().sum() / len(x)
        expected = (noise / (8 * values[-1])).item()
        assert readings["batch_hessian_theory", 8][e].item() == pytest.approx(expected, rel=0.08)
