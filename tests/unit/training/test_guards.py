"""What a run writes, against values by hand: slips here passed every test of the helpers behind them."""

import dataclasses
import itertools
import math

import pytest
import torch
from pydantic import ValidationError

from muster.data import write_dataset
from muster.models.activations import ACTIVATIONS
from muster.models.shapes.transformer import GATED
from muster.optimizers.adafactor import Adafactor
from muster.optimizers.base import Hyper
from muster.training import bisection
from muster.training.cell import TrainCell, tensors
from muster.training.engine import Records, Stack, tables
from muster.training.probes.coordinates import alignment, coordinate_check
from muster.training.snapshot import Snapshot
from tests.unit.training import test_stability
from tests.unit.training.test_engine import F64, advance, cell, toy_data


def test_two_seeds_start_from_different_weights():
    first, again, other = (Stack(cell(seed=seed), [0], toy_data(), F64).weights for seed in (1, 1, 2))
    for name, w in first.items():
        assert torch.equal(w, again[name])
        assert not torch.isclose(w, other[name]).any()
    draws = [w.flatten()[:8] / w.flatten()[0] for w in first.values()]  # no two matrices share their draws
    assert not any(torch.isclose(a[1:], b[1:]).any() for a, b in itertools.combinations(draws, 2))


def test_gains_keep_the_second_moment_or_the_critical_point():
    """E (gain · f(z))² = 1 for ReLU (He et al. 2015); gain · f′(0) = 1 for tanh (Roberts et al. 2022)."""
    z = torch.linspace(-10, 10, 20001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi) * 1e-3
    relu = ACTIVATIONS["relu"]
    assert (density * (relu.gain * relu.forward_(z.clone())).square()).sum() == pytest.approx(1, rel=1e-6)
    tanh, small = ACTIVATIONS["tanh"], torch.tensor([1e-6], dtype=torch.float64)
    assert tanh.gain * tanh.forward_(small.clone()) / small == pytest.approx(1, rel=1e-9)
    assert ACTIVATIONS["identity"].gain == 1


def test_the_change_of_each_layer_is_split_at_later_steps_too():
    """By hand from the weights before and after: z_t − z_0 = ΔW·h_t + W₀·Δh, at every layer."""
    c = cell(steps=4, parameterization="sp")
    stack = Stack(c, [0, 1, 2], toy_data(), F64)
    before = {name: w.clone() for name, w in stack.weights.items()}
    advance(stack, 4)
    x = stack.data.heldout[0].expand(3, -1, -1)
    sites = [stack.model.sites(w, stack.multiplier, x) for w in (before, stack.weights)]
    seen = Snapshot(
        w_0=before,
        w_t=stack.weights,
        multiplier=stack.multiplier,
        sites_0=sites[0],
        sites_t=sites[1],
        x_ExBxI=x,
        optimizer=stack.optimizer,
        step=4,
        train=(stack.data.x, stack.data.y),
        heldout=stack.data.heldout,
        loss=stack.loss,
        model=stack.model,
        lr_factor=1.0,
    )
    for name, layer, values in coordinate_check(seen):
        at_0, at_t = seen.sites_0[layer - 1], seen.sites_t[layer - 1]
        key, scale = at_t.weight, stack.multiplier[at_t.weight]
        by_hand = {
            "weight_change_term": scale * (at_t.h_ExBxI @ (stack.weights[key] - before[key])),
            "input_change_term": scale * ((at_t.h_ExBxI - at_0.h_ExBxI) @ before[key]),
            "activation_change_rms": at_t.z_ExBxO - at_0.z_ExBxO,
            "activation_rms": at_t.z_ExBxO,
        }
        torch.testing.assert_close(values, by_hand[name].square().mean((1, 2)).sqrt(), rtol=1e-9, atol=1e-12)
        if name == "input_change_term":
            assert (values > 0).all() if layer > 1 else (values == 0).all()
            torch.testing.assert_close(
                by_hand[name] + by_hand["weight_change_term"], by_hand["activation_change_rms"], rtol=1e-9, atol=1e-9
            )
    fans = set()
    for _, layer, values in alignment(seen):
        h, key = seen.sites_t[layer - 1].h_ExBxI, seen.sites_t[layer - 1].weight
        change = stack.weights[key] - before[key]
        norms = [x.square().mean((1, 2)).sqrt() for x in (h @ change, h, change)]
        fans.add(change.shape[1:])
        expected = (norms[0] / norms[1] / norms[2]).log() / math.log(h.shape[2])
        torch.testing.assert_close(values, expected, rtol=1e-6, atol=1e-9)
    assert any(inside != outside for inside, outside in fans)


@pytest.mark.parametrize(("steps", "evaluations", "seen"), [(40, 1, 16), (30, 3, 10)])
def test_a_diverged_member_is_retired_at_the_first_look(steps, evaluations, seen):
    """After 16 steps, or at an evaluation before that; the step is that of the look, and FLOPs stop there."""
    c = cell(optimizer="sgd", log2_lr=[-5.0, 40.0], steps=steps, evaluations=evaluations)
    stack = advance(Stack(c, [0, 1], toy_data(), F64), steps)
    assert stack.records.diverged == {1: seen}
    assert stack.members == [0]
    runs = tables(c, [stack.records], 100).runs.set_index("log2_lr")
    assert list(runs["steps"]) == [steps, seen]
    assert list(runs["flops"]) == [6.0 * 100 * 16 * steps, 6.0 * 100 * 16 * seen]


def test_flops_count_every_position_of_a_sequence():
    c = cell(log2_lr=[-5.0])
    records = Records(curves=[(0, 10, 1.0, 1.0)])
    assert tables(c, [records], 1000, positions=8).runs["flops"].item() == 6 * 1000 * 16 * 8 * 10


@pytest.mark.parametrize("width", [32, 64, 96])
def test_a_gated_block_has_the_parameters_of_a_plain_one(width):
    """4 d² of attention, and 3 · inner · d with inner = 8 d/3 instead of 2 · 4 d · d (Shazeer 2020, Section 3)."""

    def count(feedforward):
        settings = {"family": "transformer", "data": "text_file", "width": width, "depth": 2, "seed": 0, "steps": 1}
        options = {
            "data_options": {"path": "README.md", "context": 16, "encoding": "tokens"},
            "log2_lr": [-5],
            "norm": "layer",
        }
        found = tensors(TrainCell(**settings, **options, feedforward=feedforward))
        return {t.name: math.prod(t.shape) for t in found if t.name in ("qkv1", "merge1", "up1", "down1")}

    gated, plain = count(GATED), count("gelu")
    inner = 8 * round(width / 3)
    assert gated == {"qkv1": 3 * width**2, "merge1": width**2, "up1": 2 * inner * width, "down1": inner * width}
    assert plain == {"qkv1": 3 * width**2, "merge1": width**2, "up1": 4 * width**2, "down1": 4 * width**2}
    assert sum(gated.values()) == pytest.approx(sum(plain.values()), rel=0.03)


@pytest.mark.parametrize("shape", [(6, 4), (5,)])
def test_adafactor_is_torchs_with_a_large_epsilon_and_decay_under_a_schedule(shape):
    """ε so large that it bounds the second moments, λ that the schedule scales, a rate beyond 1/√t: against torch."""
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(2, *shape, generator=rng, dtype=torch.float64)
    gradients = [torch.randn(2, *shape, generator=rng, dtype=torch.float64) * 0.1 for _ in range(12)]
    rates, eps, decay = [0.05, 0.9], [0.05, 0.2], [0.3, 0.7]
    factors = [1.0 - step / 12 for step in range(12)]
    ours = {"w": start.clone()}
    hyper = Hyper(lr=list(rates), eps=list(eps), weight_decay=list(decay))
    stepper = Adafactor(ours, {"w": hyper}, cell(optimizer="adafactor"))
    stepper.bind()
    for gradient, factor in zip(gradients, factors, strict=True):
        stepper.step({"w": gradient.clone()}, factor)
    for e in range(2):
        w = start[e].clone().requires_grad_()
        options = {"lr": rates[e], "eps": (eps[e], 1e-3), "weight_decay": decay[e], "foreach": False}
        theirs = torch.optim.Adafactor([w], **options)
        for gradient, factor in zip(gradients, factors, strict=True):
            theirs.param_groups[0]["lr"] = rates[e] * factor
            w.grad = gradient[e].clone()
            theirs.step()
        torch.testing.assert_close(ours["w"][e], w.detach(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("value", "said"), [(True, "true and false are none"), (float("nan"), "finite"), (2**64, "64")]
)
def test_odd_numbers_among_the_options_of_the_data_are_refused_in_their_place(value, said):
    with pytest.raises(ValidationError, match=said) as error:
        TrainCell(width=8, log2_lr=[-3.0], steps=3, seed=0, data="mnist1d", data_options={"train": value})
    assert error.value.errors()[0]["loc"] == ("data_options", "train")


def test_a_bracket_adds_up_what_its_rounds_did(tmp_path, monkeypatch):
    """Seconds, steps, FLOPs and turns of the criterion of three rounds."""
    rounds, train = [], bisection.train

    def kept(*arguments):
        found = train(*arguments)
        found.notes["training_seconds"] = 10.0 ** -len(rounds)
        rounds.append(found)
        return found

    monkeypatch.setattr(bisection, "train", kept)
    turns = [[True, False, True, False, True], [True, False, True, False, False], [True, True, True, True, False]]
    judge = iter(turns)
    monkeypatch.setitem(bisection.CRITERIA, "stable", (lambda found, cell: next(judge), bisection.below_first_failure))
    c = test_stability.cell(steps=4)
    write_dataset("teacher", test_stability.OPTIONS, tmp_path)
    found = bisection.bracket(c, dataclasses.replace(test_stability.SILENT, data_dir=tmp_path))
    assert len(rounds) == 3
    assert found.notes["training_seconds"] == 1.11
    row = found.runs.iloc[0]
    assert row["reversals"] == sum(map(bisection.reversals, turns)) == 2 + 1
    for name in ("steps", "flops"):
        assert row[name] == sum(each.runs[name].sum() for each in rounds)
