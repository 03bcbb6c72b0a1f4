"""Depth in the parameterizations: CompleteP's Table 1 row by row, Depth-µP, the mean-field form and unit scaling."""

import math

import pytest

from muster.cli import main
from muster.errors import MusterError
from muster.optimizers import OPTIMIZERS
from muster.parameterizations import PARAMETERIZATIONS, Tensor, branch_multiplier, scalings, shape_ratios
from muster.training.cell import TrainCell, tensors

UPDATES = {name: OPTIMIZERS[name].update for name in OPTIMIZERS}
M_N, M_L = 4.0, 8.0
NETWORK = [
    Tensor("embedding", "embedding", (50, 256)),
    Tensor("norm", "vector", (256,), init="ones", branch=True),
    Tensor("hidden", "hidden", (256, 256), branch=True),
    Tensor("bias", "vector", (256,), init="zeros", branch=True),
    Tensor("final_norm", "vector", (256,), init="ones"),
    Tensor("unembedding", "readout", (256, 50)),
]


def applied(name, optimizer="adamw", rule="full_alignment", **options):
    table = PARAMETERIZATIONS[name]
    rules = {"epsilon_rule": table.epsilon_rule, "decay_rule": table.decay_rule}
    return scalings(name, UPDATES[optimizer], rule, NETWORK, width_ratio=M_N, depth_ratio=M_L, **(rules | options))


def cell(**changes) -> TrainCell:
    settings = {"width": 32, "depth": 8, "seed": 0, "steps": 1, "log2_lr": [-5.0], "family": "resmlp"}
    return TrainCell(**(settings | changes))


@pytest.mark.parametrize(("name", "alpha"), [("completep", 1.0), ("depth_mup", 0.5)])
def test_table_1_of_completep(name, alpha):
    """Rows in the order of the paper: initial scale and multiplier over sp's at this width, rate, ε, weight decay."""
    rate, eps = M_L ** (alpha - 1), M_L**-alpha / M_N
    expected = {
        "embedding": (1, 1, 1, 1, 1),
        "norm": (1, 1, rate, eps, 1),
        "hidden": (1 / 16, 1, rate / M_N, eps, M_N),
        "bias": (0, 1, rate, eps, 1),
        "final_norm": (1, 1, 1, 1, 1),
        "unembedding": (1 / 8, 1 / M_N, 1, 1, 1),
    }
    found = applied(name)
    assert {key: tuple(value) for key, value in found.items()} == {
        key: pytest.approx(value, rel=1e-14) for key, value in expected.items()
    }


def test_the_readouts_standard_deviation_is_that_of_the_base():
    """1/√64, the base width's, which the paper's table leaves constant; its forward factor is 1/m_N."""
    assert applied("completep")["unembedding"].init_std == 1 / math.sqrt(256 / M_N)


def test_the_code_of_completep_scales_epsilon_everywhere():
    paper, code = applied("completep"), applied("completep", epsilon_rule="completep_code")
    assert {s.eps for s in code.values()} == {1 / (M_N * M_L)}
    assert {name for name in paper if paper[name].eps != code[name].eps} == {"embedding", "final_norm", "unembedding"}
    assert all(paper[name]._replace(eps=0) == code[name]._replace(eps=0) for name in paper)


def test_completep_is_mup_but_for_epsilon():
    mup = scalings("mup_table8", UPDATES["adamw"], "full_alignment", NETWORK, width_ratio=M_N, depth_ratio=M_L)
    ours = applied("completep", epsilon_rule="constant", decay_rule="constant_product")
    assert ours == mup
    assert all(s._replace(eps=1.0) == mup[name] for name, s in applied("completep").items())


@pytest.mark.parametrize(
    ("optimizer", "alpha", "power"),
    [
        ("sgd", 0.5, 0), ("sgd", 1.0, 1), ("sgd", 0.75, 0.5), ("momentum", 1.0, 1),
        ("adam", 0.5, -0.5), ("adam", 1.0, 0), ("adam", 0.75, -0.25), ("adamw", 0.5, -0.5), ("adafactor", 0.5, -0.5),
    ],
)  # fmt: skip
def test_rates_inside_branches(optimizer, alpha, power):
    """L^(2α − 1) for SGD, L^(α − 1) for Adam, in every form that has a depth rule and for any α that is asked for."""
    for name in ("depth_mup", "completep", "dmft", "mup", "sp"):
        base = scalings(name, UPDATES[optimizer], "full_alignment", NETWORK, width_ratio=M_N)
        deep = applied(name, optimizer, alpha=alpha)
        ratios = {key: deep[key].lr / base[key].lr for key in deep}
        inside = {key for key in ratios if next(t for t in NETWORK if t.name == key).branch}
        assert [ratios[key] for key in sorted(inside)] == pytest.approx([M_L**power] * 3)
        assert {ratios[key] for key in ratios.keys() - inside} == {1.0}


@pytest.mark.parametrize(
    "name", [name for name in PARAMETERIZATIONS if PARAMETERIZATIONS[name].branch_exponent is None]
)
def test_depth_changes_nothing_without_a_rule(name):
    for optimizer in UPDATES:
        flat = scalings(name, UPDATES[optimizer], "full_alignment", NETWORK, width_ratio=M_N, epsilon_rule="scaled")
        assert applied(name, optimizer, epsilon_rule="scaled") == flat
    assert PARAMETERIZATIONS[name].alpha == 0


@pytest.mark.parametrize("rule", ["constant", "global"])
def test_rules_of_one_rate_keep_one_rate(rule):
    assert len({s.lr for s in applied("depth_mup", rule=rule).values()}) == 1


@pytest.mark.parametrize("name", ["depth_mup", "completep", "dmft"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_at_the_base_shape_depth_rules_are_standard(name, optimizer):
    settings = {"epsilon_rule": "completep", "decay_rule": "completep"}
    sp = scalings("sp", UPDATES[optimizer], "full_alignment", NETWORK, width_ratio=1.0)
    assert scalings(name, UPDATES[optimizer], "full_alignment", NETWORK, width_ratio=1.0, **settings) == sp
    assert branch_multiplier(cell(parameterization=name, depth=8, base_depth=8)) == 1


def test_decay_keeps_its_product_with_the_rate_or_follows_the_paper():
    paper, product = applied("depth_mup"), applied("depth_mup", decay_rule="constant_product")
    assert paper["hidden"].lr * paper["hidden"].weight_decay == pytest.approx(M_L**-0.5)
    assert {key: s.lr * s.weight_decay for key, s in product.items()} == {key: pytest.approx(1) for key in product}


def test_epsilon_scaled_falls_with_depth_inside_branches_alone():
    """A branch's gradient is ∝ L^(−α); the stream's is not."""
    found = applied("dmft", epsilon_rule="scaled")
    assert found["hidden"].eps == pytest.approx(M_N**-1.5 * M_L**-0.5)
    assert found["embedding"].eps == pytest.approx(M_N**-1)


def test_mean_field_rates():
    """SGD: N for all; Adam: 1, N^(−½), 1 (Bordelon et al. 2024), besides the powers of depth."""
    sgd, adam = applied("dmft", "sgd", alpha=0.5), applied("dmft", "adam", alpha=1.0)
    assert {s.lr for s in sgd.values()} == {M_N}
    assert [adam[key].lr for key in ("embedding", "hidden", "unembedding")] == [1, M_N**-0.5, 1]
    assert [adam[key].multiplier for key in ("embedding", "hidden", "unembedding")] == [1, M_N**-0.5, 1 / M_N]


def test_embeddings_scale_as_input_weights_with_fan_in_one():
    for name in PARAMETERIZATIONS:
        table = PARAMETERIZATIONS[name]
        if not table.unit:
            assert table.row("embedding") == table.row("input")
    assert Tensor("e", "embedding", (50, 256)).fan_in == 1
    assert scalings("sp", UPDATES["adam"], "full_alignment", NETWORK, width_ratio=4.0)["embedding"].init_std == 1


def test_unit_scaling_reads_sizes_off_the_tensors():
    found = scalings("umup", UPDATES["adam"], "full_alignment", NETWORK, width_ratio=1e9, depth_ratio=16.0)
    assert {key: tuple(value) for key, value in found.items()} == {
        "embedding": (1, 1, 1 / 16, 1, 16),
        "norm": (1, 1, 1 / 4, 1, 4),
        "hidden": (1, 1 / 16, 1 / 64, 1, 64),
        "bias": (0, 1, 1 / 4, 1, 4),
        "final_norm": (1, 1, 1, 1, 1),
        "unembedding": (1, 1 / 256, 1, 1, 1),
    }


def test_unit_scaling_turns_gains_into_multipliers():
    weights = [Tensor("w", "hidden", (64, 64), gain=3.0), Tensor("f", "readout", (64, 2), gain=0.0)]
    found = scalings("umup", UPDATES["adam"], "full_alignment", weights, width_ratio=1.0)
    assert tuple(found["w"]) == (1, 3 / 8, 1 / 8, 1, 8)
    assert tuple(found["f"])[:2] == (0, 1 / 64)
    assert scalings("umup", UPDATES["adam"], "constant", weights, width_ratio=1.0)["w"].lr == 1


@pytest.mark.parametrize(
    ("optimizer", "rule", "message"),
    [("sgd", "full_alignment", "umup has no rates for steps ∝"), ("adam", "global", "no base shape")],
)
def test_unit_scaling_names_what_it_has_not(optimizer, rule, message):
    with pytest.raises(MusterError, match=message):
        applied("umup", optimizer, rule)


def test_ratios_and_branches_of_a_cell():
    deep = cell(parameterization="completep", base_width=8, base_depth=2)
    assert shape_ratios(deep) == (4, 4)
    assert branch_multiplier(deep) == 1 / 4
    assert branch_multiplier(cell(parameterization="depth_mup", base_depth=2)) == 1 / 2
    assert branch_multiplier(cell(parameterization="mup", base_depth=2)) == 1
    assert branch_multiplier(cell(parameterization="mup", base_depth=2, branch_exponent=1.0)) == 1 / 4
    assert branch_multiplier(cell(parameterization="completep", base_depth=2, branch_exponent=0.0)) == 1
    unit = cell(parameterization="umup", base_width=8, base_depth=2)
    assert shape_ratios(unit) == (32, 8)
    assert branch_multiplier(unit) == pytest.approx(8**-0.5)


def test_a_cell_takes_the_rules_of_its_parameterization():
    assert (cell().epsilon_rule, cell().decay_rule) == ("constant", "constant_product")
    deep = cell(parameterization="completep")
    assert (deep.epsilon_rule, deep.decay_rule) == ("completep", "completep")
    assert cell(parameterization="completep", epsilon_rule="completep_code").epsilon_rule == "completep_code"


@pytest.mark.parametrize("family", ["mlp", "resmlp"])
@pytest.mark.parametrize("settings", [{}, {"bias": True, "norm": "layer"}])
def test_declared_tensors_add_up(family, settings):
    """By hand: 40 features in, 10 classes out; one gain a hidden layer, or a block and the last normalization."""
    c = cell(family=family, **settings)
    blocks = c.depth if family == "resmlp" else c.depth - 1
    count = 40 * 32 + blocks * 32**2 + 32 * 10
    if settings:
        count += (blocks + 1) * 32 + 10 + (c.depth + (family == "resmlp")) * 32
    assert sum(math.prod(tensor.shape) for tensor in tensors(c)) == count


def test_block_layers_belong_to_residual_networks():
    with pytest.raises(ValueError, match="block_layers is read by resmlp"):
        cell(family="mlp", block_layers=2)


def test_show_prints_the_table_as_applied_and_what_sources_disagree_on(capsys):
    arguments = "show parameterization completep --family resmlp --width 128 --depth 6 --base-depth 2 --norm layer"
    assert main([*arguments.split(), "--optimizer", "adamw", "--weight-decay", "0.5"]) == 0
    text = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in text.splitlines() if "×" in line or "vector" in line}
    assert "epsilon_rule completep, decay_rule completep" in text
    assert "residual branches × 0.3333" in text
    assert rows["w2"][1:4] == ["hidden", "yes", "128×128"]
    assert rows["w2"][7:10] == ["0.5", "1.667e-09", "1"]
    assert rows["w2"][-3:] == ["n^-1", "n^-1·L^-1", "n^1"]
    assert rows["w1"][-3:] == ["1", "1", "1"]
    assert "completep_code" in text
    assert "Table 1 has λ ∝ n" in text


def test_show_of_unit_scaling_and_of_a_mistake(capsys):
    assert main(["show", "parameterization", "umup", "--width", "256"]) == 0
    text = capsys.readouterr().out
    assert "no base shape" in text
    assert "n: fan-in, L: depth, both absolute" in text
    assert main(["show", "parameterization", "mup", "--epsilon-rule", "none"]) == 2
    assert "epsilon_rule" in capsys.readouterr().err
