"""How many members train side by side. Planning asks too, so this file imports no torch."""

# Weights, gradients and two moments of one stack: about a core's share of the last-level cache; half of a small GPU.
STACK_BYTES = {"cpu": 8 * 2**20, "cuda": 8 * 2**30}
# Weights of one stacked matrix below which launching its product takes longer than fetching it: a deep, narrow network
# leaves the cache anyhow. With 32 blocks of width 64, ten members side by side take a quarter of their time one by one.
STACKED_WEIGHTS = {"cpu": 2**17, "cuda": 0}


def most_members(parameters: int, largest: int, device: str) -> int:
    """The largest stack of networks with so many float32 parameters each, at least one.

    largest: weights of the network's largest matrix. device: `cpu` or `cuda`.
    """
    return max(1, STACK_BYTES[device] // (16 * parameters), STACKED_WEIGHTS[device] // largest)
