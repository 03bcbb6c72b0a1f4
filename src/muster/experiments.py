"""The registry of experiments: how a study's cell becomes tables of runs, curves and probes.

An experiment is one module that registers an `Experiment`: a pydantic `Cell` whose flat fields are every setting that
may stand in a study's `settings` or `grid`, a cost model, and a function that runs one cell. Heavy imports belong
inside that function, so that planning stays fast.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from muster.registry import Registry

if TYPE_CHECKING:
    import pandas as pd


class Cell(BaseModel):
    """One (width, depth, parameterization, seed) of a study with every setting resolved: the unit of one job."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    member_axes: ClassVar[tuple[str, ...]] = ()

    width: int = Field(ge=1, description="Units per hidden layer")
    depth: int = Field(1, ge=1, description="Hidden layers")
    parameterization: str = Field("none", description="Table of exponents; `none` where nothing is trained")
    seed: int = Field(ge=0, description="Replicate: initial weights and order of the data")


class Cost(NamedTuple):
    """What a cell needs, for plans and cluster resources."""

    flops: float
    seconds: float
    memory_bytes: float


@dataclass(frozen=True)
class Context:
    """Where a cell runs: nothing here may change its result beyond float tolerance."""

    device: str = "cpu"
    dtype: str = "float32"
    data_dir: Path | None = None
    checkpoint_dir: Path | None = None
    fingerprint: str = ""
    progress: Callable[[str], None] = print


@dataclass(frozen=True)
class Outcome:
    """Tables of one cell, without the cell's own key columns: `collect` adds study, width, depth, ...

    runs: one row a member. curves, probes: long, with the member axes as columns.
    """

    runs: "pd.DataFrame"
    curves: "pd.DataFrame"
    probes: "pd.DataFrame"


@dataclass(frozen=True)
class Experiment:
    """A registered experiment; `code` names the modules or packages whose source decides its result."""

    summary: str
    stage: str
    cell: type[Cell]
    cost: Callable[[Any], Cost]
    run: Callable[[Any, Context], Outcome]
    code: tuple[str, ...]
    dataset: Callable[[Any], tuple[str, dict[str, Any]] | None] = lambda cell: None

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self.summary


EXPERIMENTS: Registry[Experiment] = Registry("experiment")

for _module in ("muster.training.experiment", "muster.sampling.relu_chain", "muster.sampling.matrix_product"):
    importlib.import_module(_module)  # each registers itself above
