"""The optimum of one shape: exact cases, Fieller's interval, and every way in which there is no optimum."""

import numpy as np
import pytest

from muster.fitting.optimum.find import find_optima
from muster.fitting.optimum.quadratic import Quadratic, Sweep, cubic_p, has_minimum, noise_slope, seed_noise
from muster.fitting.optimum.quadratic import Window as WindowPoints
from muster.statistics.fieller import fieller, vertex_se

RATES = np.arange(-10.0, -3.0, 0.5)


def bowl(vertex=-6.3, curvature=0.05, seeds=1, noise=0.0, shift=0.0, rng=None, x=64.0, rates=RATES):
    rng = rng or np.random.default_rng(0)
    centre = vertex + shift * rng.standard_normal((seeds, 1))
    return Sweep(x, rates, curvature * (rates - centre) ** 2 - 0.7 + noise * rng.standard_normal((seeds, len(rates))))


def test_noise_free_vertex_loss_and_basin_are_exact():
    (found,) = find_optima([bowl()])
    assert found.status == "interior"
    assert found.log2_lr == pytest.approx(-6.3, abs=1e-10)
    assert found.loss == pytest.approx(np.exp(-0.7), rel=1e-12)
    half = np.sqrt(np.log(1.0025) / 0.05)
    assert (found.basin_low, found.basin_high) == pytest.approx((-6.3 - half, -6.3 + half), abs=1e-10)
    assert (found.grid_best, found.n_points, found.n_runs) == (-6.5, 5, 5)
    assert found.se < 1e-10


def test_basin_is_cut_at_the_window():
    (found,) = find_optima([bowl(vertex=-6.5, curvature=1e-4, noise=0.0)])
    assert (found.basin_low, found.basin_high) == (-7.5, -5.5)


def test_fieller_ends_solve_their_equation():
    beta = np.array([0.0, 0.02, 0.05])
    cov = np.array([[1.0, 0.1, 0.05], [0.1, 2e-4, 3e-5], [0.05, 3e-5, 1e-4]])
    quantile = 2.2
    low, high = fieller(beta, cov, quantile)
    assert low < -0.02 / 0.1 < high
    for u in (low, high):
        variance = cov[1, 1] + 4 * u * cov[1, 2] + 4 * u**2 * cov[2, 2]
        assert (beta[1] + 2 * beta[2] * u) ** 2 == pytest.approx(quantile**2 * variance, rel=1e-10)


def test_fieller_by_hand():
    # β₁ = 0, no covariance: 4β₂²u² = q²(V₁ + 4u²V₂), u² = q²V₁/(4(β₂² − q²V₂)) = 4·0.01/(4·(1 − 4·0.09)) = 1/64.
    assert fieller(np.array([0, 0, 1.0]), np.diag([0, 0.01, 0.09]), 2.0) == pytest.approx((-0.125, 0.125), rel=1e-12)


def test_fieller_is_unbounded_without_significant_curvature():
    assert fieller(np.array([0, 0.1, 0.1]), np.diag([1, 0.01, 0.01]), 2.0) == (-np.inf, np.inf)


def test_delta_error_by_hand():
    # v = −β₁/(2β₂) = −1; Var = (V₁ + 4v²V₂)/(4β₂²) = (0.04 + 0.04)/4.
    assert vertex_se(np.array([0, 2.0, 1.0]), np.diag([0, 0.04, 0.01])) == pytest.approx(np.sqrt(0.02), rel=1e-12)


def test_fieller_contains_the_delta_interval_of_a_precise_fit():
    beta, cov = np.array([0, 0.02, 0.05]), np.diag([0, 1e-8, 1e-9])
    low, high = fieller(beta, cov, 2.0)
    half = 2 * vertex_se(beta, cov)
    assert (low, high) == pytest.approx((-0.2 - half, -0.2 + half), rel=1e-3)


@pytest.mark.parametrize(
    ("vertex", "bracket"), [(-12.0, (-np.inf, -9.5)), (-10.0, (-np.inf, -9.5)), (-9.5, (-10.0, -9.0))]
)
def test_best_rate_near_the_low_end_is_an_edge(vertex, bracket):
    (found,) = find_optima([bowl(vertex=vertex)])
    assert found.status == "edge"
    assert np.isnan(found.log2_lr)
    assert (found.ci_low, found.ci_high) == bracket


def test_best_rate_beside_divergence_is_an_edge_bracketed_by_it():
    log_loss = -0.1 * (RATES + 10)[None, :].copy()
    log_loss[:, 8:] = np.nan
    (found,) = find_optima([Sweep(64, RATES, log_loss)])
    assert (found.status, found.grid_best, found.ci_low, found.ci_high) == ("edge", RATES[7], RATES[6], RATES[8])


def test_one_rate_on_a_side_is_enough_when_the_study_says_so():
    sweep = bowl(vertex=-9.4)
    assert find_optima([sweep])[0].status == "edge"
    (found,) = find_optima([sweep], min_side=1)
    assert found.log2_lr == pytest.approx(-9.4, abs=1e-10)
    assert found.n_points == 5


def test_all_diverged():
    (found,) = find_optima([Sweep(64, RATES, np.full((2, len(RATES)), np.nan))])
    assert (found.status, found.n_points) == ("diverged", 0)


def test_a_rate_that_one_seed_lost_is_left_out():
    sweep = bowl(seeds=2)
    sweep.log_loss[0, 7] = np.nan
    sweep.log_loss[1, 7] = -5.0  # the survivor alone would be the best rate of the sweep
    (found,) = find_optima([sweep])
    assert found.log2_lr == pytest.approx(-6.3, abs=1e-10)
    assert -6.5 not in found.grid_best + found.window.offset


def test_constant_loss_is_flat():
    (found,) = find_optima([Sweep(64, RATES, np.zeros((3, len(RATES))))], min_side=1)
    assert found.status == "edge"  # every rate is equally good: the first is at the end of the grid
    level = np.zeros(len(RATES))
    level[5] = -1e-15
    assert find_optima([Sweep(64, RATES, level[None])])[0].status == "flat"


def test_noise_around_a_level_is_flat():
    rng = np.random.default_rng(3)
    found = find_optima([Sweep(x, RATES, 0.01 * rng.standard_normal((3, len(RATES)))) for x in range(1, 200)])
    inside = [optimum for optimum in found if optimum.status != "edge"]
    flat = [optimum for optimum in inside if optimum.status == "flat"]
    # The best of 14 noisy rates sits in a dip of its own making, hence not all of them.
    assert len(flat) / len(inside) > 0.5


def test_a_maximum_is_never_an_optimum():
    # A spike between two walls: the parabola through the five points opens downwards.
    hill = np.zeros(len(RATES))
    hill[7] = -1.0
    hill[[6, 8]] = 0.9
    hill[[5, 9]] = -0.5
    (found,) = find_optima([Sweep(64, RATES, hill[None])])
    assert found.status == "flat"


@pytest.mark.parametrize(
    ("linear", "curvature", "expected"),
    [(0.05, 0.1, True), (-0.05, -0.1, False), (0.3, 0.1, False), (0.0, 0.019, False), (0.0, 0.021, True)],
    ids=["minimum", "maximum", "outside", "t below 2", "t above 2"],
)
def test_what_counts_as_a_minimum(linear, curvature, expected):
    offset = np.arange(-2, 3) / 2
    quadratic = Quadratic(np.array([0, linear, curvature]), np.diag([1, 1, 1e-4]), 0.0, 2)
    assert has_minimum(WindowPoints(0.0, offset, offset[None]), quadratic, 1.0) is expected


def test_one_seed_alone_gives_an_interval():
    (found,) = find_optima([bowl(noise=0.002)])
    assert found.status == "interior"
    assert found.ci_low < -6.3 < found.ci_high
    assert 0 < found.se < 0.2


def test_asymmetric_basin_is_flagged_and_a_symmetric_one_is_not():
    rng = np.random.default_rng(1)
    straight = bowl(seeds=4, noise=1e-4, rng=rng)
    skewed = Sweep(64, RATES, straight.log_loss + 0.008 * (RATES + 6.3) ** 3)
    assert [optimum.asymmetric for optimum in find_optima([straight, skewed])] == [False, True]


def test_sideways_scatter_between_seeds_widens_the_interval():
    rng = np.random.default_rng(5)
    still = find_optima([bowl(seeds=4, noise=1e-3, rng=rng) for _ in range(6)])
    moving = find_optima([bowl(seeds=4, noise=1e-3, shift=0.2, rng=rng) for _ in range(6)])
    # Expected standard error of a mean of four vertices that scatter by 0.2.
    assert np.mean([optimum.se for optimum in moving]) == pytest.approx(0.1, rel=0.5)
    assert np.mean([optimum.se for optimum in moving]) > 5 * np.mean([optimum.se for optimum in still])


def test_seed_noise_that_grows_with_the_loss_is_learnt_and_constant_noise_is_not():
    rng = np.random.default_rng(2)
    offset = np.array([-1, -0.5, 0, 0.5, 1.0])
    mean = 0.1 * offset**2

    def windows(gamma):
        spread = 0.01 * np.exp(gamma / 2 * mean)
        return [WindowPoints(0.0, offset, mean + spread * rng.standard_normal((4, 5))) for _ in range(12)]

    assert 10 < noise_slope(windows(30.0)) < 40
    assert abs(noise_slope(windows(0.0))) < 10
    assert noise_slope([WindowPoints(0.0, offset, mean[None])]) == 0


def test_seed_noise_is_the_residual_variance_of_rates_and_seeds_together():
    """Windows of other sizes, pooled: each of S seeds and K rates leaves (S − 1)(K − 1) degrees of freedom to a two-way
    layout, by regression on columns for seeds and rates, and the mean has a share 1/S of it."""
    rng = np.random.default_rng(4)
    windows, square, dof = [], 0.0, 0
    for seeds, points in ((3, 5), (2, 7), (1, 5)):
        y = rng.standard_normal((seeds, points))
        windows.append(WindowPoints(0.0, np.arange(points) - 2.0, y))
        layout = np.hstack([np.repeat(np.eye(seeds), points, axis=0), np.tile(np.eye(points), (seeds, 1))])
        square += np.square(y.ravel() - layout @ np.linalg.lstsq(layout, y.ravel())[0]).sum() / seeds
        dof += seeds * points - np.linalg.matrix_rank(layout)
    assert seed_noise(windows) == pytest.approx(square / dof)
    assert np.isnan(seed_noise(windows[2:]))


@pytest.mark.parametrize("seeds", [1, 2, 7])
def test_the_cubic_is_tested_as_with_a_column_for_every_seed(seeds: int) -> None:
    """Against the regression that has a dummy for each seed, as statsmodels makes it, with runs missing at random."""
    import statsmodels.api as sm

    rng = np.random.default_rng(seeds)
    for _ in range(20):
        offset = np.sort(rng.uniform(-2, 2, 7))
        log_loss = 0.04 * offset**2 + 0.004 * offset**3 + 0.01 * rng.standard_normal((seeds, 7))
        log_loss[rng.random(log_loss.shape) < 0.15 * (seeds > 1)] = np.nan
        weights = rng.uniform(0.3, 1.0, 7)
        known = np.isfinite(log_loss)
        cubic = np.tile(np.vander(offset, 4, increasing=True)[:, 1:], (seeds, 1))
        design = np.hstack([np.repeat(np.eye(seeds), 7, axis=0), cubic])[known.ravel()]
        y, row_weights = log_loss[known], np.tile(weights, seeds)[known.ravel()]
        full, rest = (sm.WLS(y, each, weights=row_weights).fit() for each in (design, design[:, :-1]))
        assert cubic_p(WindowPoints(0.0, offset, log_loss), weights) == pytest.approx(
            full.compare_f_test(rest)[1], rel=1e-6
        )


def test_a_cubic_term_cannot_be_told_without_degrees_of_freedom():
    """Three seeds at two rates: six points for three offsets and three powers."""
    noisy = np.random.default_rng(0).normal(size=(3, 2))
    assert cubic_p(WindowPoints(0.0, np.array([0.0, 1.0]), noisy), np.ones(2)) == 1.0
