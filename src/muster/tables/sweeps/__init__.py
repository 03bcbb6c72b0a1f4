"""Anybody's table of runs, as it is, becomes a run table.

    sweep = read_sweep(Path("sweep.csv"), Columns("lr", "loss", "width"))

`vocabulary` has the words of trackers and tuners, `readers` the file formats, `stores` those of Optuna and MLflow,
`notation` the ways to write a number, `roles` which column is which, `checks` what its cells must be, `histories` what
a run with a row per step comes to, `repeated` what tells runs of one setting apart, `others` the columns that vary and
are not used, `points` the runs of a law.
"""

from muster.tables.sweeps.roles import Columns
from muster.tables.sweeps.runs import Sweep, read_sweep

__all__ = ["Columns", "Sweep", "read_sweep"]
