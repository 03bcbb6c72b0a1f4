"""Coverage when rows come in few clusters, and of the difference of two groups' slopes; seeds fixed."""

import numpy as np
from scipy import stats

from muster.fitting.estimators.regression import coefficients
from muster.fitting.estimators.slope_equality import difference
from muster.statistics import wild_bootstrap

TRUE = -0.3


def clustered(rng, clusters=12):
    """Clusters of 3 to 20 rows that share part of the variable, of the error and of the slope's scatter."""
    group = np.repeat(np.arange(clusters), rng.integers(3, 21, clusters))
    x = rng.standard_normal(clusters)[group] + 0.5 * rng.standard_normal(len(group))
    error = 0.5 * rng.standard_normal(clusters)[group] + 0.5 * rng.standard_normal(len(group))
    error += 0.3 * rng.standard_normal(clusters)[group] * x
    return 1 + TRUE * x + error, np.column_stack([np.ones(len(group)), x]), group


def share(estimates, true):
    return np.mean([low <= true <= high for low, high in (estimate.interval() for estimate in estimates)])


def test_wild_bootstrap_covers_with_12_clusters_where_others_do_not(monkeypatch):
    monkeypatch.setattr(wild_bootstrap, "REPLICATES", 399)
    rng = np.random.default_rng(61)
    found = [coefficients(*clustered(rng), ["x"])["x"] for _ in range(300)]
    covered = {variant: share([each[variant] for each in found], TRUE) for variant in found[0]}
    # Three Monte-Carlo standard errors of 300 draws are 0.038.
    assert 0.912 <= covered["wild_cluster"] <= 0.988
    assert covered["cluster_t"] < covered["wild_cluster"]
    assert covered["ols_t"] < 0.75
    assert covered["hc3"] < 0.75


def test_welch_covers_a_difference_of_slopes_with_unequal_scatter_where_pooling_does_not():
    rng = np.random.default_rng(62)
    xa, xb = np.log(2.0) * np.arange(5), np.log(2.0) * np.arange(10)
    found = [
        difference(xa, -0.5 * xa + 0.3 * rng.standard_normal(5), xb, -0.5 * xb + 0.03 * rng.standard_normal(10))
        for _ in range(600)
    ]
    # Three Monte-Carlo standard errors of 600 draws are 0.027.
    assert 0.923 <= share([each["welch_t"] for each in found], 0.0) <= 0.977
    assert share([each["pooled_t"] for each in found], 0.0) < 0.85


def test_few_points_beside_many_keep_the_level_of_a_difference_of_slopes():
    """Satterthwaite's degrees of freedom gave .89 and, at 0.005, .057: the few points often look quiet by chance."""
    rng = np.random.default_rng(64)
    xa, xb = np.arange(3.0), np.arange(10.0)
    draws = [(rng.standard_normal(3), rng.standard_normal(10)) for _ in range(400)]
    found = [difference(xa, ya, xb, yb)["welch_t"] for ya, yb in draws]
    assert share(found, 0.0) > 0.95 - 3 * 0.011
    assert np.mean([2 * stats.t.sf(abs(each.estimate) / each.se, each.dof) < 0.005 for each in found]) < 0.016


def test_equal_slopes_are_shown_equivalent_and_unequal_ones_at_the_margin_are_not():
    rng = np.random.default_rng(63)
    x = np.log(2.0) * np.arange(6)
    noise = [difference(x, 0.05 * each[0], x, 0.05 * each[1])["welch_t"] for each in rng.standard_normal((600, 2, 6))]

    def supported(true, margin=0.1):
        intervals = [each._replace(estimate=each.estimate + true).interval(0.9) for each in noise]
        return np.mean([-margin <= low and high <= margin for low, high in intervals])

    assert supported(0.0) > 0.8
    assert supported(0.1) <= 0.06
    assert supported(-0.1) <= 0.06
