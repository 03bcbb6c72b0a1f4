"""What all stages of the flow have in common as jobs: a log that says how to run them again, inputs that can be bad."""

import functools
import os
import shlex
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from muster.errors import MusterError, redacted
from muster.files import setting_aside


def stage(function: Callable[[Namespace], None]) -> Callable[[Namespace], None]:
    """A stage's command: its log opens with the line that repeats it by hand, and damaged inputs are set aside."""

    @functools.wraps(function)
    def run(args: Namespace) -> None:
        print(by_hand(args), flush=True)
        with setting_aside():
            function(args)

    return run


def by_hand(args: Namespace) -> str:
    """The shell command that repeats this one from anywhere."""
    threads = os.environ.get("OMP_NUM_THREADS")
    prefix = f"OMP_NUM_THREADS={threads} " if threads else ""
    words = list(args.argv)
    if "--planned" in words:  # by hand one may repeat it with other code
        place = words.index("--planned")
        del words[place : place + 2]
    return redacted(f"to repeat: cd {shlex.quote(str(Path.cwd()))} && {prefix}muster {shlex.join(words)}")


def check_planned(args: Namespace, place: str, found: str) -> None:
    """Raises MusterError if the plan or code that Snakemake started from, `--planned`, is not what lies here now."""
    planned = getattr(args, "planned", None)  # of a stage; other commands plan for themselves
    if planned is not None and planned != found:
        remedy = "Run again: what is finished is kept, and what the edit concerns is made anew"
        raise MusterError(place, "edited since this run was planned", remedy)
