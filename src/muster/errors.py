"""The one exception that a user is meant to read."""


class MusterError(Exception):
    """A mistake that the user can mend. The message names the place, what was found, what is allowed or the remedy."""

    def __init__(self, place: str, found: str, remedy: str):
        self.place, self.found, self.remedy = place, found, remedy
        super().__init__(f"{place}: {found}. {remedy}")

    def __reduce__(self):
        return type(self), (self.place, self.found, self.remedy)
