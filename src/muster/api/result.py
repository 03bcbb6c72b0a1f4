"""What all results have in common: records behind them, DataFrames, text, figures, files."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from muster.errors import MusterError
from muster.fitting.base import to_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from muster.plots import PlotData


class Result(ABC):
    """A result that a notebook can look at and a command can print or write.

    tables: the DataFrames that `write` writes, attributes. figures: names that `plot` knows, of the study's figures.
    """

    tables: ClassVar[Sequence[str]]
    figures: ClassVar[Sequence[str]]

    @property
    @abstractmethod
    def records(self) -> Mapping[str, Any]:
        """Everything as plain lists and numbers: what the command prints with `--json`."""

    @abstractmethod
    def summary(self) -> str:
        """The result in words and columns."""

    @abstractmethod
    def plot_data(self) -> "PlotData":
        """What figures are drawn from."""

    def frame(self, name: str) -> pd.DataFrame:
        """Some of the records as a DataFrame, with a column for each of what they are grouped by."""
        return pd.DataFrame([{**row["group"], **{k: v for k, v in row.items() if k != "group"}}
                             for row in self.records[name]])  # fmt: skip

    def json(self) -> str:
        """One JSON object, numbers to six digits."""
        return to_json(self.records)

    def plot(self, name: str | None = None) -> "Figure":
        """A Matplotlib figure: one of `figures`, the first if none is named."""
        from muster.plots import render

        chosen = name or self.figures[0]
        if chosen not in self.figures:
            raise MusterError("plot", f"no figure {chosen!r}", f"Figures: {', '.join(self.figures)}")
        return render(chosen, self.plot_data())

    def write(self, folder: Path) -> None:
        """Tables as CSV, groups as columns, and figures as SVG and PNG."""
        from muster.files import write_text
        from muster.plots import save
        from muster.tables.spreadsheet import quoted

        for name in self.tables:
            frame = getattr(self, name)
            if len(frame):
                write_text(folder / f"{name}.csv", quoted(frame).to_csv(index=False, float_format="%.6g"))
        for name in self.figures:
            save(self.plot(name), folder / f"{name}.svg", folder / f"{name}.png")
