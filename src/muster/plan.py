"""From studies to cells: the product of each grid, digested into paths, with what each cell needs and costs."""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from muster.columns import COLUMNS
from muster.config.load import (
    CONFIG_PATH,
    chosen_studies,
    load_config,
    load_study,
    nearest,
    place,
    problems,
    study_paths,
    validate,
)
from muster.config.models import Config, Range, StudyConfig
from muster.errors import MusterError
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
    """All studies that a configuration asks for, and their cells by key: a cell that two studies share stands once."""

    config: Config
    studies: dict[str, StudyPlan]
    known: dict[str, StudyConfig]
    cells: dict[str, PlannedCell]

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
            folder = Path(self.config.results, "tables", study)
            if study not in self.collected and (missing := self._missing(study)):
                remedy = f"Bring it with `dvc pull {folder} && muster settle`, or set mode: full to compute it"
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
    0 … k−1, `seeds=` overrides k. Raises MusterError naming file, line and field of a setting that the experiment's
    cell does not take.
    """
    path = path or Path(f"{study.study}.yaml")
    if scale not in study.scales:
        remedy = f"Scales of this study: {', '.join(study.scales)}"
        raise MusterError(place(path, ("scales",)), f"no scale {scale!r}", remedy)
    try:
        experiment = EXPERIMENTS[study.experiment]
    except MusterError as error:
        raise MusterError(place(path, ("experiment",)), error.found, error.remedy) from None
    preset = study.scales[scale]
    base = _settings(experiment, dict(study.settings), path, ("settings",))
    base |= _settings(experiment, dict(preset.settings), path, ("scales", scale, "settings"))
    merged: dict[str, dict[str, Any]] = {}
    for i, block in enumerate(preset.grid):
        where = ("scales", scale, "grid", i)
        for values in _block_cells(experiment, base, dict(block), seeds, path, where):
            _merge(merged, values, experiment.cell.member_axes)
    named = (
        name_cell(study.experiment, _cell(experiment, values, study, scale, path), dtype) for values in merged.values()
    )
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


def _settings(
    experiment: Experiment, settings: dict[str, Any], path: Path, where: tuple[str | int, ...]
) -> dict[str, Any]:
    """Check names; bring member axes into the form of lists."""
    fields = [name for name in experiment.cell.model_fields if name != "seed"]
    for name, value in settings.items():
        if name not in fields:
            raise MusterError(place(path, (*where, name)), f"unknown setting {name!r}", nearest(name, fields))
        if name in experiment.cell.member_axes:
            settings[name] = _values(Range.model_validate(value) if isinstance(value, dict) else value)
    return settings


def _values(axis: Any) -> list[Any]:
    if isinstance(axis, Range):
        return axis.values()
    return list(axis) if isinstance(axis, list) else [axis]


def _block_cells(
    experiment: Experiment,
    base: dict[str, Any],
    block: dict[str, Any],
    seeds: int | None,
    path: Path,
    where: tuple[str | int, ...],
) -> Iterator[dict[str, Any]]:
    fields = experiment.cell.model_fields
    known = [*(["seeds"] if "seed" in fields else []), *fields]
    for name in block:
        if name not in known:
            raise MusterError(place(path, (*where, name)), f"unknown axis {name!r}", nearest(name, known))
    if "seeds" in block:
        count = block.pop("seeds")
        if "seed" in block:
            raise MusterError(place(path, (*where, "seed")), "both seed and seeds", "Give one of them")
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_CELLS:
            remedy = f"Allowed: a whole number from 1 to {MOST_CELLS}"
            raise MusterError(place(path, (*where, "seeds")), f"found {str(count)[:60]}", remedy)
        block["seed"] = list(range(seeds or count))
    members = {name: sorted(set(_values(block.pop(name)))) for name in experiment.cell.member_axes if name in block}
    axes = {name: list(dict.fromkeys(_values(value))) for name, value in block.items()}
    for name, values in {**axes, **members}.items():
        if not values:
            raise MusterError(
                place(path, (*where, name)), "an empty list: the grid has no cell", "Give at least one value"
            )
    if (number := math.prod(map(len, axes.values()))) > MOST_CELLS:
        raise MusterError(place(path, where), f"{number} cells", f"A block may have {MOST_CELLS} at most")
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


def _cell(experiment: Experiment, values: dict[str, Any], study: StudyConfig, scale: str, path: Path) -> Job:
    try:
        return experiment.cell.model_validate(values)
    except ValidationError as error:
        raise _cell_problem(error, experiment, values, study, scale, path) from None
    except MusterError as error:
        field = error.place.split(".")[0]
        if field not in values:  # a registry speaks of a kind, not of a field: find the field by the value it refused
            field = next((name for name, value in values.items() if repr(value) in error.found), field)
        where = written_at(field, values.get(field), study, scale)
        raise MusterError(f"{place(path, where)} ({error.place})", error.found, error.remedy) from None


def _cell_problem(
    error: ValidationError, experiment: Experiment, values: dict[str, Any], study: StudyConfig, scale: str, path: Path
) -> MusterError:
    first = problems(error, experiment.cell, values, path)[0]
    loc = error.errors()[0]["loc"]
    if not loc:
        message = str(error.errors()[0].get("ctx", {}).get("error", error.errors()[0]["msg"]))
        return MusterError(place(path, ("scales", scale)), message, "Change the settings or the grid of this scale")
    name = str(loc[0])
    if name not in values:
        meaning = experiment.cell.model_fields[name].description
        remedy = f"Give it in settings or in the grid{': seeds' if name == 'seed' else ''} ({meaning})"
        return MusterError(place(path, ("scales", scale, "grid")), f"{name} is missing", remedy)
    where = written_at(name, values.get(name), study, scale)
    if where == ("settings", name) and {entry["loc"][0] for entry in error.errors()} == {name}:
        return problems(error, experiment.cell, values, path, ("settings",))[0]
    return MusterError(place(path, where), first.found, first.remedy)


def written_at(name: str, value: Any, study: StudyConfig, scale: str) -> tuple[str | int, ...]:
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


def make_plan(config: Config, config_path: Path = CONFIG_PATH) -> Plan:
    """Plan every study that the configuration names, and check that each can answer its own claims.

    Studies reached through `all` or a group are left out where they lack the scale; one named by itself is an error.
    Raises MusterError for the first mistake found, before any job starts.
    """
    from muster.cli.check import check_claim_names, check_study

    paths = study_paths(config_path)
    known = {name: load_study(path) for name, path in paths.items()}
    check_claim_names(known, paths)
    chosen = chosen_studies(config, known, config_path)
    plans: dict[str, StudyPlan] = {}
    cells: dict[str, PlannedCell] = {}
    for name, explicit in chosen.items():
        if config.scale not in known[name].scales and not explicit:
            continue
        planned = plan_study(known[name], config.scale, seeds=config.seeds, dtype=config.dtype, path=paths[name])
        check_study(planned, paths[name])
        plans[name] = planned
        cells.update((cell.key, cell) for cell in planned.cells)
    if not plans:
        raise MusterError(
            place(config_path, ("scale",)), f"no study has the scale {config.scale!r}", "Choose another scale"
        )
    return Plan(config, plans, known, cells)


def plan_from(settings: Mapping[str, Any], config_path: Path = CONFIG_PATH) -> Plan:
    """Plan from the fields of a configuration that is already parsed, as Snakemake holds it."""
    return make_plan(validate(Config, dict(settings), config_path), config_path)


def load_plan(config_path: Path = CONFIG_PATH, **overrides: Any) -> Plan:
    """Read the configuration, replace the fields given (None leaves a field alone), and plan."""
    given = {name: value for name, value in overrides.items() if value is not None}
    return make_plan(load_config(config_path, given), config_path)
