"""Options that every law's estimator takes, and their check against the law."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from muster.config.models import Scalar, Section
from muster.errors import MusterError
from muster.fitting.base import NoOptions
from muster.fitting.laws.base import Law
from muster.fitting.laws.hold_out import HoldOut
from muster.fitting.laws.printed import read_printed

Vector = dict[str, float | str]


class GroupVector(Section):
    """What was published for one group of a fit."""

    where: dict[str, Scalar] = Field(min_length=1, description="One value for each `by` column")
    values: Vector = Field(min_length=1, description="Parameter → published value")


class LawOptions(NoOptions):
    """Options of every law."""

    columns: dict[str, str] = Field(
        default_factory=dict, description="Variable of the law → column of the table, where the names differ"
    )
    delta: float | Literal["squares"] | None = Field(
        None,
        description="Where Huber's loss of the log residuals turns linear; `squares`: nowhere (least squares); "
        "default: 1.345 robust standard deviations",
    )
    residual: Literal["log", "linear"] = Field(
        "log", description="What is minimized: ln y − ln f, or y − f (δ then has the unit of the response)"
    )
    fixed: dict[str, float] = Field(default_factory=dict, description="Parameter → value that is not estimated")
    clusters: str | Literal[False] | None = Field(
        None,
        description="Column whose values are resampled as a whole (families of runs, checkpoints of one run); false: "
        "rows are independent, also where they share a size",
    )
    thorough: bool = Field(True, description="Also look around the best minimum of the starts for a better one")
    replicates: int = Field(1000, ge=100, description="Bootstrap replicates")
    interval: Literal["bootstrap", "profile"] = Field(
        "bootstrap",
        description="The 95 % interval that is reported: percentiles of the bootstrap, or the profile of the objective "
        "(independent rows, equally noisy)",
    )
    published: dict[str, Vector | list[GroupVector]] = Field(
        default_factory=dict,
        description="Name → values of parameters: each vector is tested together. In quotes a value keeps its digits: "
        "'0.3480', or 'exp(7.6427)' where the logarithm was printed. A list of {where, values} has one for each group",
    )
    drop_largest_losses: int = Field(
        0, ge=0, description="Rows with the largest responses that are left out; the diagnostics show the fit with them"
    )
    hold_out: HoldOut | None = Field(None, description="Rows that are predicted, not fitted")

    @field_validator("published")
    @classmethod
    def _readable(cls, published: dict[str, Any]) -> dict[str, Any]:
        for given in published.values():
            for values in [given] if isinstance(given, dict) else [each.values for each in given]:
                for value in values.values():
                    read_printed(value)
        return published

    def vectors(self, group: Mapping[str, Any]) -> dict[str, Vector]:
        """The published vectors of one group (`by` column → value); a name without one for it is left out."""
        found = {}
        for name, given in self.published.items():
            if isinstance(given, dict):
                found[name] = given
                continue
            for each in given:
                if set(each.where) != set(group):
                    by = ", ".join(group) or "none"
                    place, what = f"options.published.{name}", f"`where` names {', '.join(each.where)}"
                    raise MusterError(place, what, f"One value for each `by` column: {by}")
                if all(value == group[column] for column, value in each.where.items()):
                    found[name] = each.values
        return found


def check_options(law: Law, options: LawOptions) -> None:
    """Options against the law: names of variables and parameters, and an interval that fits the errors."""
    for place, given, known in (
        ("options.columns", options.columns, law.variables),
        ("options.fixed", options.fixed, law.parameters),
    ):
        for name in given:
            if name not in known:
                raise MusterError(place, f"{law.name} has no {name!r}", f"Known: {', '.join(known)}")
    if isinstance(options.delta, float) and options.delta <= 0:
        raise MusterError("options.delta", f"{options.delta:g} is not positive", "Give a positive δ, or `squares`")
    if options.clusters and options.interval == "profile":
        raise MusterError(
            "options.interval", "a profile takes rows as independent", "Use `bootstrap` with clusters of rows"
        )
