"""The tensors that each family trains, declared without torch: planning counts them, the network is built from them.

One module a family with `tensors(cell, in_features, out_features)`, named in `muster.models.SHAPES`.
"""
