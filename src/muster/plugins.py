"""Other people's packages that bring entries and studies of their own: found by their entry points, without a fork.

A package names a module for each kind of entry that it registers, `muster.estimator`, `muster.data_set`,
`muster.regime_check`, …, and a package for its studies, whose YAML files then stand beside those of config/studies:

    [project.entry-points."muster.estimator"]
    tail = "tailfits.estimators"        # its decorators register: @ESTIMATORS.register("tail")

    [project.entry-points."muster.study"]
    tail = "tailfits.studies"           # tailfits/studies/*.yaml
"""

import importlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from muster.errors import MusterError

OURS = "muster"
STUDIES = f"{OURS}.study"


@cache
def _installed() -> tuple[EntryPoint, ...]:
    found = entry_points()
    groups = sorted(group for group in found.groups if group.startswith(f"{OURS}."))
    return tuple(point for group in groups for point in sorted(found.select(group=group)))


def modules(kind: str) -> Iterator[ModuleType]:
    """Import what installed packages bring for a registry of this kind. Raises MusterError, which names the package."""
    group = f"{OURS}.{kind.replace(' ', '_')}"
    for point in _installed():
        if point.group == group:
            try:
                yield importlib.import_module(point.module)
            except Exception as error:
                raise _broken(point, f"{type(error).__name__}: {error}") from error


def study_folders() -> Iterator[Path]:
    """Folders of studies that installed packages bring. Raises MusterError, which names the package."""
    for point in _installed():
        if point.group == STUDIES:
            spec = importlib.util.find_spec(point.module)
            if spec is None or not spec.submodule_search_locations:
                raise _broken(point, f"{point.module} is no package with studies")
            yield from map(Path, spec.submodule_search_locations)


@cache
def packages() -> frozenset[str]:
    """Top-level packages whose code counts in cache keys: muster and those that bring entries."""
    return frozenset({OURS, *(point.module.split(".")[0] for point in _installed())})


def _broken(point: EntryPoint, found: str) -> MusterError:
    name = point.dist.name if point.dist else point.name
    return MusterError(f"plug-in {name}, {point.group}", found, "Mend that package, or uninstall it")
