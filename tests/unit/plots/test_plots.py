"""Figures drawn from synthetic tables: a quadratic basin in log2(lr) whose optimum moves with width by a known slope"""

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.markers import CARETDOWN, CARETLEFT, CARETRIGHT, CARETUP

from muster.config.models import FigureConfig, FitConfig, StudyConfig
from muster.errors import MusterError
from muster.plots import PLOTS, PlotData, overview, render, save
from muster.plots.axes import log_ticks
from muster.plots.forest import measured_by
from muster.plots.power_law import band, least_squares
from muster.plots.style import ordered
from muster.plots.words import claim_text, interval_text

ROOT = Path(__file__).parents[3]
WIDTHS = [32, 64, 128, 256, 512]
SEEDS = [0, 1, 2]
RATES = np.arange(-11, -3.5, 0.5).tolist()
SLOPES = {("sp", "sgd"): -0.5, ("mup", "sgd"): 0.1, ("sp", "adam"): -1.0, ("mup", "adam"): 0.02}
STEPS = [0, 1, 4, 16, 64]


def optimum(group: tuple[str, str], width: int) -> float:
    """log2 of the true optimal rate."""
    return -6.3 + SLOPES[group] * np.log2(width / 64)


def make_study() -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "study": "mup-width-transfer",
            "title": "Learning-rate transfer across width",
            "paper": "Yang, Hu et al. 2022, Tensor Programs V",
            "slug": "mup-width-transfer",
            "experiment": "train",
            "settings": {"loss": "cross_entropy"},
            "scales": {"laptop": {"grid": [{"width": WIDTHS}]}},
            "fits": {
                "lr_exponent": {
                    "estimator": "lr_transfer",
                    "response": "final_train_loss",
                    "by": ["parameterization", "optimizer"],
                },
                "change": {
                    "estimator": "power_law",
                    "table": "probes",
                    "select": {"probe": "activation_change_rms", "step": 64, "log2_lr": -6.5},
                    "response": "value",
                    "by": ["parameterization", "layer"],
                },
                "variance": {
                    "estimator": "closed_form",
                    "table": "probes",
                    "select": {"probe": "log_norm_var"},
                    "response": "value",
                    "by": ["activation"],
                    "options": {"formula": "relu_log_norm_var"},
                },
            },
            "claims": [
                {
                    "claim": "mup-adam-flat",
                    "statement": "The optimal rate does not depend on width",
                    "source": "Fig. 1",
                    "provenance": "abstract",
                    "fit": "lr_exponent",
                    "where": {"parameterization": "mup", "optimizer": "adam"},
                    "test": "equivalence",
                    "predicted": 0,
                    "margin": 0.1,
                },
                {
                    "claim": "sp-adam-falls",
                    "statement": "Under a global rate the optimum falls",
                    "source": "Fig. 1",
                    "provenance": "paper",
                    "fit": "lr_exponent",
                    "where": {"parameterization": "sp", "optimizer": "adam"},
                    "test": "less",
                    "predicted": -0.5,
                },
                {
                    "claim": "mup-feature-change",
                    "statement": "Features change by an amount that does not depend on width",
                    "source": "Table 1",
                    "provenance": "derived",
                    "fit": "change",
                    "where": {"parameterization": "mup", "layer": 2},
                    "test": "equivalence",
                    "predicted": 0,
                    "margin": 0.05,
                },
            ],
            "figures": {
                "sweep": {"plot": "lr_sweep", "fit": "lr_exponent"},
                "sweep_adam": {"plot": "lr_sweep", "fit": "lr_exponent", "select": {"optimizer": "adam"}},
                "optimum": {"plot": "optimum_vs_axis", "fit": "lr_exponent"},
                "optimum_hue": {
                    "plot": "optimum_vs_axis",
                    "fit": "lr_exponent",
                    "options": {"hue": "parameterization"},
                },
                "coordinates": {"plot": "coordinate_check", "select": {"optimizer": "adam"}},
                "curves": {"plot": "loss_curves", "fit": "lr_exponent"},
                "seeds": {"plot": "seed_scatter", "fit": "lr_exponent"},
                "change": {"plot": "probe_scaling", "fit": "change"},
                "change_hue": {"plot": "probe_scaling", "fit": "change", "options": {"hue": "parameterization"}},
                "variance": {"plot": "theory_profile", "fit": "variance"},
                "ledger": {"plot": "forest"},
            },
        }
    )


def make_runs() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for group, width, seed, rate in itertools.product(SLOPES, WIDTHS, SEEDS, RATES):
        best = optimum(group, width)
        floor = 0.55 * (width / 64) ** -0.15
        loss = floor * np.exp(0.11 * (rate - best) ** 2 + 0.015 * rng.standard_normal())
        diverged = rate > best + 2.6 + 0.2 * seed
        rows.append(
            {
                "study": "mup-width-transfer",
                "width": width,
                "depth": 3,
                "parameterization": group[0],
                "seed": seed,
                "optimizer": group[1],
                "rule": "global",
                "log2_lr": rate,
                "diverged": diverged,
                "final_train_loss": np.nan if diverged else min(loss, 2.3),
                "final_eval_loss": np.nan if diverged else min(1.1 * loss, 2.4),
                "steps": 64,
            }
        )
    return pd.DataFrame(rows)


def make_curves(runs: pd.DataFrame) -> pd.DataFrame:
    kept = runs[runs["log2_lr"].isin([-7.5, -7, -6.5, -6, -5.5]) | (runs["parameterization"] == "sp")]
    steps = np.arange(0, 65, 4)
    tables = []
    for row in kept[~kept["diverged"]].to_dict("records"):
        rng = np.random.default_rng([row["seed"], row["width"]])
        fall = row["final_train_loss"] + (2.3 - row["final_train_loss"]) * np.exp(-steps / 14)
        loss = fall * np.exp(0.02 * rng.standard_normal(len(steps)))
        tables.append(pd.DataFrame({**row, "step": steps, "train_loss": loss, "eval_loss": 1.08 * loss}))
    return pd.concat(tables, ignore_index=True).drop(columns=["final_train_loss", "final_eval_loss", "steps"])


def make_probes() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    rows = []
    axes = (["sp", "mup"], WIDTHS, SEEDS, STEPS, [1, 2, 3, 4], [-7.0, -6.5, -6.0])
    for parameterization, width, seed, step, layer, rate in itertools.product(*axes):
        slope = 0.5 if parameterization == "sp" and layer > 1 else 0.0
        noise = np.exp(0.08 * rng.standard_normal(2))
        grown = 0.02 * step**0.5 * (width / 64) ** slope * noise[0] * 2 ** (rate + 6.5)
        key = {
            "study": "mup-width-transfer",
            "width": width,
            "depth": 3,
            "parameterization": parameterization,
            "seed": seed,
            "optimizer": "adam",
            "rule": "global",
            "log2_lr": rate,
            "step": step,
            "layer": layer,
            "se": np.nan,
        }
        rows.append({**key, "probe": "activation_change_rms", "value": grown})
        rows.append({**key, "probe": "activation_rms", "value": (1 + grown) * noise[1]})
    return pd.DataFrame(rows)


def make_samples() -> pd.DataFrame:
    """Var log ‖z‖² of ReLU chains at its closed form, with Monte-Carlo noise of the size that `se` states."""
    rng = np.random.default_rng(3)
    rows = []
    for width, layer, seed in itertools.product([16, 64, 256], [1, 2, 4, 8, 16, 32], [0, 1]):
        true = 5 * layer / width * (1 + 1.5 / width)
        se = 0.02 * true
        key = {"study": "x", "width": width, "depth": 32, "parameterization": "none", "seed": seed}
        key |= {"activation": "relu", "step": 0, "layer": layer, "probe": "log_norm_var"}
        rows.append({**key, "value": true + se * rng.standard_normal(), "se": se})
    return pd.DataFrame(rows)


def fit_row(fit: str, group: dict, estimate: float, half: float, intercept: float) -> dict:
    return {
        "study": "mup-width-transfer",
        "fit": fit,
        "estimator": "lr_transfer",
        "variant": "ols_t",
        "primary": True,
        "group": json.dumps(group, sort_keys=True),
        "estimate": estimate,
        "se": half / 3.18,
        "dof": 3.0,
        "ci_low": estimate - half,
        "ci_high": estimate + half,
        "n_cells": 15,
        "n_runs": 225,
        "status": "ok",
        "note": "",
        "intercept": intercept,
        "x_min": 32.0,
        "x_max": 512.0,
    }


def make_optima() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    rows = []
    for group, width in itertools.product(SLOPES, WIDTHS):
        best = optimum(group, width) + 0.06 * rng.standard_normal()
        edge = group == ("sp", "sgd") and width == 32
        half = 0.12 + 0.1 * rng.random()
        rows.append(
            {
                "study": "mup-width-transfer",
                "fit": "lr_exponent",
                "group": json.dumps({"parameterization": group[0], "optimizer": group[1]}, sort_keys=True),
                "along": "width",
                "x": float(width),
                "log2_lr_opt": np.nan if edge else best,
                "se": np.nan if edge else half / 2.2,
                "ci_low": -6.0 if edge else best - half,
                "ci_high": np.inf if edge else best + half,
                "status": "edge" if edge else "interior",
                "loss_at_opt": np.nan if edge else 0.55 * (width / 64) ** -0.15,
                "basin_low": best - 0.2,
                "basin_high": best + 0.2,
                "grid_best": round(2 * best) / 2,
                "n_points": 5,
                "n_runs": 15,
            }
        )
    return pd.DataFrame(rows)


def make_fits() -> pd.DataFrame:
    rows = []
    for (parameterization, optimizer), slope in SLOPES.items():
        group = {"parameterization": parameterization, "optimizer": optimizer}
        rows.append(fit_row("lr_exponent", group, slope, 0.09, -6.3 * np.log(2) - slope * np.log(64)))
    for parameterization, layer in itertools.product(["sp", "mup"], [1, 2, 3, 4]):
        slope = 0.5 if parameterization == "sp" and layer > 1 else 0.0
        group = {"parameterization": parameterization, "layer": layer}
        rows.append(fit_row("change", group, slope, 0.04, np.log(0.16) - slope * np.log(64)))
    return pd.DataFrame(rows)


def make_ledger(count: int = 24) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    verdicts = ["supported", "supported", "supported", "refuted", "inconclusive", "not run"]
    tests = ["equivalence", "less", "greater", "interval", "closed_form", "equivalence", "regret", "ordering"]
    papers = {
        "mup-width-transfer": "Yang, Hu et al. 2022, Tensor Programs V: tuning large networks by zero-shot transfer",
        "everett-exponents": "Everett et al. 2024, Scaling exponents across parameterizations and optimizers",
        "abc-feature-exponent": "Yang & Hu 2021, Tensor Programs IV: feature learning in infinite-width networks",
        "relu-kurtosis": "Hanin 2022, Random fully connected networks as perturbatively solvable hierarchies",
    }
    rows = []
    for index in range(count):
        study = list(papers)[index * len(papers) // count]
        test, verdict = tests[index % len(tests)], verdicts[index % len(verdicts)]
        small = test in ("closed_form", "regret", "ordering")
        predicted = 0.0 if small or test == "equivalence" else float(rng.choice([-1, -0.5, 0.5]))
        estimate = predicted + (0.01 if small else 0.06) * rng.standard_normal() + (0.4 if verdict == "refuted" else 0)
        half = (0.008 if small else 0.08) * (1 + rng.random()) * (4 if verdict == "inconclusive" else 1)
        missing = verdict == "not run"
        rows.append(
            {
                "claim": f"{study.split('-')[0]}-{['adam', 'sgd', 'full', 'global', 'width'][index % 5]}-{index}",
                "study": study,
                "slug": study,
                "paper": papers[study],
                "stance": "holds",
                "family": f"{study}: headline",
                "same_as": "",
                "reason": "",
                "agrees": {"supported": "yes", "refuted": "no"}.get(verdict, "–"),
                "test": test,
                "predicted": predicted,
                "margin": {"closed_form": 0.02, "regret": 0.0025}.get(
                    test, 0.0 if test in ("less", "greater", "ordering") else 0.1
                ),
                "estimate": np.nan if missing else estimate,
                "ci_low": np.nan if missing else estimate - half,
                "ci_high": np.nan if missing else estimate + half,
                "verdict": verdict,
                "scale": "laptop",
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def data() -> PlotData:
    runs = make_runs()
    return PlotData(
        study=make_study(),
        scale="laptop",
        runs=runs,
        curves=make_curves(runs),
        probes=make_probes(),
        optima=make_optima(),
        fits=make_fits(),
        claims=make_ledger(),
    )


def drawn(ax, gid: str) -> list:
    """Artists of a panel that carry a name."""
    return [each for each in (*ax.lines, *ax.collections, *ax.patches) if each.get_gid() == gid]


def panels_of(fig) -> dict:
    return {ax.get_title(loc="left"): ax for ax in fig.axes}


def texts(ax) -> str:
    return " ".join(each.get_text() for each in ax.texts).replace("\N{NO-BREAK SPACE}", " ")


def legend_texts(fig) -> list[str]:
    return [text.get_text() for text in fig.legends[0].get_texts()]


FIGURES = list(make_study().figures)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_saved_and_the_same_twice(name, data, tmp_path):
    given = replace(data, probes=make_samples()) if name == "variance" else data
    for copy in "ab":
        save(render(name, given), tmp_path / f"{copy}.svg", tmp_path / f"{copy}.png")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "a.svg").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg", "b.png", "b.svg"]


@pytest.fixture(scope="module")
def figure(request, data):
    """One of the figures, drawn once for all tests that only look at it."""
    return render(request.param, replace(data, probes=make_samples()) if request.param == "variance" else data)


@pytest.mark.parametrize("figure", FIGURES, indirect=True)
def test_axis_labels_carry_units(figure):
    labels = [text for ax in figure.axes for text in (ax.get_xlabel(), ax.get_ylabel()) if text]
    assert labels
    assert all("(" in text and ")" in text for text in labels)


@pytest.mark.parametrize("figure", [name for name in FIGURES if name != "ledger"], indirect=True)
def test_tick_labels_do_not_overlap(figure):
    figure.draw_without_rendering()
    for ax in figure.axes:
        for axis, low, high in ((ax.xaxis, "x0", "x1"), (ax.yaxis, "y0", "y1")):
            shown = [label for label in axis.get_ticklabels() if label.get_text() and label.get_visible()]
            boxes = [label.get_window_extent() for label in shown]
            boxes = sorted((getattr(box, low), getattr(box, high)) for box in boxes if box.width > 1)
            assert all(first[1] < second[0] for first, second in itertools.pairwise(boxes))


def test_sweep_marks_the_tabled_optimum_with_its_interval(data):
    fig = render("sweep_adam", data)
    panels = panels_of(fig)
    assert list(panels) == ["SP · Adam", "μP · Adam"]
    for title, parameterization in zip(panels, ["sp", "mup"], strict=True):
        optima = data.optima[
            data.optima["group"] == json.dumps({"optimizer": "adam", "parameterization": parameterization})
        ]
        marks = drawn(panels[title], "optimum")
        assert [mark.get_xdata()[0] for mark in marks] == pytest.approx(optima["log2_lr_opt"].tolist())
        ends = [tuple(line.get_xdata()) for line in drawn(panels[title], "interval")]
        assert ends == list(zip(optima["ci_low"], optima["ci_high"], strict=True))


def test_sweep_lines_are_means_over_seeds_and_diverged_rates_are_marked(data):
    fig = render("sweep", data)
    ax = panels_of(fig)["SP · Adam"]
    runs = data.runs[(data.runs["parameterization"] == "sp") & (data.runs["optimizer"] == "adam")]
    wide = runs[runs["width"] == 512]
    alive = wide[~wide["diverged"]].groupby("log2_lr")["final_train_loss"]
    line = next(line for line in ax.lines if len(line.get_xdata()) == alive.ngroups and line.get_color() != "none")
    assert line.get_ydata() == pytest.approx(np.exp(alive.agg(lambda each: np.log(each).mean())).to_numpy())
    shares = runs.groupby(["width", "log2_lr"])["diverged"].mean()
    marks = [mark.get_marker() for mark in drawn(ax, "diverged")]
    assert marks.count("x") == (shares == 1).sum() > 0
    assert marks.count("o") == ((shares > 0) & (shares < 1)).sum() > 0
    assert not drawn(panels_of(fig)["μP · Adam"], "diverged")


def test_sweep_says_how_many_means_its_axis_leaves_out(data):
    fig = render("sweep", data)
    ax = panels_of(fig)["μP · Adam"]
    runs = data.runs[(data.runs["parameterization"] == "mup") & (data.runs["optimizer"] == "adam")]
    means = runs.groupby(["width", "log2_lr"])["final_train_loss"].mean()
    note = next(text.get_text() for text in ax.texts if "above" in text.get_text())
    told = int(note.split()[0])
    assert 0 < told < len(means)
    # The strip of diverged rates stands above the range of losses.
    assert told >= (means > ax.get_ylim()[1]).sum()


def test_loss_axis_becomes_logarithmic_when_losses_span_decades(data):
    tiny = data.runs.assign(final_train_loss=data.runs["final_train_loss"] ** 6)
    assert {ax.get_yscale() for ax in render("sweep", data).axes} == {"linear"}
    assert {ax.get_yscale() for ax in render("sweep", replace(data, runs=tiny)).axes} == {"log"}


def test_optimum_figure_shows_points_intervals_fit_prediction_and_slope(data):
    panels = panels_of(render("optimum", data))
    flat, falling, plain = panels["μP · Adam"], panels["SP · Adam"], panels["μP · SGD"]
    optima = data.optima[data.optima["group"] == json.dumps({"optimizer": "adam", "parameterization": "mup"})]
    (points,) = drawn(flat, "optimum")
    assert points.get_ydata().tolist() == optima["log2_lr_opt"].tolist()
    ends = [tuple(line.get_ydata()) for line in drawn(flat, "interval")]
    assert ends == list(zip(optima["ci_low"], optima["ci_high"], strict=True))
    for ax, slope in ((flat, SLOPES["mup", "adam"]), (falling, SLOPES["sp", "adam"])):
        (line,) = drawn(ax, "fit")
        x, y = line.get_data()
        assert (y[-1] - y[0]) / np.log2(x[-1] / x[0]) == pytest.approx(slope)
        assert drawn(ax, "band")
    (dashed,) = drawn(falling, "bound")
    x, y = dashed.get_data()
    assert (y[-1] - y[0]) / np.log2(x[-1] / x[0]) == pytest.approx(-0.5)
    assert "slope −1.00 [−1.09, −0.91]; predicted ≤ −0.5" in texts(falling)
    assert "predicted 0 ± 0.1" in texts(flat)
    assert not drawn(plain, "prediction")


@pytest.mark.parametrize(("test", "drawn_at"), [("less", -0.4), ("greater", -0.6), ("equivalence", -0.5)])
@pytest.mark.parametrize(("figure", "panel", "claim"), [("optimum", "SP · Adam", 1), ("change", "μP · layer 2", 2)])
def test_a_bound_is_drawn_with_the_margin_that_decides_the_verdict(figure, panel, claim, test, drawn_at, data):
    claims = [*data.study.claims]
    claims[claim] = claims[claim].model_copy(update={"test": test, "predicted": -0.5, "margin": 0.1})
    changed = replace(data, study=data.study.model_copy(update={"claims": claims}))
    ax = panels_of(render(figure, changed))[panel]
    (line,) = drawn(ax, "prediction" if test == "equivalence" else "bound")
    x, y = line.get_data()
    rise = y[-1] - y[0] if figure == "optimum" else np.log2(y[-1] / y[0])
    assert rise / np.log2(x[-1] / x[0]) == pytest.approx(drawn_at)


def test_censored_optimum_is_an_open_triangle_outside_the_fit(data):
    ax = panels_of(render("optimum", data))["SP · SGD"]
    (mark,) = drawn(ax, "censored")
    assert (mark.get_marker(), mark.get_markerfacecolor(), mark.get_xdata()[0]) == ("^", "white", 32)
    (line,) = drawn(ax, "fit")
    assert line.get_xdata().min() == pytest.approx(64)


def test_unbounded_interval_ends_in_an_arrow_at_the_edge_and_does_not_press_the_data_flat(data):
    optima = data.optima.copy()
    first = optima.index[optima["group"] == json.dumps({"optimizer": "adam", "parameterization": "mup"})][0]
    optima.loc[first, ["ci_low", "ci_high"]] = [-np.inf, np.inf]
    given = replace(data, optima=optima)
    ax = panels_of(render("optimum", given))["μP · Adam"]
    assert np.ptp(drawn(ax, "interval")[0].get_ydata()) == 0  # no line across the panel
    arrows = {(mark.get_marker(), mark.get_ydata()[0]) for mark in drawn(ax, "arrow")}
    assert arrows == {(CARETDOWN, 0), (CARETUP, 1)}  # in fractions of the panel
    assert ax.get_ylim() == panels_of(render("optimum", data))["μP · Adam"].get_ylim()
    ax = panels_of(render("sweep", given))["μP · Adam"]
    assert np.ptp(drawn(ax, "interval")[0].get_xdata()) == 0
    assert {(mark.get_marker(), mark.get_xdata()[0]) for mark in drawn(ax, "arrow")} == {
        (CARETLEFT, 0),
        (CARETRIGHT, 1),
    }


def test_a_wide_band_does_not_set_the_range_of_the_axis(data):
    wide = data.fits.assign(se=5.0, dof=1.0)
    usual, loose = (panels_of(render("change", replace(data, fits=fits)))["SP · layer 2"] for fits in (data.fits, wide))
    assert drawn(loose, "band")[0].get_datalim(loose.transData).height > 1e3
    assert loose.get_ylim() == usual.get_ylim()


def test_band_equals_the_textbook_interval_of_the_fitted_mean():
    from scipy import stats

    rng = np.random.default_rng(0)
    x = np.array([32.0, 64, 128, 256, 512, 1024])
    y = np.exp(1 - 0.7 * np.log(x) + 0.1 * rng.standard_normal(6))
    fit = least_squares(x, y)
    drawn_band = band(x, y, fit)
    reference = stats.linregress(np.log(x), np.log(y))
    assert fit["se"] == pytest.approx(reference.stderr)
    # At x = 1 the fitted mean is the intercept, whose error linregress states.
    design = np.column_stack([np.ones(6), np.log(x)])
    residual = np.log(y) - design @ [reference.intercept, reference.slope]
    cov = np.linalg.inv(design.T @ design) * (residual @ residual / 4)
    end = np.array([1, np.log(x[-1])])
    half = stats.t.ppf(0.975, 4) * np.sqrt(end @ cov @ end)
    assert np.log(drawn_band.high[-1] / drawn_band.y[-1]) == pytest.approx(half)
    assert np.log(drawn_band.y[-1] / drawn_band.low[-1]) == pytest.approx(half)
    assert band(x, y, {"estimate": np.nan}) is None
    assert np.isnan(band(x, y, {"estimate": -0.7, "se": np.nan, "dof": np.nan}).low).all()


def test_hue_puts_parameterizations_into_one_panel(data):
    panels = panels_of(render("optimum_hue", data))
    assert list(panels) == ["Adam", "SGD"]
    assert len(drawn(panels["Adam"], "optimum")) == 2
    assert len({line.get_color() for line in drawn(panels["Adam"], "optimum")}) == 2
    assert len({line.get_marker() for line in drawn(panels["Adam"], "optimum")}) == 2
    assert "SP: −1.00" in texts(panels["Adam"])


@pytest.mark.parametrize("hue", [None, "parameterization"])
def test_a_comparison_shows_both_of_its_groups_and_nothing_else(hue, data):
    """Neither as seeds of one another, nor with the groups that it does not compare."""
    pair = {"a": {"parameterization": "mup"}, "b": {"parameterization": "sp"}}
    fit = FitConfig(
        estimator="lr_transfer_difference", response="final_train_loss", select={"optimizer": "adam"}, options=pair
    )
    options = {"hue": hue} if hue else {}
    figures = {
        "sweep": FigureConfig(plot="lr_sweep", fit="difference"),
        "optimum": FigureConfig(plot="optimum_vs_axis", fit="difference", options=options),
    }
    study = data.study.model_copy(update={"fits": {**data.study.fits, "difference": fit}, "figures": figures})
    adam = data.optima[[json.loads(group)["optimizer"] == "adam" for group in data.optima["group"]]]
    groups = [json.dumps({"parameterization": json.loads(group)["parameterization"]}) for group in adam["group"]]
    other = data.runs[data.runs["optimizer"] == "adam"].assign(parameterization="ntp")
    known = replace(
        data,
        study=study,
        runs=pd.concat([data.runs, other]),
        optima=adam.assign(fit="difference", group=groups),
        fits=pd.DataFrame([fit_row("difference", {}, 1.02, 0.05, 0.0)]),
    )
    panels = panels_of(render("sweep", known))
    assert sorted(panels) == ["SP", "μP"]
    for title, name in (("SP", "sp"), ("μP", "mup")):
        marks = [mark.get_xdata()[0] for mark in drawn(panels[title], "optimum")]
        assert np.mean(marks) == pytest.approx(np.mean([optimum((name, "adam"), width) for width in WIDTHS]), abs=0.1)
    axes = render("optimum", known).axes
    assert len(axes) == (1 if hue else 2)
    assert all("μP \N{MINUS SIGN} SP: slope 1.02" in texts(ax) for ax in axes)
    assert sum(len(line.get_xdata()) for ax in axes for line in drawn(ax, "optimum")) == 2 * len(WIDTHS)


def test_groups_of_the_hue_share_a_panel_of_a_sweep(data):
    """Two depths, say, that a fit compares and the figure shows as its lines."""
    fit = FitConfig(
        estimator="ordering",
        response="final_train_loss",
        select={"optimizer": "adam", "parameterization": "mup"},
        options={"a": {"width": 32}, "b": {"width": 64}, "best_over": "log2_lr"},
    )
    figures = {"sweep": FigureConfig(plot="lr_sweep", fit="order", options={"along": "width"})}
    study = data.study.model_copy(update={"fits": {"order": fit}, "figures": figures})
    (axes,) = render("sweep", replace(data, study=study)).axes
    assert {f"width {text.get_text()}" for text in axes.get_figure().legends[0].get_texts()} >= {"width 32", "width 64"}


def test_coordinate_check_draws_one_line_per_step_at_one_rate(data):
    fig = render("coordinates", data)
    assert len(fig.axes) == 2 * 2 * 4
    rms, change = fig.axes[0], fig.axes[4]
    assert [len(ax.lines) for ax in (rms, change)] == [len(STEPS), len(STEPS) - 1]  # no change at step 0
    assert {(ax.get_xscale(), ax.get_yscale()) for ax in fig.axes} == {("log", "log")}
    # The optimum of width 32 under SP and Adam lies near −5.3: the probes' nearest rate is −6.
    assert "SP · η = 2⁻⁶" in rms.get_ylabel()
    assert fig.axes[3].get_title(loc="left") == "layer 4 (output)"
    probes = data.probes[(data.probes["parameterization"] == "mup") & (data.probes["log2_lr"] == -6.5)]
    last = probes[(probes["probe"] == "activation_change_rms") & (probes["layer"] == 2) & (probes["step"] == 64)]
    expected = last.groupby("width")["value"].apply(lambda each: np.exp(np.log(each).mean()))
    assert fig.axes[13].lines[-1].get_ydata() == pytest.approx(expected.to_numpy())


def test_coordinate_check_takes_rate_steps_and_layers_from_options(data):
    options = {"log2_lr": -7, "steps": [1, 64], "layers": [2], "probes": ["activation_change_rms"]}
    fig = PLOTS["coordinate_check"](data, FigureConfig(plot="coordinate_check", options=options))
    assert len(fig.axes) == 2
    assert [len(ax.lines) for ax in fig.axes] == [2, 2]
    assert "2⁻⁷" in fig.axes[0].get_ylabel()


def test_curves_show_the_best_rate_of_each_width(data):
    fig = render("curves", data)
    assert len(fig.axes) == 8
    assert [line.get_xdata().size for line in fig.axes[0].lines] == [17] * len(WIDTHS)
    runs = data.runs[
        (data.runs["parameterization"] == "mup") & (data.runs["optimizer"] == "adam") & (data.runs["width"] == 64)
    ]
    best = runs[~runs["diverged"]].groupby("log2_lr")["final_train_loss"].mean().idxmin()
    curves = data.curves[
        data.curves.index.isin(
            data.curves.query("parameterization == 'mup' and optimizer == 'adam' and width == 64").index
        )
    ]
    expected = curves[curves["log2_lr"] == best].groupby("step")["train_loss"].mean()
    assert fig.axes[1].lines[1].get_ydata() == pytest.approx(expected.to_numpy())
    without = replace(data, curves=data.curves.assign(eval_loss=np.nan))
    assert len(render("curves", without).axes) == 4


def test_seed_scatter_shows_every_seed_and_the_standard_deviation(data):
    ax = panels_of(render("seeds", data))["μP · Adam"]
    points = drawn(ax, "seeds")
    assert [line.get_ydata().size for line in points] == [len(SEEDS)] * len(WIDTHS)
    losses = points[0].get_ydata()
    spread = next(each.get_segments()[0][:, 1] for each in ax.collections)
    assert spread == pytest.approx([losses.mean() - losses.std(ddof=1), losses.mean() + losses.std(ddof=1)])
    assert f"{100 * losses.std(ddof=1) / losses.mean():.2g} %" in texts(ax)


def test_probe_scaling_draws_the_fit_and_the_prediction_of_its_group_only(data):
    panels = panels_of(render("change", data))
    (line,) = drawn(panels["SP · layer 2"], "fit")
    x, y = line.get_data()
    assert np.log(y[-1] / y[0]) / np.log(x[-1] / x[0]) == pytest.approx(0.5)
    assert {title for title, ax in panels.items() if drawn(ax, "prediction")} == {"μP · layer 2"}
    assert len(drawn(panels["SP · layer 2"], "interval")) == len(WIDTHS)


def test_probe_scaling_of_a_table_without_seeds_takes_each_row_for_a_run(data):
    seeded, bare = (render("change", each) for each in (data, replace(data, probes=data.probes.drop(columns="seed"))))
    (points,), (same,) = (drawn(panels_of(fig)["SP · layer 2"], "means") for fig in (seeded, bare))
    assert points.get_ydata() == pytest.approx(same.get_ydata())
    assert "one seed" in legend_texts(seeded)
    assert "one run" in legend_texts(bare)


def test_probe_scaling_counts_values_without_a_logarithm(data):
    probes = data.probes.copy()
    rows = probes.query(
        "layer == 1 and parameterization == 'sp' and step == 64 and log2_lr == -6.5 and width == 32"
    ).index
    probes.loc[rows, "value"] = 0.0
    ax = panels_of(render("change", replace(data, probes=probes)))["SP · layer 1"]
    assert "3 values ≤ 0 not shown" in texts(ax)


def test_theory_profile_holds_points_against_the_closed_form(data):
    fig = render("variance", replace(data, probes=make_samples()))
    top, ratio = fig.axes
    curves = drawn(top, "theory")
    assert len(curves) == 3
    assert curves[1].get_ydata() == pytest.approx(5 * curves[1].get_xdata() / 64)
    assert (curves[1].get_xdata()[0], curves[1].get_xdata()[-1]) == pytest.approx((1, 32))
    ratios = next(line.get_ydata() for line in ratio.lines if len(line.get_ydata()) == 6)
    assert ratios == pytest.approx(np.full(6, 1 + 1.5 / 16), abs=0.06)
    bars = ratio.collections[0].get_segments()
    # Two seeds with a relative error of 2 % each.
    assert np.ptp(bars[0][:, 1]) == pytest.approx(2 * 1.96 * 0.02 / np.sqrt(2) * (1 + 1.5 / 16), rel=0.02)


def test_forest_tells_every_claim_and_every_verdict(data):
    fig = render("ledger", data)
    told = " ".join(text.get_text() for ax in fig.axes for text in ax.texts)
    assert all(claim in told for claim in data.claims["claim"])
    assert len(fig.axes) == 2
    assert [ax.get_xlabel().split(" (")[0] for ax in fig.axes] == ["exponent", "log ratio"]
    exponents = data.claims[~data.claims["test"].isin(["closed_form", "regret", "ordering"])]
    marks = drawn(fig.axes[0], "estimate")
    known = exponents[exponents["verdict"] != "not run"]
    assert sorted(mark.get_xdata()[0] for mark in marks) == pytest.approx(sorted(known["estimate"]))
    assert len(drawn(fig.axes[0], "interval")) == len(marks)
    assert len(drawn(fig.axes[0], "allowed")) == len(exponents)
    looks = {(mark.get_marker(), mark.get_markerfacecolor()) for mark in marks}
    assert looks == {("o", "#0072b2"), ("D", "#d55e00"), ("s", "white")}
    counts = data.claims["verdict"].value_counts()
    assert any(f"{counts['supported']} supported, {counts['refuted']} refuted" in text.get_text() for text in fig.texts)


def test_forest_takes_the_axis_from_the_estimator_when_the_study_is_known(data):
    ledger = make_ledger(4)
    ledger.loc[:, "study"] = "mup-width-transfer"
    ledger.loc[0, ["claim", "test"]] = ["mup-adam-flat", "regret"]
    assert len(overview(ledger.iloc[:1]).axes) == 1
    assert overview(ledger.iloc[:1]).axes[0].get_xlabel().startswith("log ratio")
    assert overview(ledger.iloc[:1], [make_study()]).axes[0].get_xlabel().startswith("exponent")


def test_an_average_is_of_the_kind_of_what_it_averages():
    inner = {"across": ["batch_size"], "estimator": "lr_transfer"}
    options = {"across": ["dataset"], "estimator": "pooled", "options": inner}
    fit = FitConfig(estimator="pooled", response="error", options=options)
    assert measured_by(fit, None) == ("lr_transfer", None)
    options = {"across": ["dataset"], "estimator": "joint_law", "parameter": "alpha"}
    assert measured_by(fit.model_copy(update={"options": options}), "mean") == ("joint_law", "alpha")


@pytest.mark.parametrize(
    ("test", "margin", "expected"),
    [
        ("equivalence", 0.1, "−0.5 ± 0.1"),
        ("greater", 0.0, "≥ −0.5"),
        ("less", 0.0, "≤ −0.5"),
        ("regret", 0.1, "≤ −0.4"),
        ("ordering", 0.0, "≤ −0.5"),
    ],
)
def test_what_a_claim_allows_is_told(test, margin, expected):
    assert claim_text(-0.5, margin, test) == expected


def test_the_overview_leaves_out_studies_that_were_not_run():
    ledger = make_ledger(4)
    waiting = ledger.assign(verdict=["supported", *["not run"] * 3], reason=["", *["the study was not run"] * 3])
    names = {text.get_text() for text in overview(waiting).axes[0].texts}
    assert names.intersection(ledger["claim"]) == {ledger["claim"][0]}
    nobody = waiting.assign(verdict="not run", reason="the study was not run")
    assert {text.get_text() for ax in overview(nobody).axes for text in ax.texts} >= set(ledger["claim"])


def test_forest_shades_the_region_of_the_test():
    ledger = make_ledger(8).iloc[[0, 1, 2]]
    ledger = ledger.assign(predicted=[0.0, -0.5, -0.5], margin=[0.1, 0.0, 0.0], test=["equivalence", "less", "greater"])
    (ax,) = overview(ledger).axes
    within, below, above = [patch.get_extents().transformed(ax.transData.inverted()) for patch in drawn(ax, "allowed")]
    assert (within.x0, within.x1) == pytest.approx((-0.1, 0.1))
    assert (below.x0, below.x1) == pytest.approx((ax.get_xlim()[0], -0.5))
    assert (above.x0, above.x1) == pytest.approx((-0.5, ax.get_xlim()[1]))


def test_spread_over_seeds_is_drawn_as_the_estimator_sees_it(data):
    from muster.fitting.estimators.power_law import log_relative_std

    rng = np.random.default_rng(6)
    axes = itertools.product([64, 128, 256], range(6), range(4))
    rows = [
        {
            "study": "s",
            "width": w,
            "depth": 2,
            "parameterization": "ntp",
            "seed": s,
            "layer": e,
            "step": 0,
            "se": np.nan,
        }
        | {"probe": "ntk_entry", "value": (e - 1.5) + rng.standard_normal() / np.sqrt(w)}
        for w, s, e in axes
    ]
    probes = pd.DataFrame(rows)
    options = {"aggregate": "std_over_seeds", "pool": ["layer"]}
    tree = data.study.model_dump(by_alias=True)
    fit = {"estimator": "power_law", "table": "probes", "select": {"probe": "ntk_entry"}, "response": "value"}
    tree["fits"]["spread"] = {**fit, "options": options}
    tree["figures"]["spread"] = {"plot": "probe_scaling", "fit": "spread"}
    given = PlotData(study=StudyConfig.model_validate(tree), scale="", probes=probes)
    (ax,) = render("spread", given).axes
    (points,) = drawn(ax, "means")
    matrix = probes[probes["width"] == 128].pivot(index="seed", columns="layer", values="value").to_numpy()
    assert points.get_ydata()[1] == pytest.approx(np.exp(log_relative_std(matrix)))
    assert len(drawn(ax, "interval")) == 3
    assert ax.get_ylabel().startswith("sd over seeds")


def test_points_outside_the_range_of_the_formula_are_hollow(data):
    tree = data.study.model_dump(by_alias=True)
    tree["fits"]["variance"]["options"] |= {"min_layer": 2, "max_ratio": 0.125}
    given = replace(data, study=StudyConfig.model_validate(tree), probes=make_samples())
    fig = render("variance", given)
    hollow = {len(each.get_xdata()) for each in drawn(fig.axes[0], "unused")}
    assert "outside the formula's range" in legend_texts(fig)
    plain = render("variance", replace(data, probes=make_samples()))
    assert "outside the formula's range" not in legend_texts(plain)
    # Width 16: layers 1, 4, 8, 16, 32; width 64: 1, 16, 32; width 256: 1.
    assert hollow == {5, 3, 1}


@pytest.mark.parametrize("count", [1, 10, 40])
def test_overview_texts_do_not_overlap(count):
    fig = overview(make_ledger(count), scale="laptop")
    fig.draw_without_rendering()
    everything = [text for ax in fig.axes for text in ax.texts] + list(fig.texts)
    boxes = [text.get_window_extent() for text in everything if text.get_text()]
    for first, second in itertools.combinations(boxes, 2):
        assert not first.padded(-1).overlaps(second.padded(-1))
    frame = fig.bbox
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


@pytest.mark.parametrize("name", FIGURES)
def test_empty_tables_give_a_figure_that_says_why(name, data, tmp_path):
    fig = render(name, PlotData(study=data.study, scale="laptop"))
    save(fig, tmp_path / "a.svg", tmp_path / "a.png")
    (ax,) = fig.axes
    assert len(texts(ax).split()) >= 3


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "variance"])
def test_smoke_tables_of_one_seed_and_failed_fits_are_drawn(name, data, tmp_path):
    def few(table):
        return table[table["width"].isin([32, 64]) & (table["seed"] == 0)]

    nothing = dict.fromkeys(["estimate", "se", "dof", "ci_low", "ci_high", "intercept"], np.nan)
    given = replace(
        data,
        scale="smoke",
        runs=few(data.runs),
        curves=few(data.curves),
        probes=few(data.probes),
        optima=data.optima.assign(log2_lr_opt=np.nan, loss_at_opt=np.nan, status="edge", ci_low=-np.inf, ci_high=-7.0),
        fits=data.fits.assign(**nothing, status="too_few"),
        claims=data.claims.assign(**nothing, verdict="not judged"),
    )
    fig = render(name, given)
    save(fig, tmp_path / "a.svg", tmp_path / "a.png")
    if name == "optimum":
        assert "no interior optimum" in texts(fig.axes[0])
        assert {mark.get_marker() for mark in drawn(fig.axes[0], "censored")} == {"v"}
        assert not any("fitted" in text for text in legend_texts(fig))


def test_a_group_without_runs_and_a_group_without_survivors_say_so(data):
    runs = data.runs[~((data.runs["parameterization"] == "mup") & (data.runs["optimizer"] == "sgd"))].copy()
    lost = (runs["parameterization"] == "sp") & (runs["optimizer"] == "sgd")
    runs.loc[lost, "diverged"] = True
    runs.loc[lost, "final_train_loss"] = np.nan
    panels = panels_of(render("sweep", replace(data, runs=runs)))
    assert "no run in this group" in texts(panels["μP · SGD"]).replace("\n", " ")
    assert "every run diverged" in texts(panels["SP · SGD"])
    assert len(drawn(panels["SP · SGD"], "diverged")) == len(WIDTHS) * len(RATES)


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        ({"plot": "lr_sweep", "fit": "lr_exponents"}, "unknown name 'lr_exponents'"),
        ({"plot": "lr_sweeps"}, "Did you mean 'lr_sweep'"),
        ({"plot": "lr_sweep", "options": {"ceilling": 2}}, "options.ceilling"),
        ({"plot": "lr_sweep", "options": {"ceiling": -2}}, "options.ceiling"),
        ({"plot": "lr_sweep", "select": {"optimiser": "adam"}}, "no such column"),
        ({"plot": "optimum_vs_axis"}, "fit: missing"),
        ({"plot": "optimum_vs_axis", "fit": "lr_exponent", "options": {"hue": "depth"}}, "no groups of the fit"),
        ({"plot": "theory_profile", "select": {"step": 64}}, "several probes"),
        (
            {"plot": "theory_profile", "select": {"probe": "activation_rms"}, "options": {"formula": "no_such"}},
            "no_such",
        ),
    ],
)
def test_a_wrong_figure_is_one_clear_error_that_names_it(figure, expected, data):
    study = data.study.model_copy(update={"figures": {"mine": FigureConfig(**figure)}})
    with pytest.raises(MusterError, match=r"figures\.mine") as caught:
        render("mine", replace(data, study=study))
    assert expected in str(caught.value)


def test_loss_unit_comes_from_the_settings_or_the_experiment(data):
    tree = data.study.model_dump(by_alias=True)
    labels = []
    text = {"data": "python_text", "data_options": {"encoding": "tokens"}}
    for settings in ({"loss": "squared_error"}, {}, text):
        study = StudyConfig.model_validate({**tree, "settings": settings})
        labels.append(render("sweep", replace(data, study=study)).axes[0].get_ylabel())
    assert "(mean squared error)" in labels[0]
    assert "(nats per example)" in labels[1]
    assert "(nats per token)" in labels[2]


def test_an_unknown_figure_lists_those_of_the_study(data):
    with pytest.raises(MusterError, match="sweep_adam"):
        render("swep", data)


def test_importing_the_plots_loads_neither_matplotlib_nor_pandas():
    code = (
        "import sys, muster.plots\n"
        "print([name for name in ('matplotlib', 'seaborn', 'pandas', 'scipy', 'torch') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_drawing_never_loads_statsmodels_models_or_torch(data):
    code = (
        "import sys; import tests.unit.plots.test_plots as t\n"
        "from muster.plots import overview, render\n"
        "from dataclasses import replace\n"
        "render('variance', t.PlotData(study=t.make_study(), scale='', probes=t.make_samples()))\n"
        "overview(t.make_ledger())\n"
        "print([name for name in ('statsmodels.api', 'torch', 'matplotlib.pyplot.figure') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out.strip() == "[]"


def test_widths_get_an_ordered_hue_that_stands_out_on_white():
    hues = list(ordered(WIDTHS).values())
    luminance = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in hues]
    assert luminance == sorted(luminance, reverse=True)
    assert luminance[0] < 0.75


@pytest.mark.parametrize(("low", "high"), [(0.009, 0.9), (0.3, 0.9), (1e-7, 3.0), (0.41, 0.43), (2.0, 900.0)])
def test_log_ticks_are_two_to_seven_round_numbers(low, high):
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 7
    assert all(low <= tick <= high for tick in ticks)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((-0.961, -1.099, -0.82), "−0.96 [−1.10, −0.82]"),
        ((-0.0004, -0.02, 0.02), "0.000 [−0.020, 0.020]"),
        ((0.5, np.nan, np.nan), "0.50 (no interval)"),
        ((np.nan, np.nan, np.nan), "not estimated"),
        ((0.0, -0.5, 0.5), "0.00 [−0.50, 0.50]"),
    ],
)
def test_numbers_are_told_as_precisely_as_they_are_known(numbers, expected):
    assert interval_text(*numbers) == expected


def test_every_plot_has_a_caption_and_a_summary():
    report = ROOT / "workflow" / "report"
    captions = (report / "figure.rst").read_text()
    assert [name for name in PLOTS if f'plot == "{name}"' not in captions] == []
    assert all((report / f"{name}.rst").read_text() for name in ("forest", "ledger", "workflow"))
    assert all(len(text) > 20 for text in PLOTS.summary().values())
