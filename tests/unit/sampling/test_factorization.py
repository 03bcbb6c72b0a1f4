"""Deep linear networks and matrix sensing: cells, tables, and building blocks against independent arithmetic."""

import itertools

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from muster.experiments import EXPERIMENTS, Context
from muster.sampling.factorization import (
    DEEP_RATE,
    DeepLinearCell,
    MatrixSensingCell,
    checkpoints,
    first_crossing,
    gradients,
    initial_factors,
    learn,
)

CELLS = {
    "decoupled": ("deep_linear", DeepLinearCell(width=4, seed=0, outputs=2, efolds=2, draws=3)),
    "gaussian": (
        "deep_linear",
        DeepLinearCell(width=4, depth=3, seed=0, outputs=2, initialization="gaussian", draws=3),
    ),
    "symmetric": ("matrix_sensing", MatrixSensingCell(width=5, seed=0, rank=1, excess=1, updates=32, draws=3)),
    "apart": ("matrix_sensing", MatrixSensingCell(width=5, seed=0, rank=1, symmetric=False, updates=32, draws=3)),
}


def run(name, cell):
    return EXPERIMENTS[name].run(cell, Context(progress=lambda text: None))


@pytest.mark.parametrize("case", CELLS)
def test_tables_have_one_run_no_curve_and_finite_probes(case):
    outcome = run(*CELLS[case])
    assert len(outcome.runs) == 1
    assert outcome.curves.empty
    assert np.isfinite(outcome.probes[["value", "se"]]).all(axis=None)
    assert not outcome.probes.duplicated(["step", "probe", "layer"]).any()


@pytest.mark.parametrize("case", ["gaussian", "symmetric"])
def test_a_cell_is_deterministic_and_seeds_differ(case):
    name, cell = CELLS[case]
    pd.testing.assert_frame_equal(run(name, cell).probes, run(name, cell).probes)
    other = run(name, cell.model_copy(update={"seed": 1})).probes
    assert not np.array_equal(run(name, cell).probes["value"].head(5), other["value"].head(5))


@pytest.mark.parametrize("bad", [{"outputs": 5}, {"efolds": 0.5}, {"initialization": "xavier"}])
def test_a_network_refuses_wrong_settings(bad):
    with pytest.raises(ValidationError):
        DeepLinearCell(**({"width": 4, "seed": 0} | bad))


def test_sensing_refuses_more_columns_than_dimensions():
    with pytest.raises(ValidationError, match="exceed width"):
        MatrixSensingCell(width=4, seed=0, rank=2, excess=3)


@pytest.mark.parametrize("name", ["deep_linear", "matrix_sensing"])
def test_costs_grow_with_draws(name):
    experiment = EXPERIMENTS[name]
    small, large = (experiment.cost(experiment.cell(width=16, seed=0, draws=draws)) for draws in (10, 40))
    assert large.flops == pytest.approx(4 * small.flops)
    assert large.seconds > small.seconds > 0


def test_gradients_equal_finite_differences():
    rng = np.random.default_rng(0)
    factors = [rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 4, 4)), rng.standard_normal((2, 2, 4))]
    target = rng.standard_normal((2, 3))

    def loss(moved):
        return 0.5 * np.square(moved[2] @ moved[1] @ moved[0] - target).sum(axis=(1, 2))

    error, slopes = gradients(factors, target)
    np.testing.assert_allclose(0.5 * np.square(error).sum(axis=(1, 2)), loss(factors), rtol=1e-12)
    for index, slope in enumerate(slopes):
        towards = rng.standard_normal(factors[index].shape)
        ends = []
        for sign in (1, -1):
            moved = list(factors)
            moved[index] = factors[index] + sign * 1e-6 * towards
            ends.append(loss(moved))
        np.testing.assert_allclose((slope * towards).sum(axis=(1, 2)), (ends[0] - ends[1]) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_decoupled_start_is_diagonal_and_balanced(depth):
    cell = DeepLinearCell(width=5, depth=depth, seed=0, outputs=3, efolds=4, draws=2)
    factors = initial_factors(cell, np.random.default_rng(0))
    product = factors[0]
    for factor in factors[1:]:
        product = factor @ product
    expected = np.zeros((3, 5))
    np.fill_diagonal(expected, np.exp(-4) / np.arange(1, 4))
    np.testing.assert_allclose(product, np.broadcast_to(expected, product.shape), atol=1e-14)
    for first, second in itertools.pairwise(factors):
        np.testing.assert_allclose(np.swapaxes(second, 1, 2) @ second, first @ np.swapaxes(first, 1, 2), atol=1e-14)


def test_the_orthogonal_start_is_orthogonal_and_the_gaussian_one_keeps_norms():
    kinds = {
        kind: initial_factors(
            DeepLinearCell(width=30, depth=1, seed=0, outputs=2, initialization=kind, draws=50),
            np.random.default_rng(0),
        )
        for kind in ("orthogonal", "gaussian")
    }
    np.testing.assert_allclose(
        kinds["orthogonal"][1] @ np.swapaxes(kinds["orthogonal"][1], 1, 2),
        np.eye(2)[None] + np.zeros((50, 1, 1)),
        atol=1e-12,
    )
    assert np.square(kinds["gaussian"][0]).sum(axis=1).mean() == pytest.approx(1, abs=0.02)


def test_orthogonal_starts_favour_no_direction():
    """Haar's law is that of −Q too; Q of a bare QR decomposition has a diagonal of one sign."""
    cell = DeepLinearCell(width=3, depth=1, seed=0, outputs=1, initialization="orthogonal", draws=2000)
    square = initial_factors(cell, np.random.default_rng(0))[0]
    np.testing.assert_allclose(square.mean(axis=0), 0, atol=4.5 / np.sqrt(3 * 2000))
    np.testing.assert_allclose(np.square(square).mean(axis=0), 1 / 3, atol=0.04)


def test_the_learning_time_is_a_geometric_mean_with_the_error_of_one():
    cell = DeepLinearCell(width=4, depth=2, seed=0, outputs=1, initialization="gaussian", draws=60)
    _, errors = learn(cell, np.random.default_rng([0, 4, 2]))
    times = [np.interp(-0.25, -series, DEEP_RATE * np.arange(len(series))) for series in errors.T]
    found = run("deep_linear", cell).probes.set_index("probe").loc["learning_time"]
    logs = np.log(np.maximum(times, 0.5 * DEEP_RATE))  # a lucky start counts as half an update
    assert found["value"] == pytest.approx(np.exp(logs.mean()), rel=1e-3)
    assert found["se"] == pytest.approx(np.exp(logs.mean()) * logs.std(ddof=1) / np.sqrt(60), rel=0.02)


def test_first_crossing_interpolates_and_marks_what_never_crosses():
    series = np.array([[0.0, 0.0, 0.7], [0.4, 0.1, 0.8], [0.8, 0.2, 0.9]])
    np.testing.assert_allclose(first_crossing(series, 0.5), [1.25, 2, 0])


def test_checkpoints_end_at_the_last_update_and_hold_its_half():
    assert checkpoints(22) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 14, 16, 20, 22]
