"""The settings of the experiment `command`, and the words of the command that they make."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from muster.config.load import nearest
from muster.config.models import Name, Scalar
from muster.errors import MusterError
from muster.experiments import Cell
from muster.script.files import sha256_of

# Placeholder → the field of the cell that it carries into the command; the last two say where a run happens.
PLACEHOLDERS = {
    "width": "width",
    "depth": "depth",
    "parameterization": "parameterization",
    "learning_rate": "log2_lr",
    "log2_lr": "log2_lr",
    "seed": "seed",
    "output": None,
    "device": None,
}
DEFAULTS = {"depth": 1, "parameterization": "none", "seed": 0}


def _hashed(code: Any) -> Any:
    """File names become {file: sha256}; a cell that was read back holds the hashes already."""
    if not isinstance(code, list):
        return code
    hashes = {}
    for name in code:
        path = Path(str(name))
        if not path.is_file():
            raise MusterError("code", f"no such file {str(name)!r}", "Give paths from the folder that muster runs in")
        stat = path.stat()
        hashes[str(name)] = sha256_of(path.resolve(), stat.st_size, stat.st_mtime_ns)
    return hashes


CodeFiles = Annotated[
    dict[str, str], BeforeValidator(_hashed), WithJsonSchema({"type": "array", "items": {"type": "string"}})
]


class CommandCell(Cell):
    """One shape and seed of somebody's training script; its members run one after another."""

    member_axes: ClassVar[tuple[str, ...]] = ("log2_lr",)
    free_names: ClassVar[tuple[str, ...]] = ("parameterization",)

    parameterization: str = Field(
        "none", pattern=r"^[A-Za-z0-9_]+$", description="What the script calls its parameterization"
    )
    log2_lr: list[float] = Field(min_length=1, description="Members: log2 of the learning rate, one run each")
    command: str = Field(
        min_length=1,
        description="Command of one run, without a shell; placeholders: {"
        + "} {".join(PLACEHOLDERS)
        + "} and `options`",
    )
    options: dict[Name, Scalar] = Field(default_factory=dict, description="Further placeholders and their values")
    metrics: Literal["json", "csv"] = Field(
        "json", description="Format of the file that the command writes to {output}"
    )
    timeout: float = Field(3600.0, gt=0, description="Seconds after which a run is stopped; plans expect a tenth of it")
    code: CodeFiles = Field(
        default_factory=dict,
        description="Further files of the script, beside what it imports from its folder: an edited one makes its "
        "cells run again",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "CommandCell":
        if len(set(self.log2_lr)) != len(self.log2_lr):
            raise ValueError("log2_lr holds a learning rate twice")
        check_command(self)
        return self


def split(command: str) -> list[list[tuple[str, str | None]]]:
    """The words of a command as a shell would cut them, each a list of (text, placeholder or None).

    Cutting comes before filling in, so that no value can become two words or an option of its own. Raises MusterError
    for open quotes and for braces that are no plain placeholder.
    """
    try:
        words = shlex.split(command)
        parsed = [list(Formatter().parse(word)) for word in words]
    except ValueError as error:
        remedy = "Close quotes and braces; a brace that is meant as such is written {{ or }}"
        raise MusterError("command", f"cannot be read ({error})", remedy) from None
    for word, parts in zip(words, parsed, strict=True):
        if any(field == "" or spec or conversion for _, field, spec, conversion in parts):
            raise MusterError("command", f"found {word!r}", "A placeholder is a name in braces, such as {width}")
    return [[(text, field) for text, field, _, _ in parts] or [("", None)] for parts in parsed]


_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "fish"})
_SHELL_WORDS = re.compile(r"&&?|\|\|?|;.*|.*;|\d?>>?.*|\d?<.*|.*\$[({A-Za-z_].*|.*`.*")
_BUILTINS = frozenset({"cd", "export", "source", ".", "ulimit", "module", "conda"})


def refuse_shell(words: Sequence[str]) -> None:
    """Raises MusterError for a line that only a shell understands: its words would reach the program as they are."""
    if Path(words[0]).name in _SHELLS:
        return
    assigns = re.fullmatch(r"[A-Za-z_]\w*=.*", words[0])
    found = next((word for word in words if _SHELL_WORDS.fullmatch(word)), None)
    if assigns or words[0] in _BUILTINS or found:
        shown = found or words[0]
        remedy = (
            "No shell runs the command: put the line into a script and call `bash run.sh …`; `env NAME=value …` sets"
        )
        raise MusterError("command", f"{shown!r} means something to a shell alone", f"{remedy} a variable")


def check_command(cell: CommandCell) -> None:
    """Raises MusterError for a shell's line, for a placeholder that nothing fills, and for a setting that would not
    reach the script."""
    words = split(cell.command)
    refuse_shell(shlex.split(cell.command))
    used = {field for word in words for _, field in word if field is not None}
    known = [*PLACEHOLDERS, *cell.options]
    for name in sorted(used - set(known)):
        raise MusterError(
            "command", f"unknown placeholder {{{name}}}", f"{nearest(name, known)}; or add it to `options`"
        )
    for name in sorted(set(cell.options) & set(PLACEHOLDERS)):
        raise MusterError("options", f"{name!r} is a placeholder of every command", "Choose another name")
    for name in sorted(set(cell.options) - used):
        remedy = f"Write {{{name}}} where it belongs, or remove it"
        raise MusterError("command", f"the option {name!r} is not in it: its value would change nothing", remedy)
    if "output" not in used:
        raise MusterError("command", "{output} is missing", f"The script must write its {cell.metrics} file there")
    reached = {PLACEHOLDERS[name] for name in used & set(PLACEHOLDERS)}
    for field in ("width", "log2_lr", *DEFAULTS):
        if field not in reached and getattr(cell, field) != DEFAULTS.get(field):
            placeholder = "{learning_rate} or {log2_lr}" if field == "log2_lr" else f"{{{field}}}"
            found = f"{field} is {getattr(cell, field)!r} in this cell, and {placeholder} is not in the command"
            raise MusterError("command", found, "Pass it to the script: else its runs would all be the same")


def arguments(cell: CommandCell, log2_lr: float, output: str, device: str) -> list[str]:
    """The words of one run's command, filled in."""
    values: Mapping[str, Any] = {
        "width": cell.width,
        "depth": cell.depth,
        "parameterization": cell.parameterization,
        "learning_rate": 2.0**log2_lr,
        "log2_lr": log2_lr,
        "seed": cell.seed,
        "output": output,
        "device": device,
        **cell.options,
    }
    return [
        "".join(text + (str(values[field]) if field is not None else "") for text, field in word)
        for word in split(cell.command)
    ]
