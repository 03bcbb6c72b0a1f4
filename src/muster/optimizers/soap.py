"""SOAP: Adam in the eigenbasis of Shampoo's preconditioners."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from muster.optimizers import DIRECTIONS, OPTIMIZERS
from muster.optimizers.base import Direction, State
from muster.optimizers.matrix import MatrixOptimizer
from muster.optimizers.shampoo import PreconditionerSettings, empty_moments, mean_moments
from muster.parameterizations.tables import MatrixUpdate

if TYPE_CHECKING:
    from torch import Tensor


class SoapSettings(PreconditionerSettings):
    """The hyperparameters of SOAP."""

    rotated_decay: float = Field(0.95, ge=0, lt=1, description="Decay of the squared gradient in the eigenbasis")
    rotated_epsilon: float = Field(1e-6, ge=0, description="ε of Adam there, over the largest root of a second moment")


@DIRECTIONS.register("soap")
class SoapDirection(Direction):
    """SOAP (Vyas et al. 2024, Algorithm 3), its steps × √(fan_out/fan_in).

    With eigenvectors Q of the running means of GGᵀ and GᵀG: V the running mean of (Q_LᵀGQ_R)², direction
    Q_L (Q_LᵀMQ_R / (√V + ε max √V)) Q_Rᵀ. ε is relative, because gradients of rank below the width leave a null space
    in which entries are rounding errors, of which Adam without ε makes steps of ±1. The rates are those of a step of
    fixed rank; where averaging raises the rank to the width, entries of ±1 fill the matrix and steps are longer by up
    to √n.
    """

    update = MatrixUpdate(gradient=0, weight=0, fan_in=0.5, fan_out=0.5, scale="spectral")
    keys = ("mean", "left", "right", "left_basis", "right_basis", "square")

    @staticmethod
    def empty(w: "Tensor") -> State:
        found = empty_moments(w)
        bases = {f"{side}_basis": found[side].clone() for side in ("left", "right")}
        return found | bases | {"square": w.new_zeros(w.shape)}

    @staticmethod
    def direction(settings: Any, state: State, g: "Tensor", step: int) -> "Tensor":
        import torch

        mean, left, right = mean_moments(settings, state, g, step)
        if (step - 1) % settings.interval == 0:
            for side, moment in (("left", left), ("right", right)):
                state[f"{side}_basis"].copy_(torch.linalg.eigh(moment.double())[1])
        q_left, q_right = state["left_basis"], state["right_basis"]
        kept = settings.rotated_decay
        state["square"].lerp_((q_left.mT @ g @ q_right).square(), 1 - kept)
        root = (state["square"] / (1 - kept**step)).sqrt()
        largest = root.amax((-2, -1), keepdim=True)
        under = root.add(largest, alpha=settings.rotated_epsilon).clamp(min=torch.finfo(g.dtype).tiny)
        return q_left @ ((q_left.mT @ mean @ q_right) / under) @ q_right.mT


@OPTIMIZERS.register("soap")
class Soap(MatrixOptimizer):
    """SOAP (Vyas et al. 2024, Algorithm 3), its steps × √(fan_out/fan_in)."""

    stepped = SoapDirection
    update = SoapDirection.update
    settings = SoapSettings
