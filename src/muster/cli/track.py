"""Published tables under DVC, and back into the workbench where there is no time to compute them."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

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


def track(args: Namespace) -> None:
    """Put tables and fits of each published study under DVC and into the remote inside the repository, write dvc.yaml,
    and say how to pass them on.

    What is not here stays as DVC has it: there is a pointer for each study.
    """
    if not Path(".git").exists():
        raise MusterError(str(Path.cwd()), "not the top of a git repository", "Run it there; DVC goes with git")
    folders = [path for part in KEPT for name in records(PUBLISHED) if (path := PUBLISHED / part / name).is_dir()]
    if not folders:
        raise MusterError(str(PUBLISHED), "it has no tables", "Publish a study with: muster publish STUDY")
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
    names = args.studies or [name for name in at_scale if _part("tables", name).is_dir() or _fits_alone(name)]
    for name in names:
        part = "fits" if _fits_alone(name) else "tables"
        if part == "tables":
            _check_tables(name, published[name]["made_from"]["tables"])
        _copy(_part(part, name), results / part / name)
        print(results / part / name)
    if not names:
        remedy = f"Bring them with: dvc pull --recursive {PUBLISHED / 'tables'}"
        raise MusterError(str(PUBLISHED / "tables"), f"no published tables of scale {config.scale} are here", remedy)


def _part(part: str, name: str) -> Path:
    return PUBLISHED / part / name


def _fits_alone(name: str) -> bool:
    """Whether a study's tables are not here and cannot be pulled, while its fits are here."""
    tables = _part("tables", name)
    return not tables.is_dir() and not Path(f"{tables}.dvc").exists() and _part("fits", name).is_dir()


def _check_tables(name: str, wanted: dict[str, str]) -> None:
    """Whether one study's tables are those that were published, value by value."""
    from muster.tables.io import content_digest, read_frame

    folder = _part("tables", name)
    for path in sorted(folder.glob("*.parquet")):
        if content_digest(path) != wanted[path.stem]:
            remedy = f"Bring back what was published with: dvc checkout --force {folder}.dvc"
            raise MusterError(str(path), "is not what was published", remedy)
        read_frame(path)
    missing = [kind for kind in wanted if not (folder / f"{kind}.parquet").exists()]
    if missing:
        raise MusterError(str(folder / f"{missing[0]}.parquet"), "not here", f"Bring it with: dvc pull {folder}.dvc")


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
