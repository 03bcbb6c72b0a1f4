"""What a limit, a worst case and a drift may be called: three synthetic controls, and size and power of their tests."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.claims.components import row_of
from muster.claims.regime.base import REGIME_CHECKS, Measured
from muster.config.models import StudyConfig
from muster.fitting.estimators.limit_rate import fit_approach
from muster.fitting.study import fit_study
from muster.statistics.components import Component, against, largest

LN2 = math.log(2)


def runs(widths, log2_lr, noise, seeds=1, scatter=0.0, steps=0.5, rng=None):
    """ln loss = .02 u² + noise over two octaves on either side of log2_lr(width), on one grid of half octaves."""
    rng = rng or np.random.default_rng(7)
    rates = np.arange(-16.0, 0.1, steps)
    rows = []
    for width in widths:
        at = log2_lr(width) + scatter * rng.standard_normal()
        for seed in range(seeds):
            near = rates[np.abs(rates - at) <= 3]
            loss = np.exp(0.02 * (near - at) ** 2 + noise * rng.standard_normal(len(near)))
            rows += [
                {"width": width, "seed": seed, "log2_lr": rate, "final_train_loss": value, "diverged": False}
                for rate, value in zip(near, loss, strict=True)
            ]
    return pd.DataFrame(rows)


def study(**claims):
    """Two fits of one sweep, exponent and limit, and the claims on them."""
    common = {"statement": "s", "source": "s", "provenance": "paper", "test": "equivalence", "margin": 0.1}
    return StudyConfig(
        study="s", title="t", paper="p", slug="s", experiment="train", scales={"smoke": {"grid": [{"seed": 0}]}},
        fits={
            "exponent": {"estimator": "lr_transfer", "response": "final_train_loss"},
            "limit": {"estimator": "limit_rate", "response": "final_train_loss"},
        },
        claims=[{"claim": name, **common, "predicted": 0.0, "fit": name} for name in ("exponent", "limit")],
    )  # fmt: skip


def judged(table):
    """p of support, p of refutation and the check `steady`, by claim."""
    config = study()
    optima, fits = fit_study(config, {"runs": table})
    found = {}
    for claim in config.claims:
        row = fits[(fits["fit"] == claim.fit) & fits["primary"]].iloc[0].to_dict()
        row = row_of(claim, row)
        distance = abs(row["estimate"])
        support = stats.t.sf((0.1 - distance) / row["se"], row["dof"])
        refute = stats.t.sf([(distance - 0.1) / row["se"], (distance + 0.1) / row["se"]], row["dof"]).sum()
        checked = None
        if claim.claim == "exponent":
            given = Measured(config, claim, config.fits[claim.fit], row, {"runs": table}, fits, optima)
            entry = REGIME_CHECKS["steady"]
            checked = entry.function(given, entry.options())
        found[claim.claim] = (support, refute, checked)
    return found


def test_convergence_at_the_theorem_s_rate_is_never_refuted():
    """lr*(n) = 2^−5 (1 − 5/√n), nearly noise-free: the exponent alone would be refuted, .217 with t(3); its check says
    that it is no exponent, and points to 0. The limit is far, .17 beyond 1024, and is neither supported nor refuted."""
    widths = (128, 256, 512, 1024)
    for seed in range(5):
        table = runs(widths, lambda n: -5 + math.log2(1 - 5 / math.sqrt(n)), 0.001, rng=np.random.default_rng(seed))
        found = judged(table)
        assert found["limit"][0] > 0.05 < found["limit"][1]
    wide = tuple(int(n) for n in np.geomspace(64, 1024, 9))
    for seed in range(5):
        table = runs(wide, lambda n: -5 + math.log2(1 - 5 / math.sqrt(n)), 0.001, rng=np.random.default_rng(seed))
        found = judged(table)
        _, refute, checked = found["exponent"]
        assert refute < 0.05
        assert (checked.passed, checked.towards) == (False, True)
        assert found["limit"][0] > 0.05 < found["limit"][1]


def test_a_falling_rate_is_refuted():
    """n^−.9: far from a limit, steady, and no drift of a limit's model supports it."""
    for seed in range(5):
        table = runs((64, 128, 256, 512, 1024), lambda n: -3 - 0.9 * math.log2(n / 64), 0.002,
                     rng=np.random.default_rng(seed))  # fmt: skip
        found = judged(table)
        support, refute, checked = found["exponent"]
        assert (refute < 0.001, support > 0.999, checked.passed) == (True, True, True)
        assert found["limit"][0] > 0.05 < found["limit"][1]


def test_flat_with_three_degrees_of_freedom_can_be_supported():
    """Five shapes, scatter .04 octaves: power .9 or more at p ≤ .05, in 20 draws at least 15."""
    supported = 0
    for seed in range(20):
        table = runs((64, 128, 256, 512, 1024), lambda n: -6.2, 0.0005, scatter=0.04, rng=np.random.default_rng(seed))
        supported += judged(table)["exponent"][0] <= 0.05
    assert supported >= 15


def drift(widths, y, margin):
    """Covering interval, p of equivalence at the margin, by the profile of the approach with γ = ½."""
    found = fit_approach(widths, y, 0.5)
    component = Component(
        widths[-1], found.drift, 0.0, len(widths) - 2, values=found.values.tolist(), roots=found.roots.tolist()
    )
    row = against([component], -margin, margin)
    return largest([component]).interval(), stats.t.sf((margin - abs(row.estimate)) / row.se, row.dof)


@pytest.mark.parametrize(
    ("curve", "truth", "passes"),
    [
        (lambda x: np.log1p(-3.05 * x**-0.5), 0.1, (0.0, 0.11)),  # at the margin: size .05, seen .040 of 400
        (lambda x: np.log1p(-1.9 * x**-0.5), 0.0612, (0.5, 0.85)),  # power .66
        (lambda x: 0 * x, 0.0, (0.9, 1.0)),
        (lambda x: 0.2 * np.log(x), None, (0.0, 0.02)),
        (lambda x: -0.6 * np.log(x), None, (0.0, 0.02)),  # SP: the drift left is large and negative
        (lambda x: np.log1p(-5 * x**-0.5), 0.17, (0.0, 0.02)),
    ],
)
def test_drift_left_covers_and_keeps_its_size(curve, truth, passes):
    """Nine shapes over ×16, scatter .1 octaves, 120 draws: coverage .95 (se .02), shares of support at ±.1."""
    rng, x = np.random.default_rng(11), 1024 / np.geomspace(16, 1, 9)
    covered, supported, draws = 0, 0, 120
    for _ in range(draws):
        (low, high), p = drift(x, curve(x) + 0.1 * LN2 * rng.standard_normal(9), 0.1)
        covered += truth is not None and low <= truth <= high
        supported += p <= 0.05
    assert passes[0] <= supported / draws <= passes[1]
    assert truth is None or covered / draws >= 0.89


def test_worst_case_keeps_its_size_on_both_sides():
    """12 steps, 3 seeds, all at the bound (refuting) or one of them there (supporting). 300 draws, se .013: a size of
    .12 is noticed in .98. The step that rises most, judged as if it stood alone, refuted .3."""
    rng, steps, seeds, draws = np.random.default_rng(2), 12, 3, 300
    refuted = supported = naive = 0
    for _ in range(draws):
        noise = rng.standard_normal((seeds, steps))
        means, errors = noise.mean(0), noise.std(0, ddof=1) / math.sqrt(seeds)
        every = [Component(k, m, s, seeds - 1) for k, (m, s) in enumerate(zip(means, errors, strict=True))]
        row = against(every, -math.inf, 0.0)
        refuted += stats.t.sf(row.estimate / row.se, row.dof) <= 0.05
        naive += stats.t.sf((means / errors).max(), seeds - 1) <= 0.05
        one = [every[0], *(each._replace(estimate=each.estimate - 30) for each in every[1:])]
        row = against(one, -math.inf, 0.0)
        supported += stats.t.sf(-row.estimate / row.se, row.dof) <= 0.05
    assert refuted / draws <= 0.075
    assert 0.025 <= supported / draws <= 0.075
    assert naive / draws > 0.2
