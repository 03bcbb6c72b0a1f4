"""`python -m muster.cli.serve SOCKET`: the process that a workflow's jobs are forked from (`muster.jobs.warm`)."""

import importlib
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from muster.cli.parser import parser, run_command
from muster.errors import MusterError
from muster.jobs.fingerprint import read_all_code
from muster.jobs.provenance import versions
from muster.jobs.warm import serve, sources
from muster.native.build import cache_folder
from muster.native.machine import status
from muster.registry import find_registry

# What jobs load, in the order in which stages need it: `muster` names what it uses itself.
LIBRARIES = (
    "muster.cli.stages",
    "pyarrow.parquet",
    "scipy.stats",
    "scipy.optimize",
    "muster.fitting.study",
    "seaborn",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "muster.plots.style",
    "statsmodels.regression.linear_model",
    "torch",
    "muster.training.engine",
)


def prepare() -> None:
    """Load the libraries and what registers itself, and read what does not change, so that no job has to."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for kind in ("experiments", "estimators", "closed_forms"):
        list(find_registry(kind))
    read_all_code()
    versions()
    parser()
    with suppress(MusterError):  # of a user without a home folder
        if any(cache_folder().glob("*.so")):  # else nobody may need them, and compiling takes long
            status()
    rehearse()


def rehearse() -> None:
    """Draw a figure for nobody: fonts, tick labels and the grammar of formulas take a while the first time."""
    from matplotlib.figure import Figure

    from muster.plots import style

    with tempfile.TemporaryDirectory() as folder, style.paper():
        fig = Figure(layout="constrained")
        fig.subplots().loglog([1, 8], [1, 8], base=2)
        style.save(fig, Path(folder, "a.svg"), Path(folder, "a.png"))


if __name__ == "__main__":
    loaded = sources()
    prepare()
    serve(Path(sys.argv[1]), run_command, loaded)
