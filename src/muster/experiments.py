"""The registry of experiments: how a study's cell becomes tables of runs, curves and probes.

An experiment is one module that registers an `Experiment`: a pydantic `Cell` whose flat fields are every setting that
may stand in a study's `settings` or `grid`, a cost model, and a function that runs one cell. Heavy imports belong
inside that function, so that planning stays fast.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from muster.numbers import check_numbers
from muster.registry import Registry

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Absent:
    """The value at which a setting changes nothing, as if it were not there: `rate: Annotated[float, Absent(1.0)]`.

    A setting that joins an experiment later declares it, mostly as its default, too: no finished cell is then renamed.
    Another default renames the cells that leave the setting open, and no other.
    """

    value: Any


@cache
def _absent_values(kind: type[BaseModel]) -> dict[str, Absent | type[BaseModel]]:
    """Fields of a model that declare an absent value, and those that are models themselves."""
    found: dict[str, Absent | type[BaseModel]] = {}
    for name, field_ in kind.model_fields.items():
        declared = [item for item in field_.metadata if isinstance(item, Absent)]
        if declared:
            found[name] = declared[0]
        elif isinstance(field_.annotation, type) and issubclass(field_.annotation, BaseModel):
            found[name] = field_.annotation
    return found


def absent_fields(model: BaseModel) -> dict[str, Any]:
    """The settings that are at their absent values, as `model_dump(exclude=…)` takes them."""
    found: dict[str, Any] = {}
    for name, absent in _absent_values(type(model)).items():
        value = getattr(model, name)
        if isinstance(absent, Absent):
            if value == absent.value:
                found[name] = True
        elif isinstance(value, BaseModel) and (inner := absent_fields(value)):
            found[name] = inner
    return found


def with_absent(kind: type[BaseModel], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the absent values that were left out of them: the inverse of leaving them out."""
    filled = dict(settings)
    for name, absent in _absent_values(kind).items():
        if isinstance(absent, Absent):
            filled.setdefault(name, absent.value)
        elif isinstance(filled.get(name), Mapping):
            filled[name] = with_absent(absent, filled[name])
    return filled


class Job(BaseModel):
    """The settings of one job, all resolved. key_axes: fields that are key columns of every study, in order.

    member_axes: fields that list what runs side by side within the job. free_names: fields whose values are names of
    its own or somebody else's, where other experiments take names that are registered here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    key_axes: ClassVar[tuple[str, ...]] = ()
    member_axes: ClassVar[tuple[str, ...]] = ()
    free_names: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _finite(cls, values: Any) -> Any:
        return check_numbers(cls, values)

    @property
    def label(self) -> str:
        """What a reader recognises the job's folder by; a digest of all settings follows it there."""
        return "-".join(str(getattr(self, axis)) for axis in self.key_axes)


class Cell(Job):
    """One (width, depth, parameterization, seed) of a study with every setting resolved: the unit of one job."""

    key_axes: ClassVar[tuple[str, ...]] = ("width", "depth", "parameterization", "seed")

    width: int = Field(ge=1, description="Units per hidden layer")
    depth: int = Field(1, ge=1, description="Hidden layers")
    parameterization: str = Field("none", description="Table of exponents; `none` where nothing is trained")
    seed: int = Field(ge=0, description="Replicate: initial weights and order of the data")

    @property
    def label(self) -> str:
        return f"w{self.width}-d{self.depth}-{self.parameterization}-s{self.seed}"


class Cost(NamedTuple):
    """What a cell needs, for plans and cluster resources: on one CPU core and, where a GPU helps, on one of these."""

    flops: float
    seconds: float
    memory_bytes: float
    gpu_seconds: float = 0.0
    gpu_memory_bytes: float = 0.0


@dataclass(frozen=True)
class Context:
    """Where a cell runs: nothing here may change its result beyond float tolerance."""

    device: str = "cpu"
    dtype: str = "float32"
    data_dir: Path | None = None
    checkpoint_dir: Path | None = None
    source_dirs: tuple[Path, ...] = ()
    download_dir: Path | None = None
    fingerprint: str = ""
    progress: Callable[[str], None] = print


@dataclass(frozen=True)
class Outcome:
    """Tables of one cell, without the cell's own key columns: `collect` adds study, width, depth, ...

    runs: one row a member, or one a run that the experiment brings. curves, probes: long, with the same columns to tell
    runs apart. notes: facts about how the tables came about, kept in the cell's provenance.
    """

    runs: "pd.DataFrame"
    curves: "pd.DataFrame"
    probes: "pd.DataFrame"
    notes: dict[str, Any] = field(default_factory=dict)


class Files(NamedTuple):
    """Files outside this package that decide a cell's result: name → sha256. whole: whether these are all of them."""

    hashes: Mapping[str, str] = MappingProxyType({})
    whole: bool = True


@dataclass(frozen=True)
class Example:
    """A first study of an experiment, as `muster new-study` writes it: it validates, and runs in seconds at smoke.

    settings, grid, fit and figure are what a study file holds under these names: the grid of scale laptop, the one fit
    (table probes unless it names another) and the plot that shows it. smoke: settings of scale smoke alone. smoke_grid:
    its grid, if it is not the other with one seed. where: a group of the fit, for a claim. predicted: what that claim
    expects. hints: lines below the settings, as they stand in the file: what else they may hold, commented out.
    """

    settings: dict[str, Any]
    grid: list[dict[str, Any]]
    fit: dict[str, Any]
    smoke: dict[str, Any] = field(default_factory=dict)
    smoke_grid: list[dict[str, Any]] | None = None
    where: dict[str, Any] = field(default_factory=dict)
    figure: dict[str, Any] = field(default_factory=lambda: {"plot": "probe_scaling"})
    predicted: float = 0.0
    hints: str = ""


def probe_example(
    probe: str, settings: dict[str, Any], grid: dict[str, Any], *, along: str = "width", **more: Any
) -> Example:
    """The example of an experiment whose probe follows a power law. more: `select`, `by`, and fields of Example."""
    select = {"probe": probe, **more.pop("select", {})}
    by = {"by": more.pop("by")} if "by" in more else {}
    fit = {"estimator": "power_law", "table": "probes", "select": select, "response": "value", "along": along, **by}
    return Example(settings, [{**grid, "seeds": 4}], fit, **more)


@dataclass(frozen=True)
class Experiment:
    """A registered experiment.

    What `run` reaches is the code of a cell (`muster.jobs.fingerprint`). files: what else it runs, beside this package.
    stored: whether settings, code and data decide the result, so that the store may keep it. run_keys: columns by which
    the experiment itself tells the runs of a cell apart, where these are no members. brings: what else its run table
    then holds, known from the cell alone. describe: rows (what, value) for `muster show study`. example: what `muster
    new-study` starts from.
    """

    summary: str
    stage: str
    cell: type[Job]
    cost: Callable[[Any], Cost]
    run: Callable[[Any, Context], Outcome]
    files: Callable[[Any], Files] = lambda cell: Files()
    dataset: Callable[[Any], tuple[str, dict[str, Any]] | None] = lambda cell: None
    stored: bool = True
    run_keys: tuple[str, ...] = ()
    brings: Callable[[Any], tuple[str, ...]] = lambda cell: ()
    describe: Callable[[Any], list[tuple[str, str]]] = lambda cell: []
    example: Example | None = None

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self.summary


EXPERIMENTS: Registry[Experiment] = Registry(
    "experiment",
    modules=(
        "muster.training.train",
        "muster.training.stability",
        "muster.sampling",
        "muster.published.import_table",
        "muster.script.command",
    ),
)
