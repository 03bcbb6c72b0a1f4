"""What is only said of a parameterization is no part of a cell's fingerprint."""

import dataclasses

from muster.parameterizations import PARAMETERIZATIONS


def test_notes_are_not_among_what_fingerprints_describe():
    """These go over the fields that a representation shows: a note that is reworded renames no finished cell."""
    table = PARAMETERIZATIONS["mup"]
    noted = dataclasses.replace(table, notes=("a note",))
    assert repr(noted) == repr(table)
    assert repr(dataclasses.replace(table, decay_rule="other")) != repr(table)
