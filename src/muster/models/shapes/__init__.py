"""The tensors that each family trains, declared without torch: planning counts them, the network is built from them.

One module a family, which registers its `Shape` and the place of its network.
"""
