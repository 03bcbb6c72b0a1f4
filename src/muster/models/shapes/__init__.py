"""The tensors that each family trains, declared without torch: planning counts them, the network is built from them.

One module a family, of the same name as that of its network, with a `SHAPE` (see `base`).
"""
