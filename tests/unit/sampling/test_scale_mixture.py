"""Heavy-tailed outputs against real networks and against laws whose tail and distance are known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.sampling.scale_mixture import ScaleMixtureCell, distance, hill, readout_scales
from tests.statistical.test_regression_laws import decide, probes


def test_scales_equal_those_of_real_layers():
    cell = ScaleMixtureCell(width=6, seed=0)
    found = readout_scales(cell, 100_000, np.random.default_rng(0))
    real = np.square(np.maximum(np.random.default_rng(1).standard_normal((100_000, 6)), 0)).mean(axis=1) * 2
    assert found.mean() == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(np.quantile(found, [0.1, 0.5, 0.9]), np.quantile(real, [0.1, 0.5, 0.9]), rtol=0.03)


def test_the_distance_equals_one_of_counted_outputs():
    cell = ScaleMixtureCell(width=4, seed=0)
    rng = np.random.default_rng(2)
    scales = readout_scales(cell, 60_000, rng)
    variance = 1.5 / rng.standard_gamma(1.5, 60_000)
    counted = stats.kstest(np.sqrt(scales * variance) * rng.standard_normal(60_000), stats.t(3).cdf).statistic
    found = distance(cell, scales[:10_000])
    assert found.value == pytest.approx(counted, abs=0.006)
    assert distance(cell, np.ones(1000)).value == pytest.approx(0, abs=1e-12)


def test_scales_beyond_the_first_ten_thousand_count_once():
    cell = ScaleMixtureCell(width=4, seed=0)
    scales = readout_scales(cell, 10_000, np.random.default_rng(5))
    once, twice = distance(cell, scales), distance(cell, np.tile(scales, 2))
    assert twice.value == pytest.approx(once.value, rel=1e-9)
    assert twice.se == pytest.approx(once.se / np.sqrt(2), rel=1e-9)


def test_hills_index_of_a_pareto_law_and_its_error():
    found = [hill(np.random.default_rng(seed).pareto(3, 20_000) + 1, 0.02) for seed in range(60)]
    values = np.array([each.value for each in found])
    assert values.mean() == pytest.approx(3, abs=0.08)
    assert np.mean([each.se for each in found]) == pytest.approx(values.std(), rel=0.3)


def test_the_distance_falls_like_one_over_width_and_wrong_exponents_are_refuted():
    rows = pd.concat(
        probes("scale_mixture", width=width, draws=8000, outputs=1000, tail=0.1) for width in (16, 32, 64, 128, 256)
    )
    rows = rows[rows["probe"] == "ks"]
    assert (rows["se"] < 0.05 * rows["value"]).all()  # the control variate takes out what is of first order
    assert decide(rows, "width", -1) != "refuted"
    for wrong in (-0.5, -0.8, -1.25, -2):
        assert decide(rows, "width", wrong) == "refuted"


def test_the_tail_index_is_twice_the_shape_and_a_gaussian_readout_has_none():
    for shape in (1.5, 2.5):
        rows = probes("scale_mixture", width=16, shape=shape, draws=1000, outputs=300_000).set_index("probe")
        assert rows.loc["hill", "value"] == pytest.approx(2 * shape, rel=0.2)
    rows = probes("scale_mixture", width=16, readout="gaussian", draws=1000, outputs=300_000).set_index("probe")
    assert rows.loc["hill", "value"] > 8
    assert rows.loc["ks", "value"] > 0.04
