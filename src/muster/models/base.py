"""What every family of networks shares with the engine and the probes."""

from typing import NamedTuple

from torch import Tensor


class Site(NamedTuple):
    """One matrix product: the weight's name, its input h_ExBxI, its result z_ExBxO with multiplier and bias."""

    weight: str
    h_ExBxI: Tensor
    z_ExBxO: Tensor
