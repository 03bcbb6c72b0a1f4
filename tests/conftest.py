"""What all tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of published run tables, which the project does not contain: MUSTER_SHARED_DATA, or beside it."""
    folder = Path(os.environ.get("MUSTER_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no published tables in {folder}; set MUSTER_SHARED_DATA")
    return folder
