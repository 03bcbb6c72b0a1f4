"""Steps of the JKO scheme against numerical minimization, flows against known solutions."""

import numpy as np
import pandas as pd
import pytest
from scipy import linalg, optimize

from muster.sampling.gaussian_flow import GaussianFlowCell, covariances, distance, flow_step, jko_step
from tests.statistical.test_regression_laws import decide, probes

TARGET, START = covariances(GaussianFlowCell(width=2, jko_steps=1, draws=2, seed=0), np.random.default_rng(1))


def test_a_step_minimizes_the_energy_and_the_squared_distance():
    eta, precision = 0.3, np.linalg.inv(TARGET)

    def objective(entries):
        factor = np.array([[entries[0], 0], [entries[1], entries[2]]])
        s = factor @ factor.T
        energy = (np.trace(precision @ s) - np.log(np.linalg.det(s))) / 2
        moved = np.trace(s + START - 2 * np.real(linalg.sqrtm(linalg.sqrtm(s) @ START @ linalg.sqrtm(s))))
        return energy + moved / (2 * eta)

    first = np.linalg.cholesky(START)
    found = optimize.minimize(objective, [first[0, 0], first[1, 0], first[1, 1]], method="Nelder-Mead", tol=1e-12).x
    factor = np.array([[found[0], 0], [found[1], found[2]]])
    np.testing.assert_allclose(jko_step(START[None], precision[None], eta)[0], factor @ factor.T, atol=1e-5)


def test_the_distance_is_that_of_bures():
    squared = np.trace(TARGET + START - 2 * np.real(linalg.sqrtm(linalg.sqrtm(TARGET) @ START @ linalg.sqrtm(TARGET))))
    assert distance(TARGET[None], START[None])[0] == pytest.approx(np.sqrt(squared))
    assert distance(TARGET[None], TARGET[None])[0] == pytest.approx(0, abs=1e-12)


def test_the_flow_is_the_ornstein_uhlenbeck_covariance_and_the_correction_the_gradient_of_its_energy():
    """S_t = Γ + e^(−Γ⁻¹t) (S − Γ) e^(−Γ⁻¹t); ∂/∂S of tr V²S by differences."""
    precision, s = np.linalg.inv(TARGET), START[None]
    for _ in range(50):
        s = flow_step(s, precision[None], 0.01, 0.0)
    decay = linalg.expm(-precision * 0.5)
    np.testing.assert_allclose(s[0], TARGET + decay @ (START - TARGET) @ decay, rtol=1e-7)

    def energy(s):
        v = precision - np.linalg.inv(s)
        return np.trace(v @ v @ s)

    eta = 1e-4
    plain, modified = (flow_step(START[None], precision[None], eta, sign)[0] for sign in (0.0, 1.0))
    gradient = np.zeros((2, 2))
    for i, j in ((0, 0), (0, 1), (1, 1)):
        step = np.zeros((2, 2))
        step[i, j] = step[j, i] = 1e-5
        gradient[i, j] = gradient[j, i] = (energy(START + step) - energy(START - step)) / 2e-5 / (1 if i == j else 2)
    np.testing.assert_allclose((modified - plain) / eta**2, (gradient @ START + START @ gradient) / 2, rtol=2e-3)


def test_the_orders_are_one_and_two_and_others_are_refuted():
    rows = pd.concat(probes("gaussian_flow", width=2, jko_steps=n, draws=60) for n in (16, 24, 36, 54))
    for probe, order in (("flow_distance", -1), ("modified_distance", -2), ("reversed_distance", -1)):
        some = rows[rows["probe"] == probe]
        assert decide(some, "jko_steps", order, margin=0.25) == "supported"
        assert decide(some, "jko_steps", -3 - order, margin=0.25) == "refuted"
