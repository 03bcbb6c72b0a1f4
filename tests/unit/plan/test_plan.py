"""Grids become cells: products, overrides, members, seeds, shared cells, names that keep."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from muster.config.models import StudyConfig
from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Absent, Cell, absent_fields, with_absent
from muster.plan.cells import dataset_of, name_cell, read_cell
from muster.plan.grid import plan_study
from muster.plan.plan import load_plan
from tests.workflow.studies import SAMPLED, TINY, write_config


def study(*blocks: dict[str, Any], **settings_: Any) -> StudyConfig:
    fixed = {"steps": 4, "data_options": {"train": 100, "heldout": 20}, **settings_}
    return StudyConfig.model_validate(
        {
            "study": "s", "title": "t", "paper": "p", "slug": "s", "experiment": "train", "settings": fixed,
            "scales": {"laptop": {"grid": list(blocks)}}, "fits": {"f": {"estimator": "mean", "response": "flops"}},
        }
    )  # fmt: skip


def test_a_block_is_the_product_of_its_axes_and_seeds_count_from_zero() -> None:
    plan = plan_study(
        study({"width": [8, 16], "parameterization": ["sp", "mup"], "seeds": 3, "log2_lr": [-4, -5]}), "laptop"
    )
    shapes = {(c.cell.width, c.cell.parameterization, c.cell.seed) for c in plan.cells}
    assert shapes == {(w, p, s) for w in (8, 16) for p in ("sp", "mup") for s in range(3)}
    assert len(plan.cells) == 12
    assert all(cell.cell.log2_lr == [-5, -4] and cell.members == 2 for cell in plan.cells)


@pytest.mark.parametrize("wrong", [-1, "x", True, 2.5])
def test_a_wrong_seed_behind_a_right_one_is_found(wrong: Any) -> None:
    with pytest.raises(MusterError, match=r"scales\.laptop\.grid\[0\]\.seed"):
        plan_study(study({"width": 8, "seed": [0, wrong], "log2_lr": -4}), "laptop")


def test_blocks_override_scale_settings_which_override_study_settings() -> None:
    config = study({"width": 8, "seeds": 1, "log2_lr": -4, "batch_size": 7}, batch_size=3, evaluations=3)
    tree = config.model_dump(by_alias=True)
    tree["scales"]["laptop"]["settings"] = {"evaluations": 5, "batch_size": 4}
    cell = plan_study(StudyConfig.model_validate(tree), "laptop").cells[0].cell
    assert (cell.batch_size, cell.evaluations) == (7, 5)


def test_the_same_cell_in_two_blocks_becomes_one_with_all_members() -> None:
    shape = {"width": 8, "seeds": 1}
    plan = plan_study(
        study({**shape, "log2_lr": [-6, -4]}, {**shape, "log2_lr": {"from": -5, "to": -4, "step": "1/2"}}), "laptop"
    )
    assert len(plan.cells) == 1
    assert plan.cells[0].cell.log2_lr == [-6, -5, -4.5, -4]


@pytest.mark.parametrize(
    "written",
    [{"from": "-17/4", "to": -4, "step": "1/8"}, {"from": -4.25, "to": "-16/4", "step": 0.125},
     ["-17/4", "-33/8", -4], "-17/4"],
)  # fmt: skip
@pytest.mark.parametrize("in_settings", [False, True])
def test_fractions_are_read_wherever_a_grid_has_numbers(written: Any, in_settings: bool) -> None:
    shape = {"width": 8, "seeds": 1, "weight_decay": ["1/8", 0.25], "warmup_fraction": "1/2"}
    config = study(shape, log2_lr=written) if in_settings else study({**shape, "log2_lr": written})
    cells = [planned.cell for planned in plan_study(config, "laptop").cells]
    assert {(cell.weight_decay, cell.warmup_fraction) for cell in cells} == {(0.125, 0.5), (0.25, 0.5)}
    assert {tuple(cell.log2_lr) for cell in cells} == {(-4.25, -4.125, -4) if written != "-17/4" else (-4.25,)}


def test_a_fraction_over_nothing_is_one_clear_line(tmp_path: Path) -> None:
    grid, settings_ = "log2_lr: {from: -10, to: -4, step: 1}", "settings: {steps: 10}"
    for old, new, field in (
        (grid, "log2_lr: {from: -10, to: -4, step: 1/0}", "grid[0].log2_lr.step"),
        (grid, "log2_lr: {from: -1/0, to: -4, step: 1}", "grid[0].log2_lr.from"),
        (grid, "log2_lr: [-10, 1/0]", "grid[0].log2_lr"),
        (grid, "log2_lr: 1/0", "grid[0].log2_lr"),
        (settings_, "settings: {steps: 10, log2_lr: {from: -10, to: -1/0, step: 1}}", "settings.log2_lr.to"),
        (settings_, "settings: {steps: 10, log2_lr: [1/0]}", "settings.log2_lr"),
    ):
        assert old in TINY
        path = write_config(tmp_path, tiny_train=TINY.replace(old, new))
        with pytest.raises(MusterError) as caught:
            load_plan(path)
        (mistake,) = caught.value.mistakes
        assert f" scales.laptop.{field}: found " in str(mistake)
        assert "1/0 may not be 0" in str(mistake)


def test_a_fraction_is_no_text() -> None:
    config = study({"width": 8, "seeds": 1, "log2_lr": -4, "activation": "1/2"})
    assert plan_study(config, "laptop").cells[0].cell.activation == "1/2"


def test_key_columns_are_the_fixed_four_then_what_varies_then_members() -> None:
    plan = plan_study(study({"width": [8, 16], "batch_size": [4, 8], "seeds": 1, "log2_lr": -4}), "laptop")
    assert plan.keys == (
        "study",
        "width",
        "depth",
        "parameterization",
        "seed",
        "optimizer",
        "rule",
        "batch_size",
        "log2_lr",
    )


def test_seeds_override(tmp_path: Path) -> None:
    path = write_config(tmp_path, "scale: smoke\nseeds: 4\n", tiny_sample=SAMPLED, tiny_train=TINY)
    plan = load_plan(path)
    assert {name: len(study.cells) for name, study in plan.studies.items()} == {"tiny-sample": 12, "tiny-train": 8}


def test_a_new_seed_keeps_the_names_of_old_cells() -> None:
    block = {"width": [8, 16], "log2_lr": [-4, -5]}
    few = {c.key for c in plan_study(study({**block, "seeds": 2}), "laptop").cells}
    many = {c.key for c in plan_study(study({**block, "seeds": 3}), "laptop").cells}
    assert few < many


def test_dtype_enters_the_name_unless_float32() -> None:
    config = study({"width": 8, "seeds": 1, "log2_lr": -4})
    keys = {
        dtype: plan_study(config, "laptop", dtype=dtype).cells[0].key for dtype in ("float32", "float64", "bfloat16")
    }
    assert len(set(keys.values())) == 3
    assert keys["float32"] == name_cell("train", plan_study(config, "laptop").cells[0].cell).key


def test_the_name_is_pinned() -> None:
    """A change of this digest would orphan every result on every disk: make it on purpose only."""
    from muster.digests import digest

    assert digest({"b": [1.5, -2.0], "a": "x"}) == digest({"a": "x", "b": [1.5, -2.0]}) == "6e4597a41a"


class Earlier(Cell):
    """An experiment's settings."""

    rate: float = 0.5


class Later(Earlier):
    """The same with two more settings that change nothing at these values."""

    factor: Annotated[float, Absent(1.0)] = 1.0
    words: Annotated[list[str], Absent([])] = Field(default_factory=list)


class OtherDefault(Later):
    """The same with another default."""

    factor: Annotated[float, Absent(1.0)] = 2.0


def key(kind: type[Cell], **settings_: Any) -> str:
    return name_cell("matrix_product", kind(width=4, seed=0, **settings_)).key


def test_a_new_setting_renames_no_cell_and_another_default_those_that_leave_it_open() -> None:
    assert key(Later) == key(Later, factor=1.0, words=[]) == key(Earlier)
    assert key(Later, factor=2.0) != key(Earlier)
    assert key(Later, rate=0.25) == key(Earlier, rate=0.25) != key(Earlier)
    assert key(OtherDefault, factor=1.0) == key(Earlier)
    assert key(OtherDefault) == key(Later, factor=2.0)


def test_an_absent_setting_comes_back_at_its_absent_value_whatever_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = dataclasses.replace(EXPERIMENTS["matrix_product"], cell=OtherDefault)
    monkeypatch.setitem(EXPERIMENTS._entries, "matrix_product", experiment)
    for factor in (1.0, 2.0, 3.0):
        planned = name_cell("matrix_product", OtherDefault(width=4, seed=0, factor=factor))
        assert read_cell(planned.text) == planned
        assert ("factor" in planned.text) == (factor != 1.0)


def test_settings_of_a_part_may_be_absent_too() -> None:
    class Part(BaseModel):
        size: int = 3
        slope: Annotated[float, Absent(0.0)] = 0.0

    class Whole(Cell):
        part: Part = Part()

    assert absent_fields(Whole(width=4, seed=0)) == {"part": {"slope": True}}
    assert absent_fields(Whole(width=4, seed=0, part=Part(slope=1.0))) == {}
    assert with_absent(Whole, {"part": {"size": 2}}) == {"part": {"size": 2, "slope": 0.0}}


def test_a_new_setting_changes_no_random_number() -> None:
    from muster.sampling.random_network import generator

    first, second = (generator(kind(width=4, seed=0)).standard_normal() for kind in (Earlier, Later))
    assert first == second != generator(Later(width=4, seed=0, factor=2.0)).standard_normal()


def test_studies_share_equal_cells(tmp_path: Path) -> None:
    twin = TINY.replace("study: tiny-train", "study: tiny-twin").replace("claim: tiny-flat", "claim: twin-flat")
    plan = load_plan(write_config(tmp_path, tiny_train=TINY, tiny_twin=twin))
    assert len(plan.studies) == 2
    assert len(plan.cells) == len(plan.studies["tiny-train"].cells) == 12


def test_text_and_cell_are_inverse() -> None:
    for planned in plan_study(
        study({"width": [8, 16], "seeds": 2, "log2_lr": [-4, -4.5]}), "laptop", dtype="float64"
    ).cells:
        assert read_cell(planned.text) == planned
        assert json.loads(planned.text)["cell"]["log2_lr"] == [-4.5, -4]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"experiment": "trian", "dtype": "float32", "cell": {}}'])
def test_text_that_is_no_cell_is_refused(text: str) -> None:
    with pytest.raises(MusterError):
        read_cell(text)


@settings(max_examples=25, deadline=None)
@given(
    widths=st.lists(st.integers(1, 999), min_size=1, max_size=4, unique=True),
    seeds=st.integers(1, 3),
    rates=st.lists(st.integers(-20, 0), min_size=1, max_size=5, unique=True),
)
def test_counts_for_any_grid(widths: list[int], seeds: int, rates: list[int]) -> None:
    plan = plan_study(study({"width": widths, "seeds": seeds, "log2_lr": rates}), "laptop")
    assert len({cell.key for cell in plan.cells}) == len(widths) * seeds
    assert all(cell.members == len(set(rates)) for cell in plan.cells)


def test_ten_thousand_cells_are_planned_in_seconds() -> None:
    config = study(
        {"width": [8, 16, 32, 64, 128], "parameterization": ["sp", "mup"], "seeds": 1000, "log2_lr": [-4, -5]}
    )
    start = time.process_time()
    plan = plan_study(config, "laptop")
    assert len({cell.key for cell in plan.cells}) == 10_000
    assert plan.total.flops > 0
    assert time.process_time() - start < 6


def test_cells_name_their_data_set() -> None:
    dataset = dataset_of(plan_study(study({"width": 8, "seeds": 1, "log2_lr": -4}), "laptop").cells[0])
    assert dataset is not None
    assert dataset.key.startswith("mnist1d-")
    assert json.loads(dataset.options) == {"train": 100, "heldout": 20}


def test_replay_names_the_missing_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = load_plan(write_config(Path(), "scale: smoke\nmode: replay\n", tiny_train=TINY))
    with pytest.raises(MusterError, match=r"results/tables/tiny-train/runs\.parquet: missing"):
        plan.check_replay()
