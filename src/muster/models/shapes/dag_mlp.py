"""Tensors of `muster.models.dag_mlp`."""

from typing import Any

from pydantic import Field

from muster.models import register_family
from muster.models.activations import ACTIVATIONS
from muster.models.graphs import graph_of, path_rate
from muster.models.shapes.base import Shape
from muster.parameterizations.scaling import Tensor
from muster.settings import Settings


class DagMlpSettings(Settings):
    """Settings that a network on a graph alone reads."""

    edge_density: float | None = Field(
        None, ge=0, le=1, description="share of the pairs of hidden layers that are joined; a chain if absent"
    )
    architecture_rate: bool | None = Field(None, description="learning rates carry its own rule, (Σ_paths L³)^−½")


def tensors(cell: Any, in_features: int, out_features: int) -> list[Tensor]:
    """w0_1 (input), wU_V of every edge from node U to node V, in order of V, and w_out, all [fan_in, fan_out].

    Edges into a node start with variance gain²/(d_in·fan_in), d_in its number of sources: 2/(d_in·n) for ReLU. With
    `architecture_rate` all rates carry the factor (Σ_paths L³)^−½ relative to that of a chain of base_depth layers
    (Chen, Wu, Wang & Hanin 2024, Principled architecture-aware scaling of hyperparameters).
    """
    graph, width = graph_of(cell.depth, cell.edge_density, cell.seed), cell.width
    rate = path_rate(graph) * cell.base_depth**1.5 if cell.architecture_rate else 1.0
    found = [Tensor("w0_1", "input", (in_features, width), "normal", cell.init_gain, rate=rate)]
    for node, sources in enumerate(graph[1:], start=2):
        gain = ACTIVATIONS[cell.activation].gain * cell.init_gain / len(sources) ** 0.5
        found += [
            Tensor(f"w{source}_{node}", "hidden", (width, width), "normal", gain, rate=rate) for source in sources
        ]
    readout = (width, out_features)
    return [*found, Tensor("w_out", "readout", readout, "normal", cell.readout_gain * cell.init_gain, rate=rate)]


register_family("dag_mlp", "muster.models.dag_mlp:DagMlp", Shape(tensors, settings=DagMlpSettings))
