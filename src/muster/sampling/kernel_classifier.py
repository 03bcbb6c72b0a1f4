"""A kernel classifier on the hardest targets of a Sobolev ball: its excess risk against the number of samples.

n = `samples` uniform points x on [0, 1] with labels ±1, E[y|x] = f*(x); the kernel min(x, x') has eigenvalues ∝ i^(−β),
β = 2. Targets: q^(−s) Σ ±ψ(qx − j), q bumps ψ(u) = (1 − cos 2πu)/2 of random signs, in [H]^s with a norm that does not
depend on q for s = `smoothness` ≤ 2, as in lower bounds by Assouad's lemma. The classifier is the sign of gradient flow
on the squared error, in STEPS implicit steps, until n^(β/(sβ+1)) in units in which n^(1/(sβ+1)) bumps are learned at
time 1; or of its end, the line through the labels (`interpolate`). J. Lai, Z. Li, D. Huang and Q. Lin, The optimality
of kernel classifiers in Sobolev space (2024). Probes: `excess_risk` (layer = q), the mean of ∫|f*| over the x of the
wrong sign, for every q; `worst_excess`, the largest of them. The inverse of a Brownian kernel is tridiagonal and its
fits are lines between the points: a step costs O(n), without approximation.
"""

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import linalg

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws
from muster.sampling.random_network import generator
from muster.sampling.tables import Row, outcome

Array = NDArray[np.float64]
STEPS = 8  # (1 + t/8)^(−8) is within 0.04 of e^(−t)
POINTS = 16  # a bump, at which risks are integrated


class KernelClassifierCell(Cell):
    """One number of samples and one smoothness."""

    width: int = Field(1, ge=1, le=1, description="Dimension of the inputs")
    samples: int = Field(ge=8, le=10**7, description="n")
    smoothness: float = Field(1.0, gt=0, le=2, description="s: the targets lie in the interpolation space [H]^s")
    interpolate: bool = Field(False, description="Run gradient flow to its end")
    draws: int = Field(100, ge=2, le=10**6, description="Independent sets of samples")

    @property
    def learned(self) -> float:
        """n^(1/(sβ+1)): the number of bumps that is learned at the end of the flow."""
        return float(self.samples ** (1 / (2 * self.smoothness + 1)))

    @property
    def bumps(self) -> list[int]:
        """q = 1, 2, 3, 4, 6, 8, … in half octaves up to twice that."""
        return sorted({round(2 ** (k / 2)) for k in range(round(2 * math.log2(2 * self.learned)) + 1)})


def target(x: Array, signs: Array, smoothness: float) -> Array:
    """f* at x, of as many bumps as there are signs."""
    q = len(signs)
    return np.asarray(q**-smoothness * signs[(q * x).astype(int)] * (1 - np.cos(2 * np.pi * q * x)) / 2)


def flow(x: Array, y: Array, time: float) -> Array:
    """Values at ascending x [n] of gradient flow on labels y [n, targets], f' = K(y − f)/n, after a time.

    An implicit step of length h leaves (I + hK/n)^(−1) of the residual r, whose other part is (K^(−1) + h/n)^(−1) hr/n.
    """
    step = time / STEPS / len(x)
    near = 1 / np.diff(x, prepend=0.0)
    banded = np.zeros((2, len(x)))
    banded[1] = near + np.append(near[1:], 0) + step
    banded[0, 1:] = -near[1:]
    left = y
    for _ in range(STEPS):
        left = left - linalg.solveh_banded(banded, step * left)
    return np.asarray(y - left)


def risks(cell: KernelClassifierCell, rng: np.random.Generator) -> list[float]:
    """Excess risk for every q, of one set of inputs with labels of its own for each."""
    x = np.sort(rng.random(cell.samples))
    signs = [rng.choice([-1.0, 1.0], q) for q in cell.bumps]
    means = np.stack([target(x, each, cell.smoothness) for each in signs], axis=1)
    y = np.where(rng.random(means.shape) < (1 + means) / 2, 1.0, -1.0)
    fitted = y if cell.interpolate else flow(x, y, (2 * np.pi * cell.learned) ** 2)
    count = POINTS * max(32, cell.bumps[-1])
    fine = (np.arange(count) + 0.5) / count
    found = []
    for each, values in zip(signs, fitted.T, strict=True):
        truth = target(fine, each, cell.smoothness)
        wrong = truth * np.interp(fine, np.append(0, x), np.append(0, values)) < 0
        found.append(float(np.abs(truth) @ wrong / count))
    return found


def run(cell: KernelClassifierCell, context: Context) -> Outcome:
    """Classify every set of samples."""
    rng = generator(cell)
    found = np.array([risks(cell, rng) for _ in range(cell.draws)])
    rows: list[Row] = [
        (0, "excess_risk", q, *mean_over_draws(each)) for q, each in zip(cell.bumps, found.T, strict=True)
    ]
    rows.append((0, "worst_excess", 1, *max(row[3:] for row in rows)))
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: KernelClassifierCell) -> Cost:
    """Labels and tridiagonal systems for every q."""
    labels = float(cell.draws) * cell.samples * len(cell.bumps)
    return Cost(100 * labels, 1e-3 * cell.draws + 3e-7 * labels, 2e8 + 100.0 * cell.samples * len(cell.bumps))


EXPERIMENTS.register("kernel_classifier")(
    Experiment(
        summary="A kernel classifier on targets of a Sobolev ball: excess risk against samples",
        stage="sample",
        cell=KernelClassifierCell,
        cost=cost,
        run=run,
        example=probe_example(
            "worst_excess", {"draws": 40}, {"samples": [64, 128, 256, 512]}, along="samples", predicted=-0.333
        ),
    )
)
