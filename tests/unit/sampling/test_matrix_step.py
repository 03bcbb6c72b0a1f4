"""First steps of matrix optimizers: against whole matrices and autograd, closed forms, and slopes over width."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from muster.experiments import EXPERIMENTS, Context
from muster.optimizers import DIRECTIONS, OPTIMIZERS
from muster.sampling.matrix_step import (
    HYPERPARAMETERS,
    MatrixStepCell,
    backward,
    dampings,
    forward,
    layers,
    run,
    step_of,
)

WIDTHS = [64, 128, 256, 512]


def cell(**changes) -> MatrixStepCell:
    return MatrixStepCell(**({"width": 24, "seed": 3, "optimizer": "kfac", "batch_size": 5} | changes))


def batches(count, rng, m=5, fan_in=24, fan_out=24):
    """Inputs and derivatives [2 draws] of a layer in each of `count` steps."""
    return [
        (torch.from_numpy(rng.standard_normal((2, m, fan_in))), torch.from_numpy(rng.standard_normal((2, m, fan_out))))
        for _ in range(count)
    ]


def test_derivatives_are_those_of_autograd():
    c = cell(depth=2)
    rng = np.random.default_rng(0)
    weights = [torch.from_numpy(rng.standard_normal((2, *t.shape)) / 4).requires_grad_() for t in layers(c)]
    x, y = torch.from_numpy(rng.standard_normal((2, 5, 8))), torch.from_numpy(rng.standard_normal((2, 5, 3)))
    h, z = forward(weights, x)
    gradients = torch.autograd.grad(0.5 * (z[-1] - y).square().sum((1, 2)).sum(), weights)
    for g, inputs, delta in zip(gradients, h, backward(weights, h, z[-1] - y), strict=True):
        torch.testing.assert_close(inputs.mT @ delta, g)


@pytest.mark.parametrize("optimizer", HYPERPARAMETERS)
def test_hyperparameters_are_those_of_training(optimizer):
    """All of them that the direction reads: left out, one would be missed by a step on its own."""
    settings = OPTIMIZERS[optimizer].settings().model_dump()
    assert HYPERPARAMETERS[optimizer] == {name: settings[name] for name in HYPERPARAMETERS[optimizer]}
    assert DIRECTIONS[optimizer] is OPTIMIZERS[optimizer].stepped
    assert DIRECTIONS[optimizer].update == OPTIMIZERS[optimizer].update


@pytest.mark.parametrize("optimizer", ["muon", "shampoo", "soap", "kfac", "foof", "sgd"])
def test_steps_on_cores_are_steps_of_whole_matrices(optimizer):
    """Three steps of a 24 × 24 layer whose gradients have rank 5."""
    c = cell(optimizer=optimizer, damping_rule="constant", scale="moonshot")
    history = batches(3, np.random.default_rng(1))
    left, right = step_of(c, "hidden", history)
    gradients = [h.mT @ d / 5 for h, d in history]
    if optimizer in OPTIMIZERS and optimizer != "sgd":
        rule, settings = OPTIMIZERS[optimizer].stepped, OPTIMIZERS[optimizer].settings()
        state = rule.empty(gradients[0])
        for step, g in enumerate(gradients, start=1):
            whole = rule.direction(settings, state, g, step)
        whole = whole * 0.2 * 24**0.5
    else:
        h, d = history[-1]
        a, b = (s.mT @ s / 5 + 0.1 * torch.eye(24, dtype=s.dtype) for s in (h, d))
        whole = gradients[-1]
        whole = whole if optimizer == "sgd" else a.inverse() @ whole
        whole = whole @ b.inverse() if optimizer == "kfac" else whole
    torch.testing.assert_close(left @ right, whole, rtol=1e-4, atol=1e-4 * whole.abs().max().item())


def test_kfac_of_one_sample_has_its_closed_form():
    """G/((‖h‖² + ρ_A)(‖δ‖² + ρ_B)) with G = hδᵀ; FOOF's lacks the second factor."""
    (h, d), c = batches(1, np.random.default_rng(2), m=1, fan_in=8)[0], cell(batch_size=1, damping=0.3)
    rho_a, rho_b = 0.3, 0.3 / 24  # of an input layer under µP: its fan-in is fixed
    norms = [s.square().sum((1, 2)).reshape(2, 1, 1) for s in (h, d)]
    expected = h.mT @ d / (norms[0] + rho_a)
    for optimizer, under in (("foof", 1.0), ("kfac", norms[1] + rho_b)):
        left, right = step_of(c.model_copy(update={"optimizer": optimizer}), "input", [(h, d)])
        torch.testing.assert_close(left @ right, expected / under)


def test_kfac_without_damping_does_not_see_the_size_of_weights():
    """W ← sW for δ ← δ/s … G/s: A⁻¹(G/s)(B/s²)⁻¹ = s·step, so that W moves by the same share."""
    history, c = batches(1, np.random.default_rng(3), m=5, fan_in=5, fan_out=5), cell(damping=1e-12)
    left, right = step_of(c, "readout", history)
    scaled_left, scaled_right = step_of(c, "readout", [(h, d / 7) for h, d in history])
    torch.testing.assert_close(scaled_left @ scaled_right, 7 * left @ right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("rule", "parameterization", "role", "expected"),
    [
        ("scaled", "mup_table3", "input", (0.1, 0.1 / 24)),
        ("scaled", "mup_table3", "hidden", (2.4, 0.1 / 24)),
        ("scaled", "mup_table3", "readout", (2.4, 0.1)),
        ("scaled", "sp", "hidden", (2.4, 0.1)),
        ("constant", "mup_table3", "hidden", (0.1, 0.1)),
        ("traces", "mup_table3", "hidden", (0.6, 0.2)),
        ("pi", "mup_table3", "hidden", (0.1**0.5 * 2**0.5, 0.1**0.5 / 2**0.5)),
    ],
)
def test_damping_is_that_of_the_authors_code(rule, parameterization, role, expected):
    a, b = torch.diag(torch.tensor([4.0, 2.0])).expand(1, 2, 2), torch.eye(2).expand(1, 2, 2)
    found = dampings(cell(damping_rule=rule, parameterization=parameterization), role, a, b, 24, 16)
    factor = (16 / 24) ** 0.5 if rule == "pi" else 1.0
    twice = (6 / 2) ** 0.5 / 2**0.5 if rule == "pi" else 1.0
    pi = factor * twice
    assert [x.item() for x in found] == pytest.approx([expected[0] * pi, expected[1] / pi], rel=1e-6)


# Slopes of Δz₁, Δz₂, Δz₃, Δf over n = 64 … 512 after one step, of a pilot that wrote its own code (float64, 4 seeds);
# None where they depend on a damping that it does not state.
PILOT = {
    ("sgd",): (0.05, 0.07, 0.06, 0.04),
    ("muon",): (0.01, 0.02, 0.02, 0.02),
    ("muon", "jordan"): (0.01, 0.01, 0.01, 0.37),
    ("muon", "moonshot"): (0.01, 0.41, 0.45, 0.87),
    ("muon", "none"): (-0.49, -0.09, -0.05, 0.37),
    ("shampoo",): (0.01, 0.02, 0.02, 0.02),
    ("soap",): (0.01, 0.02, 0.02, 0.02),
    ("kfac",): (0.03, 0.03, 0.03, -0.01),
    ("kfac", "constant"): (-0.95, -0.92, -0.91, -0.04),
    ("kfac", "traces"): (0.00, 0.02, 0.03, 0.00),
    ("kfac", "pi"): (-0.88, -0.09, -0.06, None),
    ("kfac", "traces", "sp", "spectral_omega_out_1"): (-0.49, -0.47, -0.47, 0.00),
    ("foof",): (0.04, 0.02, -0.01, -0.04),
}


@pytest.mark.parametrize("case", PILOT)
def test_slopes_are_those_of_an_independent_pilot(case):
    optimizer, damping, table, rule = (*case, *("scaled", "mup_table3", "spectral")[len(case) - 1 :])
    settings = {"optimizer": optimizer, "damping_rule": damping, "parameterization": table, "rule": rule}
    if optimizer == "muon" and len(case) == 2:  # the pilot's rows on scales have one rate for all
        settings = {"optimizer": optimizer, "scale": damping, "rule": "constant"}
    changes = []
    for width in WIDTHS:
        c = MatrixStepCell(width=width, seed=0, steps=1, draws=12, **settings)
        probes = run(c, Context(progress=lambda text: None)).probes
        changes.append(probes[probes.probe == "change"].sort_values("layer")["value"].to_numpy())
    found = np.polyfit(np.log(WIDTHS), np.log(changes), 1)[0]
    for slope, expected in zip(found, PILOT[case], strict=True):
        assert expected is None or slope == pytest.approx(expected, abs=0.1)


def test_tables_and_refusals():
    found = run(cell(draws=2, steps=2), Context(progress=lambda text: None)).probes
    assert sorted(map(tuple, found[["step", "probe"]].drop_duplicates().to_numpy().tolist())) == [
        (1, "change"), (1, "own_change"), (2, "change"),
    ]  # fmt: skip
    assert (found["se"] > 0).all()
    with pytest.raises(ValidationError, match="write mup_table3 or sp"):
        cell(parameterization="mup")
    assert EXPERIMENTS["matrix_step"].cost(cell()).seconds > 0
