"""What a data set is: validated options, arrays, and the facts that its manifest records."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from muster.download import TIMEOUT
from muster.errors import MusterError
from muster.registry import Registry
from muster.settings import Settings

Task = Literal["classification", "regression", "next_token"]
Stream = Callable[[Any, np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


class Options(BaseModel):
    """Fields that every data set understands; a data set adds its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: int = Field(ge=2, description="Training examples")
    heldout: int = Field(ge=1, description="Held-out examples")
    seed: int = Field(0, ge=0, description="Seed of the data themselves, apart from a cell's seed")


class Arrays(NamedTuple):
    """A data set in memory.

    train_x, heldout_x: [examples, features] float32, or int64 tokens [examples, context] for the task `next_token`.
    train_y, heldout_y: [examples] int64 classes, [examples, outputs] float32 targets, or int64 tokens
    [examples, context].
    """

    train_x: np.ndarray
    train_y: np.ndarray
    heldout_x: np.ndarray
    heldout_y: np.ndarray


class Dimensions(NamedTuple):
    """Shapes that a model needs before the data exist: features in, outputs (classes, targets or vocabulary) out."""

    features: int
    outputs: int
    task: Task

    @property
    def positions(self) -> int:
        """Outputs that one example has: one a token of a sequence, else 1."""
        return self.features if self.task == "next_token" else 1


@dataclass(frozen=True)
class Raw:
    """What a data set's `build` returns: arrays before standardisation, and extra facts for the manifest."""

    arrays: Arrays
    facts: dict[str, Any] = field(default_factory=dict)


class Places(NamedTuple):
    """Where bytes from elsewhere are looked for, and where downloads stay.

    folders: of the user and of `muster fetch`, the first that holds them is taken. kept: folder that downloads are
    written to and read from, if any. timeout: seconds without an answer. deadline: seconds for a whole download.
    """

    folders: tuple[Path, ...] = ()
    kept: Path | None = None
    timeout: float = TIMEOUT
    deadline: float = 600.0  # 26 MB at 0.35 Mbit/s

    @property
    def all(self) -> tuple[Path, ...]:
        return (*self.folders, *((self.kept,) if self.kept else ()))


@dataclass(frozen=True)
class Origin:
    """Bytes that a data set takes from elsewhere, so that a machine may lack them.

    obtain: (options, places) → what `build` makes the arrays of; raises Unavailable with the reason. state: (options,
    folders) → what lies on this machine, in a word that changes when a copy appears or changes; asks no network.
    by_hand: (options, folder of sources) → what to do without `muster fetch`, in the imperative. command: what brings
    them where there is a network; empty where they are the user's own.
    """

    obtain: Callable[[Any, Places], Any]
    state: Callable[[Any, tuple[Path, ...]], str]
    by_hand: Callable[[Any, Path], str]
    command: str = ""

    def remedy(self, options: "Options", folder: Path) -> str:
        """Both ways to get them."""
        return ", or ".join(filter(None, [self.command, self.by_hand(options, folder)]))


@dataclass(frozen=True)
class Dataset:
    """A registered data set.

    axes: options that a cell may be given beside `data_options`, so that a grid can vary them.
    build: options → arrays; where there is an origin, options and what was obtained of it.
    local: options that say where bytes lie, not which bytes; they stay out of the key and the manifest.
    standardise: whether inputs, and targets of a regression, are shifted and scaled to mean 0 and variance 1.
    stream: (options, generator, count) → fresh inputs and targets, for a distribution that training need not sample
    twice; None where the training split is all there is.
    """

    summary: str
    options: type[Options]
    dimensions: Callable[[Any], Dimensions]
    build: Callable[..., Raw]
    licence: str
    source: str
    axes: tuple[str, ...] = ()
    origin: Origin | None = None
    local: frozenset[str] = field(default=frozenset())
    standardise: bool = True
    stream: Stream | None = None

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self.summary

    @property
    def settings(self) -> type[BaseModel]:
        """The axes as settings of a cell, absent unless it gives them."""
        return _axes(self.options, self.axes)


@cache
def _axes(options: type[Options], names: tuple[str, ...]) -> type[BaseModel]:
    fields = {}
    for name in names:
        info = options.model_fields[name]
        meaning = f"{info.description}: option `{name}`, as an axis"
        fields[name] = (Annotated[info.annotation, *info.metadata] | None, Field(None, description=meaning))
    return create_model("Axes", __base__=Settings, **fields)  # type: ignore[call-overload]


DATASETS: Registry[Dataset] = Registry("data set", modules=("muster.data",))


def validate(name: str, options: dict[str, Any] | None) -> Options:
    """Options with defaults filled in. Raises MusterError with place `data_options.<field>`."""
    model = DATASETS[name].options
    try:
        return model.model_validate(options or {})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["data_options", *map(str, first["loc"])])
        if first["type"] == "extra_forbidden":
            remedy = f"Options of {name}: {', '.join(model.model_fields)}"
            raise MusterError(place, f"unknown option for the data set {name!r}", remedy) from None
        allowed = model.model_fields[str(first["loc"][0])].description if first["loc"] else ""
        raise MusterError(place, f"{first['input']!r}: {first['msg']}", f"Meaning: {allowed}") from None


def check_size(field_name: str, wanted: int, available: int, name: str) -> None:
    """Raises MusterError if a split asks for more examples than the data set holds."""
    if wanted > available:
        place = f"data_options.{field_name}"
        raise MusterError(place, f"{wanted} examples asked of {name}", f"It holds {available}: ask for at most that")


def stamp(paths: Iterable[Path]) -> str:
    """`absent`, or 12 hexadecimal digits of names, sizes and modification times of the files that are there."""
    found = [(path, path.stat()) for path in paths if path.is_file()]
    if not found:
        return "absent"
    text = "\n".join(f"{path.name} {stat.st_size} {stat.st_mtime_ns}" for path, stat in found)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
