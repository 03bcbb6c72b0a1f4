"""What a reader of a figure is owed: nothing cut or on top of each other, and words that say what is shown."""

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from PIL import Image

from muster.config.models import StudyConfig
from muster.plots import layout, render, style, words
from muster.plots.axes import draw_interval, keep_ticks_apart, shape_axis, show_what_is_cut
from muster.plots.base import PLOTS
from muster.plots.power_law import BOUNDS
from tests.conftest import ROOT
from tests.unit.plots import test_exponents as test_plot_exponents
from tests.unit.plots import test_laws as test_plots_laws
from tests.unit.plots import test_plots
from tests.unit.plots.test_axes import studies  # noqa: F401  a fixture
from tests.unit.plots.test_plots import drawn, legend_texts, panels_of, texts

transfer, laws, exponents = test_plots.data, test_plots_laws.data, test_plot_exponents.data
RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻·−", "0123456789-.-")


def number_of(label: str) -> float:
    """The number that a label shows."""
    head, base, exponent = label.rpartition("10") if re.search(r"10[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]", label) else (label, "", "")
    lead = head.rstrip("×").translate(RAISED)
    return float({"": "1", "-": "-1"}.get(lead, lead)) * (10.0 ** int(exponent.translate(RAISED)) if base else 1)


@given(st.floats(1e-290, 1e290), st.sampled_from([-1, 1]))
def test_a_tick_shows_its_number_to_three_digits_with_a_lead_below_ten(size, sign):
    label = words.tick_text(sign * size)
    assert number_of(label) == pytest.approx(sign * size, rel=0.0051)
    lead = label.translate(RAISED).lstrip("-").split("×")[0] if "×" in label else "1"
    assert 1 <= float(lead) < 10
    assert not label.lstrip("−").startswith("1×")


@given(st.integers(0, 999_999))
def test_a_whole_number_that_was_chosen_is_not_rounded(value):
    assert number_of(words.tick_text(value)) == pytest.approx(value, rel=1e-12) or value < 10_000


def test_ticks_of_sizes_that_were_seen_to_be_wrong():
    told = {9.98e18: "9.98×10¹⁸", 9.999e18: "10¹⁹", 2**20: "1.05×10⁶", 2**15: "32768", 12800: "12800", 2e5: "2×10⁵"}
    assert {value: words.tick_text(value) for value in told} == told


@given(st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_setting_keeps_its_digits_and_has_no_e(value):
    label = words.word(value)
    assert "e" not in label
    assert number_of(label) == pytest.approx(float(f"{value:g}") if isinstance(value, float) else value, rel=1e-12)


def test_settings_in_words():
    assert words.phrase({"normalized": False, "bias": False, "symmetric": False, "qk_norm": False}) == (
        "not normalized · no bias · not symmetric · no QK norm"
    )
    assert words.phrase({"deduplicated": 0, "missed": 0, "seed": 1}) == "not deduplicated · missed 0 · seed 1"
    assert words.phrase({"parameters": 25_000_000, "ridge": 1e-9}) == "parameters 2.5×10⁷ · ridge 10⁻⁹"
    assert words.in_powers("without 3.30663e+20, 1e-4 of it; name 2e-3x_1e5") == (
        "without 3.31×10²⁰, 10⁻⁴ of it; name 2×10⁻³x_1e5"
    )


def test_a_legend_of_texts_has_no_unit():
    assert words.hue_label("method", ["gaussian", "orthogonal"]) == "method"
    assert words.hue_label("method", [1, 2]) == "method (dimensionless)"


def test_a_title_names_no_column_of_which_several_values_are_shown(transfer):
    tree = transfer.study.model_dump(by_alias=True)
    tree["figures"]["sweep"]["select"] = {"optimizer": ["adam", "sgd"], "parameterization": "mup"}
    given_study = StudyConfig.model_validate(tree)
    title = " ".join(render("sweep", replace(transfer, study=given_study)).get_suptitle().split())
    assert title.endswith("(μP)")


@pytest.mark.parametrize(
    ("select", "told"),
    [
        ({"steps": [12, 64]}, "(steps 64)"),  # 12 is that of another scale
        ({"steps": [64]}, "(steps 64)"),
        ({"width": [32, 512]}, "by width"),  # both are lines of the figure
        ({"rule": ["global", "spectral"], "seed": 1}, "(global rate)"),
    ],
)
def test_a_title_names_of_a_list_what_occurs(select, told, transfer):
    tree = transfer.study.model_dump(by_alias=True)
    tree["figures"]["sweep"]["select"] = select
    fig = render("sweep", replace(transfer, study=StudyConfig.model_validate(tree)))
    assert " ".join(fig.get_suptitle().split()).endswith(told)


@pytest.mark.parametrize("inches", np.linspace(1.6, 4, 12))
def test_no_line_of_a_text_begins_with_a_number_or_a_dot(inches):
    text = "Large eigenvalues against clusters k (width 24 · layer 16 · init −1): μP −0.27 [−0.34, −0.19]; 4 of 9 shown"
    lines = layout._lines(text, inches, 7)
    assert " ".join(lines) == text
    assert all(layout.text_inches(line, 7) <= inches for line in lines)
    assert not [line for line in lines if re.match(r"[·(\[]*[−-]?\d|·", line) and not line.startswith("4 of 9")]


def test_a_line_without_room_is_broken_at_any_space():
    """A note that cannot be broken would press its panel to nothing."""
    for inches in (0.3, 0.6, 0.9):
        lines = layout._lines("slope −0.27 [−0.34, −0.19] −0.18 −0.17 −0.16; 4 of 9", inches, 7)
        assert all(layout.text_inches(line, 7) <= inches or " " not in line for line in lines)


def boxes_apart(boxes) -> bool:
    return not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("plot", [name for name in PLOTS if name != "forest"])
def test_texts_do_not_meet_and_none_is_cut(plot, studies):  # noqa: F811
    """Titles, notes, labels of axes and the legend lie inside the figure and apart from each other."""
    data, name = studies[plot]
    fig = render(name, data)
    fig.draw_without_rendering()
    parts = [legend.get_window_extent() for legend in fig.legends]
    for ax in fig.axes:
        notes = [text for text in ax.texts if text.get_gid() == layout.NOTE]
        shown = [ax._left_title, ax.xaxis.label, ax.yaxis.label, *notes]
        parts += [text.get_window_extent() for text in shown if text.get_text()]
    assert boxes_apart(parts)
    assert all(box.x0 >= -1 and box.y0 >= -1 for box in parts)
    assert all(box.x1 <= fig.bbox.x1 + 1 and box.y1 <= fig.bbox.y1 + 1 for box in parts)


@pytest.mark.parametrize("entries", [3, 16, 30])
def test_a_legend_has_the_height_and_width_that_it_needs(entries):
    """The last of 24 entries was cut off; one long entry took half of its panel's width."""
    with style.paper():
        fig, (ax,) = layout.panels(1)
        long = "same product learning rate × weight decay and more words than have room"
        layout.legend(fig, [layout.line_key(f"{k}", "C0") for k in range(entries)] + [layout.line_key(long)])
        layout.outer_labels([ax], "step (updates)", "loss (nats)")
        layout.heading(fig, "A title", "a study")
        fig.draw_without_rendering()
        box = fig.legends[0].get_window_extent()
        assert box.y0 >= 0
        assert box.x1 <= fig.bbox.x1 + 1
        assert ax.get_window_extent().width / fig.dpi > 2.6


def test_titles_of_a_row_stand_at_one_height_with_their_notes_below():
    with style.paper():
        fig, axes = layout.panels(3)
        for ax, note in zip(axes, ["", "one line", "first\nsecond\nthird"], strict=True):
            layout.panel_title(ax, "panel", note)
        layout.heading(fig, "A title", "a study")
        fig.draw_without_rendering()
        tops = [ax._left_title.get_window_extent() for ax in axes]
        assert max(box.y0 for box in tops) - min(box.y0 for box in tops) < 0.5
        for ax, top in zip(axes[1:], tops[1:], strict=True):
            (note,) = [text for text in ax.texts if text.get_gid() == layout.NOTE]
            assert 0 <= top.y0 - note.get_window_extent().y1 < 6
            assert note.get_window_extent().y0 >= ax.bbox.y1


def test_a_further_clause_leaves_the_lines_of_a_note_apart():
    with style.paper():
        _, (ax,) = layout.panels(1)
        layout.panel_title(ax, "panel", "SP: −1\nμP: 0")
        layout.add_note(ax, "2 points beyond the axis")
        assert texts(ax).split("\n") == ["SP: −1", "μP: 0; 2 points beyond the axis"]


def settle_beside_a_legend(fig, axes, x, y):
    layout.outer_labels(axes, x, y)
    layout.legend(fig, [layout.line_key("optimum beyond the grid: best rate")])
    layout.heading(fig, "A title", "a study")
    keep_ticks_apart(fig)
    fig.draw_without_rendering()


def check_ticks_apart(ax, pixels):
    """At least two labels of ticks are seen, and more than so many pixels lie between neighbours."""
    low, high = ax.get_xlim()
    seen = [each for each in ax.get_xticklabels() if each.get_text() and low <= each.get_position()[0] <= high]
    spans = sorted((each.get_window_extent().x0, each.get_window_extent().x1) for each in seen)
    assert len(spans) >= 2
    assert all(before[1] + pixels < after[0] for before, after in itertools.pairwise(spans))


@pytest.mark.parametrize("columns", [1, 2, 4])
@pytest.mark.parametrize("values", [[2**k for k in range(10)], [24, 64, 512, 2048, 8192, 32768], [3, 4, 6, 8, 512]])
def test_ticks_keep_apart_beside_a_wide_legend(columns, values):
    with style.paper():
        fig, axes = layout.panels(columns, columns, sharey=False)
        for ax in axes:
            shape_axis(ax, values, most=20)
            ax.set_ylim(1.0001e-7, 1.0009e-7)  # long labels, beside which a panel is narrower than was planned
            ax.ticklabel_format(axis="y", useOffset=False, style="plain")
        settle_beside_a_legend(fig, axes, "batch size (examples)", "optimal learning rate\n(dimensionless)")
        for ax in axes:
            check_ticks_apart(ax, 2)


@pytest.mark.parametrize("columns", [1, 2, 4])
@pytest.mark.parametrize("limits", [(-1.0025, -0.9825), (-2.1, -0.4), (0, 1.2e6)])
def test_ticks_of_a_linear_axis_keep_apart(columns, limits):
    """Beside labels as long as these a panel is narrower than was planned."""
    with style.paper():
        fig, axes = layout.panels(columns, columns, sharey=False)
        for ax in axes:
            ax.set_xlim(*limits)
            ax.set_ylim(1.0001e-7, 1.0009e-7)
            ax.ticklabel_format(useOffset=False, style="plain")
        settle_beside_a_legend(fig, axes, "exponent (dimensionless)", "loss (nats)")
        for ax in axes:
            check_ticks_apart(ax, 4)


def test_labels_of_panels_above_each_other_do_not_meet():
    with style.paper():
        fig, axes = layout.panels(2, 1, size=(3.1, 1.9), heights=[2, 1])
        axes[0].set_ylabel("change of 1 − mean cosine per layer of the tokens (dimensionless)")
        axes[1].set_ylabel("measured over its closed form at the same depth\n(dimensionless)")
        layout.heading(fig, "A title", "a study")
        fig.draw_without_rendering()
        above, below = (ax.yaxis.label.get_window_extent() for ax in axes)
        assert above.y0 > below.y1
        assert below.y0 >= -1


@pytest.mark.parametrize("columns", [2, 4])
def test_labels_of_panels_beside_each_other_do_not_meet(columns):
    with style.paper():
        fig, axes = layout.panels(columns, columns)
        layout.outer_labels(axes, "norm of the weights at the start of training (dimensionless)", "loss (nats)")
        layout.heading(fig, "A title", "a study")
        fig.draw_without_rendering()
        spans = [ax.xaxis.label.get_window_extent() for ax in axes]
        assert all(before.x1 + 2 < after.x0 for before, after in itertools.pairwise(spans))


@pytest.mark.parametrize("end", [np.inf, 50.0])
def test_the_legend_explains_arrows_where_there_are_some(end):
    with style.paper():
        for high, explained in ((end, True), (1.5, False)):
            fig, (ax,) = layout.panels(1)
            ax.plot([1], [1], "o")
            draw_interval(ax, 1, 1, (0.5, high), (0, 2), "y", "C0")
            ax.set_ylim(0, 2)
            layout.legend(fig, [layout.line_key("measured", marker="o")])
            show_what_is_cut(fig)
            assert legend_texts(fig) == ["measured", *(["interval goes on, or has no end"] if explained else [])]


def test_a_bound_is_not_drawn_as_a_prediction(transfer):
    fig = render("optimum", transfer)
    falling, flat = panels_of(fig)["SP · Adam"], panels_of(fig)["μP · Adam"]
    (claim,) = [claim for claim in transfer.study.claims if claim.claim == "sp-adam-falls"]
    assert claim.test in BOUNDS
    assert (len(drawn(falling, "bound")), len(drawn(falling, "prediction"))) == (1, 0)
    assert (len(drawn(flat, "bound")), len(drawn(flat, "prediction"))) == (0, 1)
    assert {"predicted slope", "claimed bound on the slope"} <= set(legend_texts(fig))
    looks = [drawn(falling, "bound")[0].get_linestyle(), drawn(flat, "prediction")[0].get_linestyle()]
    dashes = [drawn(falling, "bound")[0]._dash_pattern, drawn(flat, "prediction")[0]._dash_pattern]
    assert looks != dashes
    assert dashes[0] != dashes[1]


@given(st.integers(1, 12))
def test_marks_of_groups_that_agree_are_seen_around_each_other(count):
    sizes = [style.nested(index, count) for index in range(count)]
    assert sizes[-1] == 1
    assert max(sizes) <= 1.71
    assert all(before > after for before, after in itertools.pairwise(sizes))


def test_groups_of_the_same_values_are_all_seen(transfer):
    """Two groups with the same optima: the marker of the first is larger than that of the second on top of it."""
    same = transfer.optima[transfer.optima["group"].str.contains('"adam"')].assign(log2_lr_opt=-6.0)
    fig = render("optimum_hue", replace(transfer, optima=same))
    sizes = [line.get_markersize() for line in drawn(panels_of(fig)["Adam"], "optimum")]
    assert len(sizes) == 2
    assert sizes[0] > 1.2 * sizes[1]


def ink_under(fig, ax) -> float:
    """Share of a panel's pixels that are as dark as a saturated line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[::-1, :, :3]
    box = ax.bbox
    inside = pixels[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] / 255
    return float((np.abs(inside - to_rgb(style.CATEGORIES[0])).max(axis=2) < 0.15).mean())


def test_many_intervals_do_not_hide_the_runs(laws):
    """888 intervals side by side were one filled area with the runs and the line of equality beneath it."""
    (name,) = [name for name, spec in laws.study.figures.items() if spec.plot == "held_out"]
    predictions = laws.predictions
    first = predictions[predictions["fit"] == laws.study.figures[name].fit].iloc[0]
    measured = np.linspace(2.0, 3.0, 900)
    many = pd.DataFrame([first] * 900).assign(measured=measured, predicted=measured, low=measured - 0.3,
                                              high=measured + 0.3, inside=True, error=0.0)  # fmt: skip
    fig = render(name, replace(laws, predictions=many))
    assert ink_under(fig, fig.axes[0]) < 0.1


def test_a_strip_of_many_diverged_rates_leaves_the_panel_to_the_losses(transfer):
    runs = transfer.runs
    more = pd.concat([runs.assign(width=runs["width"] + shift) for shift in range(0, 12, 2)])
    axes = render("sweep", replace(transfer, runs=more)).axes
    crosses = [line.get_ydata()[0] for ax in axes for line in drawn(ax, "diverged")]
    assert min(crosses) > 0.69


def test_one_coloured_line_among_many_grey_ones_keeps_its_colour(tmp_path):
    """The choice that decides was grey in the small picture of a specification curve."""
    rng = np.random.default_rng(0)
    with style.paper():
        fig, (ax,) = layout.panels(1, room=4)
        fig.set_figheight(13)
        for at, value in enumerate(rng.uniform(0.25, 0.35, 78)):
            color = style.CATEGORIES[1] if at == 30 else style.MUTED
            draw_interval(ax, at, value, (value - 0.08, value + 0.08), (0, 1), "x", color)
            ax.plot([value], [at], "o", color=color, ms=4)
        ax.axvspan(0.25, 0.35, color=style.CATEGORIES[0], alpha=0.08, lw=0)
        ax.set_yticks(range(78), [f"rows within {k} of the best, wild cluster" for k in range(78)], fontsize=6.5)
        style.save_small(fig, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB")) / 255
    assert (np.abs(pixels - to_rgb(style.CATEGORIES[1])).max(axis=2) < 0.1).sum() > 50


def test_an_axis_of_a_parameter_over_decades_is_logarithmic_and_has_no_offset(laws):
    (name,) = [name for name, spec in laws.study.figures.items() if spec.plot == "coefficients"]
    fits = laws.fits.copy()
    wide = fits["parameter"] == "a"
    fits.loc[wide, ["ci_low", "estimate", "ci_high"]] = [1e-3, 400.0, 1.5e14]
    big = fits["parameter"] == "b"
    fits.loc[big, ["ci_low", "estimate", "ci_high"]] = [1e6, 2e6, 5e6]
    fig = render(name, replace(laws, fits=fits))
    fig.draw_without_rendering()
    panels = panels_of(fig)
    assert panels["A"].get_xscale() == "log"
    assert panels["B"].get_xscale() == "linear"
    assert {"α", "β", "E"} <= set(panels)
    assert {ax.xaxis.get_offset_text().get_text() for ax in fig.axes} == {""}
    assert any("×10⁶" in label.get_text() for label in panels["B"].get_xticklabels())


def test_ratios_near_one_stand_on_the_axis_without_an_offset():
    with style.paper():
        fig, (ax,) = layout.panels(1)
        ax.plot([0, 1], [1.00001, 1.00009])
        fig.draw_without_rendering()
        assert ax.yaxis.get_offset_text().get_text() == ""


def test_intervals_are_promised_only_where_there_are_some(transfer):
    samples = test_plots.make_samples()
    for given_samples, told in ((samples, "95 % interval"), (samples[samples["seed"] == 0].assign(se=np.nan), "no")):
        legend = legend_texts(render("variance", replace(transfer, probes=given_samples)))
        assert any(text.startswith(f"measured, {told}") for text in legend)


def test_every_label_of_a_study_names_its_unit():
    """Labels that studies write themselves carry a unit in brackets, as those of the plots do."""
    without = []
    for path in sorted((ROOT / "config/studies").glob("*.yaml")):
        for name, figure in (yaml.safe_load(path.read_text(encoding="utf-8")).get("figures") or {}).items():
            options = figure.get("options") or {}
            labels = [options[key] for key in ("label", "x_label", "hue_label", "rate") if key in options]
            without += [f"{path.stem}/{name}: {label}" for label in labels if words.without_unit(label) == label]
    assert without == []


def test_a_specification_curve_says_what_decides_what_is_claimed_and_what_was_left_out(laws):
    curve = laws.specification[laws.specification["fit"] == "slope"].copy()
    known = curve[(curve["parameter"] == "parameters") & curve["estimate"].notna()].head(1)
    curve = pd.concat([known] * 4, ignore_index=True).assign(variant="fit", declared=[True, False, False, False])
    curve["label"] = ["as declared", "without 3.30663e+20", "final_eval_loss", "Huber, 1e-3"]
    claims = [claim for claim in laws.study.claims if claim.fit == "slope"]
    fig = render("specification", replace(laws, specification=curve))
    (ax,) = fig.axes
    fig.draw_without_rendering()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    axis = words.name_of(laws.study.fits["slope"].along)
    assert set(labels) == {"as declared", f"without {axis} 3.31×10²⁰", "final held-out loss", "Huber, 10⁻³"}
    assert boxes_apart([label.get_window_extent() for label in ax.get_yticklabels()])
    assert claims
    for claim in claims:
        assert f"predicted {words.claim_text(claim.predicted, claim.margin, claim.test)}" in texts(ax)
    assert {"as declared, 95 % interval", "another choice"} <= set(legend_texts(fig))


def all_texts(fig):
    """Everything that is written in a figure, its lines joined."""
    return " ".join(" ".join(each.get_text() for each in fig.findobj(Text)).split())


def shown_in(figure, data):
    """The study's first claim, which this figure shows, and the data of such a study."""
    first, *others = data.study.claims
    first = first.model_copy(update={"figure": figure})
    return first, replace(data, study=data.study.model_copy(update={"claims": [first, *others]}))


@pytest.mark.parametrize(
    ("blocks", "passed", "scale", "marked"),
    [
        ("both", False, "laptop", True),
        ("both", True, "laptop", False),
        ("refuted", False, "laptop", False),  # it forbids no support
        ("both", False, "smoke", False),  # where nothing is judged
    ],
)
def test_a_figure_says_which_conditions_of_its_claims_are_not_met(transfer, blocks, passed, scale, marked):
    claim, transfer = shown_in("optimum", transfer)
    own = pd.DataFrame([(claim.claim, "steady(axis=width)", 0.25, -0.1, 0.1, passed, blocks)],
                       columns=["claim", "check", "value", "low", "high", "passed", "blocks"])  # fmt: skip
    said = all_texts(render(claim.figure, replace(transfer, scale=scale, regime=own)))
    told = f"Regime not met: steady(axis=width) 0.25 not in [−0.1, 0.1] ({claim.claim})"
    assert (told in said, "Regime" in said) == (marked, marked)
    assert "Regime" not in all_texts(render("sweep", replace(transfer, scale=scale, regime=own)))


def test_a_condition_that_could_not_be_computed_is_told_as_not_met(transfer):
    """It forbids a verdict like one whose number lies outside."""
    claim, transfer = shown_in("optimum", transfer)
    row = pd.DataFrame([{"claim": claim.claim, "check": "interior(share=0.5)", "value": np.nan, "low": 0.5, "high": 1.0,
                         "passed": False, "blocks": "both"}])  # fmt: skip
    said = all_texts(render(claim.figure, replace(transfer, regime=row)))
    assert f"Regime not met: interior(share=0.5) could not be computed ({claim.claim})" in said
    assert "nan" not in said


def test_more_conditions_than_a_figure_names_are_counted(transfer):
    claim, transfer = shown_in("optimum", transfer)
    checks = [f"check_{i}" for i in range(5)]
    rows = pd.DataFrame({"claim": claim.claim, "check": checks, "value": 1.0, "low": -np.inf, "high": 0.0,
                         "passed": False, "blocks": "both"})  # fmt: skip
    said = all_texts(render(claim.figure, replace(transfer, regime=rows)))
    assert "check_1 1 not in [−inf, 0]" in said
    assert "and 3 more" in said
    assert "check_2" not in said


@pytest.mark.parametrize("lines", range(1, 10))
def test_the_context_lies_below_the_title_however_long_it_is(lines):
    """Of the title's box the spare lines alone are the context's."""
    with style.paper():
        fig = Figure(figsize=(4, 3), layout="constrained")
        fig.subplots()
        layout.heading(fig, "A title", " ".join(["as much of a context as fits a line"] * lines))
        canvas = FigureCanvasAgg(fig)
        canvas.draw()
    (title,) = fig.findobj(lambda each: isinstance(each, Text) and each.get_text().startswith("A title"))
    (context,) = fig.findobj(Annotation)
    box, below = (each.get_window_extent(canvas.get_renderer()) for each in (title, context))
    assert below.y1 <= box.y1 - layout.TITLE_LINE * fig.dpi / 72


@pytest.mark.parametrize(
    ("counts", "told"), [((24, 24), ", n = 24 runs a fit"), ((24, 64), ", n = 24 to 64 runs a fit"), ((0, 0), None)]
)
def test_a_figure_says_how_many_runs_its_fits_rest_on(transfer, counts, told):
    fits = transfer.fits.copy()
    own = fits["fit"] == "lr_exponent"
    fits["n_runs"] = np.where(own, np.resize(counts, len(fits)), 7)
    said = all_texts(render("optimum", replace(transfer, fits=fits)))
    assert ("n = " in said) == (told is not None)
    assert told is None or f"laptop scale{told}" in said


@pytest.mark.parametrize(("counts", "told"), [((5, 5), "in 5 clusters"), ((5, 12), "in 5 to 12 clusters")])
def test_a_figure_says_in_how_many_clusters_the_runs_of_its_fits_fall(transfer, counts, told):
    own = transfer.fits["fit"] == "lr_exponent"
    records = [json.dumps({"clusters": int(count)}) for count in np.resize(counts, own.sum())]
    fits = transfer.fits.assign(n_runs=24, diagnostics="")
    fits.loc[own, "diagnostics"] = records
    assert f", n = 24 runs {told} a fit" in all_texts(render("optimum", replace(transfer, fits=fits)))


@pytest.mark.parametrize("longer", range(36, 52, 4))
def test_the_number_of_runs_stands_on_one_line_wherever_the_context_breaks(transfer, longer):
    fits = transfer.fits.assign(n_runs=24)
    study = transfer.study.model_copy(update={"title": "a title of some length " + "x" * longer})
    (context,) = render("optimum", replace(transfer, study=study, fits=fits)).findobj(
        lambda each: isinstance(each, Annotation) and each.get_text().startswith("a title")
    )
    assert any("n = 24 runs a fit" in " ".join(line.split()) for line in context.get_text().splitlines())
