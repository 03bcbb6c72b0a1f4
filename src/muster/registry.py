"""Name → entry tables: how YAML finds families, optimizers, data sets, probes, experiments, estimators and plots."""

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from muster import plugins
from muster.errors import MusterError

T = TypeVar("T")


class Registry(Generic[T]):
    """An ordered mapping of names to entries of one kind, filled with the decorator `register`.

    An entry whose module imports torch is declared by its place instead (`declare("mlp", "module:Class")`): its name is
    known at once, its module is imported when the entry is first used. `modules` register their entries when they are
    imported, of a package every module: at the first look into the registry, so that they may import what imports the
    registry, and a further module of such a package is found without being named anywhere. Installed packages bring
    further entries (`muster.plugins`).
    """

    def __init__(self, kind: str, modules: tuple[str, ...] = ()):
        self.kind = kind
        self._awaited = modules
        self._asked = False  # for plug-ins
        self.places: dict[str, str] = {}
        self._entries: dict[str, T | str] = {}
        self._modules: dict[str, str] = {}

    def register(self, name: str) -> Callable[[T], T]:
        module = sys._getframe(1).f_globals["__name__"]  # entries that are no functions or classes do not know theirs

        def add(entry: T) -> T:
            self._add(name, entry, module)
            return entry

        return add

    def declare(self, name: str, place: str) -> None:
        """Register an entry by its place, `module:attribute`."""
        self.places[name] = place
        self._add(name, place, place.split(":")[0])

    def _add(self, name: str, entry: T | str, module: str) -> None:
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice, by {self._modules[name]} and {module}")
        self._entries[name] = entry
        self._modules[name] = module

    def _import_modules(self) -> None:
        awaited, self._awaited = self._awaited, ()
        for name in awaited:
            module = importlib.import_module(name)
            for inner in sorted(found.name for found in pkgutil.iter_modules(getattr(module, "__path__", ()))):
                importlib.import_module(f"{name}.{inner}")
        if not self._asked:
            self._asked = True  # first: plug-ins look into registries while they are imported
            for _ in plugins.modules(self.kind):
                pass

    def __getitem__(self, name: str) -> T:
        """Look an entry up; an unknown name raises a MusterError that lists the known ones and the nearest."""
        self._import_modules()
        try:
            entry = self._entries[name]
        except KeyError:
            raise MusterError(self.kind, f"unknown name {name!r}", self.remedy(name)) from None
        if isinstance(entry, str):
            module, attribute = entry.split(":")
            entry = getattr(importlib.import_module(module), attribute)
            self._entries[name] = entry
        return entry  # type: ignore[return-value]

    def module(self, name: str) -> str:
        """The module that an entry comes from, without importing it where its place is declared."""
        self._import_modules()
        if name not in self._modules:
            self[name]  # raises: unknown
        return self._modules[name]

    def remedy(self, name: str) -> str:
        near = difflib.get_close_matches(str(name), self, n=1)
        guess = f"Did you mean {near[0]!r}? " if near else ""
        return f"{guess}Known: {', '.join(self)}"

    def __contains__(self, name: object) -> bool:
        self._import_modules()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._import_modules()
        return iter(self._entries)

    def summary(self) -> dict[str, str]:
        """Each name with the first sentence of its entry's docstring, as `muster list` prints it."""
        return {name: (self[name].__doc__ or "").strip().split("\n")[0] for name in self}


# Every registry by the plural that `muster list` uses: kind → module, attribute.
REGISTRIES = {
    "experiments": ("muster.experiments", "EXPERIMENTS"),
    "parameterizations": ("muster.parameterizations", "PARAMETERIZATIONS"),
    "rules": ("muster.parameterizations", "RULES"),
    "epsilon_rules": ("muster.parameterizations", "EPSILON_RULES"),
    "decay_rules": ("muster.parameterizations", "DECAY_RULES"),
    "optimizers": ("muster.optimizers", "OPTIMIZERS"),
    "families": ("muster.models", "FAMILIES"),
    "activations": ("muster.models.activations", "ACTIVATIONS"),
    "datasets": ("muster.data", "DATASETS"),
    "schedules": ("muster.training.schedules", "SCHEDULES"),
    "losses": ("muster.training.losses", "LOSSES"),
    "probes": ("muster.training.probes", "PROBES"),
    "readers": ("muster.published.readers", "READERS"),
    "transforms": ("muster.published.transforms", "TRANSFORMS"),
    "estimators": ("muster.fitting.base", "ESTIMATORS"),
    "closed_forms": ("muster.fitting.closed_forms.base", "CLOSED_FORMS"),
    "checks": ("muster.claims.regime.base", "REGIME_CHECKS"),
    "plots": ("muster.plots", "PLOTS"),
}

# Cell fields whose values are names in a registry: field → kind.
NAMED_FIELDS = {
    "data": "datasets",
    "family": "families",
    "optimizer": "optimizers",
    "rule": "rules",
    "epsilon_rule": "epsilon_rules",
    "decay_rule": "decay_rules",
    "parameterization": "parameterizations",
    "activation": "activations",
    "schedule": "schedules",
    "loss": "losses",
    "probes": "probes",
}


def find_registry(kind: str) -> Registry[Any]:
    """The registry of a kind in REGISTRIES, imported when it is asked for."""
    module, attribute = REGISTRIES[kind]
    return getattr(importlib.import_module(module), attribute)
