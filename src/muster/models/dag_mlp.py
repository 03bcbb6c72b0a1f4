"""Fully connected networks whose hidden layers form a directed acyclic graph, stacked over members.

z_v = Σ_u multiplier_uv · (h_u @ W_uv) over the sources u of node v, h_v = φ(z_v), f = multiplier · (h_L @ W_out).
Shapes as in `muster.models.mlp`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, bmm

from muster.models.activations import ACTIVATIONS
from muster.models.base import Site
from muster.models.graphs import graph_of
from muster.models.mlp import Weights
from muster.models.shapes.dag_mlp import tensors
from muster.native import Graph


class DagMlp:
    """Multi-layer perceptron on a random graph (`edge_density`, drawn by the seed) of `depth` hidden layers, without
    biases; a chain where no density is given.
    """

    def __init__(self, cell, in_features: int, out_features: int):
        self.activation, self.activation_name = ACTIVATIONS[cell.activation], cell.activation
        self.graph = graph_of(cell.depth, cell.edge_density, cell.seed)
        self.tensors = tensors(cell, in_features, out_features)

    def sites(self, w: Weights, multiplier: Mapping[str, float], x_ExBxI: Tensor) -> list[Site]:
        """The matrix product of every edge, node by node; the last result is the output f_ExBxK."""
        sites, h = [], [x_ExBxI]
        for node, sources in enumerate(self.graph, start=1):
            names = [f"w{source}_{node}" for source in sources]
            edges = [
                Site(name, h[source], bmm(h[source], w[name]) * multiplier[name])
                for source, name in zip(sources, names, strict=True)
            ]
            sites += edges
            h.append(self.activation.forward_(torch.stack([edge.z_ExBxO for edge in edges]).sum(0)))
        sites.append(Site("w_out", h[-1], bmm(h[-1], w["w_out"]) * multiplier["w_out"]))
        return sites

    def output(self, w: Weights, multiplier: Mapping[str, float], x_ExBxI: Tensor) -> Tensor:
        """f_ExBxK."""
        return self.sites(w, multiplier, x_ExBxI)[-1].z_ExBxO

    def workspace(self, w: Weights, multiplier: Mapping[str, float], batch: int) -> None:
        """Gradients are left to autograd."""
        return None

    def native(self, multiplier: Mapping[str, float]) -> Graph | None:
        """The network for the compiled kernels, or None where these do not know its activation."""
        if self.activation_name not in Graph.activations:
            return None
        shapes = {tensor.name: tensor.shape for tensor in self.tensors}
        graph = Graph(multiplier)
        h = [graph.input(self.tensors[0].shape[0])]
        for node, sources in enumerate(self.graph, start=1):
            total: int | None = None
            for source in sources:
                name = f"w{source}_{node}"
                activation = self.activation_name if source == sources[-1] else "identity"
                total = graph.dense(h[source], name, shapes[name][1], activation=activation, add=total)
            assert total is not None  # every node has a source
            h.append(total)
        graph.dense(h[-1], "w_out", shapes["w_out"][1])
        return graph
