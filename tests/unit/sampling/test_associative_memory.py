"""Dense Hebbian memories against energies, brute-force fields and the normal law of the fields."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import stats

from muster.errors import MusterError
from muster.sampling.associative_memory import AssociativeMemoryCell, crossing, fields
from tests.statistical.test_regression_laws import decide, formula, probes


@pytest.mark.parametrize("bodies", [2, 3])
def test_fields_equal_sums_over_tuples_of_other_neurons(bodies):
    cell = AssociativeMemoryCell(width=5, bodies=bodies, quality=0.6, examples=3, load=0.8, seed=0)
    found = fields(cell, np.random.default_rng(2))
    rng = np.random.default_rng(2)
    archetypes = 2 * rng.integers(2, size=(cell.archetypes, 5), dtype=np.int8) - 1
    archetypes[0] = 1
    means = archetypes * (2 / 3 * rng.binomial(3, 0.8, archetypes.shape) - 1)
    for i in range(5):
        others = [j for j in range(5) if j != i]
        for k in range(1, cell.archetypes + 1):
            total = 0.0
            for eta in means[:k]:
                if bodies == 2:
                    total += eta[i] * sum(eta[j] for j in others) / 5
                else:
                    total += eta[i] * sum(eta[j] * eta[l] for j in others for l in others) / 25
            assert found[k - 1, i] == pytest.approx(total)


@pytest.mark.parametrize(
    ("bodies", "width", "quality", "examples"), [(2, 300, 1, 1), (2, 300, 0.6, 20), (3, 100, 0.6, 20)]
)
def test_fields_have_the_normal_law_of_the_formula(bodies, width, quality, examples):
    """At the capacity of the formula the mean over r^P is 1 and the variance 1/z²."""
    case = {"width": width, "bodies": bodies, "quality": quality, "examples": examples}
    capacity = round(formula("hebbian_capacity", **{name: [value] for name, value in case.items()})[0])
    cell = AssociativeMemoryCell(load=capacity / width ** (bodies - 1), seed=0, **case)
    last = [fields(cell, np.random.default_rng(seed))[-1] for seed in range(20)]
    scaled = np.concatenate(last) / quality**bodies
    assert scaled.mean() == pytest.approx(1, abs=0.05)
    assert scaled.var() == pytest.approx(1 / stats.norm.isf(0.05) ** 2, rel=0.12)


def test_at_the_capacity_of_the_formula_one_in_twenty_neurons_flips_by_brute_force():
    """P = 3, N = 32, all couplings J_ijk = Σ_μ η̄_i η̄_j η̄_k, j ≠ i ≠ k, in float64; at a third of the archetypes and at
    thrice as many, as other normal moments would have it, another share flips."""
    n, quality, examples = 32, 0.8, 10
    capacity = formula("hebbian_capacity", width=[n], bodies=[3], quality=[quality], examples=[examples])[0]
    rng, others = np.random.default_rng(0), 1 - np.eye(n)

    def share(archetypes):
        flips = []
        for _ in range(80):
            xi = rng.choice([-1.0, 1.0], (archetypes, n))
            agree = rng.random((examples, archetypes, n)) < (1 + quality) / 2
            means = xi * (2 * agree.mean(axis=0) - 1)
            couplings = np.einsum("mi,mx->ix", means, np.einsum("mj,mk->mjk", means, means).reshape(archetypes, -1))
            state = others[:, :, None] * others[:, None, :] * np.outer(xi[0], xi[0])
            flips.append((np.einsum("ijk,ijk->i", couplings.reshape(n, n, n), state) * xi[0] < 0).mean())
        return np.mean(flips)

    assert share(round(capacity)) == pytest.approx(0.05, abs=0.015)
    assert share(round(capacity / 3)) < 0.02
    assert share(round(3 * capacity)) > 0.12


def test_the_crossing_of_a_noisy_curve_is_where_its_mean_crosses():
    assert crossing(np.array([0.0, 0.02, 0.04, 0.08])) == 3.5
    rising = np.linspace(0, 0.1, 1000)
    noise = np.random.default_rng(0).normal(0, 0.01, (200, 1000))
    assert np.mean([crossing(rising + each) for each in noise]) == pytest.approx(500, abs=5)


def test_the_capacity_grows_like_the_width_and_other_exponents_are_refuted():
    rows = pd.concat(probes("associative_memory", width=width, draws=96) for width in (60, 85, 120, 170))
    rows = rows[rows["probe"] == "capacity"]
    ratio = np.log(rows["value"].to_numpy() / formula("hebbian_capacity", **rows))
    assert np.abs(ratio).max() < 0.1
    assert np.abs(ratio + np.log(1.3)).min() > 0.1
    assert decide(rows, "width", 1) != "refuted"
    for wrong in (0.5, 0.8, 1.25, 2):
        assert decide(rows, "width", wrong) == "refuted"


def test_poor_examples_flip_a_single_archetype_and_have_no_capacity():
    """ρ = 0.5: a share Φ(−1/√ρ) = 0.079 flips at K = 1."""
    cell = AssociativeMemoryCell(width=200, quality=0.5, examples=6, load=0.05, seed=0)
    flips = np.mean([(fields(cell, np.random.default_rng(seed))[0] < 0).mean() for seed in range(40)])
    assert flips == pytest.approx(stats.binom.cdf(2, 6, 0.75), abs=0.02)  # fewer than half of its examples agree
    with pytest.raises(MusterError, match="load"):
        probes("associative_memory", width=50, quality=0.5, examples=5, load=0.1, draws=8)


def test_examples_of_quality_one_are_refused():
    with pytest.raises(ValidationError, match="all alike"):
        AssociativeMemoryCell(width=5, examples=3, seed=0)
