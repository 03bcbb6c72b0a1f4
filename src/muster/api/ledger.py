"""The published ledger as a DataFrame."""

from pathlib import Path

import pandas as pd

from muster.config.models import PUBLISHED
from muster.config.shipped import shipped
from muster.errors import MusterError


def read_ledger(folder: str | Path | None = None) -> pd.DataFrame:
    """The ledger of a folder, else the published one: one row a claim, verified against its checksum."""
    from muster.claims.ledger import read_ledger as read

    place = Path(folder) if folder is not None else shipped(PUBLISHED / "ledger")
    if not place.is_dir():
        raise MusterError(str(place), "no ledger there", "Give the folder that holds claims.csv")
    return read(place)
