"""What a notebook imports: tables and models in, results with DataFrames, `.summary()` and `.plot()` out.

    from muster.api import fit_table

    found = fit_table("sweep.csv", seed="seed", predict=[8192])
    found.optima          # the best rate of each width, as a DataFrame
    print(found.summary())
    found.plot()          # a Matplotlib figure

The command line calls the same functions. Nothing here prints. Mistakes are `muster.errors.MusterError`, with place,
what was found, and a remedy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from muster.system import UNSUPPORTED

if UNSUPPORTED:
    raise ImportError(UNSUPPORTED)

if TYPE_CHECKING:
    from muster.api.coordinates import CoordinateCheck, coordinate_check
    from muster.api.laws import ScalingLaw, law
    from muster.api.ledger import read_ledger
    from muster.api.parameters import parameter_groups, show_parameterization
    from muster.api.sweeps import SweepFit, fit_table, optimum
    from muster.api.transfers import Transfer, transfer

# Each name's module is loaded when it is first asked for: a table needs no torch, a model no statsmodels.
_HOMES = {
    "CoordinateCheck": "coordinates",
    "coordinate_check": "coordinates",
    "ScalingLaw": "laws",
    "law": "laws",
    "read_ledger": "ledger",
    "parameter_groups": "parameters",
    "show_parameterization": "parameters",
    "SweepFit": "sweeps",
    "Transfer": "transfers",
    "fit_table": "sweeps",
    "optimum": "sweeps",
    "transfer": "transfers",
}

__all__ = [
    "CoordinateCheck", "ScalingLaw", "SweepFit", "Transfer", "coordinate_check", "fit_table", "law", "optimum",
    "parameter_groups", "read_ledger", "show_parameterization", "transfer",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'muster.api' has no attribute {name!r}")
    return getattr(import_module(f"muster.api.{_HOMES[name]}"), name)
