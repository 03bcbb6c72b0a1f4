"""The command `fetch`: data sets and published tables come into a folder, verified, before or after a run."""

from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from muster.cli.check import checked_plan
from muster.config.load import load_config, load_study, nearest, study_paths
from muster.config.models import Config, shared_folder
from muster.data import DATASETS, Options, Places, validate
from muster.download import SLOW_DEADLINE, SLOW_TIMEOUT
from muster.errors import MusterError, Unavailable
from muster.files import write_bytes
from muster.plan.grid import plan_study
from muster.published.import_table import ImportCell, Table
from muster.published.source import obtain, source_folder
from muster.tables.missing import describe_missing


class Wanted(NamedTuple):
    """A data set, by its options, or a table that a study imports."""

    what: str
    source: Options | Table


class Folders(NamedTuple):
    """Where a copy belongs, and where the results keep theirs."""

    target: Path
    made: Path


def fetch(args: Namespace) -> int:
    """Bring what studies need into the folder of sources; says at the end what failed, with what to do by hand.

    Returns 1 if something asked for by name failed. With `--missing`, says what the last run lacked and brings nothing.
    """
    config = load_config(args.config, {"results": str(args.results)} if args.results else None)
    results = Path(config.results)
    if args.missing:
        print(describe_missing(results, checked_plan(config, args.config).studies) or "nothing was missing")
        return 0
    made = shared_folder(results) / "sources"
    folders = Folders(args.sources or source_folder(config.sources) or made, made)
    failed = []
    everything = _wanted(args.names, config, study_paths(args.config))
    for wanted in everything:
        try:
            print(_fetched(wanted, folders), flush=True)
        except (Unavailable, MusterError) as error:
            print(f"failed   {wanted.what}: {error}", flush=True)
            failed.append(f"  {wanted.what}: {_by_hand(wanted, folders.target)}")
    if not everything:
        print("nothing is needed from elsewhere")
    if failed:
        print("\n".join([f"\nnot available here: {len(failed)}. By hand:", *failed]))
    return 1 if failed and args.names else 0


def _wanted(names: Iterable[str], config: Config, paths: dict[str, Path]) -> list[Wanted]:
    """What studies need from elsewhere at any scale, each file once. Raises MusterError for an unknown name."""
    names = list(names) or [name for name in paths if name not in config.exclude]
    for name in names:
        if name not in paths and name not in DATASETS:
            raise MusterError("NAME", f"unknown study or data set {name!r}", nearest(name, [*paths, *DATASETS]))
    found: dict[tuple[str, str], Wanted] = {}
    asked = {name for name in names if name in DATASETS}
    for name in paths:
        if asked or name in names:
            needed = (wanted for wanted in _needed(paths[name]) if name in names or wanted.what in asked)
            found.update(((wanted.what, _by_hand(wanted, Path())), wanted) for wanted in needed)
    for name in asked - {wanted.what for wanted in found.values()}:
        if DATASETS[name].origin is None:
            raise MusterError(
                "NAME", f"{name} is made here", "Ask for what comes from elsewhere: a study's name, or none"
            )
        found[name, ""] = Wanted(name, validate(name, {}))
    return list(found.values())


def _needed(path: Path) -> Iterator[Wanted]:
    study = load_study(path)
    for scale in study.scales:
        for planned in plan_study(study, scale, path=path).cells:
            if isinstance(planned.cell, ImportCell):
                yield Wanted(planned.cell.table.file, planned.cell.table)
            elif planned.dataset and DATASETS[planned.dataset[0]].origin:
                name, options = planned.dataset
                yield Wanted(name, validate(name, options))


def _fetched(wanted: Wanted, folders: Folders) -> str:
    """Bring it, unless it is there; one line that says which. Raises Unavailable."""
    if isinstance(wanted.source, Table):
        return _fetched_table(wanted.source, folders)
    origin = DATASETS[wanted.what].origin
    assert origin is not None
    here = tuple(dict.fromkeys(folders))
    before = origin.state(wanted.source, here)
    origin.obtain(wanted.source, Places(here, folders.target, SLOW_TIMEOUT, SLOW_DEADLINE))
    fetched = origin.state(wanted.source, here) != before
    return f"fetched  {wanted.what}, into {folders.target}" if fetched else f"there    {wanted.what}"


def _fetched_table(table: Table, folders: Folders) -> str:
    found = obtain(table, dict.fromkeys(folders), folders.made / "downloaded", timeout=SLOW_TIMEOUT)
    if Path(found.place) in [below / form.file for below in folders for form in table.forms]:
        return f"there    {found.place}"
    target = folders.target / table.file
    write_bytes(target, found.data)
    return f"fetched  {target} ({len(found.data)} bytes, licence: {table.licence})"


def _by_hand(wanted: Wanted, folder: Path) -> str:
    if isinstance(wanted.source, Table):
        return f"put {wanted.source.address or 'your table'} at {folder / wanted.source.file}"
    origin = DATASETS[wanted.what].origin
    assert origin is not None
    return origin.by_hand(wanted.source, folder)
