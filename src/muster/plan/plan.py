"""All studies that a configuration asks for, and their cells."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from muster.config.load import (
    CONFIG_PATH,
    chosen_studies,
    config_place,
    load_config,
    load_studies,
    shadowed,
)
from muster.config.models import PUBLISHED, Config, StudyConfig
from muster.errors import MusterError, as_one
from muster.plan.cells import PlannedCell, PlannedData, dataset_of
from muster.plan.grid import plan_study
from muster.plan.study import StudyPlan


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
    def datasets(self) -> dict[str, PlannedData]:
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

    @cached_property
    def fits_at_hand(self) -> tuple[str, ...]:
        """In mode `replay`, imported studies whose fits were restored without tables, which may not be passed on."""
        return tuple(name for name in self.collected if self.config.mode == "replay" and self._fits(name).exists())

    def _fits(self, study: str) -> Path:
        return Path(self.config.results, "fits", study, "fits.parquet")

    def experiments(self, stage: str) -> list[str]:
        """Experiments of one stage (`train`, `sample`) that occur in the plan."""
        return sorted({cell.experiment for cell in self.cells.values() if cell.stage == stage})


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
