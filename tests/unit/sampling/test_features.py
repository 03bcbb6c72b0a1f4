"""Random features and batch Hessians: cells, tables and determinism."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from muster.experiments import EXPERIMENTS, Context
from muster.sampling import regression
from muster.sampling.batch_hessian import BatchHessianCell
from muster.sampling.random_features import RandomFeaturesCell, gram, limit_losses
from muster.sampling.regression import power_tail

CELLS = {
    "finite": ("random_features", RandomFeaturesCell(width=3, samples=40, latent=12, seed=0, draws=6)),
    "limits": (
        "random_features",
        RandomFeaturesCell(width=3, samples=5, latent=12, seed=0, draws=6, quantity="limits"),
    ),
    "gaussian": ("batch_hessian", BatchHessianCell(width=8, batch_size=4, seed=0, draws=6)),
    "examples": ("batch_hessian", BatchHessianCell(width=8, batch_size=4, seed=0, draws=6, noise="examples")),
}


def run(name, cell):
    return EXPERIMENTS[name].run(cell, Context(progress=lambda text: None)).probes


@pytest.mark.parametrize("case", CELLS)
def test_probes_are_finite_positive_and_deterministic_and_seeds_differ(case):
    name, cell = CELLS[case]
    probes = run(name, cell)
    assert (probes[["value", "se"]] > 0).all(axis=None)
    assert not probes.duplicated(["step", "probe", "layer"]).any()
    pd.testing.assert_frame_equal(probes, run(name, cell))
    assert not np.array_equal(probes["value"], run(name, cell.model_copy(update={"seed": 1}))["value"])
    assert EXPERIMENTS[name].cost(cell).seconds > 0


@pytest.mark.parametrize("case", CELLS)
def test_batches_cover_every_draw(case, monkeypatch):
    name, cell = CELLS[case]
    large = cell.model_copy(update={"draws": 300})
    whole = run(name, large)
    monkeypatch.setattr(regression, "BATCH_ENTRIES", 2000)
    np.testing.assert_allclose(run(name, large)["se"], whole["se"], rtol=0.5)


@pytest.mark.parametrize("degrees", [3, 6, 40])
def test_gram_matrices_have_the_moments_of_a_wishart_matrix(degrees):
    found = gram(np.random.default_rng(0), 4000, 6, degrees)
    np.testing.assert_allclose(found.mean(axis=0), degrees * np.eye(6), atol=6 * np.sqrt(2 * degrees / 4000))
    off = found[:, 0, 1]
    assert np.square(off).mean() == pytest.approx(degrees, rel=0.15)
    assert np.linalg.matrix_rank(found[0]) == min(degrees, 6)


def test_limit_losses_are_those_of_explicit_fits_with_a_tail_of_features():
    """One tail feature a sample, of variance τ₂/τ and entry τ/√τ₂, has the sums τ and τ₂ that stand for all of them."""
    cell = RandomFeaturesCell(quantity="limits", width=4, samples=4, latent=8, kernel_exponent=0.5, seed=0, draws=3)
    found = limit_losses(cell, 4, 3, np.random.default_rng(5))
    tail, squares = power_tail(8, 1.5)
    variance = np.r_[np.arange(1.0, 9) ** -1.5, np.full(4, squares / tail)]
    for loss, z in zip(found, np.random.default_rng(5).standard_normal((3, 4, 8)), strict=True):
        x = np.hstack([z, tail / np.sqrt(squares) * np.eye(4)]) * np.sqrt(variance)
        seen = np.linalg.pinv(x) @ x
        unseen = tail - 4 * squares / tail  # of the variance, in tail features that no sample shows
        assert loss == pytest.approx(np.trace((np.eye(12) - seen) * variance) + unseen)


def test_shapes_without_a_mean_are_refused():
    with pytest.raises(ValidationError, match="needs 4 between them"):
        RandomFeaturesCell(width=8, samples=10, seed=0)
    for latent in (4, 8):
        with pytest.raises(ValidationError, match="latent features"):
            RandomFeaturesCell(width=8, samples=100, latent=latent, seed=0)
    with pytest.raises(ValidationError, match="as steep as the outlier"):
        BatchHessianCell(width=4, noise="examples", outlier=0.4, seed=0)
