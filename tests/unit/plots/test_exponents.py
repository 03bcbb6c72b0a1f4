"""The figure of exponents: points where the fit has them, the line of equality, and words when there is nothing."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from muster.config.models import StudyConfig
from muster.errors import MusterError
from muster.fitting import fit_study
from muster.plots import PlotData, render, save

TREND = {
    "estimator": "exponent_trend",
    "response": "final_eval_loss",
    "along": "examples",
    "select": {"side": "data"},
    "options": {"across": "features", "factor": -4, "power": -1},
}
PAIRS = {
    "estimator": "exponent_difference",
    "response": "final_eval_loss",
    "along": "examples",
    "options": {"across": "features", "along_b": "parameters", "a": {"side": "data"}, "b": {"side": "size"}},
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    runs = [
        {
            "features": d,
            "side": side,
            "examples": n,
            "parameters": n,
            "seed": seed,
            "final_eval_loss": n**-slope * jitter,
        }
        for d in (3, 4, 6, 12)
        for side, slope in (("data", 4 / d), ("size", 3 / d))
        for n in (16, 32, 64, 128)
        for seed, jitter in enumerate(np.exp(0.02 * rng.standard_normal(2)))
    ]
    runs = pd.DataFrame(runs).assign(study="s", diverged=False)
    study = StudyConfig.model_validate(
        {
            "study": "s", "title": "t", "paper": "p", "slug": "s", "experiment": "train",
            "scales": {"laptop": {"grid": [{"width": 8}]}},
            "fits": {"trend": TREND, "pairs": PAIRS, "few": TREND | {"select": {"features": [3, 4], "side": "data"}}},
            "claims": [
                {"claim": "c", "statement": "c", "source": "c", "provenance": "derived", "fit": "trend",
                 "parameter": "slope", "test": "equivalence", "predicted": 1, "margin": 0.2},
            ],
            "figures": {
                "trend": {"plot": "exponent_trend", "fit": "trend"},
                "pairs": {"plot": "exponent_trend", "fit": "pairs"},
                "few": {"plot": "exponent_trend", "fit": "few"},
                "none": {"plot": "exponent_trend"},
            },
        }
    )  # fmt: skip
    return PlotData(study, "laptop", runs=runs, fits=fit_study(study, {"runs": runs})[1])


def heights(fig):
    bars = [part for part in fig.axes[0].containers if part.get_label() != "x"]
    return sorted(float(bar.lines[0].get_ydata()[0]) for bar in bars)


def test_points_lie_at_the_measured_exponents_and_the_line_of_equality_is_drawn(data, tmp_path):
    fig = render("trend", data)
    np.testing.assert_allclose(heights(fig), [-4 / 3, -1, -2 / 3, -1 / 3], atol=0.05)
    lines = {line.get_gid(): line for line in fig.axes[0].lines if line.get_gid()}
    np.testing.assert_allclose(*lines["prediction"].get_data())
    assert np.polyfit(*lines["fit"].get_data(), 1)[0] == pytest.approx(1, abs=0.1)
    words = " ".join(text.get_text() for text in fig.findobj(Text))
    assert "predicted\N{NO-BREAK SPACE}1" in words
    save(fig, tmp_path / "a.svg", tmp_path / "a.png")


def test_pairs_are_drawn_against_each_other(data):
    np.testing.assert_allclose(heights(render("pairs", data)), [-1, -3 / 4, -1 / 2, -1 / 4], atol=0.05)


def test_two_exponents_are_still_shown(data):
    fig = render("few", data)
    assert len(heights(fig)) == 2
    assert "fit" not in {line.get_gid() for line in fig.axes[0].lines}


def test_a_figure_of_exponents_needs_its_fit(data):
    with pytest.raises(MusterError, match="compares no exponents"):
        render("none", data)
