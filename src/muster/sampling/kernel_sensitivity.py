"""How sensitive minimum-norm fits of random labels are to their input: random features (RF) and tangent kernels (NTK).

n = `samples` points x on the sphere of radius √d, d = round(n^`power`), labels of mean 0 and variance 1, independent.
RF trains the readout of φ(Wx), NTK the first layer, with features x ⊗ φ'(Wx); W is normal with variance 1/d. φ(u) is
cos ωu (`parity` even), sin ωu (odd) or their sum (both), for which the kernels of infinitely many units are known in
closed form from E e^(iω(u ± u')) = e^(−ω²(1 ± ρ)), ρ = x·x'/d. S. Bombari, S. Kiyani and M. Mondelli, Beyond the
universal law of robustness (2023), and the authors' code, which has S = √d ‖∇_z f‖ at a test point z.

Probe `sensitivity`: the geometric mean over `draws` of the root of E S² over labels and POINTS test points. Over labels
the mean is exact: E ‖J K⁻¹y‖² = ‖J K⁻¹‖_F² with J = ∇_z k(z, X) and K = k(X, X).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.tables import outcome, probe_rows

Array = NDArray[np.float64]
FREQUENCY, POINTS = 1.5, 4  # ω; test points of a data set


class KernelSensitivityCell(Cell):
    """One number of samples and one model."""

    width: int = Field(1, ge=1, le=10**6, description="Units; without meaning where there are infinitely many")
    infinite: bool = Field(True, description="Infinitely many units")
    model: Literal["rf", "ntk"] = Field("rf", description="Train the readout, or the first layer")
    parity: Literal["even", "odd", "both"] = Field("both", description="φ: cos ωu, sin ωu, or their sum")
    samples: int = Field(ge=8, le=10**5, description="n, points with random labels")
    power: float = Field(0.8, gt=0, le=2, description="d = n^power, dimension of the inputs")
    draws: int = Field(8, ge=2, le=10**5, description="Data sets, and networks")

    @property
    def dimension(self) -> int:
        """d."""
        return round(self.samples**self.power)


def activation(parity: str, order: int, u: Array) -> Array:
    """The derivative of that order of φ."""
    phase = FREQUENCY * u + order * np.pi / 2  # each derivative moves a wave by a quarter
    even, odd = np.cos(phase), np.sin(phase)
    return np.asarray(FREQUENCY**order * {"even": even, "odd": odd, "both": even + odd}[parity])


def limit(cell: KernelSensitivityCell, rho: Array) -> tuple[Array, Array, Array]:
    """k of infinitely many units at ρ, and the parts of its gradient by one input z: J = (A x + B z)/d with A and B.

    E φφ = e^(−ω²(|z|²/d + 1)/2) g(ω²ρ) with g = cosh, sinh or exp; of φ' the first two change places, times ω².
    """
    square = FREQUENCY**2
    even = cell.parity == "even" if cell.model == "rf" else cell.parity == "odd"
    t = square * rho
    value, slope = (np.exp(t), np.exp(t)) if cell.parity == "both" else (np.cosh(t), np.sinh(t))
    if cell.parity != "both" and not even:
        value, slope = slope, value
    scale = np.exp(-square)
    if cell.model == "rf":
        return scale * value, scale * square * slope, -scale * square * value
    scale *= square
    return scale * rho * value, scale * (value + t * slope), -scale * square * rho * value


def infinite_parts(cell: KernelSensitivityCell, x: Array, z: Array) -> tuple[Array, Array]:
    """K [n, n] and J [n, points, d] of infinitely many units."""
    d = cell.dimension
    _, along_x, along_z = limit(cell, x @ z.T / d)
    return limit(cell, x @ x.T / d)[0], (along_x[..., None] * x[:, None] + along_z[..., None] * z) / d


def finite_parts(cell: KernelSensitivityCell, x: Array, z: Array, w: Array) -> tuple[Array, Array]:
    """K and J of the units w [d, units]."""
    order = 0 if cell.model == "rf" else 1
    features, below = activation(cell.parity, order, x @ w), activation(cell.parity, order, z @ w)
    kernel = features @ features.T
    gradients = np.stack([features * each @ w.T for each in activation(cell.parity, order + 1, z @ w)], axis=1)
    if cell.model == "rf":
        return kernel, gradients
    return x @ x.T * kernel, (features @ below.T)[..., None] * x[:, None] + (x @ z.T)[..., None] * gradients


def sphere(rng: np.random.Generator, count: int, d: int) -> Array:
    """Uniform points of norm √d, [count, d]."""
    x = rng.standard_normal((count, d))
    return np.asarray(x * np.sqrt(d) / np.linalg.norm(x, axis=1, keepdims=True))


def sensitivity(kernel: Array, gradients: Array) -> float:
    """√(d E ‖J K⁻¹y‖²) over labels y and test points, from J [n, points, d]."""
    from scipy import linalg

    n, points, d = gradients.shape
    solved = linalg.cho_solve(linalg.cho_factor(kernel), gradients.reshape(n, -1))
    return float(np.sqrt(d * np.square(solved).sum() / points))


def run(cell: KernelSensitivityCell, context: Context) -> Outcome:
    """Draw data sets, and units where they are finite."""
    rng, d, found = generator(cell), cell.dimension, []
    for _ in range(cell.draws):
        x, z = sphere(rng, cell.samples, d), sphere(rng, POINTS, d)
        if cell.infinite:
            found.append(sensitivity(*infinite_parts(cell, x, z)))
        else:
            found.append(sensitivity(*finite_parts(cell, x, z, rng.standard_normal((d, cell.width)) / np.sqrt(d))))
    return outcome(probe_rows("sensitivity", [geometric_mean(np.array(found))]), flops=cost(cell).flops)


def cost(cell: KernelSensitivityCell) -> Cost:
    """A factorization, the solutions of all gradients, and the features of finitely many units."""
    n, d, units = cell.samples, cell.dimension, 0 if cell.infinite else cell.width
    flops = n**3 / 3 + 2.0 * n**2 * (d * (POINTS + 1) + units) + 2.0 * n * units * d * (POINTS + 1)
    values = 12.0 * n * (n + units)
    memory = 2e8 + 8.0 * (4 * n**2 + 3 * n * d * POINTS + 4 * n * units)
    return Cost(cell.draws * (flops + values), cell.draws * (3e-4 + 5e-11 * flops + 2e-9 * values), memory)


EXPERIMENTS.register("kernel_sensitivity")(
    Experiment(
        summary="Sensitivity of minimum-norm fits of random labels to their input, random features and tangent kernels",
        stage="sample",
        cell=KernelSensitivityCell,
        cost=cost,
        run=run,
        example=probe_example(
            "sensitivity", {"model": "rf", "draws": 4}, {"samples": [60, 100, 160]}, along="samples", smoke={"draws": 2}
        ),
    )
)
