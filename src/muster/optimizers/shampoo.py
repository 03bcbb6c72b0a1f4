"""Shampoo: the momentum between inverse roots of the gradient's two second moments."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from muster.optimizers import DIRECTIONS, OPTIMIZERS
from muster.optimizers.base import Direction, State
from muster.optimizers.matrix import MatrixOptimizer, MatrixSettings
from muster.parameterizations.tables import MatrixUpdate

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = 1e-30  # eigenvalue that is not taken for 0


class PreconditionerSettings(MatrixSettings):
    """What optimizers with a running mean of both second moments read."""

    momentum: float = Field(0.9, ge=0, lt=1, description="Decay of the gradient's running mean")
    preconditioner_decay: float = Field(0.95, ge=0, lt=1, description="Decay of the running means of GGᵀ and GᵀG")
    interval: int = Field(1, ge=1, description="Steps between decompositions of these means")


class ShampooSettings(PreconditionerSettings):
    """The hyperparameters of Shampoo."""

    ridge: float = Field(1e-6, ge=0, description="Added to eigenvalues, over the largest")
    absolute_ridge: float = Field(0.0, ge=0, description="Added to eigenvalues as it is, at every width")


def inverse_root(moment: "Tensor", power: float, ridge: float, absolute: float = 0.0) -> "Tensor":
    """(S + (ridge·λ_max + absolute)·1)^(−power) of a stack of symmetric S ≥ 0 [..., n, n], decomposed in float64."""
    import torch

    values, vectors = torch.linalg.eigh(moment.double())
    values = values.clamp(min=0)
    shifted = (values + ridge * values[..., -1:] + absolute).clamp(min=SMALLEST)
    return ((vectors * shifted.unsqueeze(-2) ** -power) @ vectors.mT).to(moment.dtype)


def mean_moments(settings: Any, state: State, g: "Tensor", step: int) -> tuple["Tensor", "Tensor", "Tensor"]:
    """Running means of G, GGᵀ and GᵀG after this step, each over what it would be of constant ones."""
    kept = settings.preconditioner_decay
    left = state["left"].lerp_(g @ g.mT, 1 - kept) / (1 - kept**step)
    right = state["right"].lerp_(g.mT @ g, 1 - kept) / (1 - kept**step)
    mean = state["mean"].lerp_(g, 1 - settings.momentum) / (1 - settings.momentum**step)
    return mean, left, right


def empty_moments(w: "Tensor") -> State:
    """Zeros for `mean_moments`, of w [E, in, out]."""
    rows, columns = w.shape[1:]
    return {
        "mean": w.new_zeros(w.shape),
        "left": w.new_zeros(len(w), rows, rows),
        "right": w.new_zeros(len(w), columns, columns),
    }


@DIRECTIONS.register("shampoo")
class ShampooDirection(Direction):
    """Shampoo (Gupta, Koren & Singer 2018), a fourth root a side, its steps × √(fan_out/fan_in).

    L, R: running means of GGᵀ, GᵀG; direction (L + εI)^−¼ M (R + εI)^−¼ of the running mean M of G, all means corrected
    for their start at 0. ε is relative to the largest eigenvalue, hence right at every width.
    """

    update = MatrixUpdate(gradient=0, weight=0, fan_in=0.5, fan_out=0.5, scale="spectral")
    keys = ("mean", "left", "right", "left_root", "right_root")

    @staticmethod
    def empty(w: "Tensor") -> State:
        found = empty_moments(w)
        return found | {f"{side}_root": found[side].clone() for side in ("left", "right")}

    @staticmethod
    def direction(settings: Any, state: State, g: "Tensor", step: int) -> "Tensor":
        mean, left, right = mean_moments(settings, state, g, step)
        if (step - 1) % settings.interval == 0:
            for side, moment in (("left", left), ("right", right)):
                state[f"{side}_root"].copy_(inverse_root(moment, 0.25, settings.ridge, settings.absolute_ridge))
        return state["left_root"] @ mean @ state["right_root"]


@OPTIMIZERS.register("shampoo")
class Shampoo(MatrixOptimizer):
    """Shampoo (Gupta, Koren & Singer 2018), a fourth root a side, its steps × √(fan_out/fan_in)."""

    stepped = ShampooDirection
    update = ShampooDirection.update
    settings = ShampooSettings
