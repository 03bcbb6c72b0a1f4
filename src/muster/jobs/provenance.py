"""What made an artifact: written beside it or below `<results>/provenance`, never inside, since equal inputs must give
equal bytes."""

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from muster import __version__
from muster.files import write_text

PACKAGES = ("matplotlib", "numpy", "pandas", "pyarrow", "scipy", "seaborn", "statsmodels", "torch")


def made_by(code: str, seconds: float, device: str = "cpu") -> dict[str, Any]:
    """Code fingerprint, device, versions of the packages in use, threads, wall time in seconds, peak memory in MB."""
    return {
        "code": code,
        "device": device,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "platform": platform.platform(),
        "seconds": round(seconds, 3),
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        "versions": {"muster": __version__, "python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        if package in sys.modules:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                found[package] = "unknown"
    return found


@contextmanager
def recorded(results: Path, artifact: str, code: str, config: Mapping[str, Any]) -> Iterator[None]:
    """Write `<results>/provenance/<artifact>.json` when the body has made the artifact.

    artifact: its path below the results, a folder or a file without its suffix. config: the settings that it followed
    from.
    """
    start = time.perf_counter()
    yield
    record = {"artifact": artifact, "config": dict(config), **made_by(code, time.perf_counter() - start)}
    write_text(results / "provenance" / f"{artifact}.json", json.dumps(record, indent=2, sort_keys=True) + "\n")
