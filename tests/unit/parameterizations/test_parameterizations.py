"""Exponents against the published tables, and the contract of `scalings` and `effective_table`."""

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from muster.errors import MusterError
from muster.optimizers import OPTIMIZERS
from muster.parameterizations import (
    AB,
    DECAY_RULES,
    EPSILON_RULES,
    PARAMETERIZATIONS,
    ROLES,
    RULES,
    Parameterization,
    Tensor,
    effective_table,
    exponents,
    render_table,
    scalings,
)

UPDATES = {name: OPTIMIZERS[name].update for name in OPTIMIZERS}
MATRICES = ("input", "hidden", "readout")
RELATIVE = [name for name in PARAMETERIZATIONS if not PARAMETERIZATIONS[name].unit]  # those with a base shape

# x of LR ∝ n^x, input / hidden / readout, as in Everett et al. 2024, Table 1; for the last two of full_alignment as in
# Yang, Hu et al. 2022, Tables 3 and 8 (adafactor is not there: its rates are the same in all forms of µP).
RATES = {
    "full_alignment": """
        sp   sgd 1/2 -1/2 -1    adam 0 -1 -1       adafactor 0 -1/2 -1/2
        ntp  sgd 1/2 1/2 0      adam 0 -1/2 -1/2   adafactor 0 -1/2 -1/2
        mup  sgd 0 0 0          adam -1/2 -1 -1/2  adafactor 0 -1/2 0
        mfp  sgd 1 1 1          adam 0 -1/2 0      adafactor 0 -1/2 0
        mup_table3  sgd 1 0 -1  adam 0 -1 -1       adafactor 0 -1/2 0
        mup_table8  sgd 1 0 1   adam 0 -1 0        adafactor 0 -1/2 0
        """,
    "no_alignment": """
        sp   sgd 1/2 0 -1/2     adam 0 -1/2 -1/2   adafactor 0 0 0
        ntp  sgd 1/2 1 1/2      adam 0 0 0         adafactor 0 0 0
        mup  sgd 0 1/2 1/2      adam -1/2 -1/2 0   adafactor 0 0 1/2
        mfp  sgd 1 3/2 3/2      adam 0 0 1/2       adafactor 0 0 1/2
        """,
    "omega_out_1": """
        sp   sgd 0 -1 -1        adam -1/2 -3/2 -1  adafactor -1/2 -1 -1/2
        ntp  sgd 0 0 0          adam -1/2 -1 -1/2  adafactor -1/2 -1 -1/2
        mup  sgd 0 0 0          adam -1/2 -1 -1/2  adafactor 0 -1/2 0
        mfp  sgd 1 1 1          adam 0 -1/2 0      adafactor 0 -1/2 0
        """,
}
GLOBAL = {"sp": {"sgd": -1, "adam": -1}, "ntp": {"sgd": 0}, "mup": {"sgd": 0}}

# Standard deviation and multiplier as powers of n, and the natural scale of the gradient (Everett et al. 2024).
INIT = """
    sp   0 -1/2 -1/2       0 0 0         -1/2 -1/2 0
    ntp  0 0 0             0 -1/2 -1/2   -1/2 -1 -1/2
    mup  -1/2 -1/2 -1/2    1/2 0 -1/2    -1/2 -1 -1/2
    mfp  0 0 0             0 -1/2 -1     -1 -3/2 -1
    """


def _rates():
    for rule, text in RATES.items():
        for line in text.strip().splitlines():
            name, *words = line.split()
            for start in range(0, len(words), 4):
                yield pytest.param(
                    name,
                    words[start],
                    rule,
                    tuple(map(_number, words[start + 1 : start + 4])),
                    id=f"{name}-{words[start]}-{rule}",
                )


def _number(text):
    return float(Fraction(text))


def _tensors(width, *, outputs=10):
    return [
        Tensor("w1", "input", (40, width), gain=math.sqrt(2)),
        Tensor("b1", "vector", (width,), init="zeros"),
        Tensor("g1", "vector", (width,), init="ones"),
        Tensor("w2", "hidden", (width, width), gain=math.sqrt(2)),
        Tensor("w3", "readout", (width, outputs)),
        Tensor("b3", "fixed", (outputs,), init="zeros"),
    ]


@pytest.mark.parametrize(("name", "optimizer", "rule", "expected"), list(_rates()))
def test_learning_rate_exponents_equal_the_table(name, optimizer, rule, expected):
    found = tuple(exponents(PARAMETERIZATIONS[name], UPDATES[optimizer], rule, role).lr.width for role in MATRICES)
    assert found == expected


def test_the_table_covers_every_parameterization_optimizer_and_rule():
    assert len(list(_rates())) == 3 * 4 * 3 + 2 * 3


@pytest.mark.parametrize(("twin", "optimizer"), [("momentum", "sgd"), ("adamw", "adam"), ("lion", "adam")])
@pytest.mark.parametrize("name", list(PARAMETERIZATIONS))
def test_optimizers_of_one_kind_share_their_rates(name, twin, optimizer):
    for rule in RULES:
        for role in ROLES:
            table = PARAMETERIZATIONS[name]
            assert exponents(table, UPDATES[twin], rule, role) == exponents(table, UPDATES[optimizer], rule, role)


@pytest.mark.parametrize(
    ("name", "optimizer", "expected"), [(n, o, x) for n, row in GLOBAL.items() for o, x in row.items()]
)
def test_global_rule_gives_every_role_the_smallest_rate(name, optimizer, expected):
    assert {exponents(PARAMETERIZATIONS[name], UPDATES[optimizer], "global", role).lr.width for role in ROLES} == {
        expected
    }


@pytest.mark.parametrize("line", INIT.strip().splitlines(), ids=lambda line: line.split()[0])
def test_init_multiplier_and_epsilon_exponents_equal_the_table(line):
    name, *words = line.split()
    table = PARAMETERIZATIONS[name]
    numbers = list(map(_number, words))
    for i, role in enumerate(MATRICES):
        powers = exponents(table, UPDATES["adam"], "full_alignment", role, epsilon_rule="scaled")
        assert -table.row(role).b == numbers[i]
        assert powers.multiplier.width == numbers[3 + i]
        assert powers.eps.width == numbers[6 + i]


@pytest.mark.parametrize("name", RELATIVE)
def test_every_parameterization_is_stable_at_initialization(name):
    table = PARAMETERIZATIONS[name]
    assert sum(table.row("input")) == 0
    assert sum(table.row("hidden")) == 0.5
    assert table.readout_scale == {"sp": 0.5, "ntp": 0.5}.get(name, 1.0)


@pytest.mark.parametrize("rule", ["full_alignment", "no_alignment", "omega_out_1"])
@pytest.mark.parametrize("name", RELATIVE)
def test_a_shift_of_a_and_b_moves_rates_as_the_symmetry_demands(name, rule):
    table = PARAMETERIZATIONS[name]
    rng = np.random.default_rng(0)
    theta = dict(zip(ROLES, rng.uniform(-1, 1, len(list(ROLES))).tolist(), strict=True))
    shifted = Parameterization(
        "shifted", {role: AB(a + theta[role], b - theta[role]) for role, (a, b) in table.rows.items()}
    )
    for optimizer, slope in {"sgd": 2, "adam": 1, "adafactor": 0}.items():
        for role in ROLES:
            before, after = (
                exponents(t, UPDATES[optimizer], rule, role, epsilon_rule="scaled") for t in (table, shifted)
            )
            assert after.lr.width == pytest.approx(before.lr.width + slope * theta[role], abs=1e-12)
            assert after.eps.width == pytest.approx(before.eps.width - theta[role], abs=1e-12)
            assert after.weight_decay.width == pytest.approx(-after.lr.width, abs=1e-12)


@pytest.mark.parametrize("optimizer", list(UPDATES))
@pytest.mark.parametrize("rule", list(RULES))
def test_at_the_base_shape_everything_is_standard(optimizer, rule):
    tensors = _tensors(64)
    for name in RELATIVE:
        for epsilon_rule in EPSILON_RULES:
            for decay_rule in DECAY_RULES:
                found = scalings(
                    name,
                    UPDATES[optimizer],
                    rule,
                    tensors,
                    width_ratio=1.0,
                    epsilon_rule=epsilon_rule,
                    decay_rule=decay_rule,
                )
                assert {key: tuple(value) for key, value in found.items()} == {
                    "w1": (math.sqrt(2) / math.sqrt(40), 1, 1, 1, 1),
                    "b1": (0, 1, 1, 1, 1),
                    "g1": (1, 1, 1, 1, 1),
                    "w2": (math.sqrt(2) / math.sqrt(64), 1, 1, 1, 1),
                    "w3": (1 / math.sqrt(64), 1, 1, 1, 1),
                    "b3": (0, 1, 1, 1, 1),
                }


def test_scalings_of_mup_with_adam_are_these_numbers():
    found = scalings("mup", UPDATES["adam"], "full_alignment", _tensors(256), width_ratio=4.0, epsilon_rule="scaled")
    assert tuple(found["w1"]) == pytest.approx((math.sqrt(2 / 40) / 2, 2, 1 / 2, 1 / 2, 2), rel=1e-15)
    assert tuple(found["w2"]) == pytest.approx((math.sqrt(2) / 16, 1, 1 / 4, 1 / 4, 4), rel=1e-15)
    assert tuple(found["w3"]) == pytest.approx((1 / 16, 1 / 2, 1 / 2, 1 / 2, 2), rel=1e-15)
    assert tuple(found["b1"]) == (0, 1, 1, 1 / 4, 1)
    assert tuple(found["b3"]) == (0, 1, 1, 1, 1)


def test_vectors_move_as_an_input_with_its_multiplier_shifted_away():
    """A bias is a weight from the constant 1; starting at 0 it needs no multiplier, so its rate is the shifted one."""
    for name in RELATIVE:
        table = PARAMETERIZATIONS[name]
        a = table.row("input").a
        for optimizer, slope in {"sgd": 2, "adam": 1, "adafactor": 0}.items():
            vector, weight = (
                exponents(table, UPDATES[optimizer], "omega_out_1", role).lr.width for role in ("vector", "input")
            )
            assert vector == weight - slope * a
            assert exponents(table, UPDATES[optimizer], "full_alignment", "fixed").lr.width == 0


def test_decay_and_epsilon_rules():
    fixed = scalings("mup", UPDATES["adamw"], "full_alignment", _tensors(256), width_ratio=4.0, decay_rule="constant")
    scaled = scalings("mup", UPDATES["adamw"], "full_alignment", _tensors(256), width_ratio=4.0)
    assert {s.weight_decay for s in fixed.values()} == {1.0}
    assert {s.eps for s in scaled.values()} == {1.0}
    assert [s.weight_decay * s.lr for s in scaled.values()] == [1.0] * 6
    assert scaled["w2"].weight_decay == 4.0


def test_constant_rule_leaves_rates_alone():
    for name in PARAMETERIZATIONS:
        assert {s.lr for s in scalings(name, UPDATES["adam"], "constant", _tensors(256), width_ratio=4.0).values()} == {
            1.0
        }


def test_effective_table_states_what_is_applied():
    rows = effective_table(
        "ntp",
        UPDATES["adamw"],
        "full_alignment",
        _tensors(256),
        4.0,
        2**-7,
        eps=1e-8,
        weight_decay=0.1,
        epsilon_rule="scaled",
    )
    assert [row["tensor"] for row in rows] == ["w1", "b1", "g1", "w2", "w3", "b3"]
    hidden = rows[3]
    assert hidden == {
        "tensor": "w2",
        "role": "hidden",
        "branch": False,
        "shape": (256, 256),
        "effective_init_std": pytest.approx(math.sqrt(2) / 16, rel=1e-15),
        "init_std": pytest.approx(math.sqrt(2) / 8, rel=1e-15),
        "multiplier": 0.5,
        "learning_rate": 2**-8,
        "epsilon": pytest.approx(1e-8 / 4, rel=1e-15),
        "weight_decay": pytest.approx(0.2, rel=1e-15),
        "a": 0.5,
        "b": 0,
        "g": 1.0,
        "lr_exponent": (-0.5, 0.0),
        "epsilon_exponent": (-1.0, 0.0),
        "weight_decay_exponent": (0.5, 0.0),
    }


def test_effective_standard_deviation_is_that_of_the_invariant():
    """std(W) depends on a + b alone: the same numbers for the twins that a shift connects."""

    def effective(name):
        rows = effective_table(name, UPDATES["adam"], "full_alignment", _tensors(192), 3.0)
        return [row["effective_init_std"] for row in rows]

    assert effective("sp") == pytest.approx(effective("ntp"), rel=1e-14)
    for twin in ("mfp", "mup_table3", "mup_table8"):
        assert effective(twin) == pytest.approx(effective("mup"), rel=1e-14)
    assert effective("sp")[4] == pytest.approx(math.sqrt(3) * effective("mup")[4], rel=1e-14)


def test_render_table_aligns_columns_and_writes_fractions():
    rows = effective_table("mup", UPDATES["adam"], "full_alignment", _tensors(256), 4.0, 2**-7)
    heading, *lines = render_table(rows).splitlines()
    assert heading.split()[:10] == [
        *("tensor", "role", "branch", "shape"),
        *("std(W)", "std(w)", "W/w", "lr", "eps", "decay"),
    ]
    assert lines[3].split()[:8] == ["w2", "hidden", "–", "256×256", "0.08839", "0.08839", "1", "0.001953"]
    assert lines[0].split()[-3:] == ["n^-1/2", "1", "n^1/2"]
    assert all(line.index(row["role"]) == heading.index("role") for line, row in zip(lines, rows, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameterization": "mu"}, "parameterization: unknown name 'mu'. Did you mean 'mup'"),
        ({"rule": "full"}, "rule: unknown name 'full'"),
        ({"epsilon_rule": "scale"}, "epsilon_rule: unknown name 'scale'. Did you mean 'scaled'"),
        ({"decay_rule": "none"}, "decay_rule: unknown name 'none'"),
        ({"width_ratio": 0.0}, "width_ratio: 0.0"),
        ({"width_ratio": math.nan}, "width_ratio: nan"),
        ({"depth_ratio": -1.0}, "depth_ratio: -1.0"),
        ({"tensors": [Tensor("w", "input", (3, 4))] * 2}, "2 tensors are named 'w'"),
        ({"tensors": [Tensor("w", "output", (3, 4))]}, "role: unknown name 'output'"),
        ({"tensors": [Tensor("w", "input", (3, 4), init="uniform")]}, "tensor w: unknown init 'uniform'"),
        ({"tensors": [Tensor("w", "input", (0, 4))]}, r"tensor w: shape \(0, 4\)"),
    ],
)
def test_mistakes_are_named(change, message):
    arguments = {
        "parameterization": "mup",
        "update": UPDATES["adam"],
        "rule": "full_alignment",
        "tensors": _tensors(8),
        "width_ratio": 2.0,
    }
    with pytest.raises(MusterError, match=message):
        scalings(**(arguments | change))


def test_a_role_without_a_row_is_named():
    partial = Parameterization("Half a table", {"hidden": AB(0, 0.5)})
    with pytest.raises(MusterError, match="'Half a table' has no row for 'readout'"):
        partial.gradient("hidden")


@pytest.mark.parametrize("registry", [PARAMETERIZATIONS, RULES, EPSILON_RULES, DECAY_RULES, ROLES, OPTIMIZERS])
def test_registries_describe_their_entries(registry):
    summaries = list(registry.summary().values())
    assert all(summaries)
    assert len(set(summaries)) == len(summaries)


def test_tables_need_no_torch():
    code = "import sys, muster.parameterizations; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
