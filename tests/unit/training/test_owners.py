"""What an optimizer, a family, a loss reads stands with it: one module makes it known wherever it is asked for."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, ValidationError

from muster.cli import main
from muster.config.load import load_study, study_paths
from muster.data import write_dataset
from muster.models import FAMILIES, SHAPES
from muster.optimizers import OPTIMIZERS
from muster.parameterizations import PARAMETERIZATIONS
from muster.plan.cells import name_cell, read_cell
from muster.plan.grid import plan_study
from muster.registry import NAMED_FIELDS, Registry, find_registry
from muster.settings import Settings, check_disjoint, check_settings, fields_of, settings_of
from muster.training.cell import OWNERS, TrainCell
from muster.training.stability_cell import StabilityCell
from tests.workflow.studies import write_config

ROOT = Path(__file__).parents[3]

# An optimizer as a newcomer would write it, with a hyperparameter of its own; and one that joins Adam's later.
TOY = """
from pydantic import Field
from muster.optimizers import OPTIMIZERS
from muster.optimizers.adam import Adam, AdamSettings
from muster.optimizers.base import Optimizer
from muster.parameterizations.tables import Update
from muster.settings import Settings

class ToySettings(Settings):
    boost: float = Field(2.0, gt=1, description="Factor on the step")

@OPTIMIZERS.register("toy")
class Toy(Optimizer):
    '''A toy.'''
    update = Update(gradient=0.5, weight=0)
    settings = ToySettings
    decoupled_decay = True
    def step(self, gradients, schedule):
        self.step_count += 1
        for name, w in self.weights.items():
            g = gradients[name]
            w.sub_(self.per_member(self.hyper[name].lr, w) * self.cell.boost * g.sign() * g.abs().sqrt())

class Later(AdamSettings):
    amsgrad: bool | None = Field(None, description="Keeps the largest second moment")

Adam.settings = Later
"""
# Makes the toy's folder a part of the package before anything has looked into it, then does what it is asked.
WITH_TOY = """
import sys
import muster.optimizers
muster.optimizers.__path__.append(sys.argv[1])
from muster.cli import main
sys.exit(main(sys.argv[2:]))
"""
TRAIN_TOY = """
import json, sys
from pathlib import Path
import muster.optimizers
muster.optimizers.__path__.append(sys.argv[1])
from muster.experiments import Context
from muster.training.cell import TrainCell
from muster.training.engine import train
for text in sys.argv[3:]:
    context = Context(data_dir=Path(sys.argv[2]), progress=lambda line: None)
    print(*train(TrainCell(**json.loads(text)), context).runs["final_train_loss"])
"""
STUDY = """\
study: toys
title: Toys
paper: "Nobody 2000, Nothing"
slug: toys
experiment: train
settings: {data: mnist1d, data_options: {train: 100, heldout: 20}, steps: 4, evaluations: 1, batch_size: 16}
scales:
  smoke:
    grid:
      - {optimizer: toy, boost: [1.5, 3.0], width: 8, seeds: 1, log2_lr: [-4, -3]}
fits:
  f: {estimator: mean, response: flops}
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "toy.py").write_text(TOY)
    write_config(tmp_path, toys=STUDY)
    return tmp_path


def with_toy(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-c", WITH_TOY, str(folder / "toys"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout


def test_one_module_makes_an_optimizer_known_everywhere(toy: Path) -> None:
    assert re.search("^toy +A toy[.]$", with_toy(toy, "list", "optimizers"), re.MULTILINE)
    assert "toys.yaml: 0 claims, scales smoke: ok" in with_toy(toy, "validate")
    shown = with_toy(toy, "show", "parameterization", "mup", "--optimizer", "toy", "--width", "256", "--set", "boost=3")
    assert "its steps ∝ lr·|gradient|^0.5·|w|^0, its weight decay is decoupled" in shown
    rates = [line.split() for line in shown.splitlines() if line.startswith("w")]
    assert [row[7] for row in rates] == ["0.7071", "0.5", "0.5", "0.7071"]  # n^x at n = 4, x = a + g/2 − s
    cells = [json.loads(line) for line in with_toy(toy, "plan", "toys", "--scale", "smoke", "--json").splitlines()]
    assert [cell["cell"]["boost"] for cell in cells] == [1.5, 3.0]
    write_dataset("mnist1d", {"train": 100, "heldout": 20}, toy / "data")
    trained = subprocess.run(
        [sys.executable, "-c", TRAIN_TOY, toy / "toys", toy / "data", *(json.dumps(cell["cell"]) for cell in cells)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    losses = [[float(loss) for loss in line.split()] for line in trained.stdout.splitlines()]
    assert losses[0] != losses[1]
    assert all(1 < loss < 4 for each in losses for loss in each)


def test_neither_another_optimizer_nor_a_later_hyperparameter_renames_a_cell(toy: Path) -> None:
    """Of every cell of one study of each scale, as planned with and without them."""
    path = study_paths(ROOT / "config/config.yaml")["mup-width-transfer"]
    (toy / "config/studies/mup-width-transfer.yaml").write_text(path.read_text())
    for scale in ("smoke", "laptop"):
        lines = with_toy(toy, "plan", "mup-width-transfer", "--scale", scale, "--cells").splitlines()
        found = [line.split()[0] for line in lines[1:]]
        assert found == [cell.key for cell in plan_study(load_study(path), scale, path=path).cells]


def test_declarations_need_no_torch() -> None:
    code = (
        "import sys; from muster.training.cell import OWNERS; import muster.training.stability; "
        "[registry[name] for registry in OWNERS.values() for name in registry]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def cell(**changes) -> TrainCell:
    return TrainCell(**{"width": 8, "seed": 0, "steps": 4, "log2_lr": [-5.0], **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 2}, "heads is read by transformer, not by family 'mlp'"),
        ({"momentum": 0.5}, "momentum is read by .*muon and .*momentum and .*, not by optimizer 'adam'"),
        (
            {"optimizer": "sgd", "beta1": 0.5},
            "beta1 is read by adam and adamw and .*, not by",
        ),
        (
            {"optimizer": "lion", "epsilon": 1e-8},
            "epsilon is read by .*adafactor and .*, not by",
        ),
        ({"decay_fraction": 0.1}, "decay_fraction is read by wsd, not by schedule 'linear'"),
        ({"loss": "squared_error", "z_loss": 0.1}, "z_loss is read by cross_entropy, not by loss 'squared_error'"),
        ({"optimizer": ["adam"], "parameterization": {}, "data_options": "small"}, "3 validation errors"),
        ({"decay": 1.0}, "decay is read by sparse_features, not by data 'mnist1d'"),
        ({"features": 1, "data": "sparse_features"}, "features 1 should be greater than or equal to 2, for data"),
        ({"optimizer": "lion", "beta1": 1.0}, "less than 1"),
        ({"weight_decay": -1.0}, "only the optimizer adamw takes it so"),
        (
            {"parameterization": "umup", "optimizer": "momentum"},
            "umup has no rates for momentum, but for adam, adamw, lion",
        ),
        (
            {"parameterization": "umup", "optimizer": "muon"},
            "umup has no rates for muon, but for adam, adamw, lion .type",
        ),
        ({"probes": ["coordinate_check"], "family": "autoencoder"}, "needs a matrix of its own in every product"),
    ],
)
def test_a_setting_that_nothing_chosen_reads_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        cell(**changes)


@pytest.mark.parametrize(
    ("field", "name", "near"),
    [
        ("loss", "crossentropy", "cross_entropy"),
        ("epsilon_rule", "scale", "scaled"),
        ("decay_rule", "constan", "constant"),
        ("optimizer", "lyon", "lion"),
    ],
)
def test_validate_knows_the_names_of_all_owners(field: str, name: str, near: str, tmp_path: Path, capsys) -> None:
    text = STUDY.replace("optimizer: toy, boost: [1.5, 3.0]", f"{field}: {name}")
    assert main(["validate", "--config", str(write_config(tmp_path, "scale: smoke\n", toys=text))]) == 2
    assert f"{name!r}. Did you mean {near!r}?" in capsys.readouterr().err


def test_defaults_are_those_of_the_chosen_optimizer_and_others_are_absent() -> None:
    assert (cell().beta2, cell(optimizer="lion").beta2) == (0.999, 0.99)
    assert (cell().epsilon, cell(optimizer="adafactor").epsilon, cell(optimizer="lion").epsilon) == (1e-8, 1e-15, None)
    assert (cell(optimizer="momentum").momentum, cell(optimizer="muon").momentum) == (0.9, 0.95)
    assert {name for name in ("momentum", "adafactor_clip", "heads") if getattr(cell(), name) is not None} == set()
    assert cell(features=5, data="teacher").data_options == {"features": 5}


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_a_resolved_cell_is_read_back_under_its_name(optimizer: str) -> None:
    for experiment, kind in (("train", TrainCell), ("stability", StabilityCell)):
        rates = [-5.0] if kind is TrainCell else [-6.0, -5.0]
        planned = name_cell(experiment, kind(width=8, seed=0, steps=4, log2_lr=rates, optimizer=optimizer))
        assert read_cell(planned.text) == planned


def test_every_owners_registry_is_one_that_named_fields_know() -> None:
    """What hashes the code behind a cell finds entries through NAMED_FIELDS; a family's shape through its network."""
    for field, registry in OWNERS.items():
        known = find_registry(NAMED_FIELDS[field])
        assert list(known) == list(registry)
        assert known is registry or (known, registry) == (FAMILIES, SHAPES)
    assert set(NAMED_FIELDS) <= set(TrainCell.model_fields)


class First(Settings):
    size: int = Field(3, ge=1, description="Size")
    shared: float = Field(0.5, gt=0, description="Shared")


class Second(Settings):
    shared: float = Field(0.5, gt=0, description="Shared")


class Wider(Settings):
    shared: float | None = Field(None, description="Any number")


def registry_of(**entries: type[Settings]) -> Registry:
    registry: Registry = Registry("thing")
    for name, settings in entries.items():
        registry.register(name)(type(name, (), {"settings": settings}))
    return registry


def test_a_setting_of_several_owners_is_one_field_that_says_whose_it_is() -> None:
    fields = fields_of(registry_of(a=First, b=Second, c=Wider)).model_fields
    assert list(fields) == ["shared", "size"]  # places 0 and 0, then by name
    assert fields["shared"].description == "a, b: Shared; 0.5 if absent. c: Any number"
    assert fields["size"].default is None
    alike = fields_of(registry_of(a=First, b=Second))
    with pytest.raises(ValidationError, match="greater than 0"):
        alike(shared=0.0)


class Needy(Settings):
    must: int = Field(description="What it cannot do without")


def test_a_setting_without_a_default_must_be_given() -> None:
    owners = {"thing": registry_of(needy=Needy, other=First)}

    class Chooser(fields_of(owners["thing"])):
        thing: str

    check_settings(Chooser(thing="other"), owners)
    check_settings(Chooser(thing="needy", must=1), owners)
    with pytest.raises(ValueError, match="must is missing, which thing 'needy' needs: What it cannot do without"):
        check_settings(Chooser(thing="needy"), owners)


def test_one_name_for_two_things_is_refused() -> None:
    class Other(BaseModel):
        size: int = 0

    check_disjoint([First], Settings)
    with pytest.raises(ValueError, match="'size' of First is a field of Other, too"):
        check_disjoint([First], Other)
    with pytest.raises(ValueError, match="'shared' of Second is a field of First, too"):
        check_disjoint([First, Second])


def test_keywords_of_a_function_are_its_settings() -> None:
    def schedule(progress: float, *, power: Annotated[float, Field(gt=0, description="Power")] = 2.0) -> float:
        return progress**power

    info = settings_of(schedule).model_fields["power"]
    assert (info.default, info.description) == (2.0, "Power")
    assert settings_of(schedule) is settings_of(schedule)


@pytest.mark.parametrize("family", list(SHAPES))
@pytest.mark.parametrize("name", list(PARAMETERIZATIONS))
def test_every_parameterization_is_shown_for_every_family(name: str, family: str, capsys) -> None:
    assert main(["show", "parameterization", name, "--family", family, "--width", "256"]) == 0
    shown = capsys.readouterr().out
    assert f"family {family}, width 256" in shown
    assert ("q·k" in shown) == (family == "transformer")


@pytest.mark.parametrize(
    ("settings", "scale", "power"),
    [((), "0.1768", "0"), (("attention_scale=inverse",), "0.03125", "0"), (("heads=4",), "0.125", "1/2"),
     (("heads=4", "attention_scale=inverse"), "0.01562", "1")],
)  # fmt: skip
def test_the_attention_scale_is_in_the_table(settings: tuple[str, ...], scale: str, power: str, capsys) -> None:
    """1/√d or 1/d for heads of width d: 32 where nothing is said, which does not grow; 256/4 with four heads."""
    chosen = ["--set", *settings] if settings else []
    assert main(["show", "parameterization", "mup", "--family", "transformer", "--width", "256", *chosen]) == 0
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("q·k"))
    assert (row[1], row[6], row[10]) == ("attention", scale, power)
    named = dict(text.split("=") for text in settings)
    given = {"family": "transformer", "norm": "layer", "data": "python_text", "data_options": {"encoding": "tokens"}}
    network = FAMILIES["transformer"](cell(width=256, **given, **named), 16, 256)
    assert f"{network.attention_scale:.4g}" == scale


def test_tied_weights_show_the_multiplier_of_their_readout(capsys) -> None:
    arguments = ["--family", "transformer", "--width", "256", "--set", "tied=true"]
    assert main(["show", "parameterization", "mup", *arguments]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("token")]
    assert [row[1] for row in rows] == ["embedding", "readout"]
    assert rows[1][6] == f"{1 / (4 * 64**0.5):.4g}"  # n^−1 at four times the base, over the base's √64


def test_a_setting_without_a_value_is_named(capsys) -> None:
    assert main(["show", "parameterization", "mup", "--set", "heads"]) == 2
    assert "found 'heads'. Write NAME=VALUE" in capsys.readouterr().err
