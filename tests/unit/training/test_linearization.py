"""Distances from linearization against closed forms and finite differences; growth of the residual stream."""

import pytest
import torch
from pydantic import ValidationError

from muster.training.probes.linearization import blocks, chosen, distance, linearization, residual_growth
from tests.unit.training.test_engine import cell, snapshot, trained

RATES = [-3.0, -5.0]


def state(**changes):
    settings = {"optimizer": "sgd", "parameterization": "sp", "width": 6, "steps": 8, "log2_lr": RATES}
    return snapshot(trained(cell(**(settings | changes))))


def readings(probe, s):
    return {(name, layer): value for name, layer, value in probe(s)}


def norm(values):
    return values.flatten(1).norm(dim=1)


def test_a_quadratic_has_the_distance_of_its_second_order_term():
    generator = torch.Generator().manual_seed(0)
    w_0, w_t = ({"w": torch.randn(3, 5, generator=generator, dtype=torch.float64)} for _ in range(2))
    found = distance(lambda w: w["w"] + 0.5 * w["w"].square(), w_0, w_t)
    change = w_t["w"] - w_0["w"]
    second = 0.5 * change.square()
    torch.testing.assert_close(found, norm(second) / norm(change * (1 + w_0["w"]) + second))


def test_one_layer_of_a_linear_network_is_its_own_linearization():
    found = readings(linearization, state(activation="identity", depth=4))
    for b in (1, 2, 3):
        assert (found["block_linearization_distance", b] < 1e-12).all()
    assert (found["linearization_distance", 0] > 1e-3).all()


def test_all_layers_of_a_linear_network_leave_the_products_of_changes():
    s = state(activation="identity", depth=1)
    first_0, first_t = s.w_0["w1"], s.w_t["w1"]
    last_0, last_t = s.w_0["w2"], s.w_t["w2"]
    second = s.x_ExBxI @ ((first_t - first_0) @ (last_t - last_0))
    total = s.x_ExBxI @ (first_t @ last_t - first_0 @ last_0)
    torch.testing.assert_close(readings(linearization, s)["linearization_distance", 0], norm(second) / norm(total))


def test_the_distance_is_that_of_finite_differences():
    s = state(activation="tanh", depth=3, bias=True)
    found = readings(linearization, s)

    def hidden(w2):
        return s.model.sites({**s.w_0, "w2": w2}, s.multiplier, s.x_ExBxI)[-1].h_ExBxI

    step, change = 1e-5, s.w_t["w2"] - s.w_0["w2"]
    slope = (hidden(s.w_0["w2"] + step * change) - hidden(s.w_0["w2"] - step * change)) / (2 * step)
    moved = hidden(s.w_t["w2"]) - hidden(s.w_0["w2"])
    torch.testing.assert_close(
        found["block_linearization_distance", 1], norm(moved - slope) / norm(moved), rtol=1e-6, atol=1e-12
    )


def test_the_distance_is_measured_in_float64_and_vanishes_with_the_rate():
    s = state(activation="tanh", depth=2, log2_lr=[-4.0, -14.0], steps=1)
    found = readings(linearization, s)["linearization_distance", 0]
    assert found.dtype == torch.float64
    assert found[1] / found[0] == pytest.approx(2.0**-10, rel=0.2)


def test_nothing_is_measured_before_training():
    s = state(steps=1)
    s.step = 0
    assert list(linearization(s)) == []


def test_blocks_of_a_family_without_any_are_its_hidden_matrices():
    assert blocks(state(depth=3).model) == [["w2"], ["w3"]]


def residual(**changes):
    settings = {"family": "resmlp", "block_layers": 2, "parameterization": "completep", "base_depth": 2, "depth": 4}
    return state(**(settings | changes))


def test_blocks_of_a_residual_family_hold_all_their_tensors():
    model = residual(bias=True, norm="layer", activation="gelu").model
    assert blocks(model)[0] == ["g2", "w2", "b2", "w3", "b3"]
    assert blocks(model)[3] == ["g8", "w8", "b8", "w9", "b9"]
    assert blocks(residual(block_layers=1).model) == [["w2"], ["w3"], ["w4"], ["w5"]]


def test_many_blocks_are_sampled_from_first_to_last():
    assert chosen(3) == [1, 2, 3]
    assert chosen(8) == list(range(1, 9))
    assert chosen(64) == [1, 10, 19, 28, 37, 46, 55, 64]


def test_a_linear_block_leaves_the_product_of_its_two_changes():
    """h_3 of three linear blocks with α = 1 and base depth 1, as a function of the middle one, by hand."""
    s = residual(activation="identity", depth=3, base_depth=1)
    scale = s.model.branch_multiplier
    assert scale == pytest.approx(1 / 3)

    def block(w, first):
        return torch.eye(6, dtype=torch.float64) + scale * w[f"w{first}"] @ w[f"w{first + 1}"]

    before = s.x_ExBxI @ s.w_0["w1"] * s.multiplier["w1"] @ block(s.w_0, 2)
    change = {name: s.w_t[name] - s.w_0[name] for name in ("w4", "w5")}
    second = before @ (scale * change["w4"] @ change["w5"]) @ block(s.w_0, 6)
    moved = before @ (block(s.w_t, 4) - block(s.w_0, 4)) @ block(s.w_0, 6)
    found = readings(linearization, s)["block_linearization_distance", 2]
    torch.testing.assert_close(found, norm(second) / norm(moved))


def test_growth_of_the_stream_is_that_of_its_definition():
    s = residual(depth=2, bias=True)
    found = readings(residual_growth, s)
    for b, (at_0, at_t) in enumerate(
        zip(*(s.model.stream(w, s.multiplier, s.x_ExBxI) for w in (s.w_0, s.w_t)), strict=True)
    ):
        torch.testing.assert_close(found["residual_rms", b], at_t.square().mean((1, 2)).sqrt())
        torch.testing.assert_close(found["residual_change_rms", b], (at_t - at_0).square().mean((1, 2)).sqrt())
    assert {layer for _, layer in found} == {0, 1, 2}
    for name in ("residual_rms", "residual_change_rms"):
        torch.testing.assert_close(found[f"final_{name}", 0], found[name, 2])
    s.step = 0
    assert {name for name, _ in readings(residual_growth, s)} == {"residual_rms", "final_residual_rms"}


def test_a_stream_without_a_depth_rule_doubles_its_variance_with_every_block():
    """He-initialized linear branches of multiplier 1 add a variance as large as the stream's: ratio √2 in the RMS."""
    s = residual(parameterization="sp", activation="identity", block_layers=1, depth=6, width=256, log2_lr=[-30.0])
    found = readings(residual_growth, s)
    assert found["residual_rms", 6][0].item() / found["residual_rms", 0][0].item() == pytest.approx(2**3, rel=0.15)


def test_a_family_without_a_stream_is_refused():
    found = "the probe residual_growth needs a residual stream, which this network of family 'mlp' lacks"
    with pytest.raises(ValidationError, match=found):
        cell(probes=["residual_growth"])
