"""Cells and data sets with the names that their results have on disk."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from muster.config.load import (
    problems,
)
from muster.digests import canonical, digest_text
from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Cost, Job, absent_fields, with_absent


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


class PlannedData(NamedTuple):
    """A data set that some cell reads: its folder below `results/data`, and how to make it."""

    key: str
    name: str
    options: str


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


_dataset_keys: dict[tuple[str, str], PlannedData] = {}


def dataset_of(cell: PlannedCell) -> PlannedData | None:
    """The data set that a cell reads, with its folder name; None for experiments that read none."""
    wanted = cell.dataset
    if wanted is None:
        return None
    name, options = wanted[0], canonical(wanted[1])
    if (name, options) not in _dataset_keys:
        from muster.data import dataset_key

        _dataset_keys[name, options] = PlannedData(dataset_key(name, wanted[1]), name, options)
    return _dataset_keys[name, options]
