"""Fingerprints of source code: Snakemake cannot see imported modules, so rules carry these as parameters."""

import hashlib
import importlib.util
from functools import cache
from pathlib import Path

from muster.experiments import EXPERIMENTS

# Library code behind each stage after `collect`; experiments name their own (`Experiment.code`).
STAGE_CODE = {
    "collect": ("muster.tables",),
    "fit": ("muster.fitting",),
    "judge": ("muster.claims",),
    "plot": ("muster.plots",),
}


def stage_fingerprint(stage: str) -> str:
    """Fingerprint of the code of a stage of the flow."""
    return fingerprint(STAGE_CODE[stage])


def dataset_fingerprint(name: str) -> str:
    """Fingerprint of the code that makes a data set: its own module and what all data sets share."""
    from muster.data import DATASETS

    return fingerprint((DATASETS[name].build.__module__, "muster.data.base", "muster.data.store"))


def experiment_fingerprint(experiment: str) -> str:
    """Fingerprint of the code that decides an experiment's result."""
    return fingerprint(EXPERIMENTS[experiment].code)


@cache
def fingerprint(modules: tuple[str, ...]) -> str:
    """Twelve hexadecimal digits of the sha256 over the source files of modules and whole packages, in sorted order.

    Every byte of source counts, comments too: nobody then has to argue that an edit did not matter. Raises ValueError
    for a name that is no Python module on disk.
    """
    hasher = hashlib.sha256()
    for module in sorted(modules):
        for name, path in _sources(module):
            hasher.update(f"{module}/{name}\0".encode())
            hasher.update(path.read_bytes() + b"\0")
    return hasher.hexdigest()[:12]


def _sources(module: str) -> list[tuple[str, Path]]:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"no source of module {module!r}")
    if not spec.submodule_search_locations:
        return [(Path(spec.origin).name, Path(spec.origin))]
    folder = Path(spec.origin).parent
    return [(path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*.py"))]
