"""Putting results under DVC, and making what came out of it fit for Snakemake."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import yaml

from muster.config.load import load_config, load_studies
from muster.errors import MusterError
from muster.files import write_text
from muster.jobs.tracking import TRACKED, settle_times, withheld, write_ignored

HEADER = """\
# Written by `muster track`: what `dvc metrics diff` and `dvc plots show` compare. No stages: Snakemake decides what to
# run, DVC keeps the bytes of results/data, results/runs and results/tables.
"""


def track(args: Namespace) -> None:
    """Put data, runs and tables under DVC, write dvc.yaml, and say how to publish them."""
    results = _results(args)
    present = [results / name for name in TRACKED if any((results / name).glob("*/*"))]
    if not present:
        raise MusterError(str(results), "nothing to track", "Run snakemake first")
    if not Path(".dvc").is_dir():
        _dvc("init", "--quiet")
    left_out = withheld(results)
    write_ignored(Path(".dvcignore"), left_out)
    _dvc("add", "--quiet", *map(str, present))
    write_text(Path("dvc.yaml"), HEADER + yaml.safe_dump(_comparisons(args, results), sort_keys=False))
    settle_times(results, _unchanged(results))
    for folder, licence in left_out.items():
        print(f"left out of DVC, whose licence ({licence}) does not allow to pass it on: {folder}")
    ledger = [str(path) for path in (results / "ledger", results / "figures" / "overview") if path.exists()]
    pointers = " ".join([f"{folder}.dvc" for folder in present] + [f"{results}/.gitignore", ".dvcignore", *ledger])
    print("tracked. To publish:")
    print(f"  git add .dvc dvc.yaml {pointers} && git commit -m 'Results'")
    print("  dvc push")
    print("  git push")


def settle(args: Namespace) -> None:
    """Give all files that DVC tracks one modification time: a pull leaves arbitrary ones, and Snakemake compares."""
    results = _results(args)
    count = settle_times(results, _unchanged(results))
    print(f"{count} tracked files in {results} settled")


def _results(args: Namespace) -> Path:
    """The folder of results, relative to the repository that this command is given in."""
    results = args.results or Path(load_config(args.config).results)
    if not Path(".git").exists():
        raise MusterError(str(Path.cwd()), "not the top of a git repository", "Run it there; DVC goes with git")
    try:
        return results.resolve().relative_to(Path.cwd())
    except ValueError:
        remedy = "Choose results inside it, as `results:` in config/config.yaml"
        raise MusterError(str(results), "outside the repository, where DVC keeps nothing", remedy) from None


def _unchanged(results: Path) -> list[Path]:
    """The files that are here as DVC's pointers have them. Raises MusterError naming one that is not."""
    tracked = [results / name for name in TRACKED if (results / f"{name}.dvc").exists()]
    if not tracked:
        raise MusterError(str(results), "nothing in it is under DVC", "Put it there with: muster track")
    here = [folder for folder in tracked if folder.is_dir()]
    status = json.loads(_dvc("data", "status", "--granular", "--json", *map(str, here))) if here else {}
    changed = status.get("uncommitted", {})
    edited = [*changed.get("modified", []), *changed.get("added", [])]
    wrong = [path for path in edited if path.startswith(f"{results}/") and not path.endswith("/")]
    if wrong:
        remedy = f"Keep what lies here with `muster track`, or go back with: dvc checkout {wrong[0]}"
        raise MusterError(wrong[0], "is not what DVC has", remedy)
    ignored = set(withheld(results))
    files = [path for folder in here for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if not ignored & {*path.parents} and ".damaged" not in str(path)]


def _comparisons(args: Namespace, results: Path) -> dict[str, list]:
    """dvc.yaml: the ledger's numbers, predictions against estimates, each study's first figure that shows a claim."""
    figures = [results / "figures" / "overview" / "forest.svg"]
    for name, study in load_studies(args.config).known.items():
        shown = [claim.figure for claim in study.claims if claim.headline and claim.figure]
        figures += [results / "figures" / name / f"{figure}.svg" for figure in dict.fromkeys(shown)][:1]
    ledger = str(results / "ledger" / "claims.csv")
    axes = {"template": "scatter", "x": {ledger: "predicted"}, "y": {ledger: "estimate"}}
    return {
        "metrics": [str(results / "ledger" / "metrics.json")],
        "plots": [{"estimates": axes}, *(str(figure) for figure in figures if figure.exists())],
    }


def _dvc(*arguments: str) -> str:
    """Run DVC of this Python; returns what it printed. Raises MusterError with its last line."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise MusterError(f"dvc {' '.join(arguments)}", said[-1], "Mend that, then run it again")
    return done.stdout
