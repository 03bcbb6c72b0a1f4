"""What a cell's depth and width come to under its parameterization."""

from typing import Protocol

from muster.parameterizations.tables import PARAMETERIZATIONS


class Sizes(Protocol):
    """The fields of a cell that size its network. branch_exponent: α, the parameterization's own if None."""

    parameterization: str
    width: int
    base_width: int
    depth: int
    base_depth: int
    branch_exponent: float | None


def shape_ratios(cell: Sizes) -> tuple[float, float]:
    """(width_ratio, depth_ratio) for `scalings`: over the base shape; over 1 where unit scaling has none."""
    if PARAMETERIZATIONS[cell.parameterization].unit:
        return float(cell.width), float(cell.depth)
    return cell.width / cell.base_width, cell.depth / cell.base_depth


def branch_multiplier(cell: Sizes) -> float:
    """depth_ratio^(−α), the factor on the output of each residual branch (Dey et al. 2025, Table 1)."""
    alpha = PARAMETERIZATIONS[cell.parameterization].alpha if cell.branch_exponent is None else cell.branch_exponent
    return shape_ratios(cell)[1] ** -alpha
