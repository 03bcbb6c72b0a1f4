"""The JKO scheme between Gaussians against two Wasserstein gradient flows.

J is the Kullback–Leibler divergence from N(0, Γ), all densities are N(0, S) in d = `width` dimensions, Γ and the start
have uniform eigenvectors and eigenvalues log-uniform in [1/`spread`, `spread`]. A flow moves points with velocity A x,
dS/dt = AS + SA; that of J has A = −V, V = Γ⁻¹ − S⁻¹. A JKO step of size η = 1/`jko_steps` is optimal where the map
back is I + ηV′ (L. Ambrosio, N. Gigli and G. Savaré, Gradient flows, 2008): (I + ηV′) S′ (I + ηV′) = S, which has one
solution (`jko_step`). To second order in η the scheme follows the flow of J − (η/4) ∫ |∇δJ/δρ|² ρ, whose A = −V +
(η/2)(Γ⁻² − S⁻²), as the integral is tr V²S; P. Halmos and B. Hanin, Implicit bias of the JKO scheme (2025). Probes, at
time 1, geometric means over `draws` of the Wasserstein distance of the scheme from the flow of:
`flow_distance`, J; `modified_distance`, the modified energy; `reversed_distance`, that with the other sign.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.sketching import orthonormal
from muster.sampling.tables import outcome, probe_rows

Matrix = NDArray[np.float64]
SIGNS = {"flow_distance": 0.0, "modified_distance": 1.0, "reversed_distance": -1.0}


class GaussianFlowCell(Cell):
    """One size of the steps."""

    jko_steps: int = Field(ge=1, le=10**5, description="Steps of the scheme up to time 1")
    spread: float = Field(2.0, gt=1, le=100, description="Largest eigenvalue, and inverse of the smallest")
    draws: int = Field(200, ge=2, le=10**6, description="Independent targets and starts")


def root(s: Matrix, power: float = 0.5) -> Matrix:
    """Powers of symmetric positive matrices [draws, d, d]."""
    values, vectors = np.linalg.eigh(s)
    return np.asarray((vectors * np.maximum(values, 0)[:, None] ** power) @ vectors.swapaxes(1, 2), float)


def covariances(cell: GaussianFlowCell, rng: np.random.Generator) -> Matrix:
    """Random covariances [draws, d, d]."""
    q = orthonormal(rng, cell.draws, cell.width, cell.width)
    values = cell.spread ** rng.uniform(-1, 1, (cell.draws, cell.width))
    return np.asarray((q * values[:, None]) @ q.swapaxes(1, 2), float)


def jko_step(s: Matrix, precision: Matrix, eta: float) -> Matrix:
    """S′. With B = I + ηΓ⁻¹ the condition reads B S′ B − 2ηB + η² S′⁻¹ = S; Y = B^½ S′ B^½ shares the eigenvectors of Q
    = B^−½ S B^−½, and y + η²/y = q + 2η, of which the larger root is the one that stays as η → 0."""
    b = np.eye(s.shape[1]) + eta * precision
    back = root(b, -0.5)
    q, vectors = np.linalg.eigh(back @ s @ back)
    y = (q + 2 * eta + np.sqrt(q * (q + 4 * eta))) / 2
    return np.asarray(back @ ((vectors * y[:, None]) @ vectors.swapaxes(1, 2)) @ back, float)


def flow_step(s: Matrix, precision: Matrix, eta: float, sign: float) -> Matrix:
    """S after a time η by the classical Runge–Kutta rule, whose error η⁴ does not matter."""

    def change(s: Matrix) -> Matrix:
        inverse = np.linalg.inv(s)
        a = inverse - precision + sign * eta / 2 * (precision @ precision - inverse @ inverse)
        return np.asarray(a @ s + s @ a, float)

    k1 = change(s)
    k2 = change(s + eta / 2 * k1)
    k3 = change(s + eta / 2 * k2)
    return np.asarray(s + eta / 6 * (k1 + 2 * k2 + 2 * k3 + change(s + eta * k3)), float)


def distance(s: Matrix, other: Matrix) -> Matrix:
    """Wasserstein distances [draws] of centred Gaussians (Bures): E|x − Tx|² with T = S^−½ (S^½ S₂ S^½)^½ S^−½."""
    half, back = root(s), root(s, -0.5)
    map_ = back @ root(half @ other @ half) @ back
    moved = (map_ - np.eye(s.shape[1])) @ half
    return np.asarray(np.sqrt(np.square(moved).sum(axis=(1, 2))), float)


def run(cell: GaussianFlowCell, context: Context) -> Outcome:
    """Take the steps of the scheme and follow the flows."""
    rng, eta = generator(cell), 1 / cell.jko_steps
    precision, start = root(covariances(cell, rng), -1.0), covariances(cell, rng)
    scheme, flows = start, dict.fromkeys(SIGNS, start)
    for _ in range(cell.jko_steps):
        scheme = jko_step(scheme, precision, eta)
        flows = {probe: flow_step(s, precision, eta, SIGNS[probe]) for probe, s in flows.items()}
    rows = [row for probe, s in flows.items() for row in probe_rows(probe, [geometric_mean(distance(scheme, s))])]
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: GaussianFlowCell) -> Cost:
    """Two eigendecompositions and a dozen inverses of a matrix for each draw and step."""
    matrices = float(cell.draws) * cell.jko_steps
    return Cost(matrices * 200.0 * cell.width**3, matrices * (4e-5 + 1e-7 * cell.width**3), 2e8)


EXPERIMENTS.register("gaussian_flow")(
    Experiment(
        summary="The JKO scheme between Gaussians: distance from the gradient flow, and from that of a modified energy",
        stage="sample",
        cell=GaussianFlowCell,
        cost=cost,
        run=run,
        example=probe_example(
            "flow_distance",
            {"width": 2, "draws": 100},
            {"jko_steps": [8, 16, 32, 64]},
            along="jko_steps",
            predicted=-1,
            smoke={"draws": 8},
        ),
    )
)
