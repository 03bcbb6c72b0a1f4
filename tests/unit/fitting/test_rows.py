"""The row that reaches the ledger: `estimate`, `se`, `dof` and interval against numbers computed another way.

An error bar may be right in the helper that makes it and wrong one call later: in octaves, of one side, over seeds.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS
from muster.fitting.estimators import closed_form
from muster.fitting.estimators.limit_rate import either, fit_approach
from muster.fitting.estimators.lr_transfer import TransferOptions as Options
from muster.fitting.estimators.lr_transfer import locate, shape_optima, subtract
from muster.fitting.estimators.monotone import single_seed_steps
from muster.fitting.laws.interval import bootstrap
from muster.fitting.laws.power_offset import POWER_OFFSET
from muster.fitting.laws.solve import fit_law
from muster.fitting.optimum.leaning import drift_of_lean, leaned_line, leans_of, take_in
from muster.statistics.censored import slope_interval_censored
from muster.statistics.linear import jackknife, mean_reml_kh, mean_t, slope_ols, slope_reml_kh, wider

WIDTHS = np.array([64, 128, 256, 512, 1024, 2048])
RATES = np.arange(-12.0, -3.9, 0.5)
LN2 = np.log(2)


def sweep(seed=1, seeds=4, scatter=0.2, shift=0.2, slope=-0.5, noise=0.002, unequal=1.0, lean=0.0):
    """Valleys whose minima scatter by `scatter` between shapes and `shift` between seeds, octaves; their cubic
    term grows by `lean` from each shape to the next."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, width in enumerate(WIDTHS):
        own = -7 + slope * i + scatter * rng.standard_normal()
        for k in range(seeds):
            best = own + shift * rng.standard_normal()
            u = RATES - best
            y = (
                0.05 * u**2
                + lean * i * np.clip(u, -2.5, 2.5) ** 3
                + noise * unequal**i * rng.standard_normal(len(RATES))
            )
            rows += [(width, rate, k, np.exp(value)) for rate, value in zip(RATES, y, strict=True)]
    return pd.DataFrame(rows, columns=["width", "log2_lr", "seed", "loss"]).assign(diverged=False)


def config(estimator, along="width", response="loss", **options):
    return FitConfig(estimator=estimator, response=response, along=along, options=options)


def rows_of(table, estimator, **settings):
    return ESTIMATORS[estimator].function(table, config(estimator, **settings)).fits.set_index("variant")


def require_t_interval(row):
    half = stats.t.ppf(0.975, row["dof"]) * row["se"]
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((row["estimate"] - half, row["estimate"] + half))


def test_every_variant_of_a_transfer_exponent_is_in_natural_units_over_shapes():
    table = sweep()
    found = ESTIMATORS["lr_transfer"].function(table, config("lr_transfer"))
    fits, optima = found.fits.set_index("variant"), found.optima
    log_x, y, se = np.log(optima["x"]), optima["log2_lr_opt"] * LN2, optima["se"] * LN2
    expected = slope_ols(log_x, y)
    for variant in ("ols_t", "interval_censored"):
        assert fits.loc[variant, ["estimate", "se", "dof"]].tolist() == pytest.approx(list(expected[:3]), rel=1e-5)
    random = wider(slope_reml_kh(log_x, y, se), expected)
    assert fits.loc["reml_kh", ["estimate", "se", "dof"]].tolist() == pytest.approx(list(random[:3]), rel=1e-9)
    # Balanced seeds: the restricted likelihood's error is that of the line through the means, full likelihood's less.
    assert fits.loc["mixed", "se"] == pytest.approx(expected.se, rel=0.03)
    assert (fits["dof"] == len(WIDTHS) - 2).all()
    for _, row in fits.iterrows():
        require_t_interval(row)


def test_a_lean_that_drifts_enters_in_natural_units():
    """Of rates, of sizes that stand for them, of a difference of two groups, and of what a limit leaves."""
    one = sweep(27, shift=0.0, scatter=0.05, slope=0.1, noise=0.012, lean=0.002)
    other = sweep(28, shift=0.0, scatter=0.05, noise=0.01)
    log_x = np.log(WIDTHS)
    a, b = (shape_optima(table, config("lr_transfer"), Options()) for table in (one, other))
    (lean, error), (lean_b, error_b) = (LN2 * np.array(leans_of(side)) for side in (a, b))
    y = locate(a).y
    found = drift_of_lean(log_x, lean, error)
    line = take_in(slope_ols(log_x, y), leaned_line(log_x, y, found))
    assert line.se > 1.2 * slope_ols(log_x, y).se
    names = ["estimate", "se", "dof", "ci_low", "ci_high"]
    expected = pytest.approx([*line[:3], *line.interval()], rel=1e-6)
    assert rows_of(one, "lr_transfer").loc["ols_t", names].tolist() == expected
    sizes = one.assign(parameters=2.0 ** (one["log2_lr"] + 30)).rename(columns={"width": "flops"})
    assert rows_of(sizes, "isoflop", along="flops").loc["ols_t", names].tolist() == expected

    gap = y - locate(b).y
    apart = drift_of_lean(log_x, lean - lean_b, np.hypot(error, error_b))
    line = take_in(slope_ols(log_x, gap), leaned_line(log_x, gap, apart))
    assert 0.2 < apart.share < found.share < 0.9
    both = pd.concat([one.assign(arm="a"), other.assign(arm="b")])
    fits = rows_of(both, "lr_transfer_difference", a={"arm": "a"}, b={"arm": "b"})
    assert fits.loc["ols_t", names].tolist() == pytest.approx([*line[:3], *line.interval()], rel=1e-6)

    row = rows_of(one, "limit_rate").loc["profile"]
    union = either(*(fit_approach(WIDTHS, each, 0.5) for each in (y, y + found.share * lean)))
    ends = np.interp(stats.t.ppf([0.025, 0.975], 4), union.roots, union.values)
    assert row[["estimate", "ci_low", "ci_high"]].tolist() == pytest.approx([union.drift, *ends], rel=1e-3)


def test_known_errors_enter_random_effects_in_natural_units():
    """With errors in octaves τ² would come out wrong; here `reml_kh` is the wider one."""
    for seed in range(60):
        table = sweep(seed, scatter=0.02, shift=0.0, noise=0.002, unequal=1.3)
        found = ESTIMATORS["lr_transfer"].function(table, config("lr_transfer"))
        fits, optima = found.fits.set_index("variant"), found.optima
        log_x, y, se = np.log(optima["x"]), optima["log2_lr_opt"] * LN2, optima["se"] * LN2
        if np.isnan(y).any():
            continue
        random = slope_reml_kh(log_x, y, se)
        if wider(random, slope_ols(log_x, y)) is random:
            assert fits.loc["reml_kh", "se"] == pytest.approx(random.se, rel=1e-9)
            assert fits.loc["reml_kh", "se"] != pytest.approx(slope_reml_kh(log_x, y, se / LN2).se, rel=1e-6)
            return
    pytest.fail("no draw in which random effects are wider")


@pytest.mark.parametrize("side", [1, -1])
def test_a_shape_at_an_edge_bounds_the_line_in_natural_units(side):
    """The best rate of the widest shape is the last of its grid, at the upper or the lower end."""
    table = sweep(5, scatter=0.5)
    last = table["width"] == WIDTHS[-1]
    best = table[last].groupby("log2_lr")["loss"].mean().idxmin()
    table = table[~last | ((table["log2_lr"] - best) * side < 0.3)]
    found = ESTIMATORS["lr_transfer"].function(table, config("lr_transfer"))
    optima, fits = found.optima.set_index("x"), found.fits.set_index("variant")
    assert optima["status"].tolist() == ["interior"] * 5 + ["edge"]
    ends = [best - 0.5, np.inf] if side > 0 else [-np.inf, best + 0.5]
    low, high = (optima["log2_lr_opt"].fillna(end).to_numpy() * LN2 for end in ends)
    expected, row = slope_interval_censored(np.log(WIDTHS), low, high), fits.loc["interval_censored"]
    assert row[["estimate", "se", "dof"]].tolist() == pytest.approx(list(expected[:3]), rel=1e-6)
    assert row["estimate"] != pytest.approx(fits.loc["ols_t", "estimate"], rel=0.01)
    require_t_interval(row)


SIDES = {"a": {"arm": "a"}, "b": {"arm": "b"}}
EXPONENTS = {
    "lr_transfer": {},
    "lr_transfer_difference": SIDES,
    "power_law": {"select": {"log2_lr": -7.0}},
    "slope_equality": {**SIDES, "select": {"log2_lr": -7.0}},
    "limit_rate": {},
}


@pytest.mark.parametrize("estimator", EXPONENTS)
def test_exponents_know_no_units(estimator):
    """Widths in thousandths, rates eight octaves up, losses sevenfold: the same numbers in every row, but for the
    mixed model's, of which the last digits decide whether it converges."""
    options = {name: value for name, value in EXPONENTS[estimator].items() if name != "select"}
    arms = [sweep(2).assign(arm="a"), sweep(6, slope=-0.2).assign(arm="b")][: 2 if options else 1]
    table = pd.concat(arms, ignore_index=True)
    if "select" in EXPONENTS[estimator]:
        table = table[table["log2_lr"] == -7.0]
    moved = table.assign(width=table["width"] / 1000, log2_lr=table["log2_lr"] + 8, loss=7 * table["loss"])
    names = ["estimate", "se", "dof", "ci_low", "ci_high"]
    fits = (rows_of(each, estimator, **options).drop("mixed", errors="ignore") for each in (table, moved))
    here, there = (each[names].to_numpy(float) for each in fits)
    assert np.isfinite(here[:, 0]).all()
    np.testing.assert_allclose(there, here, rtol=1e-3 if estimator == "limit_rate" else 1e-5)


def test_a_difference_carries_both_sides_errors():
    one, other = sweep(3), sweep(4, noise=0.02)
    a, b = (shape_optima(table, config("lr_transfer"), Options()) for table in (one, other))
    both = subtract(a, b)
    np.testing.assert_allclose(both.se, np.hypot(locate(a).se, locate(b).se), rtol=1e-12)
    table = pd.concat([one.assign(arm="a"), other.assign(arm="b")])
    fits = rows_of(table, "lr_transfer_difference", a={"arm": "a"}, b={"arm": "b"})
    expected = slope_ols(np.log(both.x), both.y)
    assert fits.loc["ols_t", ["estimate", "se", "dof"]].tolist() == pytest.approx(list(expected[:3]), rel=1e-9)
    random = wider(slope_reml_kh(np.log(both.x), both.y, both.se), expected)
    assert fits.loc["reml_kh", "se"] == pytest.approx(random.se, rel=1e-9)
    require_t_interval(fits.loc["ols_t"])


def test_a_difference_through_the_seeds_is_that_of_their_means():
    one, other = sweep(3, noise=0.0005), sweep(4, slope=-0.2, noise=0.0005)
    table = pd.concat([one.assign(arm="a"), other.assign(arm="b")])
    fits = rows_of(table, "lr_transfer_difference", a={"arm": "a"}, b={"arm": "b"})
    assert fits.loc["mixed", "estimate"] == pytest.approx(fits.loc["ols_t", "estimate"], rel=0.05)
    assert fits.loc["mixed", "se"] == pytest.approx(fits.loc["ols_t", "se"], rel=0.1)


def test_a_difference_of_slopes_carries_both_groups_errors():
    rng, parts, sides = np.random.default_rng(15), [], []
    for arm, noise, count in (("a", 0.02, 6), ("b", 0.3, 4)):
        y = WIDTHS[:count] ** -0.5 * np.exp(noise * rng.standard_normal(count))
        sides.append(slope_ols(np.log(WIDTHS[:count]), np.log(y)))
        parts.append(pd.DataFrame({"arm": arm, "seed": 0, "width": WIDTHS[:count], "loss": y}))
    row = rows_of(pd.concat(parts), "slope_equality", a={"arm": "a"}, b={"arm": "b"}).loc["welch_t"]
    expected = (sides[0].estimate - sides[1].estimate, np.hypot(sides[0].se, sides[1].se), 2)
    assert row[["estimate", "se", "dof"]].tolist() == pytest.approx(expected)
    require_t_interval(row)


def test_a_noise_slope_that_is_not_significant_weighs_nothing():
    """Noise of one size: a 5 % test weighs the points of about one group in twenty."""
    unweighted = 0
    for seed in range(10):
        (first, *_) = shape_optima(sweep(seed, shift=0.0, noise=0.004), config("lr_transfer"), Options())
        assert first.window is not None
        b2, b1, _ = np.polyfit(first.window.offset, first.window.mean, 2)
        unweighted += first.log2_lr == pytest.approx(first.grid_best - b1 / (2 * b2), rel=1e-10)
    assert unweighted >= 7


def test_the_steps_of_one_seed_have_the_scatter_of_all_values():
    """Around a quadratic in ln x with W − 3 degrees of freedom; two values have √2 of it."""
    x, y = WIDTHS.astype(float), np.array([0.0, 0.3, 0.1, 0.2, -0.4, -0.1])
    residual = y - np.polyval(np.polyfit(np.log(x), y, 2), np.log(x))
    logs = pd.DataFrame([y], columns=x)
    steps = single_seed_steps(pd.DataFrame(), config("monotone"), logs, None)
    assert [step.estimate for step in steps] == pytest.approx(list(np.diff(y)))
    for step in steps:
        assert step[1:3] == (pytest.approx(np.sqrt(2 * np.square(residual).sum() / 3)), 3)


def test_isoflop_errors_are_in_natural_units():
    """The sizes of a budget for the rates of a width: its optima are those."""
    for seed in range(60):
        table = sweep(seed, scatter=0.02, shift=0.0, unequal=1.3)
        optima = locate(shape_optima(table, config("lr_transfer"), Options()))
        log_x, line = np.log(WIDTHS), slope_ols(np.log(WIDTHS), optima.y)
        random = slope_reml_kh(log_x, optima.y, optima.se)
        if wider(random, line) is random:
            table = table.assign(parameters=2.0 ** table["log2_lr"]).rename(columns={"width": "flops"})
            fits = rows_of(table, "isoflop", along="flops")
            assert fits.loc["ols_t", ["estimate", "se", "dof"]].tolist() == pytest.approx(list(line[:3]), rel=1e-9)
            assert fits.loc["reml_kh", ["estimate", "se"]].tolist() == pytest.approx(list(random[:2]), rel=1e-9)
            assert fits.loc["reml_kh", "se"] != pytest.approx(slope_reml_kh(log_x, optima.y, optima.se / LN2).se)
            require_t_interval(fits.loc["reml_kh"])
            return
    pytest.fail("no draw in which random effects are wider")


def test_a_difference_of_exponents_carries_both_sides_errors():
    rng = np.random.default_rng(11)
    sizes = 2.0 ** np.arange(4, 8)
    for _ in range(60):
        rows = [
            (side, d, n, n ** (-1 / d) * np.exp(noise * rng.standard_normal()))
            for side, noises in (("a", (0.01, 0.02, 0.03, 0.04)), ("b", (0.1, 0.01, 0.1, 0.01)))
            for d, noise in zip((2, 4, 8, 12), noises, strict=True)
            for n in sizes
        ]
        table = pd.DataFrame(rows, columns=["side", "features", "examples", "loss"]).assign(seed=0)
        line = {side: each for side, each in table.groupby("side")}
        fits = rows_of(
            table, "exponent_difference", along="examples", across="features", a={"side": "a"}, b={"side": "b"}
        )
        lines = [
            [slope_ols(np.log(one["examples"]), np.log(one["loss"])) for _, one in line[side].groupby("features")]
            for side in "ab"
        ]
        gap = [a.estimate - b.estimate for a, b in zip(*lines, strict=True)]
        random = mean_reml_kh(gap, [np.hypot(a.se, b.se) for a, b in zip(*lines, strict=True)])
        assert fits.loc["paired_t", ["estimate", "se", "dof"]].tolist() == pytest.approx(list(mean_t(gap)[:3]))
        if wider(random, mean_t(gap)) is random:
            assert fits.loc["reml_kh", ["estimate", "se", "dof"]].tolist() == pytest.approx(list(random[:3]), rel=1e-6)
            require_t_interval(fits.loc["reml_kh"])
            return
    pytest.fail("no draw in which random effects are wider")


def test_the_held_out_error_is_that_of_curves():
    """Five held-out curves of twelve points, each off by an error of its own: the row's error is over five, not over
    sixty, beside that of the parameters."""
    rng = np.random.default_rng(12)
    curve, x = np.repeat(np.arange(11), 12), np.geomspace(10, 3000, 11 * 12)
    off = 0.02 * rng.standard_normal(11)[curve] + 0.001 * rng.standard_normal(len(x))
    loss = (0.5 + 20 * x**-0.5) * np.exp(off)
    table = pd.DataFrame({"width": x, "loss": loss, "curve": curve, "run": np.arange(len(x))})
    options = {"clusters": "curve", "hold_out": {"column": "curve", "above": 5}, "delta": 0.02, "replicates": 100}
    fit = config("power_offset", interval="bootstrap", **options)
    row = ESTIMATORS["power_offset"].function(table, fit).fits.set_index("parameter").loc["extrapolation_error"]
    seen = curve <= 5
    law = fit_law(POWER_OFFSET, x[None, seen], loss[seen], delta=0.02)
    theta = bootstrap(law, x[None, seen], loss[seen], curve[seen], replicates=100)
    missed = [np.abs(POWER_OFFSET.predict(each, x[None, ~seen]) / loss[~seen] - 1) for each in
              POWER_OFFSET.to_natural(np.vstack([law.theta, theta]))]  # fmt: skip
    own = missed[0].reshape(5, 12).mean(axis=1).var(ddof=1) / 5
    shared = np.var([each.mean() for each in missed[1:]], ddof=1)
    assert row["estimate"] == pytest.approx(missed[0].mean(), rel=1e-5)
    assert row["se"] == pytest.approx(np.sqrt(own + shared), rel=1e-5)
    assert row["dof"] == pytest.approx((own + shared) ** 2 / (own**2 / 4 + shared**2 / (6 - 3)), rel=1e-5)
    require_t_interval(row)


def test_the_worst_step_is_the_one_with_the_highest_limit():
    """The second step rises most on average; the first, of seeds that disagree, may rise further."""
    logs = np.array([[0.0, -0.4, -0.3], [0.0, 0.1, 0.21], [0.0, 0.0, 0.09]])
    rows = [(64.0 * 2**i, seed, np.exp(logs[seed, i])) for seed in range(3) for i in range(3)]
    row = rows_of(pd.DataFrame(rows, columns=["width", "seed", "loss"]), "monotone").loc["worst_step"]
    first, second = (mean_t(step) for step in np.diff(logs, axis=1).T)
    assert first.estimate < second.estimate
    t = stats.t.isf(0.025, 2), stats.t.isf(0.025 / 2, 2)
    assert row["ci_high"] == pytest.approx(first.estimate + t[0] * first.se)
    assert row["ci_low"] == pytest.approx(second.estimate - t[1] * second.se)
    assert row[["estimate", "se", "dof"]].tolist() == pytest.approx(list(first[:3]))


def test_the_jackknife_by_hand():
    # Of a mean it is the standard error of the mean.
    values = np.array([1.0, 2.0, 4.0, 9.0])
    partial = [np.delete(values, i).mean() for i in range(4)]
    assert jackknife(partial) == pytest.approx(values.std(ddof=1) / 2)
    assert np.isnan(jackknife([1.0]))
    assert np.isnan(jackknife([1.0, np.nan]))


def test_power_law_row_over_values_with_the_jackknife_over_seeds():
    rng = np.random.default_rng(7)
    table = pd.DataFrame(
        [(w, s, np.exp(-0.5 * i + 0.3 * rng.standard_normal())) for i, w in enumerate(WIDTHS) for s in range(3)],
        columns=["width", "seed", "loss"],
    )
    fits = rows_of(table, "power_law")
    logs = np.log(table["loss"]).groupby(table["width"])
    expected = slope_ols(np.log(WIDTHS), logs.mean())
    assert fits.loc["ols_t", ["estimate", "se", "dof"]].tolist() == pytest.approx(list(expected[:3]))
    random = wider(slope_reml_kh(np.log(WIDTHS), logs.mean(), logs.sem()), expected)
    assert fits.loc["reml_kh", "se"] == pytest.approx(random.se, rel=1e-6)
    require_t_interval(fits.loc["ols_t"])


@pytest.mark.parametrize(("fewest", "known"), [(1, True), (2, False)])
def test_errors_of_a_closed_form_are_those_of_means_over_seeds(monkeypatch, fewest, known):
    """Shapes of unequal numbers of seeds, with Monte-Carlo errors or with the spread over seeds: an error that is not
    that of a mean over them would weigh the shapes wrongly."""
    monkeypatch.setattr(closed_form, "CLOSED_FORMS", {"one": ones})
    rng = np.random.default_rng(8)
    for _ in range(100):
        rows = [
            (width, seed, np.exp(0.1 * rng.standard_normal()))
            for width, seeds in zip((16, 32, 64, 128), (fewest, 9, fewest, 9), strict=True)
            for seed in range(seeds)
        ]
        table = pd.DataFrame(rows, columns=["width", "seed", "value"])
        logs = np.log(table["value"]).groupby(table["width"])
        error = 0.1 / np.sqrt(logs.size()) if known else logs.sem()
        random = mean_reml_kh(logs.mean(), error)
        if wider(random, mean_t(logs.mean())) is random:
            table = table.assign(se=0.1 * table["value"]) if known else table
            fits = rows_of(table, "closed_form", response="value", formula="one")
            assert fits.loc["reml_kh", ["estimate", "se", "dof"]].tolist() == pytest.approx(list(random[:3]), rel=1e-6)
            require_t_interval(fits.loc["reml_kh"])
            return
    pytest.fail("no draw in which random effects are wider")


def ones(table):
    """A formula that says 1 everywhere."""
    return np.ones(len(table))
