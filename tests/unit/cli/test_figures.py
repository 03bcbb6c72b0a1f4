"""What a figure asks of its study is looked at before anything runs, and a comparison shows both of its groups."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from muster.cli.check import check_study
from muster.config.load import load_study
from muster.errors import MusterError
from muster.plan.grid import plan_study

PAIR = {"a": {"parameterization": "mup"}, "b": {"parameterization": "sp"}}


def a_study() -> dict[str, Any]:
    lr = {"response": "final_train_loss", "along": "width"}
    blocks = [
        {"parameterization": name, "width": [16, 32, 64], "seeds": 2, "log2_lr": {"from": -10, "to": -4, "step": 1}}
        for name in ("mup", "sp")
    ]
    return {
        "study": "mine", "title": "t", "paper": "p", "slug": "mine", "experiment": "train",
        "settings": {"data": "mnist1d", "steps": 100, "depth": 3},
        "scales": {"laptop": {"grid": blocks}},
        "fits": {
            "exponent": {"estimator": "lr_transfer", "by": ["parameterization"], **lr},
            "difference": {"estimator": "lr_transfer_difference", "options": PAIR, **lr},
            "pooled": {"estimator": "mean_of_runs", "response": "final_train_loss"},
            "law": {
                "estimator": "law", "response": "final_train_loss", "along": "width",
                "options": {"form": "E + A / width^alpha", "variables": ["width"]},
            },
        },
        "claims": [],
        "figures": {},
    }  # fmt: skip


def said(study: dict[str, Any], folder: Path) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    try:
        check_study(plan_study(load_study(path), "laptop", path=path), path)
    except MusterError as error:
        return "\n".join(map(str, error.mistakes))
    return ""


@pytest.mark.parametrize(
    ("figure", "field", "words"),
    [
        ({"plot": "optimum_vs_axis", "fit": "exponent", "options": {"hue": "param"}},
         "options.hue", "Known: parameterization"),
        ({"plot": "optimum_vs_axis", "fit": "exponent", "options": {"hue": "width"}},
         "options.hue", "Known: parameterization"),
        ({"plot": "lr_sweep", "fit": "exponent", "options": {"response": "final_loss"}},
         "options.response", "final_train_loss"),
        ({"plot": "lr_sweep", "fit": "exponent", "options": {"along": "depht"}},
         "options.along", "'depht' is no column"),
        ({"plot": "loss_curves", "fit": "exponent", "options": {"losses": ["train_los"]}},
         "options.losses", "Did you mean 'train_loss'"),
        ({"plot": "coordinate_check", "options": {"by": ["parameterisation"]}}, "options.by", "'parameterization'"),
        ({"plot": "law_fit", "fit": "law", "options": {"x": "log_width"}}, "options.x", "Did you mean 'width'"),
        ({"plot": "law_fit", "fit": "law", "options": {"hue": "steps"}}, "options.hue", "no variable of the fit's law"),
        ({"plot": "law_fit", "fit": "pooled"}, "fit", "Fits of laws: law"),
        ({"plot": "theory_profile", "options": {"x": "layr"}}, "options.x", "Did you mean 'layer'"),
        ({"plot": "lr_sweep", "fit": "exponent", "options": {"ceilling": 2}}, "options.ceilling", "'ceiling'"),
        ({"plot": "specification_curve", "fit": "exponent", "options": {"where": {"parameterization": "muP"}}},
         "options.where", "never runs {'parameterization': 'muP'}"),
        ({"plot": "probe_scaling", "fit": "exponent"}, "fit", "finds optima of sweeps"),
        ({"plot": "lr_sweep", "fit": "pooled"}, "fit", "runs of parameterization mup, sp would be shown as one"),
        ({"plot": "loss_curves", "fit": "pooled"}, "fit", "Name parameterization in `by`"),
        ({"plot": "seed_scatter", "fit": "pooled"}, "fit", "parameterization"),
        ({"plot": "lr_sweep", "fit": "exponent", "options": {"along": "depth"}}, "fit", "runs of width 16, 32, 64"),
    ],
)  # fmt: skip
def test_a_figure_that_cannot_be_drawn_rightly_stops_before_the_run(figure, field, words, tmp_path):
    told = said({**a_study(), "figures": {"own": figure}}, tmp_path)
    assert f"figures.own.{field}" in told
    assert words in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    "figure",
    [
        {"plot": "lr_sweep", "fit": "difference"},
        {"plot": "loss_curves", "fit": "difference"},
        {"plot": "optimum_vs_axis", "fit": "difference", "options": {"hue": "parameterization"}},
        {"plot": "lr_sweep", "fit": "pooled", "select": {"parameterization": "mup"}},
        {"plot": "lr_sweep", "fit": "exponent", "options": {"along": "depth"}, "select": {"width": 16}},
        {"plot": "specification_curve", "fit": "exponent", "options": {"where": {"parameterization": "mup"}}},
    ],
)
def test_a_figure_that_can_be_drawn_is_let_through(figure, tmp_path):
    assert said({**a_study(), "figures": {"own": figure}}, tmp_path) == ""


@pytest.mark.parametrize(("widths", "shared"), [([17, 33, 65], 0), ([16, 32, 65], 2)])
def test_groups_whose_optima_are_subtracted_share_enough_shapes(widths, shared, tmp_path):
    study = a_study()
    study["scales"]["laptop"]["grid"][1]["width"] = widths
    told = said(study, tmp_path)
    assert f"fits.difference.options.b: a and b share {shared} value(s) of width" in told
    assert len(told.splitlines()) == 1


def test_all_wrong_options_of_a_figure_are_told_at_once(tmp_path):
    options = {"hue": ["width"], "tittle": "Mine", "title": False}
    found = said(
        a_study() | {"figures": {"best": {"plot": "optimum_vs_axis", "fit": "exponent", "options": options}}}, tmp_path
    )
    for field, words in (
        ("hue", "found ['width']"),
        ("tittle", "Did you mean 'title'?"),
        ("title", "put it in quotes"),
    ):
        (line,) = (line for line in found.splitlines() if f"figures.best.options.{field}:" in line)
        assert words in line
