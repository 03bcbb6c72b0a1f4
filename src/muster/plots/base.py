"""What makes a module a plot: the registry, the protocol of a plot, and its options, checked and described."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from muster.config.load import field_errors
from muster.config.models import FigureConfig, Section
from muster.errors import FieldPath, MusterError, as_one
from muster.plots import layout, style, words
from muster.plots.axes import keep_ticks_apart, show_what_is_cut
from muster.plots.data import PlotData
from muster.registry import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure


NAMED = 2  # conditions that are not met which a figure names; its claims' rows in the ledger have all


class Options(Section):
    """Options of every plot."""

    title: str | None = Field(
        None, description='What the figure shows, by default from its plot; "" for no title, as journals want it'
    )


class Names(NamedTuple):
    """Mark of an option that names columns, of a table or telling a fit's groups apart, or the variables of a law."""

    of: Literal["runs", "curves", "probes", "groups", "variables"]


class OptionText(NamedTuple):
    """One option in words: its name, the values it takes, its default and what it does."""

    name: str
    values: str
    default: str
    description: str


@dataclass(frozen=True)
class Plot:
    """A registered plot: `draw(data, spec, options)`, the model of its options, and what a figure of it shows.

    shows: the default title in one line, without the study's name; None for a plot that writes a title itself. sweeps:
    whether it shows runs by their learning rates and seeds, which may then differ in nothing else within a group, or
    one value a run, so that no fit of optima can be drawn; None where neither is so.
    """

    draw: Callable[[PlotData, FigureConfig, Any], Figure]
    options: type[Options]
    shows: Callable[[PlotData, FigureConfig, Any], str] | None = None
    sweeps: bool | None = None

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self.draw.__doc__ or ""

    def check(self, options: Mapping[str, Any], place: FieldPath = ("options",)) -> Options:
        """Options as the plot's model; fields or values that it does not know raise a MusterError of them all."""
        try:
            return self.options.model_validate(dict(options))
        except ValidationError as error:
            wrong = field_errors(error, self.options, dict(options), place)
        raise as_one(wrong)

    @property
    def of_law(self) -> bool:
        """Whether its options name variables of a law: it shows a fitted law only."""
        marks = (mark for field in self.options.model_fields.values() for mark in field.metadata)
        return any(isinstance(mark, Names) and mark.of == "variables" for mark in marks)

    def named(self, options: Options) -> Iterator[tuple[str, str, str]]:
        """What the options name: the option, the column, and of what it must be one (`Names.of`)."""
        for name, field in self.options.model_fields.items():
            given = getattr(options, name)
            for mark in (mark for mark in field.metadata if isinstance(mark, Names) and given is not None):
                yield from ((name, column, mark.of) for column in (given if isinstance(given, list) else [given]))

    def option_texts(self) -> list[OptionText]:
        """Every option in words, the plot's own before those of all plots."""
        shared = Options.model_fields
        properties = self.options.model_json_schema()["properties"]
        return [
            OptionText(name, _values(properties[name]), _default(self.options, name), properties[name]["description"])
            for name in sorted(properties, key=lambda name: name in shared)
        ]

    def __call__(self, data: PlotData, spec: FigureConfig) -> Figure:
        """Draw the figure in the house style, with its title, and with words for all that its axes leave out.

        Raises:
            MusterError: an unknown option, an unknown column in `select`, or a fit that the study does not have.
        """
        options = self.check(spec.options)
        if spec.fit is not None and spec.fit not in data.study.fits:
            raise MusterError("fit", f"unknown name {spec.fit!r}", f"Fits of the study: {', '.join(data.study.fits)}")
        with style.paper():
            fig = self.draw(data, spec, options)
            show_what_is_cut(fig)
            if self.shows is not None:
                title = options.title if options.title is not None else self._title(data, spec, options)
                scale = f" \N{EM DASH} {data.scale} scale" if data.scale else ""
                layout.heading(fig, title, data.study.title + scale + _runs(data, spec) + _regime(data, spec))
                keep_ticks_apart(fig)
        return fig

    def _title(self, data: PlotData, spec: FigureConfig, options: Options) -> str:
        """What the figure shows, and of which rows where the figure or its fit selects some."""
        assert self.shows is not None
        fit = data.study.fits.get(spec.fit or "")
        chosen = {**(fit.select if fit else {}), **spec.select}
        told = {name: _told(data, name, value, fit.by if fit else []) for name, value in chosen.items()}
        told = {name: value for name, value in told.items() if value is not None and name not in ("probe", "seed")}
        text = words.sentence(self.shows(data, spec, options))
        return f"{text} ({words.phrase(told)})" if told else text


def _runs(data: PlotData, spec: FigureConfig) -> str:
    """How many runs each fit that the figure shows rests on, and in how many clusters of dependent ones; nothing where
    it shows none, or one without runs."""
    from muster.fitting.base import clusters_of

    if spec.fit is None or data.fits.empty or "n_runs" not in data.fits.columns:
        return ""
    rows = data.fits[(data.fits["fit"] == spec.fit) & (data.fits["n_runs"] > 0)]
    if rows.empty:
        return ""
    told = f"n = {_span(rows['n_runs'])} runs"
    if known := [count for row in rows.to_dict("records") if (count := clusters_of(row)) is not None]:
        told += f" in {_span(known)} clusters"
    return ", " + f"{told} a fit".replace(" ", "\N{NO-BREAK SPACE}")  # no line ends with `n`


def _span(counts: Iterable[Any]) -> str:
    few, many = min(counts), max(counts)
    return f"{few:.0f}" if few == many else f"{few:.0f} to {many:.0f}"


def _regime(data: PlotData, spec: FigureConfig) -> str:
    """Conditions of the figure's claims that are not met and forbid a verdict, in words: each with the claims that it
    stops. One that could not be computed is not met. Nothing at smoke, where none is judged."""
    if data.regime.empty or data.scale == "smoke":
        return ""
    shown = {name for name, figure in data.study.figures.items() if figure is spec}
    own = {claim.claim for claim in data.study.claims if claim.figure in shown}
    rows = data.regime[data.regime["claim"].isin(own) & (data.regime["blocks"] == "both")]
    failed: dict[str, list[str]] = {}
    for row in rows[~rows["passed"]].to_dict("records"):
        value, low, high = (words.with_minus(f"{row[name]:.3g}") for name in ("value", "low", "high"))
        found = "could not be computed" if math.isnan(row["value"]) else f"{value} not in [{low}, {high}]"
        failed.setdefault(f"{row['check']} {found}", []).append(row["claim"])
    told = [f"{what} ({', '.join(claims)})" for what, claims in failed.items()]
    more = [f"and {len(told) - NAMED} more"] if len(told) > NAMED else []
    return f". Regime not met: {'; '.join([*told[:NAMED], *more])}" if told else ""


def _told(data: PlotData, column: str, value: Any, by: Sequence[str]) -> Any:
    """What a title says of a selection: of several values those that occur; None for what the figure tells apart.

    A selection holds the sizes of all scales: of two numbers at most one belongs to this one.
    """
    if not isinstance(value, list):
        return value
    tables = [table for table in (data.runs, data.curves, data.probes) if column in table.columns]
    found = [each for each in value if any((table[column] == each).any() for table in tables)]
    if len(found) == 1:
        return found[0]
    named = len(found) == 2 and column not in by and all(isinstance(each, str) for each in found)
    return found if named else None


def _values(schema: Mapping[str, Any]) -> str:
    """What an option takes, from its JSON schema: `text`, `list of text`, `auto | linear | log`."""
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(_values(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        parts = schema.get("prefixItems") or ([schema["items"]] if "items" in schema else [])
        return "list of " + ", ".join(_values(part) for part in parts)
    if kind == "object":
        return "mapping"
    return {"string": "text", "integer": "whole number", "boolean": "true | false"}.get(kind, kind)


def _default(options: type[Options], name: str) -> str:
    """The default as YAML would have it."""
    default = options.model_fields[name].get_default(call_default_factory=True)
    if default is None:
        return "none"
    return str(list(default) if isinstance(default, tuple) else default).replace("'", "")


PLOTS: Registry[Plot] = Registry("plot", modules=("muster.plots",))


def plot(
    name: str,
    options: type[Options],
    shows: Callable[[PlotData, FigureConfig, Any], str] | None,
    sweeps: bool | None = None,
) -> Callable[[Callable[..., Figure]], Plot]:
    """Register a drawing function together with the model of its options, its default title, and what it shows of
    runs; see `Plot`."""

    def add(draw: Callable[..., Figure]) -> Plot:
        return PLOTS.register(name)(Plot(draw, options, shows, sweeps))

    return add
