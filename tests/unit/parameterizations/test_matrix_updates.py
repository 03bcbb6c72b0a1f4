"""Exponents of optimizers that precondition whole matrices, against published tables and the spectral formula."""

from dataclasses import replace

import pytest

from muster.cli import main
from muster.optimizers import OPTIMIZERS
from muster.parameterizations import PARAMETERIZATIONS, ROLES, RULES, MatrixUpdate
from muster.parameterizations.rules import spectral_norm
from muster.training.cell import TrainCell

MATRICES = ("input", "hidden", "readout")
RELATIVE = [name for name in PARAMETERIZATIONS if not PARAMETERIZATIONS[name].unit]


def powers(total: float) -> MatrixUpdate:
    """Two-sided preconditioners of total power E."""
    return MatrixUpdate(gradient=1 - 2 * total, weight=0, fan_in=total, fan_out=total, roles=MATRICES)


SGD, SHAMPOO, KFAC = powers(0.0), powers(0.5), powers(1.0)
FOOF = MatrixUpdate(gradient=1, weight=0, fan_in=1, fan_out=0, roles=MATRICES)


def found(name, update, rule="spectral"):
    return tuple(RULES[rule](PARAMETERIZATIONS[name], update, role) for role in MATRICES)


@pytest.mark.parametrize(
    ("name", "update", "expected"),
    [
        ("mup_table3", SGD, (1, 0, -1)),
        ("mup_table3", KFAC, (0, 0, 0)),
        ("mup_table3", SHAMPOO, (0.5, 0, -0.5)),
        ("mup_table3", FOOF, (1, 1, 0)),
        ("sp", KFAC, (0, 0, 0)),
        ("sp", SHAMPOO, (0, -0.5, -0.5)),
    ],
)
def test_rates_are_those_of_ishikawa_and_karakidas_code(name, update, expected):
    """riverstone496/classmup, utils/set_mup.py: exponents −c; its "UP" has the readout of sp, which aligns there."""
    assert found(name, update, "spectral_omega_out_1") == expected


@pytest.mark.parametrize("total", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("name", RELATIVE)
def test_rates_are_those_of_the_spectral_condition(name, total):
    """x = a + µ − (1 − 2E)e with the step √(fan_out/fan_in) ∝ n^µ; e from PARAMETERIZATIONS, written out."""
    table = PARAMETERIZATIONS[name]
    out = sum(table.row("readout"))
    for role, x in zip(MATRICES, found(name, powers(total)), strict=True):
        below, wide = ROLES[role].below_readout, ROLES[role].wide_fan_in
        e = -table.row(role).a + below * (0.5 - out) + 0.5 * wide
        assert spectral_norm(table, role) == e
        assert x == pytest.approx(table.row(role).a + 0.5 * below - 0.5 * wide - (1 - 2 * total) * e, abs=1e-12)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [("spectral", (0, 0, 0)), ("jordan", (0, 0, -0.5)), ("moonshot", (0, -0.5, -1)), ("none", (0.5, 0, -0.5))],
)
def test_a_scale_takes_its_share_of_the_rate(scale, expected):
    assert found("mup_table3", replace(SHAMPOO, scale=scale)) == expected


def test_steps_of_entries_keep_their_rates():
    for name in PARAMETERIZATIONS:
        for optimizer in ("sgd", "adam", "adafactor"):
            update = OPTIMIZERS[optimizer].update
            for role in ROLES:
                table = PARAMETERIZATIONS[name]
                assert RULES["spectral"](table, update, role) == RULES["full_alignment"](table, update, role)
                assert RULES["spectral_omega_out_1"](table, update, role) == RULES["omega_out_1"](table, update, role)


def test_muon_is_shown_with_adam_beside_it(capsys):
    arguments = ["--width", "256", "--base-width", "64", "--depth", "2"]
    assert main(["show", "parameterization", "mup", "--optimizer", "muon", *arguments]) == 0
    muon = capsys.readouterr().out.splitlines()
    assert main(["show", "parameterization", "mup", "--optimizer", "adam", *arguments]) == 0
    adam = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split() for line in muon if line[:2] in ("w1", "w2", "w3")}
    beside = {line.split()[0]: line.split() for line in adam if line[:2] in ("w1", "w2", "w3")}
    assert rows["w1"] == beside["w1"]
    assert rows["w3"] == beside["w3"]
    assert (rows["w2"][7], beside["w2"][7]) == ("1", "0.25")
    assert any("rule spectral" in line for line in muon)
    assert main(["show", "parameterization", "mup", "--optimizer", "muon", "--rule", "full_alignment"]) == 2
    assert "steps whole matrices. Set rule to spectral" in capsys.readouterr().err


def test_a_cell_that_names_no_rule_has_that_of_its_optimizers_steps() -> None:
    """And `muster show parameterization`, which asks the same cell."""
    settings = {"parameterization": "mup", "width": 8, "seed": 0, "steps": 1, "log2_lr": [0.0]}
    assert TrainCell.model_validate(settings | {"optimizer": "muon"}).rule == "spectral"
    assert TrainCell.model_validate(settings | {"optimizer": "adam"}).rule == "full_alignment"
    assert TrainCell.model_validate(settings | {"optimizer": "muon", "rule": "constant"}).rule == "constant"
    assert TrainCell.model_validate(settings).rule == "full_alignment"
