"""Published tables under DVC, and back into the workbench where there is no time to compute them."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import yaml

from muster.config.load import load_config, nearest
from muster.config.models import PUBLISHED
from muster.errors import MusterError
from muster.files import write_bytes, write_text
from muster.jobs.tracking import records, withheld

HEADER = """\
# Written by `muster track`: what `dvc metrics diff` and `dvc plots show` compare. No stages: Snakemake decides what to
# run, DVC keeps the bytes of published tables and fits.
"""
REMOTE = "repository"  # of .dvc/config: the folder results/artifacts, which git keeps
KEPT = ("tables", "fits")
FITS = ("fits.parquet", "optima.parquet", "regime.parquet", "fits.json")  # what the stage `fit` makes


def track(args: Namespace) -> None:
    """Put tables and fits of each published study under DVC and into the remote inside the repository, write dvc.yaml,
    and say how to pass them on.

    What is not here stays as DVC has it: there is a pointer for each study. Raises MusterError for a study of which a
    part is here, as a pull that broke off leaves it: the pointer would forget the rest.
    """
    if not Path(".git").exists():
        raise MusterError(str(Path.cwd()), "not the top of a git repository", "Run it there; DVC goes with git")
    published = records(PUBLISHED)
    here = [(part, name) for part in KEPT for name in published if _part(part, name).is_dir()]
    if not here:
        raise MusterError(str(PUBLISHED), "it has no tables", "Publish a study with: muster publish STUDY")
    for part, name in here:
        _check(part, name, published[name])
    folders = [_part(part, name) for part, name in here]
    left_out = {PUBLISHED / "tables" / name: licence for name, licence in withheld(PUBLISHED).items()}
    if not Path(".dvc").is_dir():
        _dvc("init", "--quiet")
    if kept := [str(folder) for folder in folders if folder not in left_out]:
        _dvc("add", "--quiet", *kept)
    for folder, licence in left_out.items():
        Path(f"{folder}.dvc").unlink(missing_ok=True)
        print(f"left out of DVC, whose licence ({licence}) does not allow to pass it on: {folder}")
    write_text(Path("dvc.yaml"), HEADER + yaml.safe_dump(_comparisons(), sort_keys=False))
    inside = _dvc("config", "core.remote").strip() == REMOTE
    if inside:
        _dvc("push", "--quiet", "--remote", REMOTE)
    print("tracked. To pass it on:")
    print("  git add .dvc dvc.yaml results && git commit -m 'Results'")
    if not inside:
        print("  dvc push")
    print("  git push")


def _comparisons() -> dict[str, list]:
    """dvc.yaml: the ledger's numbers, predictions against estimates, the published figures."""
    ledger = str(PUBLISHED / "ledger" / "claims.csv")
    axes = {"template": "scatter", "x": {ledger: "predicted"}, "y": {ledger: "estimate"}}
    figures = [PUBLISHED / "figures" / "overview" / "forest.svg", *sorted(PUBLISHED.glob("figures/*/*.png"))]
    shown = [str(path) for path in figures if path.exists() and path.name != "forest.png"]
    return {"metrics": [str(PUBLISHED / "ledger" / "metrics.json")], "plots": [{"estimates": axes}, *shown]}


def restore(args: Namespace) -> None:
    """Copy published tables into the workbench of their scale, for replaying fits and figures from them; of studies
    whose tables may not be passed on the fits.

    Raises MusterError for a study that is not published at this scale or whose tables are not here, for tables that are
    not those that were published, and for others of the same study in the workbench.
    """
    config = load_config(args.config, {"scale": args.scale} if args.scale else {})
    results = args.results or Path(config.results)
    published = records(PUBLISHED)
    for name in args.studies:
        if name not in published:
            raise MusterError("STUDY", f"{name!r} is not published", nearest(name, published))
        if (scale := published[name]["scale"]) != config.scale:
            raise MusterError(name, f"published at scale {scale}, not {config.scale}", f"Give --scale {scale}")
    at_scale = [name for name, record in published.items() if record["scale"] == config.scale]
    parts = {name: _restorable(name) for name in args.studies or at_scale}
    here = [name for name, part in parts.items() if args.studies or _part(part, name).is_dir()]
    for name in here:
        _check(parts[name], name, published[name])
        _copy(_part(parts[name], name), results / parts[name] / name)
        print(results / parts[name] / name)
    if not here:
        remedy = f"Bring them with: dvc pull --recursive {PUBLISHED / 'tables'}"
        raise MusterError(str(PUBLISHED / "tables"), f"no published tables of scale {config.scale} are here", remedy)
    if absent := [name for name in parts if name not in here]:
        print(
            f"muster restore: not here, so not restored: {', '.join(absent)}. Bring them with: dvc pull",
            file=sys.stderr,
        )


def _part(part: str, name: str) -> Path:
    return PUBLISHED / part / name


def _restorable(name: str) -> str:
    """What a replay of a study starts from: its tables; its fits where the tables are not here and cannot be pulled."""
    tables = _part("tables", name)
    return "tables" if tables.is_dir() or Path(f"{tables}.dvc").exists() else "fits"


def _check(part: str, name: str, record: dict[str, Any]) -> None:
    """Whether what is here of a study is all that was published, value by value."""
    from muster.tables.io import content_digest, read_frame

    folder, wanted = _part(part, name), record["made_from"]["tables"]
    files = [f"{kind}.parquet" for kind in wanted] if part == "tables" else FITS
    for path in sorted(folder.glob("*.parquet")):
        if part == "tables" and content_digest(path) != wanted.get(path.stem):
            remedy = f"Bring back what was published with: dvc checkout --force {folder}.dvc"
            raise MusterError(str(path), "is not what was published", remedy)
        read_frame(path)
    if missing := [file for file in files if not (folder / file).exists()]:
        raise MusterError(str(folder / missing[0]), "not here", f"Bring it with: dvc pull {folder}.dvc")


def _copy(folder: Path, target: Path) -> None:
    """Copy a folder's files; what is there already and equal keeps its time. Raises MusterError for another content."""
    for path in sorted(folder.iterdir()):
        copy = target / path.name
        if copy.exists() and copy.read_bytes() != path.read_bytes():
            remedy = f"Move {target} away, or restore into another folder with --results"
            raise MusterError(str(copy), "differs from the published one", remedy)
    for path in sorted(folder.iterdir()):
        if not (target / path.name).exists():
            write_bytes(target / path.name, path.read_bytes())


def _dvc(*arguments: str) -> str:
    """Run DVC of this Python; returns what it printed. Raises MusterError with its last line."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise MusterError(f"dvc {' '.join(arguments)}", said[-1], "Mend that, then run it again")
    return done.stdout
