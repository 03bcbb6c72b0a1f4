"""What is no finite number is refused wherever a study or a configuration may have one."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from muster.cli import main
from muster.config.load import load_config, load_study
from muster.config.models import Section
from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Job
from muster.numbers import LARGEST, check_numbers
from muster.plan.cells import read_cell
from muster.plan.grid import plan_study
from muster.registry import REGISTRIES, find_registry
from tests.workflow.studies import IMPORTED, TINY, planned, write_config

ODD = (".inf", "-.inf", ".nan", "1.0e999", "1e999", "true", str(2**63), "9" * 400)
# Where a number may stand: what is replaced in the study, and by what with {} for the number.
PLACES = {
    "predicted": ("predicted: 0", "predicted: {}"),
    "margin": ("margin: 0.1", "margin: {}"),
    "prediction_se": ("margin: 0.1", "margin: 0.1, prediction_se: {}"),
    "published": ("margin: 0.1", "margin: 0.1, published: {{width: [1, {}]}}"),
    "published alone": ("margin: 0.1", "margin: 0.1, published: {{width: {}}}"),
    "where": ("optimizer: adam}, test", "optimizer: {}}}, test"),
    "regime": ("margin: 0.1", "margin: 0.1, regime: [{{check: trained, below: {}}}]"),
    "select": ("response:", "select: {{width: [8, {}]}}, response:"),
    "options of a fit": ("response:", "options: {{window: {}}}, response:"),
    "options of a figure": ("fit: lr}", "fit: lr, options: {{ceiling: {}}}}}"),
    "setting": ("{steps: 6}", "{{steps: 6, init_gain: {}}}"),
    "whole setting": ("{steps: 6}", "{{steps: {}}}"),
    "setting of an optimizer": ("{steps: 6}", "{{steps: 6, beta1: {}}}"),
    "option of the data": ("train: 400", "train: {}"),
    "axis": ("width: [8, 16]", "width: [8, {}]"),
    "member axis": ("{from: -9, to: -5, step: 2}", "[-9, -7, {}]"),
    "from": ("{from: -9, to: -5, step: 2}", "{{from: {}, to: -5, step: 2}}"),
    "step": ("{from: -9, to: -5, step: 2}", "{{from: -9, to: -5, step: {}}}"),
    "seeds": ("seeds: 1", "seeds: {}"),
}
WORDS = ("where", "published alone", "select")  # these may be texts and truth values, too


@pytest.mark.parametrize("place", PLACES)
def test_no_field_of_a_study_takes_an_odd_number(tmp_path: Path, place: str) -> None:
    old, new = PLACES[place]
    assert old in TINY
    for number in ODD:
        if place in WORDS and number in ("true", "1e999", "1.0e999"):
            continue
        path = write_config(tmp_path, "scale: smoke\n", tiny_train=TINY.replace(old, new.format(number), 1))
        with pytest.raises(MusterError, match=r"tiny-train\.yaml:\d+ \w+") as error:
            planned(path)
        assert str(error.value).isprintable()


@pytest.mark.parametrize("number", ODD)
def test_no_field_of_the_configuration_takes_an_odd_number(tmp_path: Path, number: str) -> None:
    path = write_config(tmp_path, f"scale: smoke\nseeds: {number}\n", tiny_train=TINY)
    with pytest.raises(MusterError, match=r"config\.yaml:2 seeds: found"):
        load_config(path)


def test_whole_numbers_within_64_bits_and_words_that_are_none_stay(tmp_path: Path) -> None:
    text = TINY.replace("margin: 0.1", f"margin: 1e-1, published: {{width: {LARGEST}, schedule: inf, bias: true}}")
    claim = load_study(next(write_config(tmp_path, tiny_train=text).parent.glob("studies/*"))).claims[0]
    assert claim.margin == 0.1
    assert claim.published == {"width": LARGEST, "schedule": "inf", "bias": True}


def models() -> list[type[BaseModel]]:
    """Every model of what people write."""
    waiting, found = [Section, Job, *(find_registry(kind)[name].options for kind in ("datasets",)
                                      for name in find_registry(kind))], []  # fmt: skip
    for kind in REGISTRIES:
        list(find_registry(kind))
    while waiting:
        found.append(waiting.pop())
        waiting += found[-1].__subclasses__()
    return found


def test_every_number_of_every_model_is_finite_and_no_truth_value() -> None:
    checked = 0
    for model in models():
        for name, field in model.model_fields.items():
            if field.annotation in (int, float, int | None, float | None):
                for value in (float("inf"), float("nan"), True, 2**63, "1e999"):
                    with pytest.raises(ValidationError) as error:
                        check_numbers(model, {name: value})
                    assert error.value.errors()[0]["loc"] == (name,)
                    checked += 1
    assert checked > 500


@pytest.mark.parametrize("number", ["Infinity", "NaN", "true", "1e999"])
def test_a_cell_on_the_command_line_takes_no_odd_number(number: str) -> None:
    text = f'{{"cell":{{"width":4,"seed":0,"smoothing":{number}}},"dtype":"float32","experiment":"matrix_product"}}'
    with pytest.raises(MusterError, match=r"--cell smoothing: found"):
        read_cell(text)
    assert "smoothing" in EXPERIMENTS["matrix_product"].cell.model_fields


@pytest.mark.parametrize("option", [["--lr", "nan"], ["--lr", "1e999"], ["--eps", "inf"], ["--weight-decay=-inf"]])
def test_no_option_takes_an_odd_number(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["show", "parameterization", "mup", *option])
    assert "is not a finite number" in capsys.readouterr().err


def test_a_grid_is_bounded_over_all_its_blocks(tmp_path: Path) -> None:
    block = "      - {parameterization: [mup], optimizer: adam, width: [8, 16], seeds: 300000, log2_lr: [-9]}\n"
    start, end = TINY.index("      - {param"), TINY.index("  laptop:")
    text = TINY[:start] + block + block.replace("8, 16", "32, 64") + TINY[end:]
    study = load_study(next(write_config(tmp_path, tiny_train=text).parent.glob("studies/*")))
    with pytest.raises(MusterError, match=r"grid\[1\]: 1200000 cells and 1200000 runs with the blocks before it"):
        plan_study(study, "smoke")
    many = TINY.replace("{from: -9, to: -5, step: 2}", "{from: -9, to: 90, step: 0.01}").replace("s: 1,", "s: 9999,")
    study = load_study(next(write_config(tmp_path, tiny_train=many).parent.glob("studies/*")))
    with pytest.raises(MusterError, match=r"19998 cells and 198000198 runs"):
        plan_study(study, "smoke")


@pytest.mark.parametrize("results", ["", ".", "./", "-rf", "~", "~/results", "{}", "{other}", "a\\nb"])
def test_a_folder_of_results_that_means_something_else_is_refused(tmp_path: Path, results: str) -> None:
    path = write_config(tmp_path, f'scale: smoke\nresults: "{results}"\n', tiny_train=TINY)
    with pytest.raises(MusterError, match=r"config\.yaml:2 results: found"):
        load_config(path)


@pytest.mark.parametrize("results", ["my results (1)", "a;b", "实验", "x/-rf", "$HOME", "it's"])
def test_other_folders_of_results_are_taken_as_they_are(tmp_path: Path, results: str) -> None:
    assert load_config(write_config(tmp_path, f'results: "{results}"\n')).results == results


def test_a_study_of_published_tables_takes_no_odd_number(tmp_path: Path) -> None:
    text = IMPORTED.replace("columns:", "drop: [{column: N, above: .inf}]\n      columns:")
    path = write_config(tmp_path, "scale: smoke\n", tiny_import=text)
    with pytest.raises(MusterError, match="found inf"):
        planned(path)
