"""Training steps and evaluations compiled for this machine: see docs/engine.md.

`load()` is the library or None; a `Graph` describes a network, a `Network` trains one stack of its members.
"""

from muster.native.binding import Library
from muster.native.graph import Graph
from muster.native.machine import Status, load, status

__all__ = ["Graph", "Library", "Status", "load", "status"]
