"""The exceptions that a user is meant to read."""

from pathlib import Path


class MusterError(Exception):
    """A mistake that the user can mend. The message names the place, what was found, what is allowed or the remedy.

    It is one line, whatever characters a file brings into it.
    """

    def __init__(self, place: str, found: str, remedy: str):
        self.place, self.found, self.remedy = place, found, remedy
        message = f"{place}: {found}. {remedy}"
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))

    def __reduce__(self):
        return type(self), (self.place, self.found, self.remedy)


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
