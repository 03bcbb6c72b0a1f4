"""Perceptrons: largest margins against a quadratic program, learning against a loop over steps, wrong exponents."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from muster.sampling.hinge_perceptron import MARGIN, HingePerceptronCell, examples, learn
from muster.sampling.pruned_perceptron import PrunedPerceptronCell, best_of_other_half, error, largest_margin
from tests.statistical.test_regression_laws import decide, probes


def signed_examples(count, width, seed=0):
    x = np.random.default_rng(seed).standard_normal((count, width))
    return x * np.sign(x[:, :1])


def test_margins_equal_those_of_a_quadratic_program():
    signed = signed_examples(12, 4)
    found = largest_margin(signed)
    program = optimize.minimize(
        lambda w: w @ w / 2,
        np.array([50.0, 0, 0, 0]),
        jac=lambda w: w,
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda w: signed @ w - 1, "jac": lambda w: signed},
    )
    assert program.success
    np.testing.assert_allclose(found / np.linalg.norm(found), program.x / np.linalg.norm(program.x), atol=1e-5)


def test_the_margin_of_two_points_bisects_them():
    signed = np.array([[1.0, 2.0], [1.0, -1.0]])
    found = largest_margin(signed)
    np.testing.assert_allclose(found / found[0], [1, 0], atol=1e-12)


def test_the_error_is_the_share_of_examples_on_which_student_and_teacher_differ():
    """One example x teaches x itself: its angle to T is uniform on the sphere's half that T likes; E|x·T|/|x| in two
    dimensions makes the mean of ε 1/4."""
    cell = PrunedPerceptronCell(width=2, kept=0.5, seed=0)
    rng = np.random.default_rng(0)
    assert np.mean([error(cell, 1, rng, hard=True) for _ in range(2000)]) == pytest.approx(0.25, abs=0.015)


def test_hard_examples_lie_at_the_boundary_of_the_probe_and_easy_ones_far_from_it():
    """Without a single other dimension to learn hard ones teach a steep direction: with N = 2 and one example, the hard
    one is orthogonal to T (ε → ½), the easy one along it (ε → 0); a probe at 90° turns that round."""
    cell, rng = PrunedPerceptronCell(width=2, kept=0.5, seed=0), np.random.default_rng(0)
    assert np.median([error(cell, 1000, rng, hard=True) for _ in range(100)]) > 0.49
    assert np.median([error(cell, 1000, rng, hard=False) for _ in range(100)]) < 0.15
    turned = cell.model_copy(update={"angle": 89.9})
    assert np.median([error(turned, 1000, rng, hard=True) for _ in range(100)]) < 0.01


def test_the_best_of_equal_ratios_is_no_lower_than_one_of_them():
    errors = np.exp(np.random.default_rng(0).normal(0, 1, (40, 200)))
    assert np.log(best_of_other_half(errors).value) == pytest.approx(0, abs=0.35)
    assert np.log(errors[:20]).mean(axis=0).min() < -0.45


def test_random_examples_teach_like_one_over_their_number_and_wrong_exponents_are_refuted():
    rows = pd.concat(probes("pruned_perceptron", width=6, kept=kept, draws=150) for kept in (6, 9, 14, 20, 30))
    rows = rows[rows["probe"] == "hard_error"]
    assert decide(rows, "kept", -1, margin=0.15) == "supported"
    for wrong in (-0.5, -0.75, -1.4, -2):
        assert decide(rows, "kept", wrong) == "refuted"


def test_steps_between_changes_are_those_of_a_loop_over_single_steps():
    cell = HingePerceptronCell(width=3, examples=12, temperature=2, seed=0)

    def loop(signed, rng):
        weights, steps = np.zeros(3), 0
        while (signed @ weights < MARGIN).any():
            one = signed[rng.integers(len(signed))]
            weights = weights + cell.temperature * one * (one @ weights < MARGIN)
            steps += 1
        return np.append(weights, np.log(steps))

    def jump(signed, rng):
        weights, steps = learn(signed, cell.temperature, rng)
        return np.append(weights, np.log(steps))

    signed = examples(cell, np.random.default_rng(3))
    found, expected = (
        np.array([way(signed, np.random.default_rng(seed)) for seed in range(400)]) for way in (jump, loop)
    )
    for column in range(4):
        assert stats.ks_2samp(found[:, column], expected[:, column]).pvalue > 0.001


@pytest.mark.parametrize("boundary", [0, 1, 3])
def test_distances_have_the_density(boundary):
    cell = HingePerceptronCell(width=2, examples=4000, boundary=boundary, seed=0)
    distances = examples(cell, np.random.default_rng(0))[:, 0]
    assert stats.kstest(distances, lambda x: x ** (1 + boundary)).pvalue > 0.001


def test_times_grow_like_the_temperature_and_wrong_exponents_are_refuted():
    rows = pd.concat(
        probes("hinge_perceptron", width=4, examples=32, temperature=t, draws=500) for t in (30, 60, 120, 240, 480)
    )
    rows = rows[rows["probe"] == "duration"]
    assert decide(rows, "temperature", 1, margin=0.15) == "supported"
    for wrong in (0.5, 0.75, 1.25, 2):
        assert decide(rows, "temperature", wrong) == "refuted"
