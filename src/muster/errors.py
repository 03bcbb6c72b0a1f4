"""The exceptions that a user is meant to read."""

import re
from collections.abc import Sequence
from pathlib import Path

FieldPath = tuple[str | int, ...]

# What lets others in: user and password in an address, tokens and signatures in its query, tokens by their prefixes.
_SECRETS = (
    re.compile(r"(?<=://)[^\s/?#@'\"]+(?=@)"),
    re.compile(
        r"(?<=[?&;])((?:[\w.-]*(?:token|secret|signature|credential|password|passwd|apikey|api[_-]key|accesskeyid)|key|sig|pw"
        r"|auth)=)[^\s&#;'\"]+",
        re.IGNORECASE,
    ),
    re.compile(r"\b(?:hf_|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk-)[A-Za-z0-9_-]{16,}"),
)


def redacted(text: str) -> str:
    """A text without credentials: those of addresses, and tokens that are known by their prefix."""
    for pattern in _SECRETS:
        text = pattern.sub(lambda found: f"{found[1] if found.lastindex else ''}***", text)
    return text


class MusterError(Exception):
    """A mistake that the user can mend. The message names the place, what was found, what is allowed or the remedy.

    It is one line, whatever characters a file brings into it.
    """

    def __init__(self, place: str, found: str, remedy: str):
        self.place, self.found, self.remedy = place, found, remedy
        message = redacted(f"{place}: {found}. {remedy}")
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))

    def __reduce__(self):
        return type(self), (self.place, self.found, self.remedy)

    @property
    def mistakes(self) -> "tuple[MusterError, ...]":
        """All mistakes that it stands for."""
        return (self,)


class FieldError(MusterError):
    """A mistake in one field of a file, found by who does not know the file; `muster.config.load.in_file` places it."""

    def __init__(self, field: FieldPath, found: str, remedy: str):
        super().__init__(dotted(field), found, remedy)
        self.field = field

    def __reduce__(self):
        return type(self), (self.field, self.found, self.remedy)


def dotted(field: FieldPath) -> str:
    """A field as a reader writes it: `scales.laptop.grid[0].width`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in field).lstrip(".")


class Mistakes(MusterError):
    """Several mistakes at once: it reads as the first of them, and counts the others.

    where: who tells the others; empty where nobody does, so that it reads as all of them.
    """

    def __init__(self, mistakes: Sequence[MusterError], where: str = "muster validate"):
        first, *others = mistakes
        more = f" (and {len(others)} more: {where})" if where else "".join(f"; {other}" for other in others)
        super().__init__(first.place, first.found, f"{first.remedy}{more}")
        self._mistakes, self._where = tuple(mistakes), where

    def __reduce__(self):
        return type(self), (self._mistakes, self._where)

    @property
    def mistakes(self) -> tuple[MusterError, ...]:
        return self._mistakes


def as_one(mistakes: Sequence[MusterError], where: str = "muster validate") -> MusterError:
    """One or several mistakes as one exception, none of them twice."""
    different = list({str(mistake): mistake for mistake in mistakes}.values())
    return different[0] if len(different) == 1 else Mistakes(different, where)


class Gathering:
    """Mistakes that do not depend on each other, told together.

    wrong = Gathering()
    for name in names:
        with wrong:
            look_up(name)
    wrong.tell()
    """

    def __init__(self) -> None:
        self._mistakes: list[MusterError] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, MusterError):
            self._mistakes += error.mistakes
        return isinstance(error, MusterError)

    def tell(self) -> None:
        """Raises a MusterError that reads as all mistakes, if there is any."""
        if self._mistakes:
            raise as_one(self._mistakes, where="")


class DamagedError(MusterError):
    """A file that muster wrote and that holds something else now: never read as data, made anew once out of the way.

    paths: files or folders that have to go, so that a further run makes them anew.
    """

    def __init__(self, place: str, found: str, *paths: Path):
        super().__init__(place, found, f"Delete {paths[0]} and run again: it is made anew")
        self.paths = paths

    def __reduce__(self):
        return type(self), (self.place, self.found, *self.paths)


class Unavailable(Exception):
    """Data that are neither on this machine nor within its reach: no mistake of a study's, so nothing else stops.

    The message is the reason, one clause.
    """
