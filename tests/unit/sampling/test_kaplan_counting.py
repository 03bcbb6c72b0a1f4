"""The counting artefact: every closed form against an independent minimisation, and the two exponents it produces."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from muster.experiments import EXPERIMENTS, Context
from muster.plan.cells import name_cell
from muster.sampling.kaplan_counting import (
    CONSTANTS,
    REFERENCE_ASPECT,
    KaplanCountingCell,
    embedding_constant,
    local_exponent,
    log_compute,
    optimal_sizes,
    outside_embeddings,
)

OMEGA = 32_000 * (REFERENCE_ASPECT / 12) ** (1 / 3)
SIZES = [1e3, 1e5, 2e6, 1e8, 1e11]


def cell(**fields: object) -> KaplanCountingCell:
    defaults = {"counting": "non_embedding", "regime": "kaplan", "seed": 0}
    return KaplanCountingCell.model_validate(defaults | fields)


def loss(law: str, total: float, tokens: float) -> float:
    e, a, b, alpha, beta = CONSTANTS[law]
    return e + a / total**alpha + b / tokens**beta


def minimum(law: str, compute: float, *, embeddings_counted: bool) -> float:
    """The size, in the given count, that minimises the loss at 6 × size × tokens = compute, found by search."""

    def at(log_size: float) -> float:
        size = math.exp(log_size)
        total = size if embeddings_counted else size + OMEGA * size ** (1 / 3)
        return loss(law, total, compute / 6 / size)

    grid = np.linspace(0, 40, 400)
    best = grid[np.argmin([at(point) for point in grid])]
    return math.exp(minimize_scalar(at, bounds=(best - 0.2, best + 0.2), method="bounded", options={"xatol": 1e-9}).x)


def test_omega_is_that_of_pearce_and_song() -> None:
    assert embedding_constant(32_000, 39.2) == pytest.approx(47_491, rel=5e-4)


def test_embeddings_of_a_shape_are_rows_times_width() -> None:
    layers, width = 10, 392
    n = 12 * layers * width**2
    assert embedding_constant(500, width / layers) * n ** (1 / 3) == pytest.approx(500 * width)


@pytest.mark.parametrize("law", CONSTANTS)
@pytest.mark.parametrize("size", SIZES)
def test_the_closed_form_budget_is_the_one_at_which_a_size_is_optimal(law: str, size: float) -> None:
    compute = math.exp(log_compute(np.array(size), CONSTANTS[law], OMEGA))
    assert minimum(law, compute, embeddings_counted=False) == pytest.approx(size, rel=1e-5)


@pytest.mark.parametrize("law", CONSTANTS)
@pytest.mark.parametrize("size", SIZES)
def test_the_local_exponent_is_the_slope_of_the_searched_optimum(law: str, size: float) -> None:
    log_c = float(log_compute(np.array(size), CONSTANTS[law], OMEGA))
    low, high = (minimum(law, math.exp(log_c + step), embeddings_counted=False) for step in (-0.05, 0.05))
    slope = math.log(high / low) / 0.1
    assert float(local_exponent(np.array(size), CONSTANTS[law], OMEGA)) == pytest.approx(slope, rel=2e-3)


def test_limits_of_the_local_exponent() -> None:
    law = CONSTANTS["besiroglu"]
    assert local_exponent(np.array(1e18), law, OMEGA) == pytest.approx(law.beta / (law.alpha + law.beta), rel=1e-4)
    assert local_exponent(np.array(1e-6), law, OMEGA) == pytest.approx(law.beta / (law.alpha / 3 + law.beta), rel=1e-4)


@pytest.mark.parametrize("counting", ["non_embedding", "total"])
def test_budgets_and_optima_belong_together(counting: str) -> None:
    budgets, sizes = optimal_sizes(cell(counting=counting, budgets=5))
    for compute, size in zip(budgets, sizes, strict=True):
        searched = minimum("besiroglu", compute, embeddings_counted=counting == "total")
        assert size == pytest.approx(searched, rel=1e-4)
    ends = np.array([768.0, 1.5e9])
    expected = ends if counting == "non_embedding" else ends + OMEGA * ends ** (1 / 3)
    np.testing.assert_allclose(sizes[[0, -1]], expected, rtol=1e-6)


def test_sizes_outside_the_embeddings_solve_the_cubic() -> None:
    for total in (1e5, 1e8, 1e12):
        root = brentq(lambda n, total=total: n + OMEGA * n ** (1 / 3) - total, 1e-9, total)
        assert outside_embeddings(np.array(total), np.array(OMEGA)) == pytest.approx(root, rel=1e-9)


@pytest.mark.parametrize("counting", ["non_embedding", "total"])
def test_rows_of_a_cell_obey_the_law_and_their_budget(counting: str) -> None:
    runs = EXPERIMENTS["kaplan_counting"].run(cell(counting=counting, noise=0, budgets=4), Context()).runs
    counted = runs["parameters" if counting == "total" else "parameters_no_embedding"]
    np.testing.assert_allclose(6 * counted * runs["tokens"], runs["compute"], rtol=1e-4)
    omega = 32_000 * (runs["aspect"] / 12) ** (1 / 3)
    n = runs["parameters_no_embedding"]
    np.testing.assert_allclose(runs["parameters"], n + omega * n ** (1 / 3), rtol=1e-4)
    expected = [loss("besiroglu", *pair) for pair in zip(runs["parameters"], runs["tokens"], strict=True)]
    np.testing.assert_allclose(runs["final_eval_loss"], expected, rtol=1e-5)
    assert (runs["aspect"].between(REFERENCE_ASPECT / 1.2, REFERENCE_ASPECT * 1.2)).all()
    assert runs["run"].is_unique


def test_seeds_differ_in_shapes_and_noise_and_share_budgets() -> None:
    first, second = (EXPERIMENTS["kaplan_counting"].run(cell(seed=seed), Context()).runs for seed in (0, 1))
    np.testing.assert_array_equal(first["compute"], second["compute"])
    np.testing.assert_array_equal(first["size"], second["size"])
    assert not (first["aspect"] == second["aspect"]).any()
    assert not (first["final_eval_loss"] == second["final_eval_loss"]).any()


def test_a_cells_folder_names_what_it_is() -> None:
    assert name_cell("kaplan_counting", cell(seed=3)).key.startswith(
        "kaplan_counting/besiroglu-non_embedding-kaplan-s3-"
    )


@pytest.mark.parametrize("counting", ["non_embedding", "total"])
def test_the_exponent_of_a_run_is_the_slope_of_its_optima(counting: str) -> None:
    of = cell(counting=counting, budgets=60)
    found = EXPERIMENTS["kaplan_counting"].run(of, Context(progress=lambda line: None)).probes
    slope = np.gradient(*(np.log(each) for each in reversed(optimal_sizes(of))))
    np.testing.assert_allclose(found["value"][1:-1], slope[1:-1], rtol=5e-3)
