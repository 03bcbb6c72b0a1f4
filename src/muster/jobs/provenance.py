"""What made an artifact: written beside it or below `<results>/provenance`, never inside, since equal inputs must give
equal bytes."""

import json
import os
import platform
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from muster import __version__
from muster.digests import sealed
from muster.files import write_text

PEAKS_IN_A_MB = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes
MAKERS = ("muster", "numpy", "torch", "device")  # what a table should not mix silently
PACKAGES = ("matplotlib", "numpy", "pandas", "pyarrow", "scipy", "seaborn", "statsmodels", "torch")


def made_by(code: str, seconds: float, device: str = "cpu") -> dict[str, Any]:
    """Code fingerprint, device, versions of the packages in use, threads, wall time in seconds, peak memory in MB."""
    return {
        "code": code,
        "device": device,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / PEAKS_IN_A_MB),
        "platform": platform.platform(),
        "seconds": round(seconds, 3),
        "threads": _threads(),
        "versions": {"muster": __version__, "python": platform.python_version(), **versions()},
    }


def _threads() -> int:
    """Threads of this process: the first of those that OMP_NUM_THREADS lists by level of nesting, else all cores."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else os.cpu_count() or 1


def made_before(results: Path, cell: str) -> bool:
    """Whether a cell of that key was finished in these results, be it there or not."""
    return _note(results, cell).exists()


def note_made(results: Path, cell: str, address: str) -> None:
    """Remember that a cell was finished in these results, so that a deleted one is made anew, not copied."""
    write_text(_note(results, cell), json.dumps({"artifact": f"runs/{cell}", "address": address}) + "\n")


def _note(results: Path, cell: str) -> Path:
    return results / "provenance" / "runs" / f"{cell}.json"


def makers(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """What made the cells of these records: muster, numpy, torch and device → version → number of cells.

    A cell that did not load a library says nothing about it.
    """
    found: dict[str, Counter[str]] = {name: Counter() for name in MAKERS}
    for record in records:
        for name, version_ in {**record.get("versions", {}), "device": record.get("device")}.items():
            if name in found and version_:
                found[name][str(version_)] += 1
    return {name: dict(sorted(counts.items())) for name, counts in found.items() if counts}


def mixed(made: Mapping[str, Mapping[str, int]]) -> list[str]:
    """One line for each maker that came in several versions: `torch 2.4.0 (3 cells), 2.5.1 (9 cells)`."""
    several = {name: counts for name, counts in made.items() if len(counts) > 1}
    return [
        f"{name} {', '.join(f'{version_} ({count} cells)' for version_, count in counts.items())}"
        for name, counts in several.items()
    ]


def versions() -> dict[str, str]:
    """Package → its version, of those in use."""
    return {package: _version(package) for package in PACKAGES if package in sys.modules}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@contextmanager
def recorded(results: Path, artifact: str, code: str, config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Write `<results>/provenance/<artifact>.json` when the body has made the artifact.

    artifact: its path below the results, a folder or a file without its suffix. config: the settings that it followed
    from. Yields a dictionary for what else the record should hold.
    """
    start = time.perf_counter()
    more: dict[str, Any] = {}
    yield more
    record = {"artifact": artifact, "config": dict(config), **made_by(code, time.perf_counter() - start), **more}
    write_text(results / "provenance" / f"{artifact}.json", sealed(record))
