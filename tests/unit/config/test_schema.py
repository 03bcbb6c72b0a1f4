"""config/schema.json equals the models, accepts what the loader accepts, and refuses what it refuses."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from muster.config.schema import render, schema
from tests.workflow.studies import SAMPLED, TINY

ROOT = Path(__file__).parents[3]
FILES = [ROOT / "config/config.yaml", *sorted((ROOT / "config/studies").glob("*.yaml"))]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    built = schema()
    jsonschema.Draft202012Validator.check_schema(built)
    return jsonschema.Draft202012Validator(built)


def test_the_file_is_what_the_models_say() -> None:
    assert (ROOT / "config/schema.json").read_text() == render(), "run `muster schema`"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_names_the_schema_and_fits_it(path: Path, validator: jsonschema.Draft202012Validator) -> None:
    text = path.read_text()
    first = text.splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.partition("$schema=")[2]).resolve() == ROOT / "config/schema.json"
    assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == []


@pytest.mark.parametrize("text", [TINY, SAMPLED])
def test_test_studies_fit(text: str, validator: jsonschema.Draft202012Validator) -> None:
    assert list(validator.iter_errors(yaml.safe_load(text))) == []


def _set(tree: dict[str, Any], path: list[Any], value: Any) -> dict[str, Any]:
    tree = copy.deepcopy(tree)
    node = tree
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return tree


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["scales", "laptop", "grid", 0, "log2_lr"], {"from": "-17/4", "to": "-16/4", "step": "1/8"}),
        (["scales", "laptop", "grid", 0, "log2_lr"], ["-17/4", -4]),
        (["scales", "laptop", "grid", 0, "log2_lr"], "-17/4"),
        (["scales", "laptop", "grid", 0, "momentum"], "1/2"),
        (["settings", "log2_lr"], ["-17/4"]),
        (["claims", 0, "predicted"], "-1/2"),
        (["claims", 0, "margin"], "1/10"),
        (["claims", 0, "groups"], [{"where": {"optimizer": "adam"}, "predicted": "-1/2", "margin": "1/10"}]),
    ],
)
def test_the_schema_takes_fractions_for_numbers(
    path: list[Any], value: Any, validator: jsonschema.Draft202012Validator
) -> None:
    assert not list(validator.iter_errors(_set(yaml.safe_load(TINY), path, value)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["titel"], "x"),
        (["scales", "laptop", "grid", 0, "log2_lr", "step"], "-1/2"),
        (["scales", "laptop", "grid", 0, "log2_lr"], ["1/0"]),
        (["scales", "laptop", "grid", 0, "width"], "1/2"),
        (["settings", "depht"], 2),
        (["settings", "depth"], "two"),
        (["scales", "laptop", "grid", 0, "widht"], [8]),
        (["scales", "laptop", "grid", 0, "width"], []),
        (["scales", "laptop", "settings", "stps"], 3),
        (["claims", 0, "test"], "equal"),
        (["claims", 0, "margin"], "-1/10"),
        (["claims", 0, "prediction_se"], -1),
        (["claims", 0, "groups"], [{"where": {"optimizer": "adam"}, "margin": -1}]),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(
    path: list[Any], value: Any, validator: jsonschema.Draft202012Validator
) -> None:
    assert list(validator.iter_errors(_set(yaml.safe_load(TINY), path, value)))


def test_the_schema_names_the_fields_of_cells() -> None:
    definitions = json.loads(render())["$defs"]
    assert "log2_lr" in definitions["train settings"]["properties"]
    assert "seeds" in definitions["train block"]["properties"]
    assert "draws" in definitions["matrix_product block"]["properties"]
