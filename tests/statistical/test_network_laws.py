"""Random networks and random curvature against weight matrices, quadrature and limits; wrong exponents are refuted.

Limits are 4.5 standard errors.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import optimize, stats

from muster.claims.tests import on_its_own, verdict
from muster.config.models import FitConfig
from muster.experiments import EXPERIMENTS, Context
from muster.fitting.base import ESTIMATORS
from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.sampling.attention_network import AttentionCell
from muster.sampling.graph_network import GraphCell, ring
from muster.sampling.multiplicative_sgd import MultiplicativeCell
from muster.sampling.output_law import FIRST_COVARIANCE, OutputLawCell, distances, sample_covariances
from muster.sampling.random_network import generator
from muster.sampling.signal_propagation import SignalCell, sample_ntk
from muster.sampling.siren import SirenCell

LIMIT = 4.5


def table(name, *cells):
    """Probes of several cells with the cells' settings as columns, as `collect` makes them."""
    parts = []
    for cell in cells:
        probes = EXPERIMENTS[name].run(cell, Context(progress=lambda text: None)).probes
        parts.append(probes.assign(study="s", **cell.model_dump()))
    return pd.concat(parts, ignore_index=True)


def series(rows, probe):
    return rows[rows["probe"] == probe].set_index("layer")[["value", "se"]]


def judged(rows, estimator, test, predicted, margin=0.05, **fit):
    """Verdict of one claim on a table of probes, by the estimator and the test that studies use."""
    config = FitConfig(estimator=estimator, table="probes", response="value", **fit)
    fits = ESTIMATORS[estimator].function(rows, config).fits
    row = fits[fits["primary"]].iloc[0].to_dict()
    row |= {"scale": "laptop", "test": test, "predicted": predicted, "margin": margin}
    return verdict(on_its_own(row))


def assert_only(right, wrong, rows, estimator="power_law", test="equivalence", **fit):
    """The right prediction is not refuted, and every wrong one is."""
    assert judged(rows, estimator, test, right, **fit) != "refuted"
    for value in wrong:
        assert judged(rows, estimator, test, value, **fit) == "refuted", value


def mean_z(a, b):
    """Difference of two samples' means in standard errors."""
    return (np.mean(a) - np.mean(b)) / np.hypot(np.std(a) / np.sqrt(len(a)), np.std(b) / np.sqrt(len(b)))


class MatrixNetwork:
    """Real weight matrices [draws, n, n] of unit variance in float64, with an output and its NTK by autograd."""

    def __init__(self, phi, weight_variance, width, depth, draws, seed=0):
        rng = torch.Generator().manual_seed(seed)
        self.phi, self.scale, self.width = phi, (weight_variance / width) ** 0.5, width
        self.weights = [
            torch.randn(draws, 1 if last else width, width, generator=rng, dtype=torch.float64).requires_grad_()
            for last in [False] * depth + [True]
        ]

    def hidden(self, x, depth=None):
        """Activations above `depth` hidden layers of inputs [draws, n, channels]."""
        h = x
        for weights in self.weights[: len(self.weights) - 1 if depth is None else depth]:
            h = self.phi(self.scale * (weights @ h))
        return h

    def ntk(self, x):
        output = self.scale * (self.weights[-1] @ self.hidden(x))
        gradients = torch.autograd.grad(output.sum(), self.weights)
        return sum((gradient**2).sum(dim=(1, 2)) for gradient in gradients).numpy()


def inputs(draws, width, covariance, weight_variance):
    """Inputs [draws, n, channels] whose preactivations have the given covariance."""
    root = torch.from_numpy(np.linalg.cholesky(covariance)) * (width / weight_variance) ** 0.5
    x = torch.zeros(draws, width, len(covariance), dtype=torch.float64)
    x[:, : len(covariance)] = root.T
    return x


PHI = {"relu": (torch.relu, 2.0), "tanh": (torch.tanh, 1.0)}


@pytest.mark.parametrize("activation", PHI)
def test_channels_have_the_law_of_two_inputs_and_a_derivative_of_real_networks(activation):
    phi, weight_variance = PHI[activation]
    width, depth, draws = 12, 3, 6000
    cell = OutputLawCell(width=width, depth=depth, seed=0, draws=30_000, activation=activation)
    sampled = sample_covariances(cell, generator(cell))[-1]
    network = MatrixNetwork(phi, weight_variance, width, depth, draws)
    x = inputs(draws, width, FIRST_COVARIANCE, weight_variance)
    points, direction = x[:, :, :2], x[:, :, 2:]
    h = network.hidden(points).detach()
    step = 1e-6 * direction
    tangent = (network.hidden(points[:, :, :1] + step) - network.hidden(points[:, :, :1] - step)).detach() / 2e-6
    channels = torch.cat([h, tangent], dim=2)
    real = (weight_variance / width * channels.transpose(1, 2) @ channels).numpy()
    for i in range(3):
        for j in range(i + 1):
            assert abs(mean_z(sampled[:, i, j], real[:, i, j])) < LIMIT, (i, j)
            for power in (0.5, 2):
                a, b = (np.abs(each[:, i, j]) ** power for each in (sampled, real))
                assert abs(mean_z(a, b)) < LIMIT, (i, j, power)


@pytest.mark.parametrize("activation", PHI)
def test_the_ntk_without_matrices_has_the_law_of_autograd(activation):
    phi, weight_variance = PHI[activation]
    width, depth, draws = 6, 3, 20_000
    network = MatrixNetwork(phi, weight_variance, width, depth, draws)
    real = network.ntk(inputs(draws, width, np.array([[1.0]]), weight_variance))
    cell = SignalCell(
        width=width, depth=depth, seed=0, draws=20_000, activation=activation, weight_variance=weight_variance
    )
    sampled = sample_ntk(cell, generator(cell))[-1]
    assert sampled.dtype == np.float64
    assert abs(mean_z(sampled, real)) < LIMIT
    alive = sampled[sampled > 0], real[real > 0]
    assert abs(mean_z(*(np.log(each) for each in alive))) < LIMIT
    assert abs(mean_z(*((np.log(each) - np.log(real[real > 0]).mean()) ** 2 for each in alive))) < LIMIT


def test_distance_of_one_relu_layer_equals_that_of_its_exact_law():
    """S = (2/n) χ²_M, M ~ Binomial(n, ½): E Φ(x/√S) by the quantiles of each χ², without a network."""
    width = 12
    ranks = (np.arange(2000) + 0.5) / 2000
    active = np.arange(1, width + 1)
    spread = np.sqrt(2 / width * stats.chi2.ppf(ranks, active[:, None]))
    weight = stats.binom.pmf(active, width, 0.5)

    def gap(x):
        return 0.5**width + weight @ stats.norm.cdf(x / spread).mean(axis=1) - stats.norm.cdf(x)

    best = optimize.minimize_scalar(lambda x: -abs(gap(x)), bounds=(0.3, 1.3), method="bounded")
    cell = OutputLawCell(width=width, depth=1, seed=0, draws=60_000)
    found, _ = distances(sample_covariances(cell, generator(cell))[0][:, 0, 0])
    assert abs(found.value + best.fun) < LIMIT * found.se + 0.002 * found.value
    assert found.se < 0.02 * found.value


def test_wasserstein_distance_equals_that_of_counted_outputs():
    rng = np.random.default_rng(0)
    variances = rng.gamma(4.0, size=4000) / 4
    _, found = distances(variances)
    outputs = np.sqrt(variances / variances.mean())[:, None] * rng.standard_normal((4000, 250))
    grid = stats.norm.ppf((np.arange(outputs.size) + 0.5) / outputs.size)
    assert found.value == pytest.approx(np.abs(np.sort(outputs.ravel()) - grid).mean(), abs=0.004)
    assert found.value > 0.03


def test_standard_errors_of_distances_match_their_spread():
    rng = np.random.default_rng(0)
    found = [distances(rng.gamma(8.0, size=500)) for _ in range(200)]
    for i in range(2):
        values, errors = np.transpose([each[i] for each in found])
        assert errors.mean() == pytest.approx(values.std(), rel=0.2)


@pytest.fixture(scope="module")
def outputs():
    cells = [
        OutputLawCell(width=width, depth=2, seed=seed, draws=4000, activation=activation)
        for width in (64, 128, 256, 512)
        for seed in (0, 1)
        for activation in ("relu", "tanh")
    ]
    return table("output_law", *cells)


@pytest.mark.parametrize("activation", PHI)
@pytest.mark.parametrize("probe", ["ks", "wasserstein", "ks_derivative", "ks_joint"])
def test_distances_fall_like_one_over_width_and_other_exponents_are_refuted(outputs, activation, probe):
    rows = outputs[(outputs["activation"] == activation) & (outputs["probe"] == probe) & (outputs["layer"] == 2)]
    assert_only(-1, [-0.5, -0.85, -1.15, -2], rows)


def test_constants_of_the_distances_are_the_edgeworth_ones_and_twice_them_is_refuted(outputs):
    for activation, formula in (("relu", "relu_output_ks"), ("tanh", "tanh_output_ks")):
        rows = outputs[(outputs["activation"] == activation) & (outputs["probe"] == "ks")]
        options = {"options": {"formula": formula, "max_ratio": 1 / 128}}
        assert_only(0, [np.log(2), -0.2], rows, "closed_form", "closed_form", **options)


def kernels(activation, weight_variance, input_variance, width=256, depth=48, draws=300, seed=0):
    return SignalCell(
        width=width,
        depth=depth,
        seed=seed,
        draws=draws,
        activation=activation,
        weight_variance=weight_variance,
        input_variance=input_variance,
    )


def test_critical_tanh_kernel_falls_like_one_over_depth():
    rows = table("signal_propagation", *(kernels("tanh", 1.0, 0.5, width=512, seed=seed) for seed in (0, 1)))
    deep = rows[rows["layer"].isin([8, 11, 16, 23, 32, 45])]
    assert_only(-1, [-0.5, -0.85, -2], deep[deep["probe"] == "kernel"], along="layer")
    assert_only(-1, [0, -0.5, -2], deep[deep["probe"] == "tangent_kernel"], along="layer")
    perpendicular = rows[(rows["probe"] == "tangent_factor") & (rows["layer"] >= 12)]
    formula = CLOSED_FORMS["tanh_tangent_factor"](perpendicular)
    assert (perpendicular["value"] / formula - 1).mean() == pytest.approx(0, abs=0.007)


def test_off_critical_kernels_grow_by_their_factor_and_others_are_refuted():
    relu = table("signal_propagation", *(kernels("relu", value, 1.0, depth=24) for value in (1.6, 2.0, 2.4)))
    options = {"options": {"formula": "relu_kernel_factor"}, "along": "weight_variance"}
    assert_only(0, [0.1, -0.1], relu[relu["probe"] == "kernel_factor"], "closed_form", "closed_form", **options)
    tanh = table("signal_propagation", *(kernels("tanh", value, 1.0, draws=100) for value in (0.5, 0.6, 0.7, 0.8)))
    options = {"options": {"formula": "tanh_ordered_factor", "min_layer": 32}, "along": "weight_variance"}
    assert_only(0, [0.1, -0.1], tanh[tanh["probe"] == "kernel_factor"], "closed_form", "closed_form", **options)
    chaotic = table("signal_propagation", *(kernels("tanh", value, 1.0, draws=100) for value in (1.5, 2.0, 3.0)))
    last = chaotic[(chaotic["probe"] == "kernel") & (chaotic["layer"] == 48)]
    np.testing.assert_allclose(last["value"], CLOSED_FORMS["tanh_fixed_point"](last), rtol=0.02)


def ntks(activation, weight_variance, input_variance, depth):
    cell = kernels(activation, weight_variance, input_variance, width=128, depth=depth, draws=600)
    cells = [cell.model_copy(update={"quantity": "ntk", "seed": seed}) for seed in (0, 1)]
    return table("signal_propagation", *cells)


def test_the_mean_ntk_counts_layers_for_relu_and_is_constant_for_tanh():
    relu = ntks("relu", 2.0, 1.0, 31)
    assert sorted(relu["layer"].unique()) == [2, 3, 4, 6, 8, 11, 16, 23, 32]
    mean = relu[relu["probe"] == "ntk_mean"]
    light = mean[mean["layer"] <= 16]  # beyond, the sample's own standard error is too small for its heavy tail
    assert (np.abs(light["value"] - light["layer"]) < LIMIT * light["se"]).all()
    for wrong in (0, 0.5, 2):
        assert judged(mean, "power_law", "equivalence", wrong, along="layer") == "refuted"
    tanh = ntks("tanh", 1.0, 0.5, 63)
    mean = tanh[(tanh["probe"] == "ntk_mean") & (tanh["layer"] >= 8)]
    assert judged(mean, "power_law", "equivalence", 1, along="layer") == "refuted"
    assert mean[mean["layer"] == 64]["value"].mean() == pytest.approx(0.5, rel=0.1)


@pytest.fixture(scope="module")
def sirens():
    return table("siren", *(SirenCell(width=width, depth=16, seed=0, units=16384) for width in (64, 128, 256)))


def test_siren_variance_follows_its_recursion_and_is_not_one(sirens):
    rows = sirens[sirens["probe"] == "preactivation_var"]
    assert_only(0, [0.1, -0.1], rows, "closed_form", "closed_form", options={"formula": "siren_variance"})
    claimed = {"options": {"formula": "siren_claimed_variance"}}
    assert judged(rows, "closed_form", "closed_form", 0, **claimed) == "refuted"
    sines = sirens[sirens["probe"] == "sine_var"]
    ahead = rows.set_index(["width", "layer"])["value"]
    for row in sines[sines["layer"] < 16].itertuples():
        assert 2 * row.value == pytest.approx(ahead[row.width, row.layer + 1], abs=0.04)


def test_siren_distances_equal_those_of_their_limit_laws(sirens):
    """Preactivations N(0, 0.797) against N(0, 1), and sines of them against the arcsine law."""
    x = np.linspace(-5, 5, 20001)
    spread = np.sqrt(0.7968)
    normal = np.abs(stats.norm.cdf(x / spread) - stats.norm.cdf(x)).max()
    y = np.linspace(-1, 1, 4001)
    turns = np.arange(-3, 4)[:, None]
    inside = stats.norm.cdf((2 * np.pi * turns + np.arcsin(y)) / spread)
    sine = (inside - stats.norm.cdf((2 * np.pi * turns - np.pi - np.arcsin(y)) / spread)).sum(axis=0)
    arcsine = np.abs(sine - (0.5 + np.arcsin(y) / np.pi)).max()
    last = sirens[(sirens["layer"] == 16) & (sirens["width"] == 256)].set_index("probe")["value"]
    assert last["ks_normal"] == pytest.approx(normal, abs=0.012)
    assert last["ks_arcsine"] == pytest.approx(arcsine, abs=0.012)
    assert arcsine > 0.05 > normal


def graph(**settings):
    return GraphCell(**({"width": 128, "depth": 28, "seed": 0, "draws": 12} | settings))


def test_graph_sizes_equal_those_of_plain_networks_without_rescaling():
    """The product of conditional means against the mean of ‖H‖² itself, drawn without any rescaling."""
    cell = graph(width=24, depth=4, draws=6000, nodes=6, reach=1, weight_variance=1.7)
    rng, size = np.random.default_rng(1), []
    h = rng.standard_normal((20_000, 6, 24))
    start = np.square(h).sum(axis=(1, 2))
    for _ in range(4):
        h = np.maximum(ring(6, 1) @ h @ (rng.standard_normal((20_000, 24, 24)) * np.sqrt(1.7 / 24)), 0)
        size.append(np.square(h).sum(axis=(1, 2)) / start.mean())
    found = series(table("graph_network", cell), "size")
    errors = np.hypot(found["se"], np.std(size, axis=1) / np.sqrt(20_000))
    assert (np.abs(found["value"] - np.mean(size, axis=1)) < LIMIT * errors + 0.02 * found["value"]).all()
    factor = series(table("graph_network", cell), "size_factor")
    assert np.cumprod(factor["value"]).to_numpy() == pytest.approx(found["value"].to_numpy(), rel=0.05)


def test_graph_sizes_stay_at_he_variance_alone():
    rows = table("graph_network", *(graph(weight_variance=value, draws=24) for value in (1.6, 2.0, 2.4)))
    options = {"options": {"formula": "graph_size_factor", "min_layer": 12}, "along": "weight_variance"}
    assert_only(0, [0.1, -0.1], rows[rows["probe"] == "size_factor"], "closed_form", "closed_form", **options)
    he = rows[(rows["probe"] == "size") & (rows["weight_variance"] == 2.0) & rows["layer"].isin([8, 12, 18, 28])]
    assert_only(0, [0.1, -0.1], he, along="layer")


def test_nodes_grow_alike_by_the_second_eigenvalue_and_not_by_its_root():
    rows = table("graph_network", *(graph(epsilon=value) for value in (0.25, 0.5, 1.0)))
    rows = rows[rows["probe"] == "dispersion_factor"]
    options = {"options": {"formula": "ring_smoothing", "min_layer": 14}, "along": "epsilon"}
    assert_only(0, [0.2, -0.2], rows, "closed_form", "closed_form", **options)
    for epsilon in (0.5, 1.0):
        root = np.sqrt(CLOSED_FORMS["ring_smoothing"](rows[rows["epsilon"] == epsilon]).iloc[0])
        measured = rows[(rows["epsilon"] == epsilon) & (rows["layer"] >= 14)]["value"].mean()
        assert measured == pytest.approx(root**2, rel=0.1)
        assert measured < 0.95 * root
    erdos = series(table("graph_network", graph(graph="erdos", nodes=40, reach=6)), "gap_factor")
    assert erdos["value"].loc[16:].mean() == pytest.approx(1, abs=0.06)


def infinitely_wide_dispersion(depth, nodes=32, reach=8):
    """1 − mean cosine of the kernel recursion of a ReLU graph network (Cho & Saul 2009) with aggregator (1 − 1/L) I +
    A/L."""
    mixing = (1 - 1 / depth) * np.eye(nodes) + ring(nodes, reach) / depth
    kernel = np.eye(nodes)
    for _ in range(depth):
        mixed = mixing @ kernel @ mixing.T
        scale = np.sqrt(np.outer(np.diag(mixed), np.diag(mixed)))
        angle = np.arccos(np.clip(mixed / scale, -1, 1))
        kernel = scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
    return 1 - (kernel / np.sqrt(np.outer(np.diag(kernel), np.diag(kernel)))).mean()


def test_residual_aggregators_leave_a_power_of_depth_and_branches_none():
    depths = np.array([4, 8, 16])
    cells = [graph(per_depth=True, depth=int(depth), draws=8, width=256) for depth in depths]
    rows = table("graph_network", *cells)
    final = rows[rows["probe"] == "final_dispersion"]
    expected = [infinitely_wide_dispersion(depth) for depth in depths]
    assert (np.abs(np.log(final["value"] / expected)) < 4 * depths / 256 + 0.1).all()
    assert judged(final, "power_law", "greater", -3, margin=0, along="depth") == "supported"
    fixed = table("graph_network", *(graph(depth=depth, draws=8, width=64) for depth in (8, 16, 28)))
    fixed = fixed[fixed["probe"] == "final_dispersion"]
    assert np.polyfit(np.log(fixed["depth"].astype(float)), np.log(fixed["value"]), 1)[0] < -8
    cells = [graph(branch=True, depth=depth, draws=8, width=64, seed=seed) for depth in (16, 32, 64) for seed in (0, 1)]
    branches = table("graph_network", *cells)
    branches = branches[branches["probe"] == "final_dispersion"]
    assert judged(branches, "power_law", "equivalence", -0.5, along="depth") == "refuted"
    assert branches["value"].min() > 0.3


def test_attention_equals_a_plain_loop_over_draws():
    cell = AttentionCell(width=12, depth=4, seed=0, tokens=5, residual=0.8, draws=4000)
    found = series(table("attention_network", cell), "dispersion")
    rng, logs = np.random.default_rng(3), np.zeros((4, 1500))
    for draw in range(1500):
        x = rng.standard_normal((5, 12))
        for layer in range(4):
            unit = x / np.sqrt((x**2).mean(axis=1, keepdims=True))
            query, key, value = (rng.standard_normal((12, 12)) / np.sqrt(12) for _ in range(3))
            weights = torch.softmax(torch.from_numpy(unit @ query @ (unit @ key).T / np.sqrt(12)), dim=1).numpy()
            x = x + 0.8 * weights @ x @ value
            logs[layer, draw] = np.log(1 - np.corrcoef(np.hstack([x, -x]))[:5, :5].mean())
    expected, se = logs.mean(axis=1), logs.std(axis=1) / np.sqrt(1500)
    z = (np.log(found["value"]) - expected) / np.hypot(se, found["se"] / found["value"])
    assert np.abs(z).max() < LIMIT


def test_attention_makes_tokens_alike_and_centered_attention_does_not():
    cells = [
        AttentionCell(width=96, depth=48, seed=seed, residual=value, centered=centered, draws=12)
        for value in (0.5, 1.0)
        for centered in (False, True)
        for seed in (0, 1)
    ]
    rows = table("attention_network", *cells)
    plain, centered = (rows[rows["centered"] == value] for value in (False, True))
    options = {"options": {"formula": "attention_smoothing", "min_layer": 36}, "along": "residual"}
    fall = plain[plain["probe"] == "dispersion_factor"]
    assert_only(0, [0.15, -0.15], fall, "closed_form", "closed_form", **options)
    for value in (0.5, 1.0):
        own = centered[(centered["probe"] == "dispersion") & (centered["residual"] == value)]
        own = own[own["layer"].isin([1, 2, 4, 8, 16, 32, 48])]
        assert_only(0, [0.1, -0.1], own, along="layer")
    start = plain[(plain["probe"] == "dispersion") & (plain["layer"] <= 3)]
    np.testing.assert_allclose(start["value"], CLOSED_FORMS["attention_dispersion"](start), rtol=0.06)


@pytest.fixture(scope="module")
def thresholds():
    cells = [
        MultiplicativeCell(width=1, seed=seed, landscape=landscape, learning_rate=rate, draws=150, reach=8)
        for landscape in ("minimum", "saddle")
        for rate in (0.02, 0.04, 0.08)
        for seed in (0, 1)
    ]
    return table("multiplicative_sgd", *cells)


@pytest.mark.parametrize(("landscape", "exponent"), [("minimum", -1), ("saddle", -0.5)])
def test_noise_thresholds_are_the_roots_of_the_lyapunov_exponent(thresholds, landscape, exponent):
    rows = thresholds[thresholds["landscape"] == landscape]
    options = {"along": "learning_rate", "options": {"formula": f"{landscape}_noise_threshold"}}
    assert_only(0, [0.12, -0.12], rows, "closed_form", "closed_form", **options)
    slope = np.polyfit(np.log(rows["learning_rate"]), np.log(rows["value"]), 1)[0]
    assert slope == pytest.approx(exponent, abs=0.05)


def test_the_condition_of_mean_square_stability_is_refuted(thresholds):
    rows = thresholds[thresholds["landscape"] == "minimum"]
    options = {"along": "learning_rate", "options": {"formula": "mean_square_noise_threshold"}}
    # Off by a factor of 5.6 [2.5, 12.6]: an interval of more than ten margins of .05.
    assert judged(rows, "closed_form", "closed_form", 0, margin=0.2, **options) == "refuted"
    assert judged(rows, "closed_form", "greater", 0, margin=0, **options) == "supported"


def test_measured_lyapunov_exponents_equal_their_closed_form():
    cells = [
        MultiplicativeCell(
            width=1, seed=0, landscape=landscape, quantity="lyapunov", noise=noise, batch_size=batch, draws=100_000
        )
        for landscape in ("minimum", "saddle")
        for noise, batch in ((1.0, 1), (8.0, 1), (32.0, 4))
    ]
    rows = table("multiplicative_sgd", *cells)
    assert (np.abs(rows["value"] - CLOSED_FORMS["lyapunov_factor"](rows)) < LIMIT * rows["se"]).all()
