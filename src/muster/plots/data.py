"""What a plot is given: one study's tables at one scale, and the unit of its losses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from muster.config.models import StudyConfig
from muster.experiments import EXPERIMENTS
from muster.plots import words

if TYPE_CHECKING:
    import pandas as pd


def _no_rows() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame()


@dataclass(frozen=True)
class PlotData:
    """One study's tables at one scale; a table that the study does not have may be left empty.

    runs, curves, probes: as collected. optima, fits: as fitted, all fits of the study. predictions: of runs that fits
    held out. specification: fits under every choice of estimator. claims: the study's rows of the ledger. regime: the
    conditions of its claims, as checked.
    """

    study: StudyConfig
    scale: str
    runs: pd.DataFrame = field(default_factory=_no_rows)
    curves: pd.DataFrame = field(default_factory=_no_rows)
    probes: pd.DataFrame = field(default_factory=_no_rows)
    optima: pd.DataFrame = field(default_factory=_no_rows)
    fits: pd.DataFrame = field(default_factory=_no_rows)
    predictions: pd.DataFrame = field(default_factory=_no_rows)
    specification: pd.DataFrame = field(default_factory=_no_rows)
    claims: pd.DataFrame = field(default_factory=_no_rows)
    regime: pd.DataFrame = field(default_factory=_no_rows)

    def label(self, column: str) -> str:
        """The axis label of a column or probe with its unit; a loss takes its unit from the study's settings."""
        return words.label(column, self.loss_unit() if column.endswith("_loss") else None)

    def loss_unit(self) -> str:
        """The unit of the study's losses: of its loss function, per token where a row of its data set is tokens."""
        settings = {"loss": self._default_loss(), **self.study.settings, **self._scale_settings()}
        unit = words.loss_unit(str(settings["loss"]))
        return unit.replace("per example", "per token") if _reads_tokens(settings) else unit

    def _default_loss(self) -> str:
        fields = EXPERIMENTS[self.study.experiment].cell.model_fields
        if "loss" in fields:
            return str(fields["loss"].default)
        return "as published" if "sources" in fields else "unit of the objective"

    def _scale_settings(self) -> dict[str, Any]:
        return next((preset.settings for name, preset in self.study.scales.items() if name == self.scale), {})


def _reads_tokens(settings: dict[str, Any]) -> bool:
    """Whether the study's losses are means over tokens."""
    from muster.data import DATASETS, dimensions  # here because it loads numpy, which checking a study does not need

    name = str(settings.get("data"))
    return name in DATASETS and dimensions(name, settings.get("data_options")).task == "next_token"
