"""A law: a parametric curve of a positive response, written once for fitting, prediction, plots and claims."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from muster.registry import Registry

Array = NDArray[np.float64]
ALONG = "x"  # the variable of a law of any one axis: the column that a fit names in `along`


@dataclass(frozen=True)
class Law:
    """A response y = f(x; θ) > 0 of positive variables, in coordinates where a fit is well behaved.

    A fit works on θ, the unconstrained coordinates (logarithms of what must be positive); people read `parameters`.
    All functions take a leading batch axis B, one entry per start or bootstrap replicate, and share the rows of x.

    formula: as a reader would write it. variables: canonical columns of the run table, in the order of x's rows.
    parameters: natural names, one per coordinate of θ, in order. log_value: (θ [B, P], x [V, R]) → (ln f [B, R], its
    gradient [B, R, P]). to_natural: θ [B, P] → natural values [B, P]; from_natural: its inverse. starts: x, y → θ
    [S, P], at least nine, the linear coefficients solved for at each (variable projection). derived: name → function of
    natural values [B, P] → [B], such as the exponent of the compute-optimal size. bounds: coordinate → (low, high) in
    natural units; an estimate there is not one. signed: variables that may be zero or negative.
    """

    name: str
    formula: str
    variables: tuple[str, ...]
    parameters: tuple[str, ...]
    log_value: Callable[[Array, Array], tuple[Array, Array]]
    to_natural: Callable[[Array], Array]
    from_natural: Callable[[Array], Array]
    starts: Callable[[Array, Array], Array]
    derived: Mapping[str, Callable[[Array], Array]] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    signed: tuple[str, ...] = ()

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self.formula

    def columns(self, given: Mapping[str, str], along: str) -> list[str]:
        """The table's column of each variable: as `given`, `along` for the variable called `x`, else its own name."""
        return [given.get(name, along if name == ALONG else name) for name in self.variables]

    def predict(self, natural: Array, x: Array) -> Array:
        """f at natural parameter values [P] or [B, P] for x [V, R]: [R] or [B, R]."""
        values = np.exp(self.log_value(self.from_natural(np.atleast_2d(natural)), x)[0])
        return values[0] if np.ndim(natural) == 1 else values


LAWS: Registry[Law] = Registry("law", modules=("muster.fitting.laws",))
