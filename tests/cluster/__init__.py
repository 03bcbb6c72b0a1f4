"""Tests of the profiles for clusters."""

import os
import sys
from pathlib import Path

import pytest

PLUGINS = Path(sys.prefix, "cluster")  # `make cluster` installs them here


def with_plugins(environment: dict[str, str]) -> dict[str, str]:
    """Snakemake's plugins on the path, and this Python as the one that pods find. Skips where there are none."""
    if not PLUGINS.exists():
        pytest.skip("Snakemake's plugins for clusters are not installed: make cluster")
    python = os.pathsep.join([environment["PYTHONPATH"], str(PLUGINS)])
    path = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    return environment | {"PYTHONPATH": python, "PATH": path}
