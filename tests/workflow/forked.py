"""Snakemake and muster, forked from a process that has imported the libraries of both.

Runs of seconds are mostly imports, and the tests make hundreds of them. Nothing of muster's own is kept from before a
fork: a copy of the project imports its own source. Jobs of such a run are forked from here, too, as they are from the
server that Snakemake starts for a longer one (`muster.jobs.warm`); the drills and the cluster's tests fork nothing.
"""

import atexit
import importlib
import os
import runpy
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from muster.jobs import warm

ROOT = Path(__file__).parents[2]
LIBRARIES = (
    "snakemake.cli",
    "snakemake.persistence.file",
    "snakemake.report",
    "snakemake.report.html_reporter",
    "snakemake_logger_plugin_rich",
    "pydantic",
    "yaml",
    "pyarrow.parquet",
    "scipy.stats",
    "scipy.optimize",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "seaborn",
    "statsmodels.api",
    "torch",
)
PROGRAMS = ("snakemake", "muster")
Done = subprocess.CompletedProcess[str]


def main(argv: list[str]) -> int:
    """`python -m PROGRAM ...`, or a command of muster, in a forked process that has its folder and environment."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("muster", "tests")]:
        del sys.modules[name]
    ours = {str(ROOT), str(ROOT / "src")}
    first = ["", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.path[:] = [*first, *(path for path in sys.path if path not in ours)]
    sys.argv = argv if argv[0] in PROGRAMS else ["muster", *argv]
    if argv[0] not in PROGRAMS:  # a job, which must not be passed on again
        return int(importlib.import_module("muster.cli").main(argv))
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
    return 0


@cache
def server() -> str:
    """The socket of the process that forks, which ends with this one."""
    folder = tempfile.mkdtemp(prefix="muster-tests-")
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.environ | single | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "tests.workflow.forked", f"{folder}/jobs"]
    process = subprocess.Popen(command, cwd=ROOT, env=path, stdin=subprocess.PIPE)
    assert process.stdin is not None
    atexit.register(process.wait)
    atexit.register(process.stdin.close)
    end = time.monotonic() + 600  # others may use the machine
    while not Path(folder, "jobs").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    return f"{folder}/jobs"


def run(words: list[str], folder: Path, environment: dict[str, str], seconds: float) -> Done:
    """The outcome of `python -m` with these words in a folder; both streams as text. Raises an error after so long."""
    if sys.platform != "linux":  # forks of what has loaded a GUI's or BLAS's threads are not safe elsewhere
        command = [sys.executable, "-m", *words]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds)
    path = server()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        files = out.fileno(), err.fileno()
        status = warm.ask(path, words, {**environment, warm.VARIABLE: path}, folder, files, seconds)
        assert status is not None
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, status, out.read(), err.read())


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    warm.serve(Path(sys.argv[1]), main)
