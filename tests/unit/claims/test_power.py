"""Power of a design: the simulated estimator is the real one, and its answers obey what theory says of them."""

import inspect
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from muster.claims.power import (
    Assumptions,
    Design,
    Shape,
    claim_power,
    detection,
    equivalence_power,
    estimate_assumptions,
    family_level,
    fit_slopes,
    grid_slope,
    locate_all,
    refutation_power,
    shapes_of,
    simulate_optima,
    smallest_change,
    summarize,
)
from muster.claims.tests import on_its_own, verdict
from muster.cli import main
from muster.config.models import FitConfig, StudyConfig
from muster.fitting.estimators.lr_transfer import TransferOptions, WindowOptions
from muster.fitting.optimum.find import find_optima
from muster.fitting.optimum.quadratic import Sweep
from muster.statistics.linear import slope_ols
from muster.tables.io import write_frame
from tests.unit.fitting.test_estimators import sweep
from tests.workflow.studies import SAMPLED, TINY, write_config

RATES = np.arange(-10.0, -2.9, 0.5)
OCTAVES = np.log(2.0) * np.arange(5)


def shapes(count=5, seeds=3, rates=RATES, tilt=0.0):
    """One shape an octave apart; `tilt` moves the grid by so many octaves from one to the next."""
    return [Shape(np.log(2.0) * i, rates + tilt * i, seeds) for i in range(count)]


def design(assumed=None, options=None, draws=1500, b=None, **fields):
    return Design(shapes(**fields), b, options or WindowOptions(), assumed or Assumptions(), draws)


@pytest.mark.parametrize("options", [{}, {"window": 4}, {"window": 7, "min_side": 1}], ids=str)
def test_optima_are_those_of_the_estimator(options):
    # One seed: find_optima then weighs rates equally, as the simulation does.
    rng = np.random.default_rng(1)
    grids = [RATES, RATES[:9], np.array([-10, -9.25, -8.5, -8, -7.5, -6.75, -6, -5.5])]
    statuses = set()
    for _ in range(40):
        curves = [0.01 * (grid - rng.uniform(-9, -5)) ** 2 + 0.02 * rng.standard_normal(len(grid)) for grid in grids]
        sweeps = [Sweep(float(i), grid, curve[None]) for i, (grid, curve) in enumerate(zip(grids, curves, strict=True))]
        expected = find_optima(sweeps, **{"size": options.get("window", 5), "min_side": options.get("min_side", 2)})
        found = locate_all(grids, [curve[None] for curve in curves], WindowOptions(**options))
        statuses |= {optimum.status for optimum in expected}
        np.testing.assert_allclose(found[0], [optimum.log2_lr for optimum in expected], rtol=1e-9)
    assert statuses >= {"interior", "edge", "flat"}


def test_refuting_at_twice_the_margin_is_a_noncentral_t():
    """By scatter alone and with a wide region only one end counts: P(T > t) with T noncentral by margin/se."""
    tau, margin, level = 0.08, 0.1, 0.01
    each = design(Assumptions(noise=1e-6, tau=tau, curvature=0.05), draws=1000)
    se = tau / np.sqrt(np.square(OCTAVES - OCTAVES.mean()).sum())
    theory = stats.nct.sf(stats.t.isf(level, 3), 3, margin / se)
    assert refutation_power(each, "equivalence", 0.0, margin, level) == pytest.approx(theory, abs=0.06)
    assert refutation_power(each, "less", 0.0, margin, level) == pytest.approx(theory, abs=0.06)
    assert refutation_power(each, "equivalence", 0.0, margin, level, times=1.0) < 0.03
    assert inspect.signature(refutation_power).parameters["times"].default == 2


def test_windows_of_scattered_rates_are_those_of_the_estimator():
    """Windows in octaves, and from 25 rates on the best one by the mean around it."""
    rng = np.random.default_rng(4)
    grids = [np.sort(rng.uniform(-11, -3, count)) for count in (12, 40)]
    five = []
    for _ in range(10):
        curves = [0.02 * (grid - rng.uniform(-8, -6)) ** 2 + 0.01 * rng.standard_normal(len(grid)) for grid in grids]
        sweeps = [Sweep(float(i), grid, curve[None]) for i, (grid, curve) in enumerate(zip(grids, curves, strict=True))]
        found, losses = find_optima(sweeps), [curve[None] for curve in curves]
        np.testing.assert_allclose(
            locate_all(grids, losses, WindowOptions())[0], [optimum.log2_lr for optimum in found], rtol=1e-9
        )
        five += [optimum.n_points == 5 for optimum in found]
    assert np.mean(five) < 0.5


def test_slopes_are_least_squares_over_the_shapes_that_are_there():
    rng = np.random.default_rng(2)
    y = rng.standard_normal((4, 5))
    y[1, 2] = y[2, 0] = y[2, 4] = np.nan
    y[3, :3] = np.nan
    found = fit_slopes(OCTAVES, y)
    for index in range(3):
        known = np.isfinite(y[index])
        expected = slope_ols(OCTAVES[known], y[index, known])
        assert (found.slope[index], found.se[index], found.dof[index]) == pytest.approx(expected[:3])
    assert np.isnan(found.slope[3])
    assert found.interior.tolist() == [5, 4, 3, 2]


def test_without_noise_the_true_slope_comes_back():
    found = design(Assumptions(noise=0.0, tau=0.0, curvature=0.05), draws=50).simulate(-0.2)
    np.testing.assert_allclose(found.slope, -0.2, atol=1e-10)


def test_the_standard_error_is_that_of_theory():
    # Without noise the optima scatter by tau alone: se of the slope is tau / √Σ(x − x̄)².
    tau = 0.08
    found = design(Assumptions(noise=1e-6, tau=tau, curvature=0.05), draws=4000).simulate(0.0)
    theory = tau / np.sqrt(np.square(OCTAVES - OCTAVES.mean()).sum())
    assert found.slope.std() == pytest.approx(theory, rel=0.05)
    assert np.sqrt(np.square(found.se).mean()) == pytest.approx(theory, rel=0.05)


def test_noise_of_the_loss_becomes_noise_of_the_optimum():
    # Vertex v from the centre of 5 points h apart: Var = (σ/2c)² (1/(10h²) + 4v²/(14h⁴)), and E v² = h²/12.
    noise, curvature, seeds = 0.001, 0.05, 4
    optima = simulate_optima(
        shapes(seeds=seeds), 0.0, Assumptions(noise, 0.0, curvature), WindowOptions(), draws=3000, seed=1
    )
    exact = simulate_optima(shapes(seeds=seeds), 0.0, Assumptions(0.0, 0.0, curvature), WindowOptions(), 3000, 1)
    theory = np.log(2) * noise / np.sqrt(seeds) / (2 * curvature) * np.sqrt(1 / 10 + 4 / (12 * 14)) / 0.5
    assert (optima - exact).std() == pytest.approx(theory, rel=0.03)


def test_size_at_no_change_and_power_at_the_smallest_change():
    each = design(Assumptions(tau=0.05))
    assert detection(each, 0.0) == pytest.approx(0.05, abs=0.02)
    found = smallest_change(each)
    assert min(detection(each, found), detection(each, -found)) >= 0.8
    assert min(detection(each, 0.8 * found), detection(each, -0.8 * found)) < 0.8


def test_the_smallest_change_agrees_with_the_noncentral_t():
    assumed = Assumptions(noise=1e-6, tau=0.05, curvature=0.05)
    se = 0.05 / np.sqrt(np.square(OCTAVES - OCTAVES.mean()).sum())
    quantile = stats.t.ppf(0.975, 3)
    sizes = np.linspace(0, 0.3, 3001)
    power = stats.nct.sf(quantile, 3, sizes / se) + stats.nct.cdf(-quantile, 3, sizes / se)
    assert smallest_change(design(assumed, draws=4000)) == pytest.approx(sizes[np.argmax(power >= 0.8)], rel=0.07)


def test_more_widths_and_less_scatter_detect_less():
    base, less, more = Assumptions(tau=0.1), Assumptions(tau=0.05), shapes(count=8)
    wide = Design(more, None, WindowOptions(), base, 1500)
    assert smallest_change(design(less)) < smallest_change(design(base))
    assert smallest_change(wide) < 0.6 * smallest_change(design(base))


def test_a_tilted_grid_expects_its_own_slope():
    tilted = design(tilt=-1.0)
    assert tilted.expected == pytest.approx(-1)
    assert summarize(tilted)["interior"] > 4.8
    assert np.mean(tilted.simulate(1.5).interior) < 4.5


def test_nothing_is_detected_where_the_grid_has_no_inside():
    narrow = design(rates=np.array([-6.0, -5.5, -5.0, -4.5]), draws=200)
    assert np.isnan(smallest_change(narrow))
    told = claim_power(narrow, "equivalence", 0, 0.1)
    assert told["power"] == 0
    assert told["needs"] == "a margin ≥ inf"


@pytest.mark.parametrize(("test", "predicted", "margin"), [("equivalence", 0.0, 0.1), ("less", -0.1, 0.05)])
def test_power_of_a_claim_is_the_share_that_the_ledger_would_support(test, predicted, margin):
    each = design(Assumptions(tau=0.06), draws=200)
    found = each.simulate(predicted)
    supported = 0
    for slope, se, dof in zip(found.slope, found.se, found.dof, strict=True):
        row = {"test": test, "predicted": predicted, "margin": margin, "estimate": slope, "se": se, "dof": dof}
        row |= {"n_cells": 5, "scale": "laptop", "ci_low": slope, "ci_high": slope}
        supported += verdict(on_its_own(row)) == "supported"
    told = claim_power(each, test, predicted, margin)
    assert 0 < supported < 200
    assert told["power"] == pytest.approx(supported / 200)


@pytest.mark.parametrize(("dof", "level"), [(3, 0.05), (7, 0.0125), (40, 0.01)])
def test_equivalence_power_is_the_share_of_simulated_supports(dof, level):
    rng = np.random.default_rng(7)
    b, s = 0.03 * rng.standard_normal(200_000), 0.03 * np.sqrt(rng.chisquare(dof, 200_000) / dof)
    for margin in (0.05, 0.1, 0.2):
        share = np.mean(margin - np.abs(b) >= stats.t.ppf(1 - level, dof) * s)
        assert equivalence_power(margin, 0.03, dof, level) == pytest.approx(share, abs=0.004)


def test_the_level_of_a_family_counts_its_headlines_alone():
    study = StudyConfig.model_validate(yaml.safe_load(TINY.replace("headline: false,", "")))
    (claim,) = study.claims
    own = [claim, claim.model_copy(update={"headline": False}), claim.model_copy(update={"stance": "control"})]
    assert family_level([study.model_copy(update={"claims": own * 2}), study]) == pytest.approx(0.05 / 3)


def test_the_margin_that_80_percent_need_gives_80_percent():
    each = design(Assumptions(tau=0.06))
    needed = float(claim_power(each, "equivalence", 0.0, 0.1)["needs"].split()[-1])
    assert claim_power(each, "equivalence", 0.0, needed)["power"] == pytest.approx(0.8, abs=0.01)
    assert claim_power(each, "equivalence", 0.0, 0.8 * needed)["power"] < 0.75


@pytest.mark.parametrize(("test", "sign"), [("less", -1), ("greater", 1)])
def test_a_one_sided_claim_at_its_threshold_has_5_percent_and_beyond_it_80(test, sign):
    each = design(Assumptions(tau=0.06))
    told = claim_power(each, test, 0.0, 0.0)
    assert told["power"] == pytest.approx(0.05, abs=0.02)
    words = told["needs"].split()
    assert words[3] == {-1: "≤", 1: "≥"}[sign]
    beyond = each.simulate(float(words[-1]))
    assert np.mean(sign * beyond.slope >= beyond.half_width(0.95)) == pytest.approx(0.8, abs=0.03)


def test_a_difference_adds_both_groups_noise():
    one = design(Assumptions(tau=0.05), draws=3000)
    both = design(Assumptions(tau=0.05), draws=3000, b=shapes())
    assert both.simulate(-0.1).slope.mean() == pytest.approx(-0.1, abs=0.005)
    assert both.simulate(0).slope.std() == pytest.approx(np.sqrt(2) * one.simulate(0).slope.std(), rel=0.06)


def test_each_group_of_a_difference_is_as_it_was_seen():
    """Whichever of the two is called a: the error of a difference is that of both."""
    quiet, loud = Assumptions(tau=0.01), Assumptions(tau=0.08)
    both = design(quiet, draws=3000, b=shapes())._replace(assumed_b=loud)
    turned = design(loud, draws=3000, b=shapes())._replace(assumed_b=quiet)
    apart = [design(each, draws=3000).simulate(0).slope.var() for each in (quiet, loud)]
    assert both.simulate(0).slope.var() == pytest.approx(sum(apart), rel=0.1)
    assert turned.simulate(0).slope.var() == pytest.approx(sum(apart), rel=0.1)


def test_a_difference_uses_only_shapes_of_both():
    each = design(draws=20, b=shapes(count=4))
    assert each.simulate(0.0).interior.max() == 4
    tilted = design(draws=50, tilt=-1.0, b=shapes())
    assert tilted.expected == pytest.approx(-1)


def test_assumptions_come_back_from_a_finished_run():
    rng = np.random.default_rng(3)
    widths = (64, 96, 128, 192, 256, 384, 512, 768)
    scatter = dict(zip(widths, 0.15 * rng.standard_normal(8), strict=True))
    rows = sweep({"sp": 0.0}, widths=widths, seeds=5)
    centre = rows["width"].map(scatter) - 6.3
    rows["final_train_loss"] = np.exp(
        0.03 * (rows["log2_lr"] - centre) ** 2 + 0.1 * rows["seed"] + 0.002 * rng.standard_normal(len(rows))
    )
    found = estimate_assumptions(rows, FitConfig(estimator="lr_transfer", response="final_train_loss"), WindowOptions())
    assert found.noise == pytest.approx(0.002, rel=0.15)
    assert found.curvature == pytest.approx(0.03, rel=0.1)
    true = np.array([*scatter.values()]) * np.log(2)
    residual = true - np.polyval(np.polyfit(np.log(widths), true, 1), np.log(widths))
    assert found.tau == pytest.approx(np.sqrt(np.square(residual).sum() / 6), rel=0.15)


def test_one_seed_or_too_few_optima():
    fit = FitConfig(estimator="lr_transfer", response="final_train_loss")
    single = sweep({"sp": 0.0}, seeds=1, noise=0.003)
    found = estimate_assumptions(single, fit, TransferOptions())
    assert found.noise == pytest.approx(0.003, rel=0.5)
    assert estimate_assumptions(sweep({"sp": -3.0}), fit, TransferOptions()) is None


def test_shapes_of_a_table():
    rows = pd.DataFrame({"width": [8, 8, 8, 16], "seed": [0, 0, 1, 0], "log2_lr": [-5, -6, -5, -7.5]})
    first, second = shapes_of(rows, "width")
    assert (first.log_x, first.rates.tolist(), first.seeds) == (np.log(8), [-6, -5], 2)
    assert (second.rates.tolist(), second.seeds) == ([-7.5], 1)
    assert grid_slope([first, second]) == pytest.approx((-7.5 + 5.5) * np.log(2) / np.log(2))


class TestCommand:
    @pytest.fixture(autouse=True)
    def project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        write_config(tmp_path, "scale: laptop\n", tiny_train=TINY, tiny_sample=SAMPLED)
        return tmp_path

    def run(self, *arguments):
        return main(["power", "tiny-train", "--draws", "200", *arguments])

    def test_groups_and_claims_are_told_with_a_legend(self, capsys):
        assert self.run("--tau", "0.02") == 0
        out = capsys.readouterr().out
        assert out.startswith("tiny-train at scale laptop, 200 simulations each")
        lines = [line.split() for line in out.splitlines()]
        (group,) = [line for line in lines if line[:3] == ["lr", "mup", "adam"]]
        assert group[3:11] == ["3", "2", "7", "0.005", "0.02", "0.02", "given,", "default"]
        (claim,) = [line for line in lines if line[:1] == ["tiny-flat"]]
        assert claim[1:5] == ["equivalence", "0", "±", "0.1"]
        assert "scatter of ln(optimal rate) between shapes" in out

    def test_the_level_at_the_bound_of_a_one_sided_claim_is_no_alarm(self, project, capsys):
        text = TINY.replace("test: equivalence, predicted: 0, margin: 0.1", "test: less, predicted: 0")
        write_config(project, tiny_train=text)
        assert self.run() == 0
        out = capsys.readouterr().out
        (claim,) = [line for line in out.splitlines() if line.startswith("tiny-flat")]
        assert re.search(r" [0-9]+ % \(bound\) +a true value ≤ -", claim), claim
        assert "(bound)    a claim with one bound predicts the bound itself" in out

    def test_seeds_and_assumptions_may_be_changed(self, capsys):
        assert self.run("--seeds", "9", "--noise", "0.001", "--tau", "0", "--curvature", "0.1") == 0
        lines = capsys.readouterr().out.splitlines()
        (group,) = [line.split() for line in lines if line.startswith("lr mup")]
        assert group[3:10] == ["3", "9", "7", "0.001", "0", "0.1", "given"]

    def test_a_finished_run_gives_the_assumptions(self, project, capsys):
        folder = project / "results" / "tables" / "tiny-train"
        folder.mkdir(parents=True)
        rows = sweep({"mup": 0.0, "sp": -4.0}, widths=(8, 16, 32), noise=0.004)
        write_frame(rows, folder / "runs.parquet")
        assert self.run() == 0
        lines = {
            tuple(line.split()[:3]): line for line in capsys.readouterr().out.splitlines() if line.startswith("lr ")
        }
        assert " tables " in lines["lr", "mup", "adam"]
        assert " default " in lines["lr", "sp", "adam"]  # its optima lie off the grid

    @pytest.mark.parametrize("turned", [False, True])
    def test_a_finished_run_tells_of_both_groups_of_a_difference(self, turned, project, capsys):
        text = TINY.replace("fits:\n", """fits:
  apart: {estimator: lr_transfer_difference, response: final_train_loss, along: width,
          options: {a: {parameterization: mup}, b: {parameterization: sp}}}
""")  # fmt: skip
        write_config(
            project, tiny_train=text.replace("a: {p", "b: {p", 1).replace(", b: {p", ", a: {p", 1) if turned else text
        )
        folder = project / "results" / "tables" / "tiny-train"
        folder.mkdir(parents=True)
        quiet, loud = (
            sweep({name: 0.0}, widths=(8, 16, 32), noise=noise) for name, noise in (("mup", 0.001), ("sp", 0.03))
        )
        write_frame(pd.concat([quiet, loud]), folder / "runs.parquet")
        assert self.run("--fit", "apart") == 0
        (line,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("apart ")]
        noises = [float(part.strip(",")) for part in line[4:6]]
        expected = [0.001, 0.03]
        assert noises == pytest.approx(expected[::-1] if turned else expected, rel=0.4)
        assert "tables" in line

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["tiny-sample", "--scale", "smoke"], "no fit of a learning-rate exponent"),
            (["tiny-train", "--fit", "nope"], "no fit 'nope'. Fits: lr (lr_transfer)"),
            (["tiny-train", "--scale", "smoke"], "2 value(s) of width at scale smoke"),
            (["nowhere"], "unknown study 'nowhere'"),
        ],
    )
    def test_mistakes_are_one_line(self, arguments, message, capsys):
        assert main(["power", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1

    def test_a_negative_scatter_is_refused(self, capsys):
        with pytest.raises(SystemExit):
            self.run("--tau", "-1")
        assert "-1 is not a number ≥ 0" in capsys.readouterr().err
