"""From a study's grid to its cells: the product of each block, with every mistake at its field."""

import itertools
import typing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from muster.config.load import NUMBER, WHOLE, field_errors, in_file, nearest_or_part
from muster.config.models import Range, StudyConfig, as_number
from muster.digests import canonical
from muster.errors import FieldError, FieldPath, MusterError, as_one
from muster.experiments import EXPERIMENTS, Experiment, Job
from muster.numbers import branches
from muster.plan.cells import PlannedCell, name_cell
from muster.plan.study import StudyPlan

MOST_CELLS, MOST_RUNS = 1_000_000, 10_000_000  # of a study: more is a slip of the pen, and would fill the memory
LISTS = {WHOLE: "[32, 64, 128]", NUMBER: "[0.1, 0.2, 0.4]"}  # what else a grid takes, by what a field takes
ALWAYS_KEYS = ("optimizer", "rule")  # key columns of every study whose cells have them, even at one value


def plan_study(
    study: StudyConfig,
    scale: str,
    *,
    seeds: int | None = None,
    dtype: str = "float32",
    path: Path | None = None,
) -> StudyPlan:
    """Resolve a study's grid at one scale.

    A block is the product of its axes; its values override the scale's settings, and these the study's. Member axes
    stay inside the cell; the same cell in two blocks becomes one with the union of their members. `seeds: k` means seed
    0 … k−1, `seeds=` overrides k. Raises MusterError for every setting that the experiment's cell does not take, with
    its field and, given the study's path, with file and line.
    """
    if path is not None:
        with in_file(path):
            return plan_study(study, scale, seeds=seeds, dtype=dtype)
    if scale not in study.scales:
        raise FieldError(("scales",), f"no scale {scale!r}", f"Scales of this study: {', '.join(study.scales)}")
    try:
        experiment = EXPERIMENTS[study.experiment]
    except MusterError as error:
        raise FieldError(("experiment",), error.found, error.remedy) from None
    preset = study.scales[scale]
    blocks = [dict(block) for block in preset.grid]
    if wrong := [*_setting_mistakes(experiment, study, scale), *_block_mistakes(experiment, blocks, seeds, scale)]:
        raise as_one(wrong)
    base = _settings(experiment, study.settings) | _settings(experiment, preset.settings)
    merged: dict[str, dict[str, Any]] = {}
    for block in blocks:
        for values in _block_cells(experiment, base, block, seeds):
            _merge(merged, values, experiment.cell.member_axes)
    named = (name_cell(study.experiment, _cell(experiment, values, study, scale), dtype) for values in merged.values())
    # A block that spells out a default names the same cell as one that leaves it open.
    cells = tuple({cell.key: cell for cell in named}.values())
    written = {name for block in preset.grid for name in block}
    return StudyPlan(
        study,
        scale,
        cells,
        _cell_axes(experiment.cell, cells, written),
        experiment.cell.member_axes,
        experiment.run_keys,
        tuple(dict.fromkeys(name for cell in cells for name in experiment.brings(cell.cell))),
    )


def _setting_mistakes(experiment: Experiment, study: StudyConfig, scale: str) -> Iterator[FieldError]:
    """Settings that the experiment's cells do not have, and numbers that are none."""
    fields = [name for name in experiment.cell.model_fields if name != "seed"]
    for where, settings in (
        (("settings",), study.settings),
        (("scales", scale, "settings"), study.scales[scale].settings),  # type: ignore[index]
    ):
        for name, value in settings.items():
            if name not in fields:
                yield FieldError((*where, name), f"unknown setting {name!r}", nearest_or_part(name, fields))
                continue
            try:
                _settings(experiment, {name: value})
            except ValidationError as error:
                yield from field_errors(error, Range, value, (*where, name))
            except ValueError as error:
                yield FieldError((*where, name), f"found {str(value)[:60]}", str(error))


def _block_mistakes(
    experiment: Experiment, blocks: Sequence[Mapping[str, Any]], seeds: int | None, scale: str
) -> Iterator[FieldError]:
    """Axes that the experiment's cells do not have, and such that lead to no cell, or to too many."""
    fields = experiment.cell.model_fields
    known = [*(["seeds"] if "seed" in fields else []), *fields]
    all_cells = all_runs = 0
    for i, block in enumerate(blocks):
        where = ("scales", scale, "grid", i)
        cells = members = 1
        for name, axis in block.items():
            if name not in known:
                yield FieldError((*where, name), f"unknown axis {name!r}", nearest_or_part(name, known))
            elif name == "seeds":
                if "seed" in block:
                    yield FieldError((*where, "seed"), "both seed and seeds", "Give one of them")
                if isinstance(axis, bool) or not isinstance(axis, int) or not 1 <= axis <= MOST_CELLS:
                    remedy = f"Allowed: a whole number from 1 to {MOST_CELLS}. Others than 0, 1, …: seed: [10, 11]"
                    yield FieldError((*where, "seeds"), f"found {str(axis)[:60]}", remedy)
                else:
                    cells *= seeds or axis
            else:
                try:
                    values = _values(experiment, name, axis)
                except ValueError as error:
                    yield FieldError((*where, name), f"found {str(axis)[:60]}", str(error))
                    continue
                if twice := [value for value, times in Counter(values).items() if times > 1]:
                    yield FieldError((*where, name), f"{twice[0]} stands twice", "Write each value once")
                if not values:
                    yield FieldError((*where, name), "an empty list: the grid has no cell", "Give at least one value")
                elif name in experiment.cell.member_axes:
                    members *= len(values)
                else:
                    cells *= len(dict.fromkeys(values))
        all_cells, all_runs = all_cells + cells, all_runs + cells * members
        if all_cells > MOST_CELLS or all_runs > MOST_RUNS:
            so_far = f"{all_cells} cells and {all_runs} runs{' with the blocks before it' if i else ''}"
            yield FieldError(where, so_far, f"A study may have {MOST_CELLS} cells and {MOST_RUNS} runs at most")
            return


def _settings(experiment: Experiment, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with member axes in the form of lists."""
    members = experiment.cell.member_axes
    return {
        name: _values(experiment, name, Range.model_validate(value) if isinstance(value, dict) else value)
        if name in members
        else value
        for name, value in settings.items()
    }


def _values(experiment: Experiment, name: str, axis: Any) -> list[Any]:
    """The values of an axis."""
    if isinstance(axis, Range):
        return axis.values()
    read = _read(experiment, name, axis)
    return list(read) if isinstance(read, list) else [read]


def _read(experiment: Experiment, name: str, value: Any) -> Any:
    """A value, or a list of values, with fractions as numbers where the cell's field takes any and no text.

    Raises ValueError for a denominator of 0.
    """
    field = experiment.cell.model_fields.get(name)
    if field is None or not _takes_numbers(field.annotation):
        return value
    return [as_number(each) for each in value] if isinstance(value, list) else as_number(value)


def _takes_numbers(annotation: Any) -> bool:
    kinds = [*branches(annotation)]
    kinds += [
        inner for kind in kinds if typing.get_origin(kind) is list for inner in branches(typing.get_args(kind)[0])
    ]
    return float in kinds and str not in kinds


def _ordered(values: list[Any]) -> list[Any]:
    """Values of a member axis, each once; what has no order keeps its place, and the cell refuses it."""
    try:
        return sorted(set(values))
    except TypeError:
        return values


def _block_cells(
    experiment: Experiment, base: dict[str, Any], block: dict[str, Any], seeds: int | None
) -> Iterator[dict[str, Any]]:
    if "seeds" in block:
        count = block.pop("seeds")
        block["seed"] = list(range(seeds or count))
    members = {
        name: _ordered(_values(experiment, name, block.pop(name)))
        for name in experiment.cell.member_axes
        if name in block
    }
    axes = {name: list(dict.fromkeys(_values(experiment, name, value))) for name, value in block.items()}
    for combination in itertools.product(*axes.values()):
        yield base | dict(zip(axes, combination, strict=True)) | {name: list(v) for name, v in members.items()}


def _merge(merged: dict[str, dict[str, Any]], values: dict[str, Any], member_axes: tuple[str, ...]) -> None:
    """Add a cell, or its members to the same cell of an earlier block.

    With several member axes a union of products need not be a product, so only one of them may differ.
    """
    shape = canonical({name: value for name, value in values.items() if name not in member_axes})
    known = merged.setdefault(shape, values)
    differing = [axis for axis in member_axes if known.get(axis) != values.get(axis)]
    if not differing:
        return
    if len(differing) > 1:
        merged[canonical(values)] = values
        return
    axis = differing[0]
    known[axis] = _ordered([*known.get(axis, []), *values.get(axis, [])])


def _cell(experiment: Experiment, values: dict[str, Any], study: StudyConfig, scale: str) -> Job:
    try:
        return experiment.cell.model_validate(values)
    except ValidationError as error:
        raise as_one(_cell_mistakes(error, experiment, values, study, scale)) from None
    except MusterError as error:
        name, *inner = error.place.split(".")
        if name not in values:  # a registry speaks of a kind, not of a field: find the field by the value it refused
            name, inner = next((key for key, value in values.items() if repr(value) in error.found), name), []
        where = written_at(name, values.get(name), study, scale)
        raise FieldError((*where, *inner), error.found, error.remedy) from None


def _cell_mistakes(
    error: ValidationError, experiment: Experiment, values: dict[str, Any], study: StudyConfig, scale: str
) -> list[FieldError]:
    """What is wrong with one cell, at the fields of the study from which its settings come."""
    mistakes = []
    for mistake in field_errors(error, experiment.cell, values):
        name = str(mistake.field[0]) if mistake.field else ""
        if not name:
            message = next(str(e.get("ctx", {}).get("error", e["msg"])) for e in error.errors() if not e["loc"])
            remedy = "Change the settings or the grid of this scale"
            mistakes.append(FieldError(("scales", scale), message, remedy))
        elif name not in values:
            meaning = experiment.cell.model_fields[name].description
            remedy = f"Give it in settings or in the grid{': seeds' if name == 'seed' else ''} ({meaning})"
            mistakes.append(FieldError(("scales", scale, "grid"), f"{name} is missing", remedy))
        else:
            where = written_at(name, values[name], study, scale)
            inner = mistake.field[1:] if where[-2:-1] == ("settings",) else ()
            itself = len(mistake.field) == 1 or name in experiment.cell.member_axes
            listed = LISTS.get(mistake.remedy) if itself else None
            remedy = f"{mistake.remedy}, or (in a grid) a list of them, such as {listed}" if listed else mistake.remedy
            mistakes.append(FieldError((*where, *inner), mistake.found, remedy))
    return mistakes


def written_at(name: str, value: Any, study: StudyConfig, scale: str) -> FieldPath:
    """The field where a cell's value was written: a block of the grid, the scale's settings or the study's."""
    preset, experiment = study.scales[scale], EXPERIMENTS[study.experiment]  # type: ignore[index]
    for i, block in enumerate(preset.grid):
        if name in block and (value in _values(experiment, name, block[name]) or isinstance(value, list)):
            return ("scales", scale, "grid", i, name)
    if name in preset.settings:
        return ("scales", scale, "settings", name)
    return ("settings", name) if name in study.settings else ("scales", scale)


def _cell_axes(kind: type[Job], cells: Sequence[PlannedCell], written: Set[str]) -> tuple[str, ...]:
    """The axes that the kind of cell always has; then what varies, in the order of the cell's fields.

    written: names in the grid, the only fields that can vary.
    """
    axes = list(kind.key_axes)
    for name in kind.model_fields:
        if name in axes or name in kind.member_axes:
            continue
        if name in ALWAYS_KEYS or (name in written and len({str(getattr(c.cell, name)) for c in cells}) > 1):
            axes.append(name)
    return tuple(axes)
