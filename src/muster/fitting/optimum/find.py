"""The optimal learning rates of a group's shapes, on grids and where rates are scattered."""

from collections.abc import Sequence

from muster.fitting.optimum.quadratic import OCTAVES, Optimum, Sweep, find_parabolas
from muster.fitting.optimum.scattered import follow_minima


def find_optima(sweeps: Sequence[Sweep], size: int = 5, min_side: int = 2, octaves: float = OCTAVES) -> list[Optimum]:
    """The optimum of every shape of one group: vertices of parabolas (`find_parabolas`) on grids, minima in windows of
    up to `octaves` that follow them (`follow_minima`) where rates are scattered."""
    return follow_minima(sweeps, find_parabolas(sweeps, size, min_side, octaves), octaves)
