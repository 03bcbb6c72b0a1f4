"""From studies to cells: the product of each grid, digested into paths, with what each cell needs and costs."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from muster.columns import COLUMNS
from muster.config.load import (
    CONFIG_PATH,
    chosen_studies,
    config_place,
    field_errors,
    in_file,
    load_config,
    load_studies,
    nearest,
    problems,
    shadowed,
)
from muster.config.models import PUBLISHED, Config, Range, StudyConfig
from muster.errors import FieldError, FieldPath, MusterError, as_one
from muster.experiments import EXPERIMENTS, Cost, Experiment, Job, absent_fields, with_absent

LEDGER_PLOTS = ("forest",)  # plots that draw verdicts; the others are made before anything is judged
SPECIFICATION_PLOTS = ("specification_curve",)  # plots that draw a fit under every choice of estimator
MOST_CELLS = 1_000_000  # of a block: more is a slip of the pen, and would fill the memory
ALWAYS_KEYS = ("optimizer", "rule")  # key columns of every study whose cells have them, even at one value


def specified(study: StudyConfig) -> list[str]:
    """The fits whose specification curves the study's figures show, in order."""
    return list(dict.fromkeys(f.fit for f in study.figures.values() if f.plot in SPECIFICATION_PLOTS and f.fit))


class PlannedCell(NamedTuple):
    """A cell with the name that its result has on disk.

    key: `<experiment>/w64-d3-mup-s0-<digest>`, the folder below `results/runs`. text: canonical JSON of the job.
    """

    experiment: str
    cell: Job
    dtype: str
    key: str
    text: str

    @property
    def members(self) -> int:
        """How many members train side by side: the product of the member axes' lengths."""
        count = 1
        for axis in type(self.cell).member_axes:
            count *= len(getattr(self.cell, axis))
        return count

    @property
    def stage(self) -> str:
        return EXPERIMENTS[self.experiment].stage

    @property
    def run_keys(self) -> tuple[str, ...]:
        return EXPERIMENTS[self.experiment].run_keys

    @property
    def cost(self) -> Cost:
        return EXPERIMENTS[self.experiment].cost(self.cell)

    @property
    def dataset(self) -> tuple[str, dict[str, Any]] | None:
        return EXPERIMENTS[self.experiment].dataset(self.cell)


class Dataset(NamedTuple):
    """A data set that some cell reads: its folder below `results/data`, and how to make it."""

    key: str
    name: str
    options: str


@dataclass(frozen=True)
class StudyPlan:
    """The cells of one study at one scale, and the columns that tell its runs apart.

    run_keys: columns by which the experiment itself tells the runs of a cell apart. brought: what else its run tables
    hold.
    """

    study: StudyConfig
    scale: str
    cells: tuple[PlannedCell, ...]
    cell_axes: tuple[str, ...]
    member_axes: tuple[str, ...]
    run_keys: tuple[str, ...] = ()
    brought: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Key columns of the run table, in order."""
        return ("study", *self.cell_axes, *self.member_axes, *self.run_keys)

    def columns(self, table: str) -> tuple[str, ...]:
        """The columns of a table that fits and figures may name, known before anything has run.

        Where the experiment brings its own runs, what it does not bring is there but empty.
        """
        brought = self.brought if table == "runs" else ()
        own = () if self.run_keys and table == "runs" else tuple(COLUMNS[table])
        return (*self.keys[1:], *own, *brought)

    @cached_property
    def digest(self) -> str:
        """Changes with the set of cells and with the columns: what `collect` depends on."""
        return digest([self.keys, [cell.key for cell in self.cells]])

    @cached_property
    def stamp(self) -> str:
        """Changes with any word of the study: what a running Snakemake planned from, and its jobs must find."""
        return digest([self.study.model_dump(mode="json"), self.digest])

    @cached_property
    def total(self) -> Cost:
        """FLOPs and seconds summed over cells, memory of the largest."""
        flops, seconds, memory, gpu_seconds, gpu_memory = zip(*(cell.cost for cell in self.cells), strict=True)
        return Cost(sum(flops), sum(seconds), max(memory), sum(gpu_seconds), max(gpu_memory))


@dataclass(frozen=True)
class Plan:
    """All studies that a configuration asks for, and their cells by key: a cell that two studies share stands once.

    known: all studies that can be read, whose claims the ledger lists. left_out: why a study, or a file beside them, is
    not part of the plan, by its name.
    """

    config: Config
    studies: dict[str, StudyPlan]
    known: dict[str, StudyConfig]
    cells: dict[str, PlannedCell]
    left_out: dict[str, MusterError] = field(default_factory=dict)

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        """Data sets by folder name."""
        return {found.key: found for cell in self.cells.values() if (found := dataset_of(cell))}

    def check_replay(self) -> None:
        """In mode `replay` all starts from the frozen tables. Raises MusterError naming the first one missing, and the
        pull that brings it.
        """
        if self.config.mode == "full":
            return
        for study in self.studies:
            if study not in self.collected and (missing := self._missing(study)):
                pulled = f"dvc pull {PUBLISHED}/tables/{study}.dvc"
                restored = f"muster restore {study} --scale {self.config.scale} --results {self.config.results}"
                remedy = f"Bring it with `{pulled} && {restored}`, or set mode: full to compute it"
                raise MusterError(str(missing[0]), "missing, and mode: replay does not make it", remedy)

    def _missing(self, study: str) -> list[Path]:
        paths = [Path(self.config.results, "tables", study, f"{kind}.parquet") for kind in ("runs", "curves", "probes")]
        return [path for path in paths if not path.exists()]

    @cached_property
    def collected(self) -> tuple[str, ...]:
        """Studies whose tables a run may make: all; in mode `replay` imported ones that are missing, for most licences
        keep them out of what can be pulled.
        """
        if self.config.mode == "full":
            return tuple(self.studies)
        imported = [name for name, study in self.studies.items() if study.cells[0].stage == "import"]
        return tuple(name for name in imported if self._missing(name))

    def experiments(self, stage: str) -> list[str]:
        """Experiments of one stage (`train`, `sample`) that occur in the plan."""
        return sorted({cell.experiment for cell in self.cells.values() if cell.stage == stage})


def ledger_settings(known: Mapping[str, StudyConfig]) -> dict[str, str]:
    """Everything of the studies that the ledger prints: with other words a study is judged anew, not fitted anew."""
    fields = {"claims", "paper", "slug"}
    return {name: canonical(study.model_dump(mode="json", include=fields)) for name, study in known.items()}


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal settings give equal text."""
    return _encode(value)


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def digest(value: Any) -> str:
    """Ten hexadecimal digits of the sha256 of the canonical JSON."""
    return digest_text(canonical(value))


def digest_text(text: str) -> str:
    """Ten hexadecimal digits of the sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def name_cell(experiment: str, cell: Job, dtype: str = "float32") -> PlannedCell:
    """Give a cell its key. float32, the usual dtype, does not enter the digest; nor does a setting that is absent
    (None, or the value that it declares `Absent`), so that a new one may join an experiment without renaming its
    finished cells. A default does enter, as any other value: with another default a cell is another one."""
    settings = canonical(cell.model_dump(exclude_none=True, exclude=absent_fields(cell) or None))
    tag = digest_text(settings if dtype == "float32" else f"{settings}{dtype}")
    key = f"{experiment}/{cell.label}-{tag}"
    return PlannedCell(
        experiment, cell, dtype, key, f'{{"cell":{settings},"dtype":"{dtype}","experiment":"{experiment}"}}'
    )


def read_cell(text: str) -> PlannedCell:
    """The inverse of `PlannedCell.text`. Raises MusterError if the text is not such a job."""
    try:
        job = json.loads(text)
        experiment, dtype, settings = job["experiment"], job["dtype"], job["cell"]
    except (ValueError, KeyError, TypeError) as error:
        raise MusterError(
            "--cell", f"not a cell ({error!r})", "Take it from a cell.json or from `muster plan --json`"
        ) from None
    kind = EXPERIMENTS[experiment].cell
    try:
        return name_cell(experiment, kind.model_validate(with_absent(kind, settings)), dtype)
    except ValidationError as error:
        raise problems(error, kind, settings, Path("--cell"))[0] from None


_dataset_keys: dict[tuple[str, str], Dataset] = {}


def dataset_of(cell: PlannedCell) -> Dataset | None:
    """The data set that a cell reads, with its folder name; None for experiments that read none."""
    wanted = cell.dataset
    if wanted is None:
        return None
    name, options = wanted[0], canonical(wanted[1])
    if (name, options) not in _dataset_keys:
        from muster.data import dataset_key

        _dataset_keys[name, options] = Dataset(dataset_key(name, wanted[1]), name, options)
    return _dataset_keys[name, options]


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
    if wrong := [*_name_mistakes(experiment, study, scale), *_block_mistakes(experiment, blocks, seeds, scale)]:
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


def _name_mistakes(experiment: Experiment, study: StudyConfig, scale: str) -> Iterator[FieldError]:
    """Settings that the experiment's cells do not have."""
    fields = [name for name in experiment.cell.model_fields if name != "seed"]
    for where, settings in (
        (("settings",), study.settings),
        (("scales", scale, "settings"), study.scales[scale].settings),  # type: ignore[index]
    ):
        for name in settings:
            if name not in fields:
                yield FieldError((*where, name), f"unknown setting {name!r}", nearest(name, fields))


def _block_mistakes(
    experiment: Experiment, blocks: Sequence[Mapping[str, Any]], seeds: int | None, scale: str
) -> Iterator[FieldError]:
    """Axes that the experiment's cells do not have, and such that lead to no cell, or to too many."""
    fields = experiment.cell.model_fields
    known = [*(["seeds"] if "seed" in fields else []), *fields]
    for i, block in enumerate(blocks):
        where = ("scales", scale, "grid", i)
        cells = 1
        for name, axis in block.items():
            if name not in known:
                yield FieldError((*where, name), f"unknown axis {name!r}", nearest(name, known))
            elif name == "seeds":
                if "seed" in block:
                    yield FieldError((*where, "seed"), "both seed and seeds", "Give one of them")
                if isinstance(axis, bool) or not isinstance(axis, int) or not 1 <= axis <= MOST_CELLS:
                    remedy = f"Allowed: a whole number from 1 to {MOST_CELLS}"
                    yield FieldError((*where, "seeds"), f"found {str(axis)[:60]}", remedy)
                else:
                    cells *= seeds or axis
            elif not (values := _values(axis)):
                yield FieldError((*where, name), "an empty list: the grid has no cell", "Give at least one value")
            elif name not in experiment.cell.member_axes:
                cells *= len(dict.fromkeys(values))
        if cells > MOST_CELLS:
            yield FieldError(where, f"{cells} cells", f"A block may have {MOST_CELLS} at most")


def _settings(experiment: Experiment, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with member axes in the form of lists."""
    return {
        name: _values(Range.model_validate(value) if isinstance(value, dict) else value)
        if name in experiment.cell.member_axes
        else value
        for name, value in settings.items()
    }


def _values(axis: Any) -> list[Any]:
    if isinstance(axis, Range):
        return axis.values()
    return list(axis) if isinstance(axis, list) else [axis]


def _block_cells(
    experiment: Experiment, base: dict[str, Any], block: dict[str, Any], seeds: int | None
) -> Iterator[dict[str, Any]]:
    if "seeds" in block:
        count = block.pop("seeds")
        block["seed"] = list(range(seeds or count))
    members = {name: sorted(set(_values(block.pop(name)))) for name in experiment.cell.member_axes if name in block}
    axes = {name: list(dict.fromkeys(_values(value))) for name, value in block.items()}
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
    known[axis] = sorted({*known.get(axis, []), *values.get(axis, [])})


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
            mistakes.append(FieldError((*where, *inner), mistake.found, mistake.remedy))
    return mistakes


def written_at(name: str, value: Any, study: StudyConfig, scale: str) -> FieldPath:
    """The field where a cell's value was written: a block of the grid, the scale's settings or the study's."""
    preset = study.scales[scale]  # type: ignore[index]
    for i, block in enumerate(preset.grid):
        if name in block and (value in _values(block[name]) or isinstance(value, list)):
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


def make_plan(
    config: Config,
    config_path: Path = CONFIG_PATH,
    check: Callable[[StudyPlan, Path], None] = lambda plan, path: None,
) -> Plan:
    """Plan every study that the configuration names.

    check: raises MusterError for a planned study that cannot answer its own claims (`checked_plan` gives one).
    Studies reached through `all` or a group are left out where they lack the scale or are broken: the plan says why.
    Raises MusterError, before any job starts, for all mistakes of config.yaml and of studies named by themselves, and
    if no study is left.
    """
    studies = load_studies(config_path)
    left_out = studies.broken | shadowed(config, studies.paths, config_path)
    chosen = chosen_studies(config, studies.paths, config_path)
    plans: dict[str, StudyPlan] = {}
    for name in chosen:
        if name in left_out or not (chosen[name] or config.scale in studies.known[name].scales):
            continue
        try:
            plans[name] = _plan_known(studies.known[name], config, studies.paths[name], config_path)
            check(plans[name], studies.paths[name])
        except MusterError as error:
            plans.pop(name, None)
            left_out[name] = error
    if asked := [left_out[name] for name, explicit in chosen.items() if explicit and name in left_out]:
        raise as_one([mistake for error in asked for mistake in error.mistakes])
    if not plans:
        if broken := [left_out[name] for name in chosen if name in left_out]:
            raise as_one([mistake for error in broken for mistake in error.mistakes])
        where = config_place(config, ("scale",), config_path)
        raise MusterError(where, f"no study has the scale {config.scale!r}", "Choose another scale")
    cells = {cell.key: cell for planned in plans.values() for cell in planned.cells}
    return Plan(config, plans, studies.known, cells, left_out)


def _plan_known(study: StudyConfig, config: Config, path: Path, config_path: Path) -> StudyPlan:
    if config.scale not in study.scales:
        where = config_place(config, ("scale",), config_path)
        remedy = f"Scales of this study: {', '.join(study.scales)}"
        raise MusterError(where, f"study {study.study} has no scale {config.scale!r}", remedy)
    return plan_study(study, config.scale, seeds=config.seeds, dtype=config.dtype, path=path)


def load_plan(config_path: Path = CONFIG_PATH, **overrides: Any) -> Plan:
    """Read the configuration, replace the fields given (None leaves a field alone), and plan, without any check."""
    given = {name: value for name, value in overrides.items() if value is not None}
    return make_plan(load_config(config_path, given), config_path)
