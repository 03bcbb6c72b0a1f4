"""Pydantic models of `config/config.yaml` and `config/studies/*.yaml`; `config/schema.json` is generated from them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from muster.numbers import check_numbers

Scale = Literal["smoke", "laptop", "paper"]
Provenance = Literal["abstract", "paper", "repository", "derived", "unconfirmed"]
Test = Literal[
    "equivalence", "greater", "less", "interval", "ordering", "closed_form", "regret", "vector", "reproduced"
]
Scalar = str | int | float | bool
Asserts = Literal["exact", "exponent", "limit", "fit", "comparison", "empirical"]
Stance = Literal["holds", "fails", "own", "control", "identity"]
Criterion = Literal["paper", "proxy"]
Question = Literal[
    "width", "depth", "other_axes", "largest_rate", "features", "initialization", "dynamics", "loss_law", "compute"
]

PUBLISHED = Path("results/published")  # what the repository shows: `muster publish` alone writes there

Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")]


class Section(BaseModel):
    """Base of every section: unknown fields are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _finite(cls, values: Any) -> Any:
        return check_numbers(cls, values)


def as_number(value: Any) -> Any:
    """`-1/2` as −0.5, so that a grid reads the way it is spoken; anything else as it is.

    Raises ValueError for a denominator of 0.
    """
    fraction = re.fullmatch(r" *([+-]?\d{1,9}) */ *(\d{1,9}) *", value) if isinstance(value, str) else None
    if fraction is None:
        return value
    if not int(fraction[2]):
        raise ValueError(f"The denominator of {value.strip()} may not be 0")
    return int(fraction[1]) / int(fraction[2])


Number = Annotated[float, BeforeValidator(as_number)]


def _as_word(value: Any) -> Any:
    """`false` and `null` as `snakemake --config` hands them over: as text."""
    return {"false": False, "null": None}.get(value, value) if isinstance(value, str) else value


MOST_VALUES = 10_000  # of a range: more is a slip of the pen, and would fill the memory


class Range(Section):
    """An inclusive arithmetic range of log2 values: `{from: -10, to: -4, step: 1/2}`."""

    start: Number = Field(alias="from", description="First value, such as -17/4")
    stop: Number = Field(alias="to", description="Last value, included")
    step: Number = Field(gt=0, description="Spacing, such as 1/2 (half octaves)")

    @model_validator(mode="after")
    def _on_grid(self) -> "Range":
        count = (self.stop - self.start) / self.step
        if count > MOST_VALUES:
            raise ValueError(f"a range may have {MOST_VALUES} steps at most: {self.start}, {self.stop}, {self.step}")
        if count < 0 or abs(count - round(count)) > 1e-9:
            raise ValueError(
                f"'to' must be 'from' plus a whole number of steps: {self.start}, {self.stop}, {self.step}"
            )
        return self

    def values(self) -> list[float]:
        return [self.start + i * self.step for i in range(round((self.stop - self.start) / self.step) + 1)]


AxisValues = Scalar | list[Scalar] | Range
Block = Annotated[
    dict[Name, AxisValues],
    Field(
        description="Axis name → value, list or range, numbers also as fractions; the block is their product. "
        "`seeds: 3` means seed 0, 1, 2"
    ),
]


class PilotConfig(Section):
    """What pilots saw of a study's learning-rate sweeps: the assumptions from which the power of its claims follows."""

    noise: float = Field(
        ge=0, allow_inf_nan=False, description="Standard deviation of one run's ln loss around its seed's curve"
    )
    tau: float = Field(
        ge=0, allow_inf_nan=False, description="Standard deviation of ln(optimal rate) between shapes, beyond the line"
    )
    curvature: float = Field(
        gt=0, allow_inf_nan=False, description="Of ln loss at its minimum, per octave² of the rate"
    )


class ScaleConfig(Section):
    """One preset of a study: what differs from the study's settings, and the grid as a union of blocks."""

    settings: dict[Name, Any] = Field(
        default_factory=dict, description="Settings of this scale alone, over the study's"
    )
    grid: list[Block] = Field(min_length=1, description="Blocks whose union is the grid of cells and members")
    # Left out of every dump: what was expected of a run changes nothing in it.
    pilot: PilotConfig | None = Field(
        None, exclude=True, description="What pilots at this scale saw: `muster power` and `muster validate` assume it"
    )


class FitConfig(Section):
    """One statistical model fitted to one table, once per group."""

    estimator: Name = Field(description="A registered estimator: see `muster list estimators`")
    table: Literal["runs", "curves", "probes"] = Field("runs", description="The table that is read")
    select: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict, description="Column → value or values: the rows that enter the fit"
    )
    response: str = Field(description="The column that is modelled")
    along: str = Field("width", description="The axis whose exponent is estimated")
    by: list[str] = Field(default_factory=list, description="Columns whose combinations are fitted separately")
    primary: Name | None = Field(None, description="The variant that decides claims; the estimator's default if absent")
    options: dict[Name, Any] = Field(default_factory=dict, description="Options of the estimator")


class RegimeConfig(Section):
    """A condition under which a claim is fairly tested: a registered check, and its options beside its name."""

    model_config = ConfigDict(extra="allow", frozen=True)

    check: Name = Field(description="A registered regime check: see `muster list checks`")

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class GroupClaim(Section):
    """What a claim says of one group of its fit, where that differs from what it says of all."""

    where: dict[str, Scalar] = Field(min_length=1, description="Group of the fit: one value per `by` column")
    claim: Slug | None = Field(None, description="Name in the ledger; the claim's own and the group's values if absent")
    predicted: float | None = Field(None, description="Predicted value for this group")
    margin: float | None = Field(None, ge=0, description="Half-width of the region for this group")
    prediction_se: float | None = Field(None, ge=0, description="Standard error of this group's predicted value")


class ClaimConfig(Section):
    """A published quantitative statement and the test that decides it, fixed before the run."""

    claim: Slug = Field(description="Unique name in the ledger")
    statement: str = Field(description="The claim in one sentence, as the paper means it")
    source: str = Field(description="Figure, table, equation or section of the paper")
    provenance: Provenance = Field(description="Where the predicted number was read; `unconfirmed`: from memory alone")
    fit: Name = Field(description="The fit of this study that measures it")
    where: dict[str, Scalar] = Field(default_factory=dict, description="Group of the fit: one value per `by` column")
    # Left out of every dump: the claims of the groups stand in its place.
    groups: list[GroupClaim] = Field(
        default_factory=list,
        exclude=True,
        description="Groups of the fit of which the same is said, with their own predictions: a row of the ledger each",
    )
    parameter: Name | None = Field(
        None, description="The number of the fit that is meant; the estimator's first if absent"
    )
    test: Test = Field(description="The test that decides the verdict")
    predicted: float = Field(description="Predicted value, or the threshold of a directional test")
    margin: float = Field(0.0, ge=0, description="Half-width of the region that still counts as the prediction")
    prediction_se: float = Field(
        0.0, ge=0, description="Standard error of a predicted value that is itself an estimate"
    )
    asserts: Asserts = Field(
        "empirical",
        description="exact: a formula at finite size; exponent: an asymptotic power law; limit: convergence as an axis "
        "grows; fit: a number fitted to a table; comparison: an order of two groups; empirical: what the authors saw "
        "at their sizes",
    )
    stance: Stance = Field(
        "holds",
        description="holds, fails: what the paper says of the statement; own: our extension, no headline; control: "
        "an outcome that is known and tests the instrument; identity: true by construction of the code",
    )
    criterion: Criterion = Field(
        "paper", description="paper: measured as the paper does; proxy: by a stand-in, which never refutes"
    )
    published: dict[Name, Scalar | tuple[float, float]] = Field(
        default_factory=dict,
        description="The paper's own regime: axis → [smallest, largest] or one value; sizes, horizon, step of its grid",
    )
    regime: list[RegimeConfig] = Field(
        default_factory=list, description="Checks that must pass for the claim to be judged"
    )
    controls: list[Slug] = Field(
        default_factory=list, description="Claims that must come out as known before this one is judged"
    )
    same_as: Slug | None = Field(None, description="Another claim that states the same fact from the same runs")
    underpowered: str | None = Field(
        None, description="Why a headline stays although its power at its own prediction is below 80 %"
    )
    headline: bool = Field(True, description="Member of the family of the paper's headline claims")
    figure: Name | None = Field(None, description="The study's figure that shows it")

    def of_groups(self) -> "list[ClaimConfig]":
        """The claim for each of its groups; itself where it names none."""
        return [self._of_group(group) for group in self.groups] or [self]

    def _of_group(self, group: GroupClaim) -> "ClaimConfig":
        told = {name: value for name, value in group.model_dump(exclude_none=True).items() if name != "where"}
        values = "-".join(re.sub(r"[^a-z0-9]+", "-", str(value).lower()).strip("-") for value in group.where.values())
        words = ", ".join(f"{column} {value}" for column, value in group.where.items())
        own = {"claim": f"{self.claim}-{values}", "statement": f"{self.statement} ({words})", "groups": []}
        return self.model_copy(update={**own, **told, "where": {**self.where, **group.where}})


class FigureConfig(Section):
    """One figure of a study: a registered plot with its options."""

    plot: Name = Field(description="A registered plot: see `muster list plots`")
    fit: Name | None = Field(None, description="The fit that is drawn")
    select: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict, description="Rows that are drawn")
    options: dict[Name, Any] = Field(default_factory=dict, description="Options of the plot")


class StudyConfig(Section):
    """One study: what is run, on what grid, what is fitted, which claims it decides."""

    study: Slug = Field(description="Name of the study; equals the file's name")
    title: str = Field(description="One line for figures and the report")
    paper: str = Field(description="Authors, title, year of the paper whose claims are decided")
    slug: Slug = Field(description="The paper's row in the list of claims")
    question: Question | None = Field(None, description="Under which question the ledger shows the study's claims")
    description: str = Field("", description="The design in a few sentences: why it can decide its claims")
    experiment: Name = Field(description="A registered experiment: see `muster list experiments`")
    settings: dict[Name, Any] = Field(default_factory=dict, description="Fixed fields of every cell of the experiment")
    scales: dict[Scale, ScaleConfig] = Field(min_length=1, description="Presets: smoke, laptop, paper")
    fits: dict[Name, FitConfig] = Field(min_length=1, description="Fits by name")
    claims: list[ClaimConfig] = Field(default_factory=list, description="Claims that the fits decide")
    figures: dict[Name, FigureConfig] = Field(default_factory=dict, description="Figures by name")

    @field_validator("claims", mode="after")
    @classmethod
    def _of_groups(cls, claims: list[ClaimConfig]) -> list[ClaimConfig]:
        """A claim of several groups becomes the claim of the first; those of the others follow behind all claims, so
        that a claim's place in the list is that in its file."""
        first, others = [], []
        for claim in claims:
            one, *more = claim.of_groups()
            first.append(one)
            others += more
        return first + others


class Config(Section):
    """config/config.yaml: which studies, how large, on what device."""

    scale: Scale = Field("laptop", description="Preset of every study's grid")
    studies: list[Slug] = Field(default=["all"], min_length=1, description="Studies or groups, `all` for every file")
    groups: dict[Slug, list[Slug]] = Field(default_factory=dict, description="Named groups of studies")
    exclude: list[Slug] = Field(
        default_factory=list, description="Studies left out of `all` and of groups; one named by itself is run"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda when present, else cpu")
    dtype: Literal["float32", "float64", "bfloat16"] = Field("float32", description="bfloat16: factors of products")
    mode: Literal["full", "replay"] = Field("full", description="replay: fits and figures from frozen tables only")
    seeds: int | None = Field(None, ge=1, description="Overrides every study's number of seeds")
    results: str = Field(
        "results/{scale}",
        validate_default=True,
        description="Folder of everything that runs make; {scale} stands for the scale",
    )
    store: Annotated[str | Literal[False] | None, BeforeValidator(_as_word)] = Field(
        None,
        description="Folder of finished cells, which several users may share: none if false, results/store, beside the "
        "scales' folders, if null; the variable MUSTER_STORE replaces it",
    )
    sources: str | None = Field(
        None,
        description="Folder of published tables and data sets that you have already; the variable MUSTER_SOURCES "
        "replaces it",
    )

    @field_validator("results")
    @classmethod
    def _of_the_scale(cls, value: str, info: ValidationInfo) -> str:
        placed = value.replace("{scale}", info.data.get("scale", "laptop"))
        if "{" in placed or "}" in placed:
            raise ValueError("{scale} is the only placeholder")
        check_workbench(Path(placed))
        return placed

    _typed: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def typed(self) -> Mapping[str, str]:
        """Fields that were given on a command line, not read from the file → what they are called there."""
        return self._typed

    def remember_typed(self, typed: Mapping[str, str]) -> None:
        """Say where fields come from, for messages about them."""
        self._typed.update(typed)


def check_workbench(results: Path) -> None:
    """Raises ValueError for a folder of results that lies where only `muster publish` may write, or whose name would be
    read as something else: as an option, as somebody's home, as this very folder."""
    name = str(results)
    if name in ("", "."):
        raise ValueError("This very folder holds more than results: name one for them alone")
    if name.startswith(("-", "~")) or not name.isprintable():
        raise ValueError("A name that begins with - or ~, or cannot be printed, means something else to a shell")
    if results.resolve().is_relative_to(PUBLISHED.resolve()):
        raise ValueError(f"{PUBLISHED} is written by `muster publish` alone: choose another folder")


def shared_folder(results: Path | str) -> Path:
    """What all scales share of the results, finished cells and published tables of others, lies in this folder: beside
    `results` if that is one scale's folder, such as `results/laptop`, else in it."""
    folder = Path(results)
    return folder.parent if folder.name in get_args(Scale) else folder
