"""What a command is about: fields of config.yaml that its options replace, and the plan that follows."""

import sys
from argparse import Namespace
from typing import Any

from muster.cli.check import checked_plan
from muster.config.load import load_config
from muster.config.models import Config
from muster.plan.plan import Plan


def replaced(args: Namespace) -> dict[str, Any]:
    """Fields of config.yaml that the command's studies and options replace."""
    given = {name: getattr(args, name, None) for name in ("studies", "scale", "seeds", "dtype", "results")}
    given["studies"] = given["studies"] or None
    given["results"] = given["results"] and str(given["results"])
    return {name: value for name, value in given.items() if value is not None}


def configuration(args: Namespace) -> Config:
    """config.yaml with the fields that the command replaces."""
    return load_config(args.config, replaced(args))


def planned(args: Namespace) -> Plan:
    """The checked plan of the command's studies; says on stderr what is left out of it."""
    plan = checked_plan(configuration(args), args.config)
    for error in plan.left_out.values():
        print(f"left out: {error}", file=sys.stderr)
    return plan
