"""Random networks and random curvature: cells, tables, determinism, and building blocks against other arithmetic."""

import mpmath
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import integrate, optimize, stats

from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Context
from muster.fitting.closed_forms import networks as forms
from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.sampling import random_network
from muster.sampling.attention_network import AttentionCell, attention
from muster.sampling.draws import geometric_mean, ratio_of_means, variance_over_draws
from muster.sampling.graph_network import GraphCell, aggregator, cumulated, erdos, ring, second_eigenvalue
from muster.sampling.multiplicative_sgd import MultiplicativeCell, attracted
from muster.sampling.output_law import OutputLawCell
from muster.sampling.random_network import ACTIVATIONS, chunks, dispersion, features_and_tangent, generator
from muster.sampling.signal_propagation import SignalCell
from muster.sampling.siren import SirenCell, arcsine_cdf, distance, kolmogorov, normal_cdf
from muster.sampling.tables import Estimate
from muster.statistics.linear import jackknife

CELLS = {
    "output_law": ("output_law", OutputLawCell(width=32, depth=2, seed=0, draws=200)),
    "kernel": ("signal_propagation", SignalCell(width=32, depth=3, seed=0, draws=100)),
    "ntk": ("signal_propagation", SignalCell(width=32, depth=3, seed=0, draws=100, quantity="ntk", activation="relu")),
    "siren": ("siren", SirenCell(width=32, depth=4, seed=0, units=1024)),
    "ring": ("graph_network", GraphCell(width=16, depth=3, seed=0, draws=4)),
    "erdos": ("graph_network", GraphCell(width=16, depth=3, seed=0, draws=4, graph="erdos", branch=True)),
    "attention": ("attention_network", AttentionCell(width=16, depth=3, seed=0, draws=4)),
    "saddle": ("multiplicative_sgd", MultiplicativeCell(width=1, seed=0, reach=3, draws=50)),
    "lyapunov": ("multiplicative_sgd", MultiplicativeCell(width=1, seed=0, quantity="lyapunov", draws=50)),
}
CHANGES = {
    "output_law": {"activation": "tanh"},
    "kernel": {"weight_variance": 1.1},
    "ntk": {"weight_variance": 1.1},
    "siren": {"units": 2048},
    "ring": {"epsilon": 0.9},
    "erdos": {"reach": 7},
    "attention": {"centered": True},
    "saddle": {"batch_size": 4},
    "lyapunov": {"noise": 2.0},
}


def run(case, cell=None):
    name, default = CELLS[case]
    return EXPERIMENTS[name].run(cell or default, Context(progress=lambda text: None))


@pytest.mark.parametrize("case", CELLS)
def test_tables_have_one_run_no_curve_and_finite_probes(case):
    outcome = run(case)
    assert len(outcome.runs) == 1
    assert not outcome.runs["diverged"].item()
    assert outcome.curves.empty
    assert list(outcome.probes) == ["step", "probe", "layer", "value", "se"]
    assert np.isfinite(outcome.probes[["value", "se"]]).all(axis=None)
    assert (outcome.probes["se"] > 0).mean() > 0.8
    assert not outcome.probes.duplicated(["step", "probe", "layer"]).any()


@pytest.mark.parametrize("case", CELLS)
def test_a_cell_is_deterministic_and_every_setting_changes_its_random_numbers(case):
    pd.testing.assert_frame_equal(run(case).probes, run(case).probes)
    cell = CELLS[case][1]
    first = generator(cell).standard_normal(4)
    for update in ({"seed": 1}, CHANGES[case]):
        other = type(cell)(**{**cell.model_dump(), **update})
        assert not np.array_equal(generator(other).standard_normal(4), first)


@pytest.mark.parametrize("case", CELLS)
def test_costs_are_positive_and_no_less_for_more_draws(case):
    name, cell = CELLS[case]
    more = type(cell)(**{**cell.model_dump(), ("units" if case == "siren" else "draws"): 8192})
    small, large = EXPERIMENTS[name].cost(cell), EXPERIMENTS[name].cost(more)
    assert large.seconds > small.seconds > 0
    assert large.flops > small.flops > 0


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (OutputLawCell, {"activation": "gelu"}),
        (SignalCell, {"weight_variance": 0.0}),
        (SignalCell, {"quantity": "hessian"}),
        (SirenCell, {"units": 10}),
        (GraphCell, {"epsilon": 1.5}),
        (GraphCell, {"graph": "star"}),
        (AttentionCell, {"tokens": 1}),
        (MultiplicativeCell, {"learning_rate": -1.0}),
        (MultiplicativeCell, {"width": 0}),
    ],
)
def test_wrong_settings_are_refused(kind, bad):
    with pytest.raises(ValidationError):
        kind(**({"width": 8, "seed": 0} | bad))


@pytest.mark.parametrize(("draws", "entries"), [(7, 400_000), (10, 1), (3, 5_000_000)])
def test_chunks_cover_every_draw_within_the_budget(draws, entries):
    sizes = list(chunks(draws, entries))
    assert sum(sizes) == draws
    assert all(size == 1 or size * entries <= random_network.CHUNK_ENTRIES for size in sizes)


def test_chunks_leave_the_laws_alone(monkeypatch):
    monkeypatch.setattr(random_network, "CHUNK_ENTRIES", 3 * 32 * 32)
    assert len(run("kernel").probes) == 4 * 3
    assert run("siren").probes["value"].notna().all()


def test_preactivations_have_the_given_covariance():
    wanted = np.array([[2.0, 0.5, -0.3], [0.5, 1.0, 0.1], [-0.3, 0.1, 0.4]])
    z = random_network.preactivations(np.broadcast_to(wanted, (2, 3, 3)), 200_000, np.random.default_rng(0))
    assert z.shape == (2, 3, 200_000)
    np.testing.assert_allclose(random_network.covariance(z, 1.0), np.stack([wanted] * 2), atol=0.03)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_last_channel_is_the_derivative_of_the_first(name):
    z = np.random.default_rng(0).standard_normal((2, 3, 50))
    activation = ACTIVATIONS[name]
    h = features_and_tangent(activation, z)
    np.testing.assert_array_equal(h[:, :2], activation.value(z[:, :2]))
    step = 1e-6
    slope = (activation.value(z[:, 0] + step * z[:, 2]) - activation.value(z[:, 0] - step * z[:, 2])) / (2 * step)
    np.testing.assert_allclose(h[:, 2], slope, atol=1e-7)


def test_dispersion_is_one_minus_the_mean_cosine():
    h = np.random.default_rng(0).standard_normal((4, 6, 5))
    cosines = np.array(
        [[[a @ b / np.sqrt((a @ a) * (b @ b)) for a in draw] for b in draw] for draw in h],
    )
    np.testing.assert_allclose(dispersion(h), 1 - cosines.mean(axis=(1, 2)), rtol=1e-12)


def test_dispersion_keeps_its_digits_far_below_machine_precision():
    angle = 1e-11
    h = np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])
    with mpmath.workdps(60):
        exact = float((1 - mpmath.cos(mpmath.mpf(angle))) / 2)
    assert dispersion(h) == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize(("nodes", "reach"), [(32, 8), (10, 1), (9, 3)])
def test_a_ring_has_the_eigenvalues_of_its_closed_form(nodes, reach):
    matrix = ring(nodes, reach)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    np.testing.assert_allclose(matrix, matrix.T)
    for epsilon in (0.3, 1.0):
        cell = GraphCell(width=4, depth=2, seed=0, nodes=nodes, reach=reach, epsilon=epsilon)
        row = pd.DataFrame({"nodes": [nodes], "reach": [reach], "epsilon": [epsilon]})
        mixed = aggregator(cell, np.random.default_rng(0))
        np.testing.assert_allclose(
            CLOSED_FORMS["ring_smoothing"](row), np.sort(np.linalg.eigvalsh(mixed))[-2] ** 2, rtol=1e-10
        )


def test_ring_formula_reads_each_row_of_its_own():
    rows = pd.DataFrame({"nodes": [32, 10], "reach": [8, 1], "epsilon": [1.0, 0.5]})
    alone = [CLOSED_FORMS["ring_smoothing"](rows.iloc[[i]]).item() for i in range(2)]
    np.testing.assert_allclose(CLOSED_FORMS["ring_smoothing"](rows), alone)


def test_a_random_graph_is_normalised_to_a_largest_eigenvalue_of_one():
    matrix = erdos(40, 4, np.random.default_rng(0))
    values = np.linalg.eigvalsh(matrix)
    assert values.max() == pytest.approx(1)
    assert second_eigenvalue(matrix) == pytest.approx(np.sort(np.abs(values))[-2])
    assert (matrix > 0).sum(axis=1).mean() == pytest.approx(9, abs=2)


def test_epsilon_per_depth_divides_by_the_depth():
    cell = GraphCell(width=4, depth=5, seed=0, epsilon=0.5, per_depth=True)
    np.testing.assert_allclose(aggregator(cell, np.random.default_rng(0)), 0.9 * np.eye(32) + 0.1 * ring(32, 8))


def test_cumulated_factors_multiply_and_add_their_relative_errors():
    found = cumulated([Estimate(2.0, 0.2), Estimate(3.0, 0.6)])
    np.testing.assert_allclose(found, [(2.0, 0.2), (6.0, 1.8)])


def test_attention_weights_sum_to_one_and_are_uniform_for_equal_tokens():
    x = np.random.default_rng(0).standard_normal((3, 6, 8))
    weights = attention(x, np.random.default_rng(1))
    np.testing.assert_allclose(weights.sum(axis=-1), 1)
    assert weights.std() > 0.02
    equal = attention(np.ones((3, 6, 8)), np.random.default_rng(1))
    np.testing.assert_allclose(equal, 1 / 6)


def test_laws_of_the_siren_distances():
    points = np.random.default_rng(0).uniform(-1, 1, 500)
    expected = stats.kstest(points, stats.arcsine(loc=-1, scale=2).cdf).statistic
    assert kolmogorov(points, arcsine_cdf) == pytest.approx(expected)
    assert kolmogorov(points, normal_cdf) == pytest.approx(stats.kstest(points, "norm").statistic)


def test_the_error_of_a_siren_distance_is_the_jackknife_over_groups_of_draws():
    values = np.random.default_rng(0).standard_normal((19, 50))
    partial = [kolmogorov(np.delete(values, slice(group, None, 8), axis=0), normal_cdf) for group in range(8)]
    assert distance(values, normal_cdf) == pytest.approx((kolmogorov(values, normal_cdf), jackknife(partial)))


def test_siren_cells_never_have_fewer_draws_than_groups():
    assert SirenCell(width=1024, seed=0, units=1024).draws == 8
    assert SirenCell(width=16, seed=0, units=1024).draws == 64


def test_estimates_match_their_spread_over_replications():
    rng = np.random.default_rng(0)
    statistics = {
        "geometric": lambda a, b: geometric_mean(a / b),
        "ratio": ratio_of_means,
        "variance": lambda a, b: variance_over_draws(a),
    }
    rows = {name: [] for name in statistics}
    for _ in range(1500):
        a, b = rng.gamma(4.0, size=300), rng.gamma(5.0, size=300)
        for name, statistic in statistics.items():
            rows[name].append(statistic(a + b, b))
    for name, row in rows.items():
        values, errors = np.transpose(row)
        assert errors.mean() == pytest.approx(values.std(), rel=0.1), name


def test_edgeworth_constants_equal_numerical_extremum_and_integral():
    def gap(x):
        return (3 * x - x**3) * stats.norm.pdf(x) / 8

    best = optimize.minimize_scalar(lambda x: -abs(gap(x)), bounds=(0, 1.5), method="bounded", options={"xatol": 1e-10})
    assert -best.fun == pytest.approx(forms.KS_PER_VARIANCE, rel=1e-9)
    area = integrate.quad(lambda x: abs(gap(x)), -12, 12, limit=500, points=[-np.sqrt(3), 0, np.sqrt(3)])[0]
    assert area == pytest.approx(forms.W1_PER_VARIANCE, rel=1e-8)


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 1.0), (0.9, 0.3), (1.1, 0.05), (1.0, 4.0), (-0.5, 1.0)])
def test_expected_log_modulus_equals_quadrature(mean, spread):
    def integrand(g):
        return np.log(abs(mean + spread * g)) * stats.norm.pdf(g)

    zero = -mean / spread
    exact = sum(
        integrate.quad(integrand, low, high, limit=400)[0]
        for low, high in ((-40, zero), (zero, zero + 1), (zero + 1, zero + 40))
        if low < high
    )
    assert forms.log_normal_modulus(mean, spread) == pytest.approx(exact, abs=1e-6)


def test_expected_log_modulus_has_its_textbook_limits():
    assert forms.log_normal_modulus(0.0, 1.0) == pytest.approx(-(np.euler_gamma + np.log(2)) / 2)
    small = 0.02
    assert forms.log_normal_modulus(1.0, small) == pytest.approx(-(small**2) / 2, rel=0.01)


def test_thresholds_solve_their_equations_and_differ_from_the_mean_square_limit():
    rows = pd.DataFrame({"learning_rate": [0.01, 0.1, 0.2], "batch_size": [1, 4, 16]})
    for name, sign in (("saddle_noise_threshold", 1), ("minimum_noise_threshold", -1)):
        noise = CLOSED_FORMS[name](rows)
        factor = CLOSED_FORMS["lyapunov_factor"](
            rows.assign(noise=noise, landscape="saddle" if sign > 0 else "minimum")
        )
        np.testing.assert_allclose(factor, 1, atol=1e-9)
    square = CLOSED_FORMS["mean_square_noise_threshold"](rows)
    spread = rows["learning_rate"] * square / np.sqrt(rows["batch_size"])
    np.testing.assert_allclose((1 - rows["learning_rate"]) ** 2 + spread**2, 1)
    small = CLOSED_FORMS["saddle_noise_threshold"](pd.DataFrame({"learning_rate": [1e-3], "batch_size": [1]}))
    assert small.item() == pytest.approx(np.sqrt(2 / 1e-3), rel=0.002)


def test_a_formula_names_the_setting_that_the_table_lacks():
    with pytest.raises(MusterError, match=r"options\.formula: the table has no column 'tokens'"):
        CLOSED_FORMS["attention_dispersion"](pd.DataFrame({"residual": [1.0], "layer": [1]}))


def test_mean_field_formulas_against_iteration_by_brute_force():
    g = np.random.default_rng(0).standard_normal(2_000_000)
    fixed = CLOSED_FORMS["tanh_fixed_point"](pd.DataFrame({"weight_variance": [1.5, 3.0]}))
    for weight_variance, kernel in zip((1.5, 3.0), fixed, strict=True):
        assert weight_variance * np.mean(np.tanh(np.sqrt(kernel) * g) ** 2) == pytest.approx(kernel, rel=0.003)
    kernel = 1.0
    variance = CLOSED_FORMS["siren_variance"](pd.DataFrame({"layer": [1, 2, 3, 60]}))
    for layer in range(3):
        assert variance[layer] == pytest.approx(kernel, rel=0.003)
        kernel = 2 * np.mean(np.sin(np.sqrt(kernel) * g) ** 2)
    assert variance[3] == pytest.approx(0.7968, abs=1e-4)


def test_the_critical_tanh_kernel_against_its_recursion():
    """K_ℓ by quadrature from K = 1: 2ℓ K_ℓ tends to 1, from below and slowly (ln ℓ/ℓ)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    kernel, layers = 1.0, 4000
    for _ in range(layers):
        kernel = float(weights @ np.tanh(np.sqrt(kernel) * nodes) ** 2 / weights.sum())
    expected = CLOSED_FORMS["tanh_critical_kernel"](pd.DataFrame({"layer": [layers]})).item()
    assert kernel == pytest.approx(expected, rel=0.01)


def test_the_tangent_factor_is_that_of_the_kernel_a_layer_before():
    layer = pd.DataFrame({"layer": [10, 50, 200]})
    kernel = CLOSED_FORMS["tanh_critical_kernel"](layer - 1)
    np.testing.assert_allclose(CLOSED_FORMS["tanh_tangent_factor"](layer), 1 - 2 * kernel, rtol=1e-12)


def test_the_relative_variance_of_a_tanh_chain_against_simulation():
    """6,000 chains of width 400: the variance of S has a standard error of 1.8 %, terms of order 1/n below 1 %."""
    rng, n, s = np.random.default_rng(0), 400, np.ones(6000)
    for predicted in forms.tanh_relative_variance(3):
        s = np.array([np.mean(np.tanh(np.sqrt(each) * rng.standard_normal(n)) ** 2) for each in s])
        assert n * s.var() / s.mean() ** 2 == pytest.approx(predicted, rel=0.07)


def test_a_fair_game_is_won_by_half_and_undecided_runs_count_by_half():
    cell = MultiplicativeCell(width=1, seed=0, landscape="minimum", learning_rate=1.0, reach=6)
    noise = np.full(
        4000, CLOSED_FORMS["minimum_noise_threshold"](pd.DataFrame({"learning_rate": [1.0], "batch_size": [1]})).item()
    )
    wins = attracted(cell, noise, np.random.default_rng(0))
    assert set(np.unique(wins)) <= {0.0, 1.0}
    assert wins.mean() == pytest.approx(0.5, abs=0.05)
    assert attracted(cell, np.full(50, 0.1), np.random.default_rng(0)).all()
    short = cell.model_copy(update={"max_steps": 1, "learning_rate": 0.01})
    assert (attracted(short, np.ones(50), np.random.default_rng(0)) == 0.5).all()


def test_a_saddle_that_no_noise_makes_attractive_is_reported():
    with pytest.raises(MusterError, match=r"at 0\.6 no noise decides whether the saddle attracts"):
        run("saddle", MultiplicativeCell(width=1, seed=0, learning_rate=0.6, reach=5, draws=50))


def test_edges_of_a_random_graph_are_as_many_as_the_mean_degree_says():
    """Four nodes of mean degree 2: each of the six edges with probability 2/3."""
    rng = np.random.default_rng(0)
    edges = [(np.triu(erdos(4, 1, rng), 1) > 0).sum() for _ in range(4000)]
    assert np.mean(edges) == pytest.approx(6 * 2 / 3, abs=0.07)  # its standard error is .018
