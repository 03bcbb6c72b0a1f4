"""`config/schema.json`: one JSON schema for config.yaml and the studies, generated from the pydantic models."""

import json
from typing import Any

from muster.config.models import ClaimConfig, Config, GroupClaim, Range, StudyConfig
from muster.experiments import EXPERIMENTS


def schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) that accepts a study file or config.yaml.

    `settings` and `grid` name the fields of the experiment's cell, so that an editor completes them; numbers may be
    written as fractions and ranges where the loader accepts them.
    """
    study, config = StudyConfig.model_json_schema(), Config.model_json_schema()
    definitions = {**study.pop("$defs"), **config.pop("$defs", {})}
    study["allOf"] = [_cells(name) for name in sorted(EXPERIMENTS)]
    for section in (Range, ClaimConfig, GroupClaim):
        for field in definitions[section.__name__]["properties"].values():
            _or_fraction(field)
    definitions["Fractions"] = _fractions()
    for name in sorted(EXPERIMENTS):
        definitions[f"{name} settings"], definitions[f"{name} block"] = _settings(name), _block(name)
        definitions |= EXPERIMENTS[name].cell.model_json_schema().get("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "muster: config.yaml or a study",
        "if": {"required": ["study"]},
        "then": {"$ref": "#/$defs/Study"},
        "else": {"$ref": "#/$defs/Config"},
        "$defs": definitions | {"Study": study, "Config": config},
    }


def render() -> str:
    """The schema as the text of config/schema.json."""
    return json.dumps(schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _or_fraction(field: dict[str, Any]) -> None:
    """Let a field that takes a number take a fraction, too."""
    keys = [key for key in field if key in ("type", "minimum", "exclusiveMinimum")]
    choices = field["anyOf"] if "anyOf" in field else [{key: field[key] for key in keys}]
    for number in [choice for choice in choices if choice.get("type") == "number"]:
        for key in keys:
            del field[key]
        positive = {"minimum", "exclusiveMinimum"} & number.keys()
        field["anyOf"] = [*choices, _fraction("" if positive else "[+-]?")]


def _fraction(sign: str = "[+-]?") -> dict[str, Any]:
    return {"type": "string", "pattern": rf"^ *{sign}\d+ */ *0*[1-9]\d* *$"}


def _fractions() -> dict[str, Any]:
    """A fraction, or a list of numbers with one among them."""
    listed = {"type": "array", "items": {"anyOf": [{"type": "number"}, _fraction()]}, "contains": _fraction()}
    return {"anyOf": [_fraction(), listed], "description": "Numbers as they are spoken: -17/4"}


def _cells(experiment: str) -> dict[str, Any]:
    """If a study names this experiment, its settings and grids take the fields of that experiment's cell."""
    settings = {"$ref": f"#/$defs/{experiment} settings"}
    grid = {"type": "array", "items": {"$ref": f"#/$defs/{experiment} block"}}
    scale = {"type": "object", "properties": {"settings": settings, "grid": grid}}
    return {
        "if": {"properties": {"experiment": {"const": experiment}}, "required": ["experiment"]},
        "then": {"properties": {"settings": settings, "scales": {"additionalProperties": scale}}},
    }


def _settings(experiment: str) -> dict[str, Any]:
    kind = EXPERIMENTS[experiment].cell
    properties = kind.model_json_schema()["properties"]
    properties.pop("seed", None)
    for axis in kind.member_axes:
        properties[axis] = _axis(properties[axis])
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _block(experiment: str) -> dict[str, Any]:
    kind = EXPERIMENTS[experiment].cell
    properties = {name: _axis(field) for name, field in kind.model_json_schema()["properties"].items()}
    seeds = {"type": "integer", "minimum": 1, "description": "Number of seeds: `seeds: 3` means seed 0, 1, 2"}
    counted = {"seeds": seeds} if "seed" in properties else {}
    return {"type": "object", "properties": properties | counted, "additionalProperties": False}


def _axis(field: dict[str, Any]) -> dict[str, Any]:
    """A value, a list of values or a range, numbers also as fractions, with the field's description.

    The value's type is as the cell has it.
    """
    value = {key: part for key, part in field.items() if key not in ("description", "title", "default")}
    if value.get("type") == "array":
        value = value["items"]
    choices = [value, {"type": "array", "items": value, "minItems": 1}, {"$ref": "#/$defs/Range"}]
    if any(choice.get("type") == "number" for choice in [value, *value.get("anyOf", ())]):
        choices.append({"$ref": "#/$defs/Fractions"})
    return {"anyOf": choices, "description": field.get("description", "")}
