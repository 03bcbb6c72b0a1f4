"""What the Snakefile asks of a plan, without Snakemake."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from muster.errors import MusterError
from muster.experiments import Cost
from muster.jobs import plan_rules
from muster.plan.plan import Plan, load_plan
from tests.workflow.studies import SAMPLED, TINY, write_config

WIDE = TINY.replace("width: [8, 16]", "width: [8, 51, 511, 512, 1023, 1024]")


@pytest.fixture
def plan_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    def plan(**studies: str) -> Plan:
        monkeypatch.chdir(tmp_path)
        write_config(tmp_path, "scale: smoke\n", **studies)
        return load_plan()

    return plan


def cell_that_takes(**cost: float) -> SimpleNamespace:
    whole = {"flops": 0, "seconds": 0, "memory_bytes": 0, "gpu_seconds": 0, "gpu_memory_bytes": 0} | cost
    return SimpleNamespace(cost=Cost(**whole))


def test_a_rule_function_keeps_its_signature_at_hand() -> None:
    def memory(wildcards: object, attempt: int) -> int:
        return attempt

    asked = plan_rules.rule_function(memory)
    assert asked(None, attempt=3) == 3
    assert inspect.signature(asked) is inspect.signature(asked), "not read anew"
    assert list(inspect.signature(asked).parameters) == ["wildcards", "attempt"]


def test_an_error_in_a_rule_function_ends_the_run_with_one_line() -> None:
    @plan_rules.rule_function
    def cell(wildcards: object) -> str:
        raise MusterError("here", "nothing", "Look elsewhere")

    with pytest.raises(SystemExit, match=r"^muster: here: nothing\. Look elsewhere$"):
        cell(None)


def test_no_name_matches_nothing() -> None:
    assert plan_rules.one_of(["a", "b"]) == "a|b"
    assert not re.fullmatch(plan_rules.one_of([]), "")


def test_wide_cells_have_rules_by_powers_of_two(plan_of: Callable[..., Plan]) -> None:
    tiers = plan_rules.cells_by_rule(plan_of(tiny_train=WIDE, tiny_sample=SAMPLED))
    assert {cell.stage for cell in tiers.pop("sample")} == {"sample"}
    widths = {name: sorted(cell.cell.width for cell in cells) for name, cells in tiers.items()}
    assert widths == {"train": [8, 51, 511], "train_w512": [512, 1023], "train_w1024": [1024]}


def test_a_tiers_pattern_takes_its_own_cells_alone(plan_of: Callable[..., Plan]) -> None:
    tiers = plan_rules.cells_by_rule(plan_of(tiny_train=WIDE))
    for name, cells in tiers.items():
        pattern = re.compile(plan_rules.width_pattern(cells))
        taken = [cell for cells in tiers.values() for cell in cells if pattern.fullmatch(cell.key.split("/")[1])]
        assert taken == tiers[name]


def test_a_request_has_room_beside_the_estimate() -> None:
    cell = cell_that_takes(memory_bytes=250e6, seconds=150)
    assert plan_rules.request(cell, gpu=False) == (1250, 20)
    assert plan_rules.request(cell, gpu=True) == (1250, 20), "it runs on a CPU all the same"
    cell = cell_that_takes(memory_bytes=250e6, seconds=150, gpu_seconds=30, gpu_memory_bytes=2e9)
    assert plan_rules.request(cell, gpu=True) == (5250, 12)
    assert plan_rules.request(cell, gpu=False) == (1250, 20)


def test_every_attempt_asks_for_twice_as_much() -> None:
    assert [plan_rules.Request(1000, 10).after(attempt) for attempt in (1, 2, 3)] == [
        (1000, 10),
        (2000, 20),
        (4000, 40),
    ]


def test_the_largest_request_takes_memory_and_time_from_any_cell() -> None:
    cells = [cell_that_takes(memory_bytes=1e9), cell_that_takes(seconds=1500)]
    assert plan_rules.largest_request(cells, gpu=False) == (2000, 110)
    assert plan_rules.largest_request([], gpu=False) == (0, 0)


def test_forced_cells_are_those_due_that_a_word_names(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(tiny_train=TINY, tiny_sample=SAMPLED)
    paths = dict(zip(plan.cells, plan_rules.run_paths(plan, plan.studies), strict=True))
    trained, sampled = ({key for key, cell in plan.cells.items() if cell.stage == s} for s in ("train", "sample"))
    one = sorted(trained)[0]
    due = {*paths.values(), "results/ledger/claims.csv"}
    assert plan_rules.forced_cells(plan, {"*"}, due) == trained | sampled
    assert plan_rules.forced_cells(plan, {"sample", "fit"}, due) == sampled
    assert plan_rules.forced_cells(plan, {paths[one]}, due) == {one}
    assert plan_rules.forced_cells(plan, set(), due) == set()
    assert plan_rules.forced_cells(plan, {"*"}, {paths[one]}) == {one}, "the rest is not made by this run"


def test_lost_runs_are_those_behind_standing_tables(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(tiny_train=TINY, tiny_sample=SAMPLED)
    assert plan_rules.lost_runs(plan) == []
    table = Path("results/tables/tiny-train/runs.parquet")
    table.parent.mkdir(parents=True)
    table.touch()
    lost = plan_rules.lost_runs(plan)
    assert lost == plan_rules.run_paths(plan, ["tiny-train"])
    Path(lost[0]).parent.mkdir(parents=True)
    Path(lost[0]).touch()
    assert plan_rules.lost_runs(plan) == lost[1:]
    replayed = Plan(plan.config.model_copy(update={"mode": "replay"}), plan.studies, plan.known, plan.cells)
    assert plan_rules.lost_runs(replayed) == []


def test_a_job_finds_what_was_planned_or_nothing_that_fits(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(tiny_train=TINY, tiny_sample=SAMPLED)
    planned = plan_rules.planned_from(plan)
    stamp = plan.studies["tiny-train"].stamp
    assert plan_rules.as_planned("tiny-train", stamp, planned) == stamp
    assert plan_rules.as_planned("tiny-sample", stamp, planned) == "edited"
    assert plan_rules.as_planned("tiny-train", "another", planned) == "edited"
    assert plan_rules.as_planned("tiny-train", "another", frozenset()) == "another", "nobody submitted this"
    for cell in plan.cells.values():
        assert plan_rules.as_planned("code", plan_rules.code_of(cell), planned) == plan_rules.code_of(cell)


def test_what_is_not_planned_is_named(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(tiny_train=TINY)
    with pytest.raises(MusterError, match="results/runs/train/w9: no such cell in the plan"):
        plan_rules.find_cell(plan, "train/w9")
    with pytest.raises(MusterError, match=r"tiny-train: figures\.swep: no such figure.*sweep"):
        plan_rules.find_figure(plan, "tiny-train", "swep")


def test_options_repeat_the_configuration(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(tiny_train=TINY)
    chosen = plan.config.model_copy(update={"results": "my results", "seeds": 2})
    asked = plan_rules.options(Plan(chosen, plan.studies, plan.known, plan.cells), "config/config.yaml")
    assert asked == "--config config/config.yaml --results 'my results' --scale smoke --dtype float32 --seeds 2"
