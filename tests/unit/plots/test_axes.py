"""What axes owe to their data: every point is inside its panel or counted there, intervals that go on end in arrows."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.markers import CARETDOWN

from muster.config.models import StudyConfig
from muster.plots import PLOTS, PlotData, render
from muster.plots.axes import category_axis, fit_log_axis, log_x_axis, octaves, shape_axis
from muster.plots.layout import panels
from muster.plots.style import paper
from muster.plots.theory_profile import side_by_side
from tests.unit.plots import test_curve_distance as test_plot_curve_distance
from tests.unit.plots import test_exponents as test_plot_exponents
from tests.unit.plots import test_first_passage as test_plot_first_passage
from tests.unit.plots import test_laws as test_plots_laws
from tests.unit.plots import test_plots
from tests.unit.plots.test_plots import drawn, legend_texts, texts

transfer, laws, exponents = test_plots.data, test_plots_laws.data, test_plot_exponents.data


def with_zeros(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Every seventh value zero or below, every eleventh a thousand times larger."""
    table = table.copy()
    for column in columns:
        if column in table:
            values = table[column].to_numpy(float).copy()
            values[::7], values[3::11] = 0.0, 1000 * values[3::11]
            values[5::21] *= -1
            table[column] = values
    return table


def with_wide_errors(table: pd.DataFrame) -> pd.DataFrame:
    """Errors beyond all values; every third interval unbounded, above or on both sides."""
    table = table.copy()
    if "se" in table:
        table["se"] = table["se"] * 1e4
    if "ci_low" in table:
        low, high = table["ci_low"].to_numpy(float).copy(), table["ci_high"].to_numpy(float).copy()
        low, high = low - 100 * (high - low), high + 100 * (high - low)
        high[::3], low[1::3], high[1::3] = np.inf, -np.inf, np.inf
        table["ci_low"], table["ci_high"] = low, high
    return table


LOSSES = ["value", "final_train_loss", "final_eval_loss", "train_loss", "eval_loss"]
TABLES = ("runs", "curves", "probes")
FITTED = ("optima", "fits", "specification", "claims")
CHANGES = {
    "as they are": lambda data: data,
    "zeros and outliers": lambda data: replace(data, **{n: with_zeros(getattr(data, n), LOSSES) for n in TABLES}),
    "wide errors": lambda data: replace(data, **{n: with_wide_errors(getattr(data, n)) for n in ("probes", *FITTED)}),
    "far estimates": lambda data: replace(
        data,
        optima=data.optima.assign(loss_at_opt=lambda t: t["loss_at_opt"] * 50) if len(data.optima) else data.optima,
        fits=with_zeros(data.fits, ["estimate", "intercept"]),
        specification=with_zeros(data.specification, ["estimate"]),
        claims=with_zeros(data.claims, ["estimate"]),
    ),
}


@pytest.fixture(scope="module")
def studies(transfer, laws, exponents) -> dict[str, tuple[PlotData, str]]:
    """A figure of every registered plot: plot → tables and figure's name."""
    passages, spec = test_plot_first_passage.make()
    passages = replace(passages, study=passages.study.model_copy(update={"figures": {"times": spec}}))
    samples = replace(transfer, probes=test_plots.make_samples())
    near, spec = test_plot_curve_distance.make()
    near = replace(near, study=near.study.model_copy(update={"figures": {"near": spec}}))
    found = {
        "theory_profile": (samples, "variance"),
        "first_passage": (passages, "times"),
        "curve_distance": (near, "near"),
    }
    for data in (transfer, laws, exponents):
        for name, spec in data.study.figures.items():
            found.setdefault(spec.plot, (data, name))
    return found


def places(fig: Figure) -> list[tuple[int, int]]:
    """Per panel: markers outside it, by their place on the canvas, and how many it says there are."""
    found = []
    for ax in fig.axes:
        points = [
            line.get_xydata()[slice(None) if line.get_markevery() is None else np.flatnonzero(line.get_markevery())]
            for line in ax.lines
            if line.get_marker() not in ("", "None", None) and line.get_gid() not in ("cap", "arrow")
            if line.get_transform() == ax.transData
        ]
        points += [np.asarray(part.get_offsets()) for part in ax.collections if isinstance(part, PathCollection)]
        points = np.concatenate([*points, np.empty((0, 2))]).astype(float)
        points = points[np.isfinite(points).all(axis=1)]
        with np.errstate(all="ignore"):
            at = ax.transAxes.inverted().transform(ax.transData.transform(points)) if len(points) else points
        outside = ~((at > -1e-6) & (at < 1 + 1e-6)).all(axis=1) if len(points) else np.empty(0)
        told = re.search(r"(\d+) points? beyond the axis", texts(ax).replace("\n", " "))
        found.append((int(outside.sum()), int(told.group(1)) if told else 0))
    return found


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("plot", list(PLOTS))
def test_every_point_lies_inside_its_axes_or_is_counted(plot, change, studies):
    data, figure = studies[plot]
    changed = CHANGES[change](data)
    if plot == "law_fit":  # it says itself that a law has no logarithm of such rows
        loss = changed.runs["final_eval_loss"].abs().clip(lower=1e-6)
        changed = replace(changed, runs=changed.runs.assign(final_eval_loss=loss))
    for outside, told in places(render(figure, changed)):
        assert outside == told


def test_a_point_without_a_place_is_counted(laws):
    runs = laws.runs.copy()
    runs.loc[runs.index[4], "final_eval_loss"] *= 3
    (above, below) = places(render("law", replace(laws, runs=runs)))
    assert above == (0, 0)
    assert below == (1, 1)


@pytest.fixture
def axis():
    with paper():
        _, (ax,) = panels(1)
        yield ax


def test_an_interval_down_to_zero_hides_no_point(transfer):
    """Eight points of which one has an interval that reaches zero: all eight are seen, and the interval's end too."""
    samples = test_plots.make_samples()
    samples = samples[(samples["width"] == 64) & samples["layer"].gt(1)]
    samples.loc[samples["layer"] == 4, "se"] = 10.0
    tree = transfer.study.model_dump(by_alias=True)
    tree["figures"]["variance"]["options"] = {"y_axis": "log"}
    ax = render("variance", replace(transfer, study=StudyConfig.model_validate(tree), probes=samples)).axes[0]
    (points,) = drawn(ax, "points")
    low, high = ax.get_ylim()
    assert len(points.get_ydata()) == 5
    assert ((points.get_ydata() > low) & (points.get_ydata() < high)).all()
    assert high / low < 1e4
    assert {mark.get_marker() for mark in drawn(ax, "arrow")} == {CARETDOWN}


@pytest.mark.parametrize("bottom", [0.0, -3.0, 1e-300, np.nan])
def test_a_log_axis_is_fitted_to_positive_points(axis, bottom):
    axis.plot([1, 2, 3], [0.5, 2, 8], "o")
    axis.plot([2, 2], [bottom, 5.0])
    fit_log_axis([axis])
    low, high = axis.get_ylim()
    assert 0.5 / 16 < low < 0.5
    assert 8 < high < 16


def test_an_axis_without_a_positive_value_is_linear(axis):
    axis.plot([1, 2], [0, -1], "o")
    fit_log_axis([axis])
    assert axis.get_yscale() == "linear"


def test_an_axis_of_shapes_leaves_out_what_has_no_logarithm(axis):
    axis.plot([0, 1, 2, 4], [1, 1, 1, 1], "o")
    shape_axis(axis, [0, 1, 2, 4])
    assert 0.5 < axis.get_xlim()[0] < 1


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("x", [[1.0, 2, 4, 48], [0.0, 48.0], [3.0]])
def test_hues_side_by_side_stay_inside_the_range_and_apart(x, count):
    x = np.array(x)
    beside = np.array([side_by_side(x, index, count) for index in range(count)])
    assert beside.min() >= x.min()
    assert beside.max() <= x.max() + 1e-12
    if count > 1 and len(x) > 1:
        assert (np.diff(beside, axis=0) > 0).all()
        assert (beside[-1, :-1] < beside[0, 1:]).all()


def test_many_ratios_are_bands_and_no_point_lies_beyond_the_last_layer(transfer):
    layers = pd.concat(
        [
            test_plots.make_samples().query("layer == 1").assign(layer=layer, value=lambda t: t["value"] * t["layer"])
            for layer in range(1, 49)
        ]
    )
    fig = render("variance", replace(transfer, probes=layers))
    _, ratio = fig.axes
    ends = [line.get_xdata() for line in ratio.lines if line.get_gid() == "ratio"]
    assert [(each.min(), each.max()) for each in ends] == [(1, 48)] * 3
    assert len(drawn(ratio, "range")) == 3
    assert "95 % interval of the ratio" in legend_texts(fig)


CROWDS = {
    "doubled widths": lambda ax: shape_axis(ax, [2**k for k in range(3, 17)]),
    "close widths": lambda ax: shape_axis(ax, [96, 100, 104, 128, 130]),
    "parameter counts": lambda ax: shape_axis(ax, [12_345, 24_690, 60_000, 98_760, 250_000]),
    "powers of ten": lambda ax: log_x_axis(ax, 1.1e18, 9e18),
    "decades": lambda ax: log_x_axis(ax, 1e-9, 1e21),
    "rates": lambda ax: (ax.set_xlim(-20.5, -3.5), octaves(ax, "x", -20.5, -3.5)),
    "half octaves": lambda ax: (ax.set_xlim(-7.6, -5.9), octaves(ax, "x", -7.6, -5.9)),
    "categories": lambda ax: category_axis(ax, [2.0**k for k in range(8, 24)]),
}


@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize("crowd", CROWDS)
def test_tick_labels_keep_apart(crowd, columns):
    with paper():
        fig, axes = panels(columns, columns)
        for ax in axes:
            CROWDS[crowd](ax)
        fig.draw_without_rendering()
        for ax in axes:
            low, high = sorted(ax.get_xlim())
            labels = [
                label for label in ax.get_xticklabels() if label.get_text() and low <= label.get_position()[0] <= high
            ]
            boxes = sorted((label.get_window_extent().x0, label.get_window_extent().x1) for label in labels)
            assert len(boxes) >= 2
            assert all(before[1] < after[0] for before, after in itertools.pairwise(boxes))
