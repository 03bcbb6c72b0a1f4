"""Muon: the momentum of a matrix with all its singular values near 1."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from muster.optimizers import DIRECTIONS, OPTIMIZERS
from muster.optimizers.base import Direction, State
from muster.optimizers.matrix import MatrixOptimizer, MatrixSettings
from muster.parameterizations.tables import MatrixUpdate

if TYPE_CHECKING:
    from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def newton_schulz(m: "Tensor", iterations: int) -> "Tensor":
    """About the polar factor UVᵀ of every M = USVᵀ of a stack [..., in, out]; a matrix of zeros stays one.

    From M/‖M‖_F by X ← aX + (bXXᵀ + c(XXᵀ)²)X (K. Jordan et al. 2024, Muon), which takes singular values into about
    [0.7, 1.2] and leaves those far below the largest small.
    """
    a, b, c = COEFFICIENTS
    x = m.mT if m.shape[-2] > m.shape[-1] else m
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = x.mul(a).baddbmm_(gram.baddbmm(gram, gram, beta=b, alpha=c), x)
    return x.mT if m.shape[-2] > m.shape[-1] else x


class MuonSettings(MatrixSettings):
    """The hyperparameters of Muon."""

    momentum: float = Field(0.95, ge=0, lt=1, description="Decay of the gradient's running mean")
    newton_schulz: int = Field(5, ge=1, description="Newton–Schulz iterations of Muon's polar factor")


@DIRECTIONS.register("muon")
class MuonDirection(Direction):
    """Muon with Nesterov momentum, its steps × √(fan_out/fan_in): the spectral condition.

    m ← βm + (1 − β)g, direction the polar factor of βm + (1 − β)g. As `torch.optim.Muon`, which computes in bfloat16.
    """

    update = MatrixUpdate(gradient=0, weight=0, fan_in=0.5, fan_out=0.5, scale="spectral")
    keys = ("momentum",)

    @staticmethod
    def empty(w: "Tensor") -> State:
        return {"momentum": w.new_zeros(w.shape)}

    @staticmethod
    def direction(settings: Any, state: State, g: "Tensor", step: int) -> "Tensor":
        m = state["momentum"].lerp_(g, 1 - settings.momentum)
        return newton_schulz(g.lerp(m, settings.momentum), settings.newton_schulz)


@OPTIMIZERS.register("muon")
class Muon(MatrixOptimizer):
    """Muon with Nesterov momentum, its steps × √(fan_out/fan_in): the spectral condition."""

    stepped = MuonDirection
    update = MuonDirection.update
    settings = MuonSettings


@OPTIMIZERS.register("muon_jordan")
class MuonJordan(Muon):
    """Muon with steps × √max(1, fan_out/fan_in): `original` of `torch.optim.Muon`."""

    update = MatrixUpdate(gradient=0, weight=0, fan_in=0.5, fan_out=0.5, scale="jordan")


@OPTIMIZERS.register("muon_moonshot")
class MuonMoonshot(Muon):
    """Muon with steps × 0.2 √max(fan_in, fan_out): `match_rms_adamw` of `torch.optim.Muon` (Liu et al. 2025)."""

    update = MatrixUpdate(gradient=0, weight=0, fan_in=0.5, fan_out=0.5, scale="moonshot")


@OPTIMIZERS.register("muon_unscaled")
class MuonUnscaled(Muon):
    """Muon with steps of spectral norm 1, whatever the shape."""

    update = MatrixUpdate(gradient=0, weight=0, fan_in=0.5, fan_out=0.5, scale="none")
