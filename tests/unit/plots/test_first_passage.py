"""The figure of first-passage times: what it draws of known and censored runs, and the line against the estimates."""

import numpy as np
import pytest

from muster.config.models import FigureConfig, StudyConfig
from muster.errors import MusterError
from muster.fitting import fit_study
from muster.plots import PLOTS, PlotData
from tests.unit.fitting.test_first_passage import exponential, table

UNIT = 10


def make(options=None, rows=None, **fit_options) -> tuple[PlotData, FigureConfig]:
    study = StudyConfig.model_validate(
        {
            "study": "times",
            "title": "Times",
            "paper": "none",
            "slug": "times",
            "experiment": "train",
            "scales": {"laptop": {"grid": [{"width": 1}]}},
            "fits": {
                "share": {
                    "estimator": "first_passage",
                    "table": "probes",
                    "response": "value",
                    "along": "examples",
                    "options": {"level": 0.99, "unit": UNIT, **fit_options},
                }
            },
            "claims": [
                {"claim": "falls", "statement": "s", "source": "s", "provenance": "derived", "fit": "share",
                 "test": "interval", "predicted": -0.2, "margin": 0.05},
                {"claim": "form", "statement": "s", "source": "s", "provenance": "derived", "fit": "share",
                 "parameter": "aicc", "test": "greater", "predicted": 0},
            ],
        }
    )  # fmt: skip
    rows = table(exponential, seeds=4) if rows is None else rows
    _, fits = fit_study(study, {"probes": rows})
    return PlotData(study, "laptop", probes=rows, fits=fits), FigureConfig(
        plot="first_passage", fit="share", options=options or {}
    )


def drawn(fig) -> dict:
    return {line.get_gid(): line for line in fig.axes[0].lines if line.get_gid()}


def test_runs_medians_and_the_line_of_the_estimate():
    data, spec = make(options={"total": 8.0})
    lines = drawn(PLOTS["first_passage"](data, spec))
    assert len(lines["seeds"].get_xdata()) + len(lines["censored"].get_xdata()) == 32
    assert lines["censored"].get_ydata() == pytest.approx(4000)
    x, y = lines["fit"].get_data()
    row = data.fits[data.fits["primary"] & (data.fits["parameter"] == "slope")].iloc[0]
    np.testing.assert_allclose(np.log(y), row["intercept"] + row["estimate"] * x * 8.0 / UNIT, rtol=1e-6)
    shown, times = lines["seeds"].get_data()
    assert shown.max() == lines["means"].get_xdata().max() == 640 / 8
    x, y = lines["prediction"].get_data()
    slope, level = np.polyfit(x * 8.0 / UNIT, np.log(y), 1)
    assert slope == pytest.approx(-0.2)
    assert level - 0.2 * shown.mean() * 8.0 / UNIT == pytest.approx(np.log(times).mean())


def test_the_slope_stands_above_without_the_claim_on_the_form():
    fig = PLOTS["first_passage"](*make())
    told = " ".join(text.get_text() for text in fig.axes[0].texts).replace("\N{NO-BREAK SPACE}", " ")
    assert "slope −0.2" in told
    assert "−0.2 ± 0.05" in told
    assert "≥" not in told


def test_a_log_axis_draws_a_power_law():
    data, spec = make(rows=table(lambda x: 6 - 1.5 * np.log(x / 480), seeds=3), scale="log", unit=1)
    x, y = drawn(PLOTS["first_passage"](data, spec))["fit"].get_data()
    assert np.polyfit(np.log(x), np.log(y), 1)[0] == pytest.approx(-1.5, abs=0.5)


def test_a_fit_of_another_kind_is_refused():
    data, spec = make()
    with pytest.raises(MusterError, match="first_passage"):
        PLOTS["first_passage"](data, spec.model_copy(update={"fit": None}))
