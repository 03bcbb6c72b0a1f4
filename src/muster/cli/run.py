"""Commands that hand over to Snakemake, and the one that starts a new study."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from muster.config.load import chosen_studies, load_config, nearest, study_paths
from muster.errors import MusterError
from muster.experiments import EXPERIMENTS


def run(args: Namespace) -> int:
    """`snakemake` on some studies, with the given fields of config.yaml replaced."""
    given = {
        "scale": args.scale,
        "seeds": args.seeds,
        "dtype": args.dtype,
        "results": args.results and str(args.results),
    }
    settings = {"studies": args.studies} | {name: value for name, value in given.items() if value is not None}
    config = load_config(args.config, settings)
    _check_names(args.studies, config, study_paths(args.config))
    return snakemake(["--cores", str(args.cores), *overrides(settings), *args.snakemake])


def _check_names(names: list[str], config: Any, known: dict[str, Path]) -> None:
    for name in names:
        if name not in known and name not in config.groups and name != "all":
            raise MusterError(
                "STUDY", f"unknown study or group {name!r}", nearest(name, [*known, *config.groups, "all"])
            )
    chosen_studies(config, known)


def report(args: Namespace) -> int:
    """Snakemake's HTML report of the figures and the ledger that the configuration names."""
    settings = json.loads(args.settings)
    output = args.output or Path(load_config(args.config, settings).results) / "report.html"
    # The lock is Snakemake's own when the rule `report` calls this; reporting writes nothing but the page.
    status = snakemake(["figures", "ledger", "--report", str(output), "--nolock", *overrides(settings)])
    if status == 0 and not output.exists():
        raise MusterError(str(output), "Snakemake wrote no report", "See its messages above")
    return status


def overrides(settings: dict[str, Any]) -> list[str]:
    return ["--config", *(f"{name}={json.dumps(value)}" for name, value in settings.items())] if settings else []


def snakemake(arguments: list[str]) -> int:
    """Run Snakemake of this Python in the current folder; returns its exit status."""
    if not any(Path(place).exists() for place in ("Snakefile", "workflow/Snakefile")):
        raise MusterError(str(Path.cwd()), "no Snakefile here", "Run muster from the project's folder")
    return subprocess.run([sys.executable, "-m", "snakemake", *arguments]).returncode


TEMPLATE = """\
# yaml-language-server: $schema=../schema.json
# Check this file with `muster validate`, see what it runs with `muster plan {name}`, run it with `muster run {name}`.
study: {name}  # equals the file's name
title: One line for figures and the report
paper: "Authors, year, title"
slug: {name}  # the paper's short name
description: >-
  Why this design can decide its claims: the range of widths, the horizon, the learning rates.
experiment: {experiment}  # one of: {experiments}

# Fields of every cell; the grid below may vary any of them. Required and common ones:
settings:
{settings}

# Presets. A grid is a list of blocks; a block is the product of its axes; `seeds: 3` means seed 0, 1, 2.
scales:
  smoke: # seconds, for CI: runs everything, judges nothing
    settings: {smoke_settings}
    grid:
      - {smoke_grid}
  laptop: # minutes on 2 cores
    grid:
      - {laptop_grid}

# A fit reads one table (runs, curves, probes); `by` columns are fitted separately. See `muster list estimators`.
fits:
{fits}

# A claim is fixed before the run: prediction and margin decide the verdict, nobody else does. Uncomment and fill in:
claims: []
#  - claim: {name}-first
#    statement: The claim in one sentence, as the paper means it
#    source: Figure 1
#    provenance: paper  # abstract | paper | repository | derived | unconfirmed
#    fit: exponent
#    where: {where}  # one value for each `by` column of the fit
#    test: equivalence  # greater | less | interval | ordering | closed_form | regret
#    predicted: 0
#    margin: 0.1

# See `muster list plots`.
figures: {{}}
"""

TRAIN = {
    "settings": {
        "data": "mnist1d",
        "data_options": "{train: 4000, heldout: 1000}",
        "family": "mlp",
        "depth": "3",
        "activation": "relu",
        "loss": "cross_entropy",
        "optimizer": "adam",
        "rule": "full_alignment",
        "batch_size": "64",
        "steps": "1000",
        "schedule": "linear",
        "base_width": "64",
        "base_depth": "3",
    },
    "smoke_settings": "{steps: 20}",
    "smoke_grid": "{parameterization: [sp, mup], width: [16, 32], seeds: 1, log2_lr: {from: -10, to: -6, step: 1}}",
    "laptop_grid": (
        "{parameterization: [sp, mup], width: [64, 128, 256], seeds: 3,\n"
        "         log2_lr: {from: -11, to: -4, step: 1/2}}"
    ),
    "fits": (
        "  exponent: {estimator: lr_transfer, table: runs, response: final_train_loss, along: width,\n"
        "             by: [parameterization]}"
    ),
    "where": "{parameterization: mup}",
}


COMMAND = {
    "settings": {
        "command": "python train.py --width {width} --lr {learning_rate} --seed {seed} --output {output}",
        "timeout": "600",
        "code": "[]",
    },
    "smoke_settings": "{}",
    "smoke_grid": "{width: [16, 32], seeds: 1, log2_lr: [-9, -7]}",
    "laptop_grid": "{width: [64, 128, 256, 512], seeds: 3, log2_lr: {from: -11, to: -4, step: 1}}",
    "fits": "  exponent: {estimator: lr_transfer, table: runs, response: final_train_loss, along: width}",
    "where": "{}",
}


def new_study(args: Namespace) -> None:
    """Write a study file that validates as it stands, with comments that say what to change."""
    if args.experiment not in EXPERIMENTS:
        raise MusterError("--experiment", f"unknown name {args.experiment!r}", nearest(args.experiment, EXPERIMENTS))
    words = args.name.split("-")
    if not all(word.isascii() and word.isalnum() and word == word.lower() for word in words):
        raise MusterError("NAME", f"found {args.name!r}", "Allowed: lower-case letters and digits, words joined by -")
    path = args.config.parent / "studies" / f"{args.name}.yaml"
    if path.exists():
        raise MusterError(str(path), "exists already", "Choose another name, or edit the file")
    parts = dict({"train": TRAIN, "command": COMMAND}.get(args.experiment) or _sampling(args.experiment))
    cell = EXPERIMENTS[args.experiment].cell
    lines = [
        f"  {name}: {value}  # {cell.model_fields[name].description}" for name, value in parts.pop("settings").items()
    ]
    text = TEMPLATE.format(
        name=args.name,
        experiment=args.experiment,
        experiments=", ".join(EXPERIMENTS),
        settings="\n".join(lines),
        **parts,
    )
    from muster.files import write_text

    write_text(path, text)
    print(f"{path}: edit it, then: muster validate")


def _sampling(experiment: str) -> dict[str, Any]:
    """Settings of a sampling experiment: every field that has no default must be chosen, the others are shown."""
    fields = EXPERIMENTS[experiment].cell.model_fields
    settings = {
        name: json.dumps(field.default if not field.is_required() else 1)
        for name, field in fields.items()
        if name not in ("width", "seed", "parameterization")
    }
    return {
        "settings": settings,
        "smoke_settings": "{}",
        "smoke_grid": "{width: [16, 32], seeds: 1}",
        "laptop_grid": "{width: [16, 32, 64, 128], seeds: 4}",
        "fits": "  exponent: {estimator: power_law, table: probes, response: value, along: width, by: [probe]}",
        "where": "{probe: NAME}",
    }
