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
# run, DVC keeps the bytes of results/published/tables.
"""


def track(args: Namespace) -> None:
    """Put the tables of each published study under DVC, write dvc.yaml, and say how to pass them on.

    Tables that are not here stay as DVC has them: there is a pointer for each study.
    """
    if not Path(".git").exists():
        raise MusterError(str(Path.cwd()), "not the top of a git repository", "Run it there; DVC goes with git")
    folders = [path for name in records(PUBLISHED) if (path := PUBLISHED / "tables" / name).is_dir()]
    if not folders:
        raise MusterError(str(PUBLISHED), "it has no tables", "Publish a study with: muster publish STUDY")
    left_out = withheld(PUBLISHED)
    kept = [folder for folder in folders if folder.name not in left_out]
    if not Path(".dvc").is_dir():
        _dvc("init", "--quiet")
    if kept:
        _dvc("add", "--quiet", *map(str, kept))
    for name, licence in left_out.items():
        Path(f"{PUBLISHED / 'tables' / name}.dvc").unlink(missing_ok=True)
        print(f"left out of DVC, whose licence ({licence}) does not allow to pass it on: {PUBLISHED / 'tables' / name}")
    write_text(Path("dvc.yaml"), HEADER + yaml.safe_dump(_comparisons(), sort_keys=False))
    print("tracked. To pass it on:")
    print(f"  git add .dvc dvc.yaml {PUBLISHED} && git commit -m 'Results'")
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
    """Copy published tables into the workbench of their scale, for replaying fits and figures from them.

    Raises MusterError for a study that is not published at this scale or whose tables are not here, for tables that are
    not those that were published, and for others of the same study in the workbench.
    """
    config = load_config(args.config, {"scale": args.scale} if args.scale else {})
    results = args.results or Path(config.results)
    published = records(PUBLISHED)
    here = [name for name, record in published.items() if record["scale"] == config.scale and _folder(name).is_dir()]
    for name in args.studies:
        if name not in published:
            raise MusterError("STUDY", f"{name!r} is not published", nearest(name, published))
        if (scale := published[name]["scale"]) != config.scale:
            raise MusterError(name, f"published at scale {scale}, not {config.scale}", f"Give --scale {scale}")
    for name in args.studies or here:
        _restore(name, published[name]["made_from"]["tables"], results / "tables" / name)
        print(results / "tables" / name)
    if not (args.studies or here):
        remedy = f"Bring them with: dvc pull --recursive {PUBLISHED / 'tables'}"
        raise MusterError(str(PUBLISHED / "tables"), f"no published tables of scale {config.scale} are here", remedy)


def _folder(name: str) -> Path:
    return PUBLISHED / "tables" / name


def _restore(name: str, wanted: dict[str, str], target: Path) -> None:
    """Copy one study's tables, checked value by value; what is there already and equal keeps its time."""
    from muster.tables.io import content_digest, read_frame

    for path in sorted(_folder(name).glob("*.parquet")):
        if content_digest(path) != wanted[path.stem]:
            remedy = f"Bring back what was published with: dvc checkout --force {_folder(name)}.dvc"
            raise MusterError(str(path), "is not what was published", remedy)
        read_frame(path)
    missing = [kind for kind in wanted if not (_folder(name) / f"{kind}.parquet").exists()]
    if missing:
        remedy = f"Bring it with: dvc pull {_folder(name)}.dvc"
        raise MusterError(str(_folder(name) / f"{missing[0]}.parquet"), "not here", remedy)
    for path in sorted(_folder(name).iterdir()):
        copy = target / path.name
        if copy.exists() and copy.read_bytes() != path.read_bytes():
            remedy = f"Move {target} away, or restore into another folder with --results"
            raise MusterError(str(copy), "differs from the published one", remedy)
    for path in sorted(_folder(name).iterdir()):
        if not (target / path.name).exists():
            write_bytes(target / path.name, path.read_bytes())


def _dvc(*arguments: str) -> str:
    """Run DVC of this Python; returns what it printed. Raises MusterError with its last line."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise MusterError(f"dvc {' '.join(arguments)}", said[-1], "Mend that, then run it again")
    return done.stdout
