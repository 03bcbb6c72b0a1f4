"""A kernel classifier against dense kernels, exact risks and wrong exponents."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate

from muster.sampling import kernel_classifier
from muster.sampling.kernel_classifier import STEPS, KernelClassifierCell, flow, risks, target
from tests.statistical.test_regression_laws import decide, probes


@pytest.mark.parametrize("time", [3.0, 300.0])
def test_flow_is_that_of_the_dense_kernel(time):
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.random(40)), rng.standard_normal((40, 3))
    values, vectors = np.linalg.eigh(np.minimum(x[:, None], x) / 40)

    def kept(filtered):
        return vectors @ (filtered[:, None] * (vectors.T @ y))

    np.testing.assert_allclose(flow(x, y, time), kept(1 - (1 + time * values / STEPS) ** -STEPS), atol=1e-10)
    np.testing.assert_allclose(flow(x, y, time), kept(1 - np.exp(-time * values)), atol=0.04 * np.abs(y).max())


@pytest.mark.parametrize("smoothness", [1, 2])
def test_targets_of_every_number_of_bumps_have_the_same_norm_of_their_space(smoothness):
    """∫|f^(s)|² of whole bumps."""
    fine = (np.arange(2**14) + 0.5) / 2**14
    norms = []
    for q in (2, 8):
        f = target(fine, np.random.default_rng(q).choice([-1.0, 1.0], q), smoothness)
        for _ in range(smoothness):
            f = np.gradient(f, fine)
        norms.append(integrate.trapezoid(f**2, fine))
    assert norms[0] == pytest.approx(norms[1], rel=0.01)


def test_a_coin_has_half_of_the_mean_size_and_no_label_is_certain():
    """Few samples and many bumps: the sign of f* cannot be known."""
    cell = KernelClassifierCell(samples=8, smoothness=1.0, seed=0)
    found = np.mean([risks(cell, np.random.default_rng(i)) for i in range(400)], axis=0)
    assert found[-1] * cell.bumps[-1] == pytest.approx(0.25, abs=0.05)
    assert (found > 0).all()


@pytest.mark.parametrize(("smoothness", "exponent"), [(0.5, -1 / 4), (1.0, -1 / 3)])
def test_the_worst_risk_has_its_exponent_and_others_are_refuted(smoothness, exponent):
    sizes = (128, 256, 512, 1024, 2048)
    rows = pd.concat(probes("kernel_classifier", samples=n, smoothness=smoothness, draws=50) for n in sizes)
    worst = rows[rows["probe"] == "worst_excess"]
    assert decide(worst, "samples", exponent, margin=0.1) != "refuted"
    for wrong in (2 * exponent, 0.0):
        assert decide(worst, "samples", wrong, margin=0.05) == "refuted"
    single = rows[(rows["probe"] == "excess_risk") & (rows["layer"] == 2)]["value"].to_numpy()
    assert np.log(single[-1] / single[0]) < 1.2 * exponent * np.log(16)  # a fixed target does better


def test_flow_ends_when_as_many_bumps_are_learned_as_the_rate_asks_for(monkeypatch):
    """n^(1/(sβ+1)) of them: the eigenvalue of that many periods on the line is 1/(2πq)²."""
    times = []
    monkeypatch.setattr(kernel_classifier, "flow", lambda x, y, time: times.append(time) or y)
    for n in (32, 1024):
        risks(KernelClassifierCell(samples=n, smoothness=2.0, seed=0), np.random.default_rng(0))
    assert times == pytest.approx([(2 * np.pi * 2) ** 2, (2 * np.pi * 4) ** 2])


def test_interpolated_labels_do_not_improve():
    rows = pd.concat(probes("kernel_classifier", samples=n, interpolate=True, draws=30) for n in (128, 512, 2048, 8192))
    worst = rows[rows["probe"] == "worst_excess"]
    assert decide(worst, "samples", 0.0, margin=0.15) != "refuted"
    assert decide(worst, "samples", -1 / 3) == "refuted"
