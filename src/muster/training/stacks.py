"""How many members train side by side. Planning asks too, so this file imports no torch."""

# Weights, gradients and two moments of one stack: about a core's share of the last-level cache; half of a small GPU.
STACK_BYTES = {"cpu": 8 * 2**20, "cuda": 8 * 2**30}


def most_members(parameters: int, device: str) -> int:
    """The largest stack of networks with so many float32 parameters each, at least one. device: `cpu` or `cuda`."""
    return max(1, STACK_BYTES[device] // (16 * parameters))
