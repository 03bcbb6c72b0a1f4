"""Tensors of `muster.models.transformer`, and the settings of a cell that decide them."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from muster.models import register_family
from muster.models.shapes.base import Shape, Trait
from muster.parameterizations.depth import shape_ratios
from muster.parameterizations.scaling import Factor, Tensor
from muster.parameterizations.tables import PARAMETERIZATIONS
from muster.settings import Settings

HEAD_WIDTH = 32  # where a cell names neither heads nor their width
GATED = "swiglu"


class TransformerSettings(Settings):
    """Settings that a transformer alone reads."""

    heads: int | None = Field(None, ge=1, description="attention heads, whose width follows")
    head_width: int | None = Field(None, ge=1, description="width of a head, 32 if absent, as is `heads`")
    positions: Literal["learned", "rotary"] | None = Field(
        None, description="embedding of positions; learned if absent"
    )
    attention_scale: Literal["inverse", "inverse_sqrt"] | None = Field(
        None, description="factor on q·k for heads of width d, 1/d or 1/√d; inverse_sqrt if absent"
    )
    qk_norm: bool | None = Field(None, description="normalize queries and keys of each head")
    tied: bool | None = Field(None, description="the token embedding is the readout, too")
    gains: bool | None = Field(None, description="normalizations have trainable gains")
    feedforward: Literal["gelu", "relu", "relu2", "swiglu"] | None = Field(
        None, description="nonlinearity between blocks' two matrices; gelu if absent"
    )


@dataclass(frozen=True)
class Layout:
    """Sizes of a transformer. inner: hidden units of a feed-forward branch."""

    context: int
    vocabulary: int
    width: int
    depth: int
    heads: int
    inner: int
    feedforward: str

    @property
    def head_width(self) -> int:
        return self.width // self.heads


def layout(cell: Any, context: int, vocabulary: int) -> Layout:
    """Sizes from a cell; `inner` is 4·width, for the gated unit ⅔ of it in steps of 8, which keeps the number of
    parameters (Shazeer 2020, Section 3)."""
    feedforward = cell.feedforward or "gelu"
    inner = 8 * round(cell.width / 3) if feedforward == GATED else 4 * cell.width
    heads = cell.heads or cell.width // (cell.head_width or min(HEAD_WIDTH, cell.width))
    return Layout(context, vocabulary, cell.width, cell.depth, heads, inner, feedforward)


def check(cell: Any) -> None:
    """Raises ValueError where the settings of a cell make no transformer."""
    if cell.heads and cell.head_width:
        raise ValueError("heads and head_width are both given: the width decides the other")
    divisor = cell.heads or cell.head_width or min(HEAD_WIDTH, cell.width)
    if cell.width % divisor:
        name = "heads" if cell.heads else f"heads of head_width {divisor}"
        raise ValueError(f"width {cell.width} is not a whole number of {name}" + (f" {divisor}" if cell.heads else ""))
    head_width = cell.width // cell.heads if cell.heads else divisor
    if cell.positions == "rotary" and head_width % 2:
        raise ValueError(f"positions 'rotary' turn pairs of features: head width {head_width} is odd")
    if cell.norm == "none":
        raise ValueError("a transformer normalizes before each branch: norm is layer or rms")
    if cell.tied and cell.readout_gain == 0:
        raise ValueError("readout_gain 0 with tied: the output would be 0 for ever")


def traits(cell: Any) -> tuple[Trait, ...]:
    """It has one output a position; with tied weights one matrix serves two products."""
    return ("a residual stream",) if cell.tied else ("a residual stream", "a matrix of its own in every product")


def attention_scale(cell: Any, size: Layout) -> Factor:
    """On q·k: 1/√d for heads of width d, 1/d under `inverse` (Yang, Hu et al. 2022, Definition 4.1)."""
    power = 1.0 if cell.attention_scale == "inverse" else 0.5
    shape = (size.heads, size.head_width)
    return Factor("q·k", "attention", shape, size.head_width**-power, power if cell.heads else 0.0)


def tied_multiplier(cell: Any, size: Layout) -> Factor:
    """On the token embedding where it is the readout: it then starts with the deviation of an own readout."""
    ratio = shape_ratios(cell)[0]
    decline = PARAMETERIZATIONS[cell.parameterization].readout_scale
    value = cell.readout_gain * ratio**-decline / math.sqrt(cell.width / ratio)
    return Factor("token", "readout", (cell.width, size.vocabulary), value, decline)


def factors(cell: Any, in_features: int, out_features: int) -> list[Factor]:
    """The scale of attention and, with tied weights, the multiplier of the token embedding as a readout."""
    size = layout(cell, in_features, out_features)
    return [attention_scale(cell, size), *([tied_multiplier(cell, size)] if cell.tied else [])]


def tensors(cell: Any, in_features: int, out_features: int) -> list[Tensor]:
    """token [vocabulary, width], position [context, width]; per block l the matrices qkv, merge, up, down, the readout.

    g_NAME is the trainable gain of the normalization before matrix NAME (of queries and keys: g_query, g_key), b_NAME
    the bias of matrix NAME. The gated unit's `up` holds gate and values side by side. in_features is the context.
    """
    size = layout(cell, in_features, out_features)
    d, gained = cell.width, bool(cell.gains)

    def matrix(name: str, role: str, shape: tuple[int, int], gain: float, branch: bool) -> list[Tensor]:
        found = [Tensor(name, role, shape, gain=gain * cell.init_gain, branch=branch, uses=in_features)]
        if cell.bias:
            bias_role = "fixed" if role == "readout" else "vector"
            found.append(Tensor(f"b_{name}", bias_role, (shape[1],), "zeros", branch=branch))
        return found

    def gain(name: str, units: int, branch: bool) -> list[Tensor]:
        return [Tensor(f"g_{name}", "vector", (units,), "ones", branch=branch)] if gained else []

    found = [Tensor("token", "embedding", (out_features, d), gain=cell.init_gain, uses=in_features * bool(cell.tied))]
    if (cell.positions or "learned") == "learned":
        found.append(Tensor("position", "embedding", (in_features, d), gain=cell.init_gain, uses=0))
    for l in range(1, cell.depth + 1):
        found += gain(f"qkv{l}", d, True) + matrix(f"qkv{l}", "hidden", (d, 3 * d), 1.0, True)
        if cell.qk_norm:
            found += gain(f"query{l}", size.head_width, True) + gain(f"key{l}", size.head_width, True)
        found += matrix(f"merge{l}", "hidden", (d, d), 1.0, True)
        up = size.inner * (2 if size.feedforward == GATED else 1)
        found += gain(f"up{l}", d, True) + matrix(f"up{l}", "hidden", (d, up), 1.0, True)
        found += matrix(f"down{l}", "hidden", (size.inner, d), 1.0, True)
    found += gain("readout", d, False)
    return found if cell.tied else found + matrix("readout", "readout", (d, out_features), cell.readout_gain, False)


register_family(
    "transformer",
    "muster.models.transformer:Transformer",
    Shape(
        tensors,
        factors,
        settings=TransformerSettings,
        norms=("layer", "rms"),
        biases=True,
        tokens=True,
        traits=traits,
        check=check,
        example={"norm": "layer", "data": "python_text", "data_options": {"encoding": "tokens"}},
    ),
)
