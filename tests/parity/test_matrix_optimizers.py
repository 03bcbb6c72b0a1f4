"""Steps of Muon, Shampoo and SOAP against torch.optim, singular value decompositions and loops written out in float64.

That stacked members equal a loop of torch.optim.Muon beside AdamW in whole runs: tests/unit/training/test_engine.py.
"""

from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch

from muster.optimizers import OPTIMIZERS
from muster.parameterizations import MATRIX_SCALES

STEPS = 10


def gradients(shape, count=STEPS, rank=None, seed=0):
    rng = np.random.default_rng(seed)
    if rank is None:
        return [torch.from_numpy(rng.standard_normal(shape)) for _ in range(count)]
    factors = [
        (rng.standard_normal((*shape[:-1], rank)), rng.standard_normal((*shape[:-2], rank, shape[-1])))
        for _ in range(count)
    ]
    return [torch.from_numpy(a @ b) for a, b in factors]


def directions(name, steps, **settings):
    """Directions of a stacked optimizer, one for each gradient."""
    optimizer = OPTIMIZERS[name]
    chosen = SimpleNamespace(**(optimizer.settings().model_dump() | settings))
    state = optimizer.stepped.empty(steps[0])
    return [optimizer.stepped.direction(chosen, state, g, step) for step, g in enumerate(steps, start=1)]


@pytest.mark.parametrize("rounded", [False, True], ids=["float64", "as it is, in bfloat16"])
@pytest.mark.parametrize(("name", "theirs"), [("muon_jordan", "original"), ("muon_moonshot", "match_rms_adamw")])
@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])  # fan-in, fan-out
def test_muon_is_that_of_torch(name, theirs, shape, rounded):
    steps = gradients((1, *shape))
    scale = MATRIX_SCALES[OPTIMIZERS[name].update.scale](*shape)
    ours = -0.02 * scale * sum(directions(name, steps))[0]
    w = torch.zeros(shape[1], shape[0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Muon([w], lr=0.02, weight_decay=0.0, adjust_lr_fn=theirs)
    with mock.patch.object(torch.Tensor, "bfloat16", torch.Tensor.bfloat16 if rounded else torch.Tensor.clone):
        for g in steps:
            w.grad = g[0].mT.contiguous()
            optimizer.step()
    error = (w.detach().mT - ours).abs().max() / ours.abs().max()
    assert error < (0.03 if rounded else 1e-12)


def polar(g):
    u, _, vt = np.linalg.svd(g, full_matrices=False)
    return u @ vt


@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (30, 30)])
def test_newton_schulz_is_nearly_the_polar_factor(shape):
    from muster.optimizers.muon import newton_schulz  # here: an import of one optimizer puts it before all others

    g = gradients((3, *shape), 1)[0]
    found = newton_schulz(g, 5).numpy()
    u, s, vt = np.linalg.svd(g.numpy(), full_matrices=False)
    diagonal = u.swapaxes(1, 2) @ found @ vt.swapaxes(1, 2)
    values = np.diagonal(diagonal, axis1=1, axis2=2)
    assert np.abs(diagonal).sum() == pytest.approx(np.abs(values).sum(), rel=1e-9)  # the same singular vectors
    large = values[s > 0.1 * s[:, :1]]
    assert large.min() > 0.65
    assert large.max() < 1.25
    assert not newton_schulz(torch.zeros(2, 3, 3), 5).any()


@pytest.mark.parametrize("name", ["shampoo", "soap", "muon"])
def test_the_first_step_is_the_polar_factor(name):
    """Of a gradient of full rank and of low rank; SOAP's is that of its signs in the eigenbasis, hence ±U Vᵀ too."""
    g = gradients((2, 7, 5), 1, rank=3)[0]
    settings = {"muon": {"newton_schulz": 5}, "shampoo": {"ridge": 1e-13}, "soap": {"rotated_epsilon": 1e-9}}[name]
    found = directions(name, [g], **settings)[0]
    assert (found - torch.from_numpy(polar_of_rank(g.numpy(), 3))).abs().max() < (0.2 if name == "muon" else 1e-3)


def polar_of_rank(g, rank):
    u, _, vt = np.linalg.svd(g, full_matrices=False)
    return u[..., :rank] @ vt[..., :rank, :]


def root(s, power, ridge):
    """Inverse root with ridge·λ_max, by an eigenvalue at a time."""
    values, vectors = np.linalg.eigh(s)
    values = np.maximum(values, 0)
    return sum((v + ridge * values[-1]) ** -power * np.outer(x, x) for v, x in zip(values, vectors.T, strict=True))


def shampoo_loop(steps, mu, beta, ridge, interval):
    rows, columns = steps[0].shape
    left, right, mean = np.zeros((rows, rows)), np.zeros((columns, columns)), np.zeros((rows, columns))
    found = []
    for t, g in enumerate(steps, start=1):
        left, right = beta * left + (1 - beta) * g @ g.T, beta * right + (1 - beta) * g.T @ g
        mean = mu * mean + (1 - mu) * g
        if (t - 1) % interval == 0:
            roots = root(left / (1 - beta**t), 0.25, ridge), root(right / (1 - beta**t), 0.25, ridge)
        found.append(roots[0] @ (mean / (1 - mu**t)) @ roots[1])
    return found


def soap_loop(steps, mu, beta, decay, epsilon, interval):
    rows, columns = steps[0].shape
    left, right, mean = np.zeros((rows, rows)), np.zeros((columns, columns)), np.zeros((rows, columns))
    square, found = np.zeros((rows, columns)), []
    for t, g in enumerate(steps, start=1):
        left, right = beta * left + (1 - beta) * g @ g.T, beta * right + (1 - beta) * g.T @ g
        mean = mu * mean + (1 - mu) * g
        if (t - 1) % interval == 0:
            ql, qr = np.linalg.eigh(left)[1], np.linalg.eigh(right)[1]
        square = decay * square + (1 - decay) * (ql.T @ g @ qr) ** 2
        v = np.sqrt(square / (1 - decay**t))
        step = (ql.T @ (mean / (1 - mu**t)) @ qr) / (v + epsilon * v.max())
        found.append(ql @ step @ qr.T)
    return found


@pytest.mark.parametrize("interval", [1, 3])
def test_shampoo_and_soap_equal_a_loop_over_members(interval):
    steps = gradients((3, 6, 6))  # a null space at the first step would leave the eigenbasis open
    common = {"momentum": 0.8, "preconditioner_decay": 0.7, "interval": interval}
    shampoo = directions("shampoo", steps, ridge=1e-4, **common)
    soap = directions("soap", steps, rotated_decay=0.6, rotated_epsilon=1e-3, **common)
    for e in range(3):
        own = [g[e].numpy() for g in steps]
        for t, (a, b) in enumerate(
            zip(shampoo_loop(own, 0.8, 0.7, 1e-4, interval), soap_loop(own, 0.8, 0.7, 0.6, 1e-3, interval), strict=True)
        ):
            np.testing.assert_allclose(shampoo[t][e].numpy(), a, rtol=1e-8, atol=1e-10)
            np.testing.assert_allclose(soap[t][e].numpy(), b, rtol=1e-5, atol=1e-6)


def test_an_absolute_ridge_shrinks_narrow_spectra_alone():
    from muster.optimizers.shampoo import inverse_root

    s = torch.diag(torch.tensor([4.0, 1.0, 0.0], dtype=torch.float64))
    np.testing.assert_allclose(inverse_root(s, 0.5, 0.0, 5.0).diagonal(), [1 / 3, 6**-0.5, 5**-0.5], rtol=1e-12)
    np.testing.assert_allclose(inverse_root(s, 0.5, 0.25).diagonal(), [5**-0.5, 2**-0.5, 1.0], rtol=1e-12)
    assert inverse_root(torch.zeros(1, 2, 2), 0.25, 1e-6).isfinite().all()


def test_without_epsilon_soap_steps_along_rounding_errors():
    """The trap of its null space: a gradient of rank 2 leaves entries of rounding errors, which become ±1."""
    g = gradients((1, 24, 24), 1, rank=2)[0]
    norms = [directions("soap", [g], rotated_epsilon=e)[0].norm().item() for e in (1e-6, 0.0)]
    assert norms[0] == pytest.approx(2**0.5, rel=1e-3)
    assert norms[1] > 10


@pytest.mark.parametrize("name", ["muon", "shampoo", "soap"])
def test_steps_turn_with_the_gradient(name):
    """Q₁GQ₂ is stepped by Q₁ΔQ₂: what sampling on low-rank cores relies on."""
    steps = gradients((2, 6, 6), 3)
    q = [torch.linalg.qr(g)[0] for g in gradients((6, 6), 2, seed=1)]
    plain = directions(name, steps)[-1]
    turned = directions(name, [q[0] @ g @ q[1] for g in steps])[-1]
    torch.testing.assert_close(turned, q[0] @ plain @ q[1], rtol=1e-5, atol=1e-5)
