"""Sampled regression against closed forms, closed forms against quadrature and brute force, and wrong exponents against
both.

Limits are 4.5 standard errors.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, optimize, stats

from muster.claims.tests import on_its_own, verdict
from muster.config.load import load_study
from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Context
from muster.fitting.base import ESTIMATORS
from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.closed_forms.regression import effective_ridge, marchenko_pastur
from muster.plan.grid import plan_study

LIMIT = 4.5
STUDY = Path(__file__).parents[2] / "config" / "studies" / "model-collapse-regression.yaml"


def probes(name, **settings):
    experiment = EXPERIMENTS[name]
    cell = experiment.cell(seed=0, **settings)
    table = experiment.run(cell, Context(progress=lambda text: None)).probes
    known = {column: value for column, value in cell.model_dump().items() if column not in table.columns}
    return table.assign(study="s", **known)


def formula(name, **columns):
    return CLOSED_FORMS[name](pd.DataFrame(columns)).to_numpy()


def assert_within_error(rows, name, slack=0.0):
    expected = CLOSED_FORMS[name](rows)
    z = (rows["value"] - expected).abs() - slack * expected
    assert (z < LIMIT * rows["se"]).all(), rows.assign(expected=expected)


def decide(rows, along, predicted, margin=0.05):
    """The verdict on a slope of predicted ± margin."""
    fit = FitConfig(estimator="power_law", table="probes", response="value", along=along)
    fits = ESTIMATORS["power_law"].function(rows, fit).fits
    row = fits[fits["primary"]].iloc[0].to_dict()
    row |= {"test": "equivalence", "predicted": predicted, "margin": margin, "scale": "laptop"}
    return verdict(on_its_own(row))


@pytest.mark.parametrize("aspect", [0.3, 0.9, 1.0, 1.1, 4.0])
def test_marchenko_pastur_nodes_integrate_like_its_density(aspect):
    nodes, weights = (each[0] for each in marchenko_pastur(np.array([aspect])))
    low, high = (1 - np.sqrt(aspect)) ** 2, (1 + np.sqrt(aspect)) ** 2

    def density(x):
        return np.sqrt(max(0.0, (high - x) * (x - low))) / (2 * np.pi * x)

    for function in (lambda x: 1.0, lambda x: x, lambda x: np.exp(-3 * x)):
        expected = integrate.quad(lambda x, f=function: f(x) * density(x), low, high, limit=400)[0]
        assert weights @ np.vectorize(function)(nodes) == pytest.approx(expected, rel=1e-5)
    assert weights.sum() == pytest.approx(min(1, aspect), rel=1e-3)


def test_the_textbook_limits_of_the_error():
    late = {"snr": [1e12] * 2, "step": [10**6] * 2}
    assert formula("teacher_student_error", aspect=[0.5, 2.0], **late) == pytest.approx([0.5, 0], abs=1e-9)
    # Least squares: variance 1/(α − 1) above the threshold and α/(1 − α) below it (Hastie et al. 2022).
    noisy = {"snr": [1.0] * 2, "step": [10**6] * 2}
    found = formula("teacher_student_error", aspect=[0.5, 3.0], **noisy)
    assert found == pytest.approx([0.5 + 0.5 / 0.5, 1 / 2], rel=1e-6)
    assert formula("unseen_share", aspect=[0.25]) == pytest.approx([0.75])


def test_the_error_of_real_students_trained_by_small_steps():
    """40 students of 60 features on real noisy samples: gradient descent on weights, no eigenvalue in sight."""
    d, snr, rate = 60, 2.0, 0.01
    rng = np.random.default_rng(3)
    for aspect in (0.5, 1.0, 2.0):
        x = rng.standard_normal((40, round(aspect * d), d)) / np.sqrt(d)
        teacher = rng.standard_normal((40, d))
        y = np.einsum("bpi,bi->bp", x, teacher) + rng.standard_normal(x.shape[:2]) / np.sqrt(snr)
        w = np.zeros((40, d))
        for update in range(801):
            if update in (100, 800):
                error = np.square(w - teacher).mean(axis=1)
                own = formula("teacher_student_error", aspect=[aspect], snr=[snr], step=[update * rate])
                assert abs(error.mean() - own[0]) < LIMIT * error.std() / np.sqrt(40) + 0.01 * own[0]
            w += rate * np.einsum("bpi,bp->bi", x, y - np.einsum("bpi,bi->bp", x, w))


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
def test_sampled_errors_follow_the_integral(aspect):
    rows = probes("teacher_student", width=100, aspect=aspect, snr=2, inr=0, draws=100, horizon=64)
    assert_within_error(rows[rows["probe"] == "excess_error"], "teacher_student_error", slack=0.01)
    wrong = CLOSED_FORMS["teacher_student_error"](rows.assign(aspect=1.2 * aspect))
    excess = rows["probe"] == "excess_error"
    assert ((rows["value"] - wrong).abs() > 0.03 * wrong)[excess & (rows["step"] == 64)].all()


def test_overtraining_is_the_last_error_over_the_smallest():
    rows = probes("teacher_student", width=100, aspect=1.0, snr=1, inr=0, draws=100, horizon=64)
    errors = rows[rows["probe"] == "excess_error"]
    found = rows[rows["probe"] == "overtraining"].iloc[0]
    assert found["value"] == pytest.approx(errors["value"].iloc[-1] / errors["value"].min())
    predicted = CLOSED_FORMS["teacher_student_error"](errors)
    assert abs(found["value"] - predicted.iloc[-1] / predicted.min()) < LIMIT * found["se"] + 0.01


def test_initial_weights_stay_where_no_sample_looks():
    rows = probes("teacher_student", width=100, aspect=0.5, inr=3.0, snr=1e9, draws=20, horizon=512)
    last = rows[rows["step"] == 512].set_index("probe")["value"]
    assert last["init_error"] == pytest.approx(0.5, rel=1e-3)
    assert last["excess_error"] == pytest.approx(4 * 0.5, rel=1e-3)


@pytest.mark.parametrize(("width", "ratio"), [(4, 0.5), (16, 2.0)])
def test_the_label_chain_is_exact_at_every_size(width, ratio):
    rows = probes("label_chain", width=width, samples=64, label_ratio=ratio, draws=4000, generations=4)
    assert_within_error(rows[rows["probe"] == "excess_risk"], "label_chain_risk")


def test_the_label_chain_equals_real_regressions():
    """A chain of least-squares fits on real features with labels made by their predecessors."""
    rng = np.random.default_rng(0)
    d, samples, labels, draws = 3, 12, 8, 20_000
    w = np.zeros((draws, d))
    for generation in range(3):
        count = samples if generation == 2 else labels
        x = rng.standard_normal((draws, count, d))
        y = np.einsum("bpi,bi->bp", x, w) + rng.standard_normal((draws, count))
        w = np.einsum("bip,bp->bi", np.linalg.pinv(x), y)
    risk = np.square(w).sum(axis=1)
    expected = formula("label_chain_risk", width=[d], samples=[samples], label_ratio=[labels / samples], layer=[2])[0]
    assert abs(risk.mean() - expected) < LIMIT * risk.std() / np.sqrt(draws)


def test_pollution_is_linear_in_generations_and_not_quadratic():
    rows = probes("label_chain", width=16, samples=128, draws=2000, generations=6)
    rows = rows[rows["probe"] == "pollution"]
    assert decide(rows, "layer", 1) == "supported"
    assert decide(rows, "layer", 2) == "refuted"
    assert decide(rows, "layer", 0.5) == "refuted"


def test_a_ridge_slows_the_fall_of_pollution():
    settings = {"width": 64, "decay": 3, "last_fit": "ridge", "ridge_exponent": 1, "generations": 1, "draws": 200}
    rows = pd.concat([probes("label_chain", samples=4**k, **settings) for k in (5, 6, 7, 8)])
    rows = rows[rows["probe"] == "pollution"]
    assert decide(rows, "samples", -2 / 3, margin=0.1) == "supported"
    assert decide(rows, "samples", -1) == "refuted"


@pytest.mark.parametrize(("decay", "exponent"), [(2.0, 0.5), (2.0, 0.75), (3.0, 1.0)])
@pytest.mark.parametrize("samples", [128, 1024])
def test_a_ridge_passes_on_the_pollution_of_its_deterministic_equivalent(decay, exponent, samples):
    """Where d/T is ½ the count of seen features over T₀ alone is short by a factor of 2 and more. Slack: O(1/T)."""
    settings = {"label_ratio": 2.0, "decay": decay, "ridge_exponent": exponent, "last_fit": "ridge"}
    rows = probes("label_chain", width=64, samples=samples, draws=2000, generations=2, **settings)
    rows = rows[rows["probe"] == "pollution"]
    assert_within_error(rows, "label_chain_pollution", slack=0.01)
    assert (rows["se"] < 0.02 * rows["value"]).all()


def test_pollution_without_a_ridge_is_that_of_least_squares():
    """λ → 0 shows all features: n d/(T₀ − d − 1), which is exact."""
    sizes = {"width": [8], "samples": [100.0], "label_ratio": [2.0], "layer": [3]}
    found = formula("label_chain_pollution", decay=[1.0], ridge_exponent=[15.0], **sizes)[0]
    assert found == pytest.approx(3 * 8 / (200 - 8 - 1), rel=1e-9)


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_the_windows_of_the_ridge_claims_lie_near_the_limit(scale):
    """The deterministic equivalent's slope over each window, and over its halves, within a fifth of the margin."""
    study = load_study(STUDY)
    cells = pd.DataFrame([each.cell.model_dump() for each in plan_study(study, scale).cells]).assign(layer=1)
    checked = 0
    for claim in study.claims:
        select = study.fits[claim.fit].select
        if study.fits[claim.fit].estimator != "power_law" or select.get("last_fit") != "ridge":
            continue
        keys = {key: np.atleast_1d(value) for key, value in select.items() if key in cells}
        window = cells[np.logical_and.reduce([cells[key].isin(values) for key, values in keys.items()])]
        x, y = np.log(window["samples"]), np.log(CLOSED_FORMS["label_chain_pollution"](window))
        half = len(window) // 2
        for part in (slice(None), slice(None, half + 1), slice(half, None)):
            assert abs(np.polyfit(x[part], y[part], 1)[0] - claim.predicted) < claim.margin / 5, claim.claim
        checked += 1
    assert checked == 3


@pytest.mark.parametrize(("decay", "samples"), [(1.5, 20), (2.0, 50), (4.0, 100)])
def test_the_effective_ridge_solves_its_equation(decay, samples):
    kappa = effective_ridge(decay, samples)
    # The infinite sum by Euler–Maclaurin from i = 10⁴: integral plus half the first term.
    head = sum(1 / (1 + kappa * i**decay) for i in range(1, 10_000))
    tail = integrate.quad(lambda u: np.exp(u) / (1 + kappa * np.exp(decay * u)), np.log(1e4), 60, limit=500)[0]
    assert head + tail + 0.5 / (1 + kappa * 1e4**decay) == pytest.approx(samples, rel=1e-4)


@pytest.mark.parametrize("decay", [1.5, 2.0, 3.0])
def test_the_worst_cost_tends_to_the_decay_exponent(decay):
    large = formula("overfitting_cost", decay=[decay] * 2, samples=[100, 1600])
    assert large[1] == pytest.approx(decay, rel=2e-3)
    assert abs(large[1] - decay) < abs(large[0] - decay)


def test_the_worst_cost_by_an_independent_root():
    i = np.arange(1, 10**6)
    kappa = optimize.bisect(lambda k: (1 / (1 + k * i**2.0)).sum() + 1e-6 / k - 30, 1e-6, 1)
    share = 1 / (1 + kappa * i**2.0)
    assert formula("overfitting_cost", decay=[2.0], samples=[30])[0] == pytest.approx(
        1 / (1 - (share**2).sum() / 30), rel=1e-4
    )


@pytest.mark.parametrize("decay", [1.5, 2.0, 3.0])
def test_interpolating_noise_costs_as_predicted(decay):
    rows = probes("kernel_ridge", samples=48, aspect=1 / 16, decay=decay, draws=100)
    assert_within_error(rows[rows["probe"] == "noise_cost"], "overfitting_cost", slack=0.02)
    cost = rows.set_index("probe")["value"]
    assert 1 <= cost["cost"] < cost["noise_cost"]


def test_the_cost_is_that_of_real_fits_over_the_best_ridge():
    """400 draws of 6 noisy labels on 24 features, every fit by an explicit inverse over a ridge grid of our own."""
    cell = {"samples": 6, "width": 24, "decay": 2.0, "source": 1.0, "noise": 0.5}
    rng = np.random.default_rng(1)
    i = np.arange(1.0, 25)
    variance, beta = i**-2, 1 / i
    beta /= np.linalg.norm(beta)
    tail, squares = (sum(j**-power for j in range(25, 20_000)) for power in (2, 4))
    z = rng.standard_normal((400, 6, 24))
    kernel = z * variance @ np.swapaxes(z, 1, 2) + tail * np.eye(6)
    risks = []
    for ridge in [0, *np.geomspace(1e-3, 1e2, 60)]:
        fit = np.linalg.inv(kernel + ridge * np.eye(6))
        weights = variance[:, None] * np.swapaxes(z, 1, 2) @ fit
        labels = z @ beta
        error = np.square(beta - np.einsum("bjp,bp->bj", weights, labels)).sum(axis=1)
        error += squares * np.square(np.einsum("bqp,bp->bq", fit, labels)).sum(axis=1)
        spread = 1 + np.square(weights).sum(axis=(1, 2)) + squares * np.square(fit).sum(axis=(1, 2))
        risks.append(error + 0.5 * spread)
    means = np.mean(risks, axis=1)
    best = risks[means.argmin()]
    expected = means[0] / means.min()
    error = (risks[0] - expected * best).std() / means.min() / np.sqrt(400)
    found = probes("kernel_ridge", draws=4000, **cell).set_index("probe").loc["cost"]
    assert expected > 1.2
    assert abs(found["value"] - expected) < LIMIT * np.hypot(error, found["se"])


def test_the_cost_grows_like_the_decay_and_not_like_its_root():
    rows = pd.concat([probes("kernel_ridge", samples=64, aspect=1 / 8, decay=a, draws=40) for a in (1.5, 2, 3, 4)])
    rows = rows[rows["probe"] == "noise_cost"]
    assert decide(rows, "decay", 1) == "supported"
    assert decide(rows, "decay", 0.5) == "refuted"


def test_a_formula_names_the_column_it_lacks():
    with pytest.raises(MusterError, match="'snr'"):
        formula("teacher_student_error", aspect=[1.0], step=[4])


def test_the_chain_formula_is_the_mean_of_an_inverse_wishart():
    mean = stats.invwishart(df=20, scale=np.eye(4)).mean()
    assert formula("label_chain_risk", width=[4], samples=[20], label_ratio=[1.0], layer=[3])[0] == pytest.approx(
        4 * np.trace(mean)
    )
