"""Regime checks on synthetic tables: what passes, what fails, on which side of the bound, and what cannot be said."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from muster.claims.regime.base import REGIME_CHECKS, Checked, Measured
from muster.claims.regime.same_basin import cubic_vertex
from muster.config.models import ClaimConfig, FitConfig, StudyConfig
from muster.errors import MusterError
from muster.fitting.base import group_key
from muster.fitting.study import fit_study
from muster.statistics.linear import slope_ols
from tests.unit.fitting.test_estimators import sweep

DIFFERENCE = {"estimator": "lr_transfer_difference", "options": {"a": {"side": "a"}, "b": {"side": "b"}}}
WIDTHS = (64, 96, 128, 192, 256, 384, 512)


def measured(tables, fit=None, more_fits=None, **claim):
    """A claim with its study fitted on the tables."""
    fit = {"estimator": "lr_transfer", "response": "final_train_loss", **(fit or {})}
    fields = {"claim": "c", "statement": "s", "source": "s", "provenance": "paper", "fit": "f", "test": "equivalence"}
    fields |= {"predicted": 0.0, "margin": 0.1, **claim}
    study = StudyConfig(
        study="s", title="t", paper="p", slug="s", experiment="train", scales={"smoke": {"grid": [{"seed": 0}]}},
        fits={"f": fit, **(more_fits or {})}, claims=[fields],
    )  # fmt: skip
    tables = {"runs": tables} if isinstance(tables, pd.DataFrame) else tables
    optima, fits = fit_study(study, tables)
    judged = ClaimConfig(**fields)
    own = fits[(fits["fit"] == "f") & fits["primary"] & (fits["group"] == group_key(judged.where))]
    return Measured(study, judged, FitConfig(**fit), own.iloc[0].to_dict(), tables, fits, optima)


def check(name, given, **options) -> Checked:
    entry = REGIME_CHECKS[name]
    return entry.function(given, entry.options.model_validate(options))


def curved(moves, widths=WIDTHS, noise=0.0, cubic=lambda width: 0.0):
    """A sweep whose optimum lies at −6.5 + moves(width) octaves."""
    rng = np.random.default_rng(1)
    rates = np.arange(-12.0, -0.9, 0.5)
    rows = []
    for width in widths:
        u = rates + 6.5 - moves(width)
        loss = np.exp(0.02 * u**2 + cubic(width) * u**3 + noise * rng.standard_normal(len(u)))
        rows += [
            {"width": width, "seed": 0, "log2_lr": rate, "final_train_loss": value, "diverged": False, "steps": 100}
            for rate, value in zip(rates, loss, strict=True)
        ]
    return pd.DataFrame(rows)


def test_every_check_describes_itself():
    for name in REGIME_CHECKS:
        entry = REGIME_CHECKS[name]
        assert all([entry.summary, entry.source, entry.fails, entry.function.__doc__]), name
        assert all(option.description for option in entry.options.model_fields.values()), name


NOTHING = {
    "inside": ({"column": "heads", "range": (1, 2)}, 1, 2),
    "interior": ({"share": 0.8}, 0.8, 1),
    "not_capacity_limited": ({"max_change": 0.2}, 0, 0.2),
    "not_converging": ({"drift": 0.4}, 0.4, np.inf),
    "probe_exponent": ({"probe": "q", "is": 1, "within": 0.25}, 0.75, 1.25),
    "ratio": ({"a": "heads", "b": "width", "most": 0.5}, 0, 0.5),
    "same_basin": ({}, -0.025, 0.025),
    "stationary": ({"tau": "heads", "times": 4}, 4, np.inf),
    "steady": ({}, -0.1, 0.1),
    "trained": ({"below": 0.3}, 0, 0.3),
}


@pytest.mark.parametrize("name", list(REGIME_CHECKS))
def test_what_cannot_be_measured_does_not_pass_and_shows_what_would(name):
    """One width, no probe of this name, curves without a loss; no rows at all where a column has to hold numbers."""
    runs = curved(lambda n: 0.0, widths=(64,)).assign(heads=1)
    curves = runs.assign(step=0, train_loss=np.nan)
    probes = pd.DataFrame({"width": [64], "seed": 0, "step": 0, "probe": "p", "layer": 1, "value": 1.0})
    fit = {"estimator": "monotone", "options": {"best_over": "log2_lr"}}
    given = measured({"runs": runs, "curves": curves, "probes": probes}, fit)
    if name in ("inside", "ratio", "stationary"):
        given = given._replace(tables={"runs": runs[:0]})
    options, low, high = NOTHING[name]
    found = check(name, given, **options)
    assert (math.isnan(found.value), found.passed) == (True, False)
    assert (found.low, found.high) == pytest.approx((low, high))


class TestSteady:
    def test_a_power_law_is_steady(self):
        found = check("steady", measured(curved(lambda n: -0.3 * np.log2(n), noise=1e-4), predicted=-0.3))
        assert found.passed
        assert found.value == pytest.approx(0.0, abs=0.01)

    def test_an_approach_to_a_limit_is_not_and_says_where_it_leads(self):
        """ln lr* = ln(1 − 5/√n): the exponent .2 falls; by halves its value at infinite width is nearly 0."""
        found = check("steady", measured(curved(lambda n: np.log2(1 - 5 / np.sqrt(n)), noise=1e-4)))
        assert not found.passed
        assert found.towards
        halves = np.log(1 - 5 / np.sqrt(WIDTHS))
        first, last = (
            np.polyfit(np.log(WIDTHS[half]), halves[half], 1)[0] for half in (slice(None, 4), slice(3, None))
        )
        ratio = np.sqrt(np.exp(np.log(WIDTHS[:4]).mean() - np.log(WIDTHS[3:]).mean()))
        limit = (last - ratio * first) / (1 - ratio)
        assert f"local exponents {first:.2g}" in found.note
        assert float(found.note.split()[-1]) == pytest.approx(limit, abs=0.02)

    def test_an_exponent_that_moves_away(self):
        found = check("steady", measured(curved(lambda n: 0.02 * np.log2(n / 64) ** 3)))
        assert (found.passed, found.towards) == (False, False)
        assert found.value > found.high

    def test_a_bend_alone_fails_by_its_p(self):
        found = check("steady", measured(curved(lambda n: 0.01 * np.log2(n / 181) ** 2, noise=1e-6)))
        assert (found.low, found.high, found.passed) == (0.05, 1.0, False)

    @pytest.mark.parametrize(
        ("noise", "bend", "least", "most"), [(0.01, 0, 0, 1), (0.01, 0.5, 4, 5), (0.1, 1, 0, 3), (0.1, 4, 4, 5)]
    )
    def test_how_often_it_fails(self, noise, bend, least, most):
        """Four cells of the table in docs/verdicts.md. noise: error of the slope in margins; bend: change of the
        exponent from end to end, in margins."""
        log_x = np.log(64) + np.linspace(0, np.log(16), 7)
        law = np.zeros(7)
        if bend:
            ends = np.exp(log_x[[0, -1]])
            c = optimize.brentq(lambda c: np.diff(-c / ends / (1 + c / ends))[0] - 0.1 * bend, 0, np.sqrt(ends.prod()))
            law = np.log1p(c / np.exp(log_x))
        scatter = 0.1 * noise * np.sqrt(np.square(log_x - log_x.mean()).sum())
        rng = np.random.default_rng(3)
        rows = pd.DataFrame({"width": np.exp(log_x), "seed": 0, "y": 1.0})
        given = measured(rows, {"estimator": "power_law", "response": "y"})
        failed = []
        for _ in range(5):
            logs = law + scatter * rng.standard_normal(7)
            row = {"estimate": float(slope_ols(log_x, logs).estimate)}
            failed.append(
                not check("steady", given._replace(row=row, tables={"runs": rows.assign(y=np.exp(logs))})).passed
            )
        assert least <= sum(failed) <= most

    def test_its_note_shows_the_bend(self):
        """ln y = .05 (ln x)²: the exponent changes by .1 per unit of ln x."""
        x = np.array(WIDTHS, float)
        rows = pd.DataFrame({"width": x, "seed": 0, "y": np.exp(0.05 * np.log(x) ** 2 + 1e-5 * np.cos(x))})
        found = check("steady", measured(rows, {"estimator": "power_law", "response": "y"}))
        assert "curvature p" in found.note
        assert "0.21 [0.21, 0.21] from end to end" in found.note

    def test_units_of_the_axis_do_not_matter(self):
        rows = curved(lambda n: 0.02 * np.log2(n / 64) ** 3, noise=1e-3)
        here, there = (check("steady", measured(each)) for each in (rows, rows.assign(width=rows["width"] / 1000)))
        assert there[:3] == pytest.approx(here[:3], rel=1e-6)
        assert (there.passed, there.towards) == (here.passed, here.towards)

    def test_only_the_claimed_group_counts(self):
        own, other = (
            curved(move, noise=1e-4).assign(rule=name)
            for name, move in (("flat", lambda n: 0.0), ("bent", lambda n: 0.1 * np.log2(n / 64) ** 2))
        )
        both = pd.concat([own, other])
        fit = {"by": ["rule"]}
        assert check("steady", measured(both, fit, where={"rule": "flat"})).passed
        assert not check("steady", measured(both, fit, where={"rule": "bent"})).passed

    def test_selection_of_the_fit_counts(self):
        both = pd.concat([curved(lambda n: 0.0, noise=1e-4).assign(depth=2), curved(lambda n: 1.0).assign(depth=8)])
        assert check("steady", measured(both, {"select": {"depth": 2}})).passed

    def test_a_power_law_of_a_response(self):
        rows = [{"width": n, "seed": s, "y": n**-0.5 * (1 + 0.01 * s)} for n in WIDTHS for s in (0, 1)]
        given = measured(pd.DataFrame(rows), {"estimator": "power_law", "response": "y"}, predicted=-0.5)
        assert check("steady", given).passed

    def test_too_few(self):
        found = check("steady", measured(curved(lambda n: 0.0, widths=WIDTHS[:4])))
        assert (found.passed, math.isnan(found.value)) == (False, True)

    def test_a_claim_without_a_margin_is_asked(self):
        given = measured(curved(lambda n: 0.0), test="less", margin=0.0)
        with pytest.raises(MusterError, match="most"):
            check("steady", given)
        assert check("steady", given, most=0.1).passed

    def horizons(self):
        return pd.concat([curved(lambda n: 0.0), curved(lambda n: 0.3 * np.log2(n)).assign(steps=25)])

    def test_two_horizons_as_groups(self):
        given = measured(self.horizons(), {"by": ["steps"]}, where={"steps": 100})
        found = check("steady", given, axis="steps")
        assert found.value == pytest.approx(-0.3, abs=1e-6)
        assert (found.passed, found.towards) == (False, True)
        lost = check("steady", given, axis="steps", factor=2)
        assert (math.isnan(lost.value), lost.low, lost.high) == (True, -0.1, 0.1)

    def test_two_horizons_as_fits(self):
        other = {"estimator": "lr_transfer", "response": "final_train_loss", "select": {"steps": 25}}
        given = measured(self.horizons(), {"select": {"steps": 100}}, {"short": other})
        assert check("steady", given, axis="steps", against="short").value == pytest.approx(-0.3, abs=1e-6)
        others = given.fits.assign(parameter="another", estimate=7.0)
        among = given._replace(fits=pd.concat([others, given.fits]))
        assert check("steady", among, axis="steps", against="short").value == pytest.approx(-0.3, abs=1e-6)
        with pytest.raises(MusterError, match="no fit 'long'"):
            check("steady", given, axis="steps", against="long")
        with pytest.raises(MusterError, match="against"):
            check("steady", given, axis="steps")


class TestCapacity:
    @pytest.mark.parametrize(("fall", "passed"), [(0.04, True), (0.06, False)])
    def test_change_of_the_best_loss(self, fall, passed):
        table = sweep({"mup": 0.0}, level=lambda n, name: -np.log(1 + fall) * (n > 64))
        found = check("not_capacity_limited", measured(table), max_change=0.05)
        assert (found.value, found.passed) == (pytest.approx(fall), passed)
        assert REGIME_CHECKS["not_capacity_limited"].blocks == "refuted"

    def test_without_optima_the_best_rate(self):
        table = sweep({"mup": 0.0}, start=-6.0, level=lambda n, name: -0.1 * (n > 64))
        given = measured(table, {"estimator": "monotone", "options": {"best_over": "log2_lr"}})
        assert check("not_capacity_limited", given, max_change=0.05).value == pytest.approx(math.expm1(0.1))


def test_only_rows_of_the_claimed_group_count():
    """Rows, beside the optima that `steady` reads: the other group is wider, deeper and of another shape."""
    own, other = (curved(lambda n: 0.0, widths) for widths in (WIDTHS, (1024, 2048, 4096)))
    both = pd.concat([own.assign(rule="a", depth=2), other.assign(rule="b", depth=4096)])
    given = measured(both, {"by": ["rule"]}, where={"rule": "a"})
    assert check("inside", given, column="width", range=(64, 512)).passed
    assert check("ratio", given, a="depth", b="width", most=1 / 8).value == 2 / 64
    assert check("same_basin", given).note.endswith("7 shapes")


def test_ratio():
    given = measured(curved(lambda n: 0.0).assign(depth=8))
    found = check("ratio", given, a="depth", b="width", most=1 / 8)
    assert (found.value, found.passed) == (1 / 8, True)
    assert not check("ratio", given, a="depth", b="width", most=0.12).passed
    with pytest.raises(MusterError, match=r"b: the table has no column 'heads'"):
        check("ratio", given, a="depth", b="heads", most=1)


class TestTrained:
    def given(self, late=0.5):
        curves = [
            {"width": n, "seed": 0, "log2_lr": rate, "step": step, "train_loss": loss * (1 + (rate + 6.5) ** 2)}
            for n in WIDTHS
            for rate in (-7.5, -6.5)
            for step, loss in ((0, 2.0), (75, 0.5), (100, late))
        ]
        return measured({"runs": curved(lambda n: 0.0), "curves": pd.DataFrame(curves)})

    def test_share_and_rest(self):
        """At the best rate, −6.5: a quarter of the first loss, and flat; the worse rate does not count."""
        found = check("trained", self.given(), below=0.3)
        assert (found.value, found.passed) == (0.25, True)
        assert not check("trained", self.given(), below=0.2).passed
        assert check("trained", self.given(), below=0.2, trivial=4.0).value == 0.125
        late = check("trained", self.given(0.4), late_change=0.1)
        assert (late.value, late.passed) == (pytest.approx(0.2), False)
        both = check("trained", self.given(0.4), below=0.3, late_change=0.1)
        assert (both.value, both.high) == (pytest.approx(0.2), 0.1)

    def test_nothing_to_check_is_an_error_without_data(self):
        with pytest.raises(ValueError, match="below"):
            REGIME_CHECKS["trained"].options()

    def test_missing_curves(self):
        with pytest.raises(MusterError, match="curves"):
            check("trained", measured(curved(lambda n: 0.0)), below=0.3)


class TestProbe:
    def given(self):
        probes = [
            {"width": n, "seed": s, "probe": "p", "step": step, "layer": 1, "value": n**exponent, "se": np.nan}
            for n in WIDTHS
            for s in (0, 1)
            for step, exponent in ((1, 0.0), (100, 1.0))
        ]
        return measured({"runs": curved(lambda n: 0.0), "probes": pd.DataFrame(probes)})

    def test_last_step_counts(self):
        found = check("probe_exponent", self.given(), **{"probe": "p", "is": 1, "within": 0.1})
        assert (found.value, found.passed) == (pytest.approx(1.0), True)
        assert not check("probe_exponent", self.given(), **{"probe": "p", "is": 0.8, "within": 0.1}).passed

    def test_another_probe_than_the_fits(self):
        """A fit on one probe of the table, its claim's mechanism in another, at other layers and steps."""
        probes = [
            {"width": width, "seed": 0, "step": 10, "probe": probe, "layer": layer, "value": float(width**power)}
            for width in WIDTHS
            for probe, layer, power in (("loss", 1, -1), ("represented", 2, 1))
        ]
        chosen = {"probe": "loss", "layer": 1}
        fit = {"estimator": "power_law", "table": "probes", "response": "value", "select": chosen}
        given = measured({"runs": curved(lambda n: 0.0), "probes": pd.DataFrame(probes)}, fit, predicted=-1.0)
        found = check("probe_exponent", given, **{"probe": "represented", "is": 1, "within": 0.1})
        assert (found.value, found.passed) == (pytest.approx(1.0), True)

    def test_unknown(self):
        found = check("probe_exponent", self.given(), **{"probe": "q", "is": 1, "within": 0.1})
        assert math.isnan(found.value)
        with pytest.raises(MusterError, match="along"):
            check("probe_exponent", self.given(), **{"probe": "p", "along": "heads", "is": 1, "within": 0.1})


class TestInside:
    def test_ranges(self):
        given = measured(curved(lambda n: 0.0), published={"width": (64, 256), "depth": "deep"})
        found = check("inside", given, column="width")
        assert (found.value, found.high, found.passed) == (512, 256, False)
        assert check("inside", given, column="width", range=(64, 512)).passed
        assert check("inside", given, column="width", range=(65, 512)).value == 64
        with pytest.raises(MusterError, match="published"):
            check("inside", given, column="depth")


class TestInterior:
    def test_share_of_finite_intervals(self):
        table = curved(lambda n: 5.0 * (n > 400), noise=1e-4)  # 512: the optimum leaves the grid
        found = check("interior", measured(table), share=0.9)
        assert (found.value, found.passed) == (pytest.approx(6 / 7), False)
        assert "512" in found.note
        assert check("interior", measured(table), share=0.8).passed

    def test_optima_of_sizes(self):
        table = curved(lambda n: 5.0 * (n > 400), noise=1e-4)
        table = table.assign(parameters=2 ** (table["log2_lr"] + 30), flops=1e18 * table["width"])
        given = measured(table, {"estimator": "isoflop", "along": "flops", "options": {"window": 5}})
        found = check("interior", given, share=0.9)
        assert (found.value, found.passed) == (pytest.approx(6 / 7), False)
        assert "5.12e+20" in found.note

    def test_no_optima(self):
        given = measured(curved(lambda n: 0.0), {"estimator": "monotone", "options": {"best_over": "log2_lr"}})
        assert math.isnan(check("interior", given).value)

    def test_both_sides_of_a_difference(self):
        table = pd.concat([curved(lambda n: 5.0 * (n > 400), noise=1e-4).assign(side="a"),
                           curved(lambda n: 0.0, noise=1e-4).assign(side="b")])  # fmt: skip
        found = check("interior", measured(table, DIFFERENCE), share=0.9)
        assert (found.value, found.passed) == (pytest.approx(13 / 14), True)

    def test_the_parts_into_which_an_estimator_divides_the_claimed_group_and_no_others(self):
        given = measured(curved(lambda n: 0.0, noise=1e-4).assign(kind="x"), {"by": ["kind"]}, where={"kind": "x"})
        parts = [given.optima.assign(group=group_key({"kind": kind, "tokens": 1e9})) for kind in ("x", "y")]
        parts[1] = parts[1].assign(status="edge_low")
        found = check("interior", given._replace(optima=pd.concat(parts)), share=0.9)
        assert (found.value, found.note) == (1.0, "all 7 shapes")


class TestBasin:
    def test_vertex_of_a_cubic(self):
        rates = np.arange(-9.0, -2.0, 0.5)
        u = rates + 5.8
        assert cubic_vertex(rates, 0.02 * u**2 + 0.001 * u**3) == pytest.approx(-5.8)
        assert math.isnan(cubic_vertex(rates[:6], np.square(u[:6])))

    def test_its_number_is_the_difference_of_the_two_slopes(self):
        """By numpy's polynomials, on five and on seven rates: a term of fourth order tells the windows apart."""
        rates, vertices = np.arange(-12.0, -0.9, 0.5), []
        table = curved(lambda n: 0.13, cubic=lambda n: 0.0008 * np.log2(n / 32))
        table["final_train_loss"] *= np.exp(4e-4 * np.log2(table["width"] / 64) * (table["log2_lr"] + 6.2) ** 4)
        for _, rows in table.groupby("width"):
            y = np.log(rows["final_train_loss"].to_numpy())
            best = int(y.argmin())
            five, seven = (slice(best - k, best + k + 1) for k in (2, 3))
            b2, b1, _ = np.polyfit(rates[five] - rates[best], y[five], 2)
            turns = np.polynomial.Polynomial.fit(rates[seven], y[seven], 3).deriv().roots()
            quadratic = rates[best] - b1 / (2 * b2)
            vertices.append((quadratic, turns[np.abs(turns - quadratic).argmin()]))
        slopes = [np.polyfit(np.log2(WIDTHS), at, 1)[0] for at in zip(*vertices, strict=True)]
        found = check("same_basin", measured(table))
        assert found.value == pytest.approx(slopes[1] - slopes[0], rel=1e-6)
        assert abs(found.value) > 1e-3

    def test_an_asymmetry_that_drifts(self):
        def lopsided(width):
            return 0.0015 * np.log2(width / 64)

        assert check("same_basin", measured(curved(lambda n: 0.13))).passed
        found = check("same_basin", measured(curved(lambda n: 0.13, cubic=lopsided)))
        assert not found.passed
        assert check("same_basin", measured(curved(lambda n: 0.13, cubic=lambda n: 0.0015))).passed

    def test_of_a_difference_it_is_that_of_the_first_side_less_that_of_the_second(self):
        def lopsided(width):
            return 0.0015 * np.log2(width / 64)

        one, plain = curved(lambda n: 0.13, cubic=lopsided), curved(lambda n: 0.13)
        alone = [check("same_basin", measured(table)).value for table in (one, plain)]
        for a, b, expected in ((one, plain, alone[0] - alone[1]), (plain, one, alone[1] - alone[0]), (one, one, 0.0)):
            both = pd.concat([a.assign(side="a"), b.assign(side="b")])
            assert check("same_basin", measured(both, DIFFERENCE)).value == pytest.approx(expected, abs=1e-12)
        assert abs(alone[0]) > 100 * abs(alone[1])

    def test_a_side_without_cubics_says_which(self):
        few = curved(lambda n: 0.13, widths=WIDTHS[:2]).assign(side="b")
        found = check("same_basin", measured(pd.concat([curved(lambda n: 0.13).assign(side="a"), few]), DIFFERENCE))
        assert math.isnan(found.value)
        assert found.note.startswith("b: 2 of 2 shapes")


class TestUnfit:
    """What no run of a study can compute is a mistake of the study, not a regime that it is out of."""

    @pytest.mark.parametrize(("against", "why"), [
        ("rates", "fit rates has no drift_left, but exponent"),
        ("limits", ""),
        (None, ""),
    ])  # fmt: skip
    def test_steady_against_a_fit_without_the_number(self, against, why):
        fits = {
            "rates": {"estimator": "lr_transfer", "response": "y"},
            "limits": {"estimator": "limit_rate", "response": "y"},
        }
        given = measured(curved(lambda n: 0.0), {"estimator": "limit_rate"})
        study = given.study.model_copy(
            update={"fits": {**given.study.fits, **{n: FitConfig(**f) for n, f in fits.items()}}}
        )
        entry = REGIME_CHECKS["steady"]
        assert entry.unfit(study, given.claim, entry.options(axis="steps", against=against)) == why

    @pytest.mark.parametrize(("estimator", "why"), [
        ("lr_transfer", ""),
        ("monotone", "the estimator monotone finds no optimal rates"),
    ])  # fmt: skip
    def test_same_basin_of_an_estimator_without_optima(self, estimator, why):
        options = {"best_over": "log2_lr"} if estimator == "monotone" else {}
        given = measured(curved(lambda n: 0.0), {"estimator": estimator, "options": options})
        entry = REGIME_CHECKS["same_basin"]
        assert entry.unfit(given.study, given.claim, entry.options()) == why


class TestNotConverging:
    def test_an_approach_to_a_near_limit_is_one(self):
        given = measured(curved(lambda n: np.log2(1 - 5 / n**0.5), noise=1e-4))
        found = check("not_converging", given)
        assert not found.passed
        assert found.value == pytest.approx(-np.log(1 - 5 / 512**0.5), abs=0.02)
        assert REGIME_CHECKS["not_converging"].blocks == "refuted"

    def test_a_power_law_is_none(self):
        assert check("not_converging", measured(curved(lambda n: -0.9 * np.log2(n / 64), noise=1e-4))).passed
        slow = measured(curved(lambda n: -0.3 * np.log2(n / 64), noise=1e-4))
        assert check("not_converging", slow).value == np.inf

    def test_a_far_limit_is_none(self):
        given = measured(curved(lambda n: np.log2(1 + 40 / n**0.5), noise=1e-4))
        assert check("not_converging", given).passed

    def test_two_optima_say_nothing(self):
        found = check("not_converging", measured(curved(lambda n: 0.0, widths=(64, 128))))
        assert math.isnan(found.value)


class TestStationary:
    def test_times(self):
        given = measured(curved(lambda n: 0.0).assign(weight_decay=32.0))
        assert check("stationary", given, tau=20, times=5).passed
        assert not check("stationary", given, tau=21, times=5).passed
        slowest = check("stationary", given, rates=["log2_lr", "weight_decay"], times=1)
        assert slowest.value == pytest.approx(100 * 2.0**-12 * 32)
        with pytest.raises(MusterError, match="tau"):
            check("stationary", given, tau="relaxation")
        with pytest.raises(ValueError, match="tau or rates"):
            REGIME_CHECKS["stationary"].options()


def test_seven_finite_rates_have_a_cubic_vertex_and_six_none():
    rates = np.arange(8.0)
    losses = (rates - 3.0) ** 2
    assert cubic_vertex(rates[:7], losses[:7]) == pytest.approx(3.0)
    assert cubic_vertex(rates, np.append(losses[:7], np.inf)) == pytest.approx(3.0)
    assert np.isnan(cubic_vertex(rates[:6], losses[:6]))
