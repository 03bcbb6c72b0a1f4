"""Commands that hand over to Snakemake."""

import json
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muster.cli.check import checked_plan
from muster.cli.scope import configuration, replaced
from muster.cli.summary import print_failures, print_outcome
from muster.config.load import CONFIG_PATH
from muster.errors import MusterError

DRY = {"-n", "--dry-run", "--dryrun"}


def run(args: Namespace) -> int:
    """`snakemake` on some studies, with the given fields of config.yaml replaced; then what came of it."""
    only_own_config(args.config)
    plan = checked_plan(configuration(args), args.config)
    passed, more = split_settings(args.passed)
    start = time.time()
    status = snakemake(["--cores", str(args.cores), *passed, *overrides(replaced(args)), *more])
    if DRY & {*passed}:
        return status
    if status:
        print_failures(plan, start, status)
    else:
        print_outcome(plan)
    return status


def only_own_config(path: Path) -> None:
    """Raises MusterError for a configuration that Snakemake would not read."""
    if path.resolve() != CONFIG_PATH.resolve():
        remedy = f"Run muster from the folder that holds {CONFIG_PATH}, and replace single fields by options"
        raise MusterError("--config", f"Snakemake reads {CONFIG_PATH}, not {path}", remedy)


def split_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments for Snakemake without, and only with, its `--config field=value …`, which it takes only once."""
    others: list[str] = []
    settings: list[str] = []
    within = False
    for word in words:
        if word in ("--config", "-C"):
            within = True
        elif word.startswith("--config="):
            within = True
            settings.append(word.partition("=")[2])
        elif within and "=" in word and not word.startswith("-"):
            settings.append(word)
        else:
            within = False
            others.append(word)
    return others, settings


def overrides(settings: dict[str, Any]) -> list[str]:
    """Options by which Snakemake replaces fields of the configuration."""
    return ["--config", *(f"{name}={json.dumps(value)}" for name, value in settings.items())] if settings else []


def snakemake(arguments: list[str]) -> int:
    """Run Snakemake of this Python in the current folder; returns its exit status.

    Ctrl-C reaches Snakemake too, which then ends its jobs and unlocks the folder: it is waited for.
    """
    if not any(Path(place).exists() for place in ("Snakefile", "workflow/Snakefile")):
        raise MusterError(str(Path.cwd()), "no Snakefile here", "Run muster from the project's folder")
    with subprocess.Popen([sys.executable, "-m", "snakemake", *arguments]) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue
