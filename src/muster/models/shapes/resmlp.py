"""Tensors of `muster.models.resmlp`."""

from typing import Any, Literal

from pydantic import Field

from muster.models import register_family
from muster.models.activations import ACTIVATIONS
from muster.models.shapes.base import RESIDUAL, Shape
from muster.parameterizations.scaling import Tensor
from muster.settings import Settings


class ResMlpSettings(Settings):
    """The setting that a residual perceptron alone reads."""

    block_layers: Literal[1, 2] | None = Field(None, description="layers of a residual block; 1 if absent")


def tensors(cell: Any, in_features: int, out_features: int) -> list[Tensor]:
    """Matrices w1 (input), w2 … (blocks in order), the last the readout; biases b and pre-norm gains g by matrix.

    With one layer a block its matrix reads activations and starts with the activation's gain; with two, the first reads
    the stream itself.
    """
    per_block = cell.block_layers or 1
    last = cell.depth * per_block + 2
    activated = ACTIVATIONS[cell.activation].gain

    def matrix(number: int, role: str, shape: tuple[int, int], gain: float, branch: bool = False) -> list[Tensor]:
        found = [Tensor(f"w{number}", role, shape, "normal", gain * cell.init_gain, branch=branch)]
        if cell.bias:
            bias_role = "fixed" if role == "readout" else "vector"
            found.append(Tensor(f"b{number}", bias_role, (shape[1],), "zeros", branch=branch))
        return found

    def norm(number: int, branch: bool) -> list[Tensor]:
        return [Tensor(f"g{number}", "vector", (cell.width,), "ones", branch=branch)] if cell.norm == "layer" else []

    found = matrix(1, "input", (in_features, cell.width), 1.0)
    for number in range(2, last):
        begins = (number - 2) % per_block == 0
        gain = 1.0 if begins and per_block == 2 else activated
        found += norm(number, branch=True) if begins else []
        found += matrix(number, "hidden", (cell.width, cell.width), gain, branch=True)
    return found + norm(last, branch=False) + matrix(last, "readout", (cell.width, out_features), cell.readout_gain)


register_family(
    "resmlp",
    "muster.models.resmlp:ResMlp",
    Shape(tensors, settings=ResMlpSettings, norms=("layer",), biases=True, traits=lambda cell: RESIDUAL),
)
