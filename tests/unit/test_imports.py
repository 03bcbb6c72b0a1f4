"""A module with an experiment can be imported first: what registers itself may not depend on who came before."""

import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
FIRST = """
import importlib, os, sys
import numpy, pandas, pydantic, scipy.special, scipy.stats, sklearn.datasets, torch  # once for all
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException as error:
            print(name, repr(error), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_modules_of_experiments_can_be_imported_first():
    """Those that register something; that no import of the others leads in a circle, `lint-imports` knows."""
    folders = [SOURCE / "muster" / name for name in ("sampling", "training", "published", "script", "fitting", "plots")]
    files = [path for folder in folders for path in sorted(folder.rglob("*.py")) if "register" in path.read_text()]
    paths = [path.relative_to(SOURCE).with_suffix("") for path in files]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    assert len(names) > 40
    done = subprocess.run([sys.executable, "-c", FIRST, *names], capture_output=True, text=True, check=True)
    assert done.stdout == ""
