"""Published fits of L(N, D) = E + A/N^α + B/D^β to the runs read off Hoffmann et al. (2022), figure 4.

Besiroglu, Erdil, Barnett & You (2024) leave out the five largest losses, minimize the sum of Huber's loss (δ = 0.001)
of the log residuals, and take errors from 4,000 resamples of the rows, each refitted by SciPy's BFGS from Hoffmann's
parameters. Their point estimate is another one: the notebook also fits the scale of a Huber density, which ends at
e^−12.27, so that the loss is that of absolute residuals in all but name (δ = 0.001 e^−12.27).
"""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS
from muster.fitting.laws.interval import refit
from muster.fitting.laws.joint import JOINT
from muster.fitting.laws.newton import huber
from muster.fitting.laws.solve import GRADIENT_TOLERANCE, fit_law, solve

DELTA = 1e-3
FREE_SCALE_DELTA = DELTA * np.exp(-12.26662388)
HOFFMANN_LOGS = np.array([6.0073404, 6.0179186, 0.5267228, 0.33917084, 0.2849083])  # ln A, ln B, ln E, α, β
HOFFMANN = {
    "a": float(np.exp(6.0073404)),
    "b": float(np.exp(6.0179186)),
    "e": float(np.exp(0.5267228)),
    "alpha": 0.33917084,
    "beta": 0.2849083,
}
RESAMPLES = 4000
# The 60 resamples in which SciPy's BFGS returns an A furthest from the minimum's, found by running it on all of them:
# all 4,000 results of BFGS give 124.5223207, these 60 in place of the minima 124.52124.
STOPPED_EARLY = (
    93, 160, 363, 419, 447, 461, 499, 547, 576, 673, 891, 934, 952, 1260, 1325, 1327, 1404, 1426, 1536, 1559, 1624,
    1699, 1785, 1824, 1854, 2034, 2075, 2118, 2148, 2168, 2198, 2218, 2260, 2275, 2280, 2317, 2436, 2451, 2520,
    2586, 2622, 2838, 2859, 2908, 2961, 3038, 3045, 3050, 3053, 3068, 3237, 3357, 3376, 3391, 3427, 3546, 3687,
    3691, 3952, 3959,
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(shared_data):
    table = pd.read_csv(shared_data / "epoch-analyzing-chinchilla" / "svg_extracted_data.csv")
    assert len(table) == 245
    size = table["Model Size"].to_numpy(float)
    return np.stack([size, table["Training FLOP"].to_numpy(float) / (6 * size)]), table["loss"].to_numpy(float)


@pytest.fixture(scope="module")
def kept(runs):
    x, y = runs
    inside = y < np.sort(y)[-5]
    assert inside.sum() == 240
    return x[:, inside], y[inside]


@pytest.fixture(scope="module")
def fit(kept):
    return fit_law(JOINT, *kept, delta=DELTA)


@pytest.fixture(scope="module")
def resamples(kept):
    """Rows of each of the 4,000 resamples, drawn as the notebook draws them."""
    rng = np.random.RandomState(42)
    return np.stack([rng.choice(240, size=240, replace=True) for _ in range(RESAMPLES)])


@pytest.fixture(scope="module")
def replicates(fit, kept, resamples):
    weights = np.stack([np.bincount(rows, minlength=240) for rows in resamples]).astype(float)
    theta = refit(fit, *kept, weights)
    assert np.isfinite(theta).all()
    return theta


def bfgs(x, y):
    """The notebook's refit: SciPy's BFGS with its default tolerance, from Hoffmann's parameters."""
    (log_n, log_d), log_y = np.log(x), np.log(y)

    def objective(theta):
        a, b, e, alpha, beta = theta
        size, data = np.exp(a - alpha * log_n), np.exp(b - beta * log_d)
        total = size + data + np.exp(e)
        error = log_y - np.log(total)
        inner = np.clip(error, -DELTA, DELTA)
        pull = -inner / total
        gradient = [pull @ size, pull @ data, pull.sum() * np.exp(e), -(pull * size) @ log_n, -(pull * data) @ log_d]
        return (inner * (error - inner / 2)).sum(), np.array(gradient)

    return optimize.minimize(objective, HOFFMANN_LOGS, jac=True, method="BFGS")


def test_published_point_is_the_fit_of_absolute_residuals(kept):
    """Anchors chin_alpha and chin_beta."""
    found = fit_law(JOINT, *kept, delta=FREE_SCALE_DELTA)
    assert found.certificate.converged
    assert found.natural["alpha"] == pytest.approx(0.34781303, rel=1e-6)
    assert found.natural["beta"] == pytest.approx(0.36585412, rel=1e-6)
    assert found.natural["a"] == pytest.approx(np.exp(6.17795598), rel=1e-5)
    assert found.natural["b"] == pytest.approx(np.exp(7.64273236), rel=1e-5)
    assert found.natural["e"] == pytest.approx(np.exp(0.59711196), rel=1e-6)


def test_huber_minimum_is_reached_from_every_start(fit):
    """The objective that Besiroglu et al. name has its minimum elsewhere: at β = 0.36717."""
    assert fit.certificate.starts_agreeing == fit.certificate.starts >= 9
    assert fit.certificate.converged
    assert fit.objective == pytest.approx(1.018274018e-3, rel=1e-9)
    expected = {"a": 477.83, "b": 2143.42, "e": 1.81722, "alpha": 0.34731, "beta": 0.36717}
    assert fit.natural == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("delta", [None, 1e-2, DELTA, FREE_SCALE_DELTA])
def test_all_starts_reach_one_minimum_at_every_delta(runs, kept, delta):
    for x, y in (runs, kept):
        found = solve(JOINT, x, y, None, JOINT.starts(x, y), delta)
        assert (found.gradient < GRADIENT_TOLERANCE).all()
        assert found.objective == pytest.approx(found.objective.min(), rel=1e-9)


def test_published_interval_of_b(replicates):
    """Anchor chin_ciB, by muster's own solver on the notebook's resamples."""
    interval = np.percentile(JOINT.to_natural(replicates)[:, 4], [2.5, 97.5])
    assert interval == pytest.approx([1042.357, 5810.344], rel=1e-4)


def test_published_error_of_a_holds_the_optimizers_early_stops(kept, resamples, replicates):
    """Anchor chin_seA: 124.522321 is the spread of what BFGS returns; the spread of the minima is 124.4936.

    In some resamples BFGS stops above the minimum (its tolerance on the gradient, 1e-5, is absolute, and the objective
    is about 1e-3). Putting its results in for those reproduces the published number.
    """
    x, y = kept
    minima = np.exp(replicates[:, 3])
    assert minima.std(ddof=1) == pytest.approx(124.4936, rel=1e-6)
    returned = minima.copy()
    for i in STOPPED_EARLY:
        rows = resamples[i]
        stopped = bfgs(x[:, rows], y[rows])
        residuals = np.log(y[rows]) - JOINT.log_value(replicates[[i]], x[:, rows])[0][0]
        assert stopped.success
        assert stopped.fun > huber(residuals, DELTA).sum() * (1 + 5e-6)
        returned[i] = np.exp(stopped.x[0])
    assert returned.std(ddof=1) == pytest.approx(124.522321, rel=2e-5)


def estimate(runs, **options):
    x, y = runs
    table = pd.DataFrame({"parameters": x[0], "tokens": x[1], "loss": y, "run": [f"r{i}" for i in range(len(y))]})
    fit = FitConfig(estimator="joint_law", response="loss", along="parameters", options={"delta": DELTA, **options})
    return ESTIMATORS["joint_law"].function(table, fit).fits.set_index("parameter")


def test_hoffmann_is_refuted_on_these_runs(runs):
    """Anchor chin_hoff_beta: outside the interval of β, and the whole vector far outside its region."""
    rows = estimate(runs, drop_largest_losses=5, published={"hoffmann": HOFFMANN})
    beta, vector = rows.loc["beta"], rows.loc["wald_hoffmann"]
    # Plain percentiles are 0.331 and 0.415; t(235) and the Monte-Carlo error of 1,000 replicates move them out.
    assert 0.325 < beta["ci_low"] < 0.331
    assert 0.415 < beta["ci_high"] < 0.421
    assert HOFFMANN["beta"] < beta["ci_low"]
    assert vector["status"] == "ok"
    assert vector["estimate"] > 100
    assert "optimizer" in vector["note"]


def test_beta_is_sensitive_to_five_rows(runs):
    """Anchor chin_all245: with no row dropped β is 0.4530."""
    rows = estimate(runs, replicates=100)
    assert rows.loc["beta", "estimate"] == pytest.approx(0.4530493, rel=1e-6)
    assert rows.loc["beta", "status"] == "ok"
    dropped = estimate(runs, drop_largest_losses=5, replicates=100).loc["beta"]
    assert dropped["estimate"] == pytest.approx(0.3671724, rel=1e-6)
    assert '"beta": 0.453049' in dropped["diagnostics"]
