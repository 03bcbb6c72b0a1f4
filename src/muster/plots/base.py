"""What every plot shares: the data it is given, its checked options, and the registry it is found in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from muster.config.models import FigureConfig, Section, StudyConfig
from muster.errors import MusterError
from muster.registry import Registry

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def _no_rows() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame()


@dataclass(frozen=True)
class PlotData:
    """One study's tables at one scale; a table that the study does not have may be left empty.

    runs, curves, probes: as collected. optima, fits: as fitted, all fits of the study. specification: fits under every
    choice of estimator. claims: the study's rows of the ledger.
    """

    study: StudyConfig
    scale: str
    runs: pd.DataFrame = field(default_factory=_no_rows)
    curves: pd.DataFrame = field(default_factory=_no_rows)
    probes: pd.DataFrame = field(default_factory=_no_rows)
    optima: pd.DataFrame = field(default_factory=_no_rows)
    fits: pd.DataFrame = field(default_factory=_no_rows)
    specification: pd.DataFrame = field(default_factory=_no_rows)
    claims: pd.DataFrame = field(default_factory=_no_rows)


@dataclass(frozen=True)
class Plot:
    """A registered plot: `draw(data, spec, options)`, with the pydantic model of its options."""

    draw: Callable[[PlotData, FigureConfig, Any], Figure]
    options: type[Section]

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self.draw.__doc__ or ""

    def check(self, options: Mapping[str, Any], place: str = "options") -> Section:
        """Options as the plot's model; a field or value that it does not know raises a MusterError naming `place`."""
        try:
            return self.options.model_validate(dict(options))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join([place, *map(str, first["loc"])])
            known = ", ".join(self.options.model_fields) or "none"
            raise MusterError(where, f"{first['msg']} (found {first['input']!r})", f"Options: {known}") from None

    def __call__(self, data: PlotData, spec: FigureConfig) -> Figure:
        """Draw the figure in the house style.

        Raises:
            MusterError: an unknown option, an unknown column in `select`, or a fit that the study does not have.
        """
        from muster.plots import style

        options = self.check(spec.options)
        if spec.fit is not None and spec.fit not in data.study.fits:
            raise MusterError("fit", f"unknown name {spec.fit!r}", f"Fits of the study: {', '.join(data.study.fits)}")
        with style.paper():
            return self.draw(data, spec, options)


class Options(Section):
    """Options of every plot."""

    title: str | None = Field(None, description='The study\'s title if absent; "" for none, as journals want it')


PLOTS: Registry[Plot] = Registry("plot")


def plot(name: str, options: type[Options]) -> Callable[[Callable[..., Figure]], Plot]:
    """Register a drawing function together with the model of its options."""

    def add(draw: Callable[..., Figure]) -> Plot:
        return PLOTS.register(name)(Plot(draw, options))

    return add
