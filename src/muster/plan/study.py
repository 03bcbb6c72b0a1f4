"""The cells of one study, and the columns that tell its runs apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from muster.columns import COLUMNS
from muster.config.models import StudyConfig
from muster.digests import canonical, digest
from muster.experiments import Cost
from muster.plan.cells import PlannedCell

LEDGER_PLOTS = ("forest",)  # plots that draw verdicts; the others are made before anything is judged
SPECIFICATION_PLOTS = ("specification_curve",)  # plots that draw a fit under every choice of estimator


def specified(study: StudyConfig) -> list[str]:
    """The fits whose specification curves the study's figures show, in order."""
    return list(dict.fromkeys(f.fit for f in study.figures.values() if f.plot in SPECIFICATION_PLOTS and f.fit))


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


def fitted_settings(study: StudyConfig) -> dict[str, Any]:
    """Everything of a study that decides its fits, and whether its claims are fairly tested: with another statement, or
    another margin of a claim that no check looks at, nothing is fitted anew."""
    seen = {"regime", "published", "fit", "where", "parameter", "test", "predicted", "margin"}
    checked = {claim.claim: claim.model_dump(mode="json", include=seen) for claim in study.claims if claim.regime}
    return {"fits": study.model_dump(mode="json", include={"fits"})["fits"], "regime": checked}


def ledger_settings(known: Mapping[str, StudyConfig]) -> dict[str, str]:
    """Everything of the studies that the ledger prints: with other words a study is judged anew, not fitted anew."""
    fields = {"claims", "paper", "slug", "question"}
    return {name: canonical(study.model_dump(mode="json", include=fields)) for name, study in known.items()}
