"""Files that come with muster: in its repository, or beside an installed package."""

import sysconfig
from pathlib import Path

_PLACES = (Path(__file__).resolve().parents[3], Path(sysconfig.get_path("data")) / "share" / "muster")


def shipped(path: Path | str) -> Path:
    """A path as it stands if something lies there, seen from here; else where muster's own copy lies, if it has one."""
    path = Path(path)
    if path.exists() or path.is_absolute():
        return path
    return next((place / path for place in _PLACES if (place / path).exists()), path)
