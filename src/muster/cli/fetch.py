"""The command `fetch`: published tables come from their addresses into a folder, verified, before or after a run."""

from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

from muster.config.load import load_config, load_study, nearest, study_paths
from muster.config.models import shared_folder
from muster.errors import MusterError
from muster.files import write_bytes
from muster.plan import plan_study
from muster.published.import_table import ImportCell, Table
from muster.published.source import SLOW_TIMEOUT, Unavailable, obtain, source_folder


def fetch(args: Namespace) -> int:
    """Bring every table of the studies into the folder; fails, after trying all, if one cannot be had."""
    config = load_config(args.config)
    shared = shared_folder(args.results or config.results) / "sources"
    folder = args.sources or source_folder(config.sources) or shared
    failed = 0
    for table in _tables(args.studies, study_paths(args.config)):
        try:
            print(_fetched(table, folder, shared))
        except Unavailable as error:
            print(f"failed   {table.file}: {error}. Put {table.address or 'it'} at {folder / table.file} by hand")
            failed += 1
    return 1 if failed else 0


def _fetched(table: Table, folder: Path, made: Path) -> str:
    found = obtain(table, dict.fromkeys([folder, made]), made / "downloaded", timeout=SLOW_TIMEOUT)
    if Path(found.place) in [below / form.file for below in (folder, made) for form in table.forms]:
        return f"there    {found.place}"
    target = folder / table.file
    write_bytes(target, found.data)
    return f"fetched  {target} ({len(found.data)} bytes, licence: {table.licence})"


def _tables(names: Iterable[str], paths: dict[str, Path]) -> list[Table]:
    """The tables that studies import at any scale, each file once. Raises MusterError for an unknown study."""
    tables: dict[str, Table] = {}
    for name in names or paths:
        if name not in paths:
            raise MusterError("STUDY", f"unknown study {name!r}", nearest(name, paths))
        study = load_study(paths[name])
        for scale in study.scales:
            cells = [planned.cell for planned in plan_study(study, scale, path=paths[name]).cells]
            tables.update({cell.table.file: cell.table for cell in cells if isinstance(cell, ImportCell)})
    return list(tables.values())
