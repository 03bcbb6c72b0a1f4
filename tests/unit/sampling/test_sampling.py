"""Sampling experiments: cells, tables, determinism, and building blocks against independent arithmetic."""

import mpmath
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import stats

from muster.experiments import EXPERIMENTS, Context
from muster.sampling import matrix_product
from muster.sampling.draws import mean_over_draws, ratio_of_means
from muster.sampling.matrix_product import MatrixProductCell, ks_to_uniform, sample_products
from muster.sampling.relu_chain import ReluChainCell
from muster.sampling.tables import Moments

CELLS = {
    "relu": ("relu_chain", ReluChainCell(width=8, depth=5, seed=0, draws=500)),
    "tanh": ("relu_chain", ReluChainCell(width=8, depth=5, seed=0, draws=500, activation="tanh")),
    "product": ("matrix_product", MatrixProductCell(width=4, depth=9, seed=0, draws=5)),
}


def run(name, cell):
    return EXPERIMENTS[name].run(cell, Context(progress=lambda text: None))


@pytest.mark.parametrize("case", CELLS)
def test_tables_have_one_run_no_curve_and_finite_probes(case):
    outcome = run(*CELLS[case])
    assert len(outcome.runs) == 1
    assert not outcome.runs["diverged"].item()
    assert outcome.runs[["final_train_loss", "final_eval_loss"]].isna().all(axis=None)
    assert outcome.curves.empty
    assert list(outcome.curves) == ["step", "train_loss", "eval_loss"]
    assert list(outcome.probes) == ["step", "probe", "layer", "value", "se"]
    assert np.isfinite(outcome.probes[["value", "se"]]).all(axis=None)
    assert not outcome.probes.duplicated(["step", "probe", "layer"]).any()


@pytest.mark.parametrize("case", ["relu", "tanh"])
def test_a_chain_reports_every_layer(case):
    probes = run(*CELLS[case]).probes
    assert (probes.groupby("probe")["layer"].apply(list).map(lambda layers: layers == [1, 2, 3, 4, 5])).all()
    assert set(probes["probe"]) == {
        "alive_share",
        "kurtosis_ratio",
        "log_norm_mean",
        "log_norm_var",
        "norm_var_relative",
    }


@pytest.mark.parametrize("case", CELLS)
def test_a_cell_is_deterministic_and_seeds_differ(case):
    name, cell = CELLS[case]
    pd.testing.assert_frame_equal(run(name, cell).probes, run(name, cell).probes)
    other = run(name, cell.model_copy(update={"seed": 1})).probes
    assert not np.array_equal(run(name, cell).probes["value"], other["value"])


def test_chunks_cover_every_draw(monkeypatch):
    from muster.sampling import relu_chain

    monkeypatch.setattr(relu_chain, "RELU_CHUNK", 70)
    probes = run("relu_chain", ReluChainCell(width=1, depth=1, seed=0, draws=1000)).probes
    alive = probes.set_index("probe").loc["alive_share", "value"]
    assert alive * 1000 == pytest.approx(round(alive * 1000))
    assert alive == pytest.approx(0.5, abs=0.06)


def test_a_network_that_is_always_dead_gives_nan_not_an_error():
    probes = run("relu_chain", ReluChainCell(width=1, depth=40, seed=0, draws=100)).probes
    last = probes[probes["layer"] == 40].set_index("probe")["value"]
    assert last["alive_share"] == 0
    assert np.isnan(last["log_norm_var"])


@pytest.mark.parametrize("bad", [{"activation": "gelu"}, {"draws": 1}, {"width": 0}, {"aspect": 2}])
def test_a_chain_refuses_wrong_settings(bad):
    with pytest.raises(ValidationError):
        ReluChainCell(**({"width": 8, "seed": 0} | bad))


def test_aspect_sets_depth_and_contradictions_are_refused():
    assert MatrixProductCell(width=8, seed=0, aspect=0.25).depth == 2
    assert MatrixProductCell(width=8, seed=0, aspect=64, depth=512).depth == 512
    with pytest.raises(ValidationError, match="give one of the two"):
        MatrixProductCell(width=8, seed=0, aspect=64, depth=3)


def test_moments_of_chunks_equal_those_of_the_whole():
    values = np.random.default_rng(0).gamma(2.0, size=3001) + 1000
    moments = Moments()
    for chunk in np.array_split(values, 7):
        moments.add(chunk)
    expected = [values.mean(), *(stats.moment(values, order=k) for k in (2, 3, 4))]
    np.testing.assert_allclose(moments.central(), expected, rtol=1e-9)


def test_standard_errors_match_the_spread_over_replications():
    rng = np.random.default_rng(0)
    rows = {"mean": [], "variance": [], "relative_variance": []}
    for _ in range(2000):
        moments = Moments()
        moments.add(rng.gamma(3.0, size=400))
        for name, row in rows.items():
            row.append(getattr(moments, name)())
    for name, row in rows.items():
        values, errors = np.transpose(row)
        assert errors.mean() == pytest.approx(values.std(), rel=0.1), name


def test_the_standard_error_of_few_draws_is_not_too_small():
    """se² of 6 draws is unbiased: its mean over 20,000 replications has an error of .5 %; n for n − 1 is 17 % off."""
    draws = np.random.default_rng(0).standard_normal((20_000, 6))
    squared = np.mean([mean_over_draws(row).se ** 2 for row in draws])
    assert squared == pytest.approx(1 / 6, rel=0.02)
    over = np.mean([ratio_of_means(1 + 0.01 * row, np.ones(6)).se ** 2 for row in draws])
    assert over == pytest.approx(1e-4 / 6, rel=0.02)


def test_ks_distance_equals_scipy():
    points = np.random.default_rng(0).uniform(0, 1.2, (5, 11))
    expected = [stats.kstest(np.minimum(row, 1), "uniform").statistic for row in points]
    np.testing.assert_allclose(ks_to_uniform(points), expected, rtol=1e-12)


@pytest.mark.parametrize(("size", "count"), [(3, 200), (6, 40), (5, 12), (2, 1), (8, 12)])
def test_log_singular_values_equal_those_in_120_digits(size, count):
    cell = MatrixProductCell(width=size, depth=count, seed=0)
    found, _ = sample_products(cell, 1, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    with mpmath.workdps(120):
        product = mpmath.eye(size)
        for _ in range(count):
            product = mpmath.matrix((rng.standard_normal((1, size, size))[0] / np.sqrt(size)).tolist()) * product
        exact = sorted((float(mpmath.log(value)) for value in mpmath.svd_r(product, compute_uv=False)), reverse=True)
    np.testing.assert_allclose(found[0], exact, atol=1e-4)


def test_orthogonalising_less_often_changes_nothing():
    cell = MatrixProductCell(width=8, depth=30, seed=0)
    often, seldom = (sample_products(cell, 4, np.random.default_rng(0), per_step) for per_step in (1, None))
    assert matrix_product._matrices_per_step(8) > 1
    for a, b in zip(often, seldom, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("law", matrix_product.ENTRIES)
def test_entries_have_mean_0_and_variance_1(law):
    values = matrix_product.ENTRIES[law](np.random.default_rng(0), (400, 500), 0.1)
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.var() == pytest.approx(1, abs=0.02)


def test_batches_do_not_change_the_number_of_draws(monkeypatch):
    monkeypatch.setattr(matrix_product, "BATCH_ENTRIES", 3 * 16)
    probes = run("matrix_product", MatrixProductCell(width=4, depth=200, seed=0, draws=8)).probes
    lyapunov = probes[probes["probe"] == "lyapunov"]
    assert list(lyapunov["layer"]) == [1, 2, 3, 4]
    assert (lyapunov["value"].diff().dropna() < 0).all()
