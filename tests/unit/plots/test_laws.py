"""Figures of fitted laws: what they draw is what the tables hold."""

import json
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest

from muster.config.models import StudyConfig
from muster.errors import MusterError
from muster.fitting.specification import specification_curves
from muster.fitting.study import fit_and_predict
from muster.plots import PlotData, render, save

matplotlib.use("agg")

TRUE = {"e": 1.7, "a": 400.0, "b": 900.0, "alpha": 0.34, "beta": 0.3}


def make_study(**changes) -> StudyConfig:
    base = {
        "study": "law-figures",
        "title": "A joint law",
        "paper": "Nobody 2026, A Law",
        "slug": "law-figures",
        "experiment": "relu_chain",
        "scales": {"laptop": {"grid": [{"width": [8]}]}},
        "fits": {
            "law": {
                "estimator": "joint_law",
                "response": "final_eval_loss",
                "along": "parameters",
                "options": {
                    "delta": "squares",
                    "replicates": 100,
                    "published": {"theirs": TRUE, "exponents": {"alpha": 0.5}},
                    "hold_out": {"column": "parameters", "above": 1.5e9},
                },
            },
            "slope": {
                "estimator": "regression",
                "response": "final_eval_loss",
                "along": "parameters",
                "options": {"variables": ["parameters", "tokens"]},
            },
            "frontier": {"estimator": "isoflop", "response": "final_eval_loss", "along": "flops", "options": {}},
        },
        "claims": [
            {
                "claim": "law-figures-alpha", "statement": "α is 0.34", "source": "here", "provenance": "derived",
                "fit": "slope", "parameter": "parameters", "test": "equivalence", "predicted": -0.05, "margin": 0.02,
            }
        ],
        "figures": {
            "law": {"plot": "law_fit", "fit": "law", "options": {"x": "tokens"}},
            "held": {"plot": "held_out", "fit": "law"},
            "coefficients": {"plot": "coefficients", "fit": "law"},
            "specification": {
                "plot": "specification_curve", "fit": "slope", "options": {"parameter": "parameters"}
            },
            "optima": {"plot": "optima_law", "fit": "frontier"},
        },
    }  # fmt: skip
    return StudyConfig.model_validate({**base, **changes})


def make_runs() -> pd.DataFrame:
    """IsoFLOP runs of a known law with 0.1 % noise: nine sizes at each of five budgets."""
    rng = np.random.default_rng(3)
    rows = []
    for budget in (1e18, 4e18, 1.6e19, 6.4e19, 2.56e20):
        best = (TRUE["alpha"] * TRUE["a"] / (TRUE["beta"] * TRUE["b"])) ** (1 / 0.64) * (budget / 6) ** (0.3 / 0.64)
        for step in np.linspace(-2, 2, 9):
            size = best * 2**step
            tokens = budget / 6 / size
            loss = TRUE["e"] + TRUE["a"] / size ** TRUE["alpha"] + TRUE["b"] / tokens ** TRUE["beta"]
            rows.append((size, tokens, budget, loss * np.exp(0.001 * rng.normal())))
    runs = pd.DataFrame(rows, columns=["parameters", "tokens", "flops", "final_eval_loss"])
    return runs.assign(run=[f"r{i}" for i in range(len(runs))], diverged=False, study="law-figures")


@pytest.fixture(scope="module")
def data() -> PlotData:
    study, runs = make_study(), make_runs()
    made = fit_and_predict(study, {"runs": runs})
    specification = specification_curves(study, {"runs": runs}, made.fits)
    return PlotData(study, "laptop", runs=runs, **made._asdict(), specification=specification)


def drawn(fig, gid: str) -> list:
    return [each for ax in fig.axes for each in (*ax.lines, *ax.collections) if each.get_gid() == gid]


@pytest.mark.parametrize("name", ["law", "held", "coefficients", "specification", "optima"])
def test_figures_are_saved_and_say_so_when_there_is_nothing(name, data, tmp_path):
    save(render(name, data), tmp_path / "a.svg", tmp_path / "a.png")
    assert (tmp_path / "a.svg").stat().st_size > 1000
    empty = PlotData(data.study, "laptop", runs=data.runs.iloc[:0], fits=data.fits.iloc[:0])
    save(render(name, empty), tmp_path / "b.svg", tmp_path / "b.png")
    assert (tmp_path / "b.png").exists()


def test_law_figure_draws_each_run_once_and_rings_those_held_out(data):
    fig = render("law", data)
    above = fig.axes[0]
    inside, held = ([c for c in above.collections if c.get_gid() == gid] for gid in ("points", "held out"))
    counts = [len(part[0].get_offsets()) for part in (inside, held)]
    expected = int((data.runs["parameters"] > 1.5e9).sum())
    assert counts == [len(data.runs) - expected, expected]
    assert expected > 0


def test_a_held_out_run_without_an_interval_is_neither_in_it_nor_outside(data):
    """As a stored table has them: objects, missing where there is no interval."""
    first = data.predictions.head(1)
    held = pd.concat([first] * 3, ignore_index=True).assign(inside=pd.Series([True, False, None], dtype=object))
    held.loc[2, ["low", "high"]] = np.nan
    fig = render("held", replace(data, predictions=held))
    for name in ("inside", "outside", "no interval"):
        assert [len(line.get_xdata()) for line in drawn(fig, name)] == [1], name


def test_held_out_runs_are_drawn_where_they_were_measured_and_predicted(data):
    rows = data.predictions
    fig = render("held", data)
    (ax,) = fig.axes
    for name, of_these in (("inside", rows["inside"]), ("outside", ~rows["inside"])):
        points = [line.get_xydata() for line in drawn(fig, name)]
        expected = rows.loc[of_these.astype(bool), ["measured", "predicted"]].to_numpy(float)
        assert sum(map(len, points)) == len(expected)
        if len(expected):
            assert np.sort(points[0], axis=0) == pytest.approx(np.sort(expected, axis=0))
    assert f"{len(rows)} runs" in ax.get_title(loc="left") or any(f"{len(rows)} runs" in t.get_text() for t in ax.texts)
    nothing_known = rows.assign(low=np.nan, high=np.nan, inside=pd.NA)
    again = render("held", replace(data, predictions=nothing_known))
    assert len(drawn(again, "no interval")[0].get_xydata()) == len(rows)


def test_law_figure_draws_the_fitted_law(data):
    fits = data.fits[data.fits["fit"] == "law"].set_index("parameter")["estimate"]
    line = drawn(render("law", data), "law")[0]
    tokens, loss = line.get_data()
    size = data.runs["parameters"].min()
    expected = fits["e"] + fits["a"] / size ** fits["alpha"] + fits["b"] / tokens ** fits["beta"]
    assert loss == pytest.approx(expected, rel=1e-9)


def test_residuals_are_in_percent_of_the_law(data):
    below = render("law", data).axes[1]
    offsets = np.concatenate([np.asarray(part.get_offsets())[:, 1] for part in below.collections])
    assert 0.02 < np.abs(offsets).mean() < 0.2  # noise of 0.1 %


def test_coefficients_show_the_derived_number_of_a_complete_published_vector(data):
    fig = render("coefficients", data)
    titles = [ax.get_title(loc="left") for ax in fig.axes]
    ax = fig.axes[titles.index("compute exponent")]
    marks = [line.get_xdata()[0] for line in ax.lines if line.get_ydata()[0] == pytest.approx(0.6)]
    assert marks == [pytest.approx(0.3 / 0.64)]


def test_specification_curve_shows_every_choice_and_shades_the_claim(data):
    fig = render("specification", data)
    (ax,) = fig.axes
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert any(label.startswith("as declared") for label in labels)
    assert any("without tokens" in label for label in labels)
    (region,) = ax.patches
    assert region.get_x() == pytest.approx(-0.07) or region.get_x() == pytest.approx(ax.get_xlim()[0])


def test_specification_curve_wants_the_group_named(data):
    figures = {"bad": {"plot": "specification_curve", "fit": "slope", "options": {"where": {"source": "x"}}}}
    wrong = PlotData(make_study(figures=figures), "laptop", runs=data.runs, fits=data.fits)
    with pytest.raises(MusterError, match=r"options\.where"):
        render("bad", wrong)


def test_optima_lie_where_the_fit_put_them(data):
    row = data.fits[(data.fits["fit"] == "frontier") & data.fits["primary"]].iloc[0]
    cells = [cell for cell in json.loads(row["diagnostics"])["cells"] if cell["status"] == "interior"]
    shown = {(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in drawn(render("optima", data), "optimum")}
    assert len(shown) == len(cells) >= 3
    for cell in cells:
        assert any(
            x == pytest.approx(cell["flops"]) and y == pytest.approx(2 ** cell["log2_parameters"]) for x, y in shown
        )
    slope = drawn(render("optima", data), "fit")[0]
    (x0, x1), (y0, y1) = slope.get_data()
    assert np.log(y1 / y0) / np.log(x1 / x0) == pytest.approx(row["estimate"])


def test_a_law_figure_needs_a_law(data):
    wrong = make_study(figures={"bad": {"plot": "law_fit", "fit": "slope"}})
    with pytest.raises(MusterError, match="fits no law"):
        render("bad", PlotData(wrong, "laptop", runs=data.runs, fits=data.fits))
