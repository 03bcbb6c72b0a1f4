"""The figure of curve distances: its lines against the estimator's, its window, and what it refuses."""

import numpy as np
import pytest

from muster.config.models import FigureConfig, StudyConfig
from muster.errors import MusterError
from muster.fitting.estimators.curve_distance import CurveDistanceOptions, distances, read_curves
from muster.plots import PLOTS, PlotData
from tests.unit.fitting.test_curve_distance import curves


def make(seeds: int = 3) -> tuple[PlotData, FigureConfig]:
    study = StudyConfig.model_validate(
        {
            "study": "near",
            "title": "Near",
            "paper": "none",
            "slug": "near",
            "experiment": "train",
            "scales": {"laptop": {"grid": [{"width": 1}]}},
            "fits": {
                "late": {
                    "estimator": "curve_distance",
                    "table": "curves",
                    "response": "eval_loss",
                    "options": {"product": ["log2_lr", "weight_decay"], "rival": "log2_lr", "first": 20},
                },
                "other": {"estimator": "mean", "table": "runs", "response": "final_eval_loss"},
            },
            "claims": [],
        }
    )
    spec = FigureConfig(plot="curve_distance", fit="late")
    return PlotData(study, "laptop", curves=curves(1.0, seeds=seeds)), spec


def test_lines_are_the_distances_at_every_step_and_the_window_is_shaded() -> None:
    data, spec = make()
    ax = PLOTS["curve_distance"](data, spec).axes[0]
    lines = {line.get_gid(): line for line in ax.lines if line.get_gid()}
    options = CurveDistanceOptions(product=["log2_lr", "weight_decay"], rival="log2_lr")
    found = distances(read_curves(data.curves, data.study.fits["late"], options)[0], range(3))
    assert lines.keys() == found.keys()
    for name, along in found.items():
        np.testing.assert_array_equal(lines[name].get_xdata(), [10, 20, 30])
        np.testing.assert_allclose(lines[name].get_ydata(), along)
    (window,) = ax.patches
    assert window.get_x() == 20


def test_one_seed_has_no_distance_and_another_fit_none_either() -> None:
    data, spec = make(seeds=1)
    assert not PLOTS["curve_distance"](data, spec).axes[0].lines
    with pytest.raises(MusterError, match="curve_distance"):
        PLOTS["curve_distance"](data, spec.model_copy(update={"fit": "other"}))
