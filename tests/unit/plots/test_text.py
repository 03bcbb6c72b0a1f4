"""Texts in figures: a study's words are shown as they are, titles say what is shown, options describe themselves."""

import itertools
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from matplotlib.text import Text

from muster.config.models import FigureConfig, StudyConfig
from muster.plots import PLOTS, overview, render, save
from muster.plots.base import Options
from muster.plots.layout import line_key
from muster.plots.words import law, phrase, power_of_two, sentence, tick_text, without_unit, word
from tests.unit.plots import test_exponents as test_plot_exponents
from tests.unit.plots import test_laws as test_plots_laws
from tests.unit.plots import test_plots
from tests.unit.plots.test_axes import studies  # noqa: F401  a fixture

transfer, laws, exponents = test_plots.data, test_plots_laws.data, test_plot_exponents.data

CAPTION = Path(__file__).parents[3] / "workflow/report/figure.rst"
HOSTILE = ["$x_{", "a_{b}", r"$\frac{1}{2}$", "R&D <b>", "</script>", "50 $ to 60 $", r"\$", "--> _y", "`z` |w|"]


def words_of(fig: Figure) -> str:
    """All texts of a figure on one line."""
    return " ".join(" ".join(text.get_text().split()) for text in fig.findobj(Text))


@pytest.fixture
def math_is_refused(monkeypatch):
    """Matplotlib's reader of formulas, which no text of a figure may reach."""

    def parse(*_args, **_kwargs):
        raise AssertionError("a text was read as a formula")

    monkeypatch.setattr("matplotlib.mathtext.MathTextParser.parse", parse)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_shown_as_they_are(text, transfer, math_is_refused, tmp_path):
    def hostile(table):
        return table.assign(optimizer=table["optimizer"].replace("adam", text))

    def grouped(table):
        return table.assign(group=table["group"].str.replace('"adam"', json.dumps(text), regex=False))

    tree = transfer.study.model_dump(by_alias=True)
    tree["title"] = text
    tree["figures"]["sweep"]["options"] = {"title": f"{text} is shown", "hue_label": text, "rate": text}
    given = replace(
        transfer,
        study=StudyConfig.model_validate(tree),
        runs=hostile(transfer.runs),
        optima=grouped(transfer.optima),
        fits=grouped(transfer.fits),
    )
    fig = render("sweep", given)
    save(fig, tmp_path / "a.svg", tmp_path / "a.png")
    shown = words_of(fig)
    assert f"{text} is shown" in shown
    assert f"{text} — laptop scale" in shown
    assert f"SP · {text}" in shown
    assert fig.legends[0].get_texts()[0].get_text().strip("\N{ZERO WIDTH SPACE}") == text
    assert fig.axes[-1].get_xlabel() == text
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert "</script" not in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_of_the_ledger_are_shown_as_they_are(text, math_is_refused, tmp_path):
    ledger = test_plots.make_ledger(4).assign(paper=text, claim=[f"{text} {i}" for i in range(4)])
    fig = overview(ledger)
    save(fig, tmp_path / "a.svg", tmp_path / "a.png")
    shown = words_of(fig)
    assert all(f"{text} {i}" in shown for i in range(4))


def test_no_figure_has_a_text_that_is_a_formula(studies, math_is_refused, tmp_path):  # noqa: F811
    for data, name in studies.values():
        fig = render(name, data)
        save(fig, tmp_path / "a.svg", tmp_path / "a.png")
        assert not [text for text in fig.findobj(Text) if "$" in text.get_text() or "mathdefault" in text.get_text()]


def test_a_legend_keeps_an_entry_that_begins_with_an_underscore():
    fig = Figure()
    legend = fig.legend(handles=[line_key("_hidden")])
    assert [text.get_text().lstrip("\N{ZERO WIDTH SPACE}") for text in legend.get_texts()] == ["_hidden"]


def test_titles_say_what_is_shown_and_the_study_stands_below_once(studies):  # noqa: F811
    titles = {}
    for plot, (data, name) in studies.items():
        fig = render(name, data)
        if plot == "forest":
            continue
        titles[plot] = " ".join(fig.get_suptitle().split())
        assert not titles[plot].startswith(data.study.title)
        assert words_of(fig).count(f"{data.study.title} \N{EM DASH} laptop scale") == 1
    assert len(set(titles.values())) == len(titles)
    assert titles["lr_sweep"] == "Final training loss against learning rate, by width"
    assert titles["theory_profile"] == "Variance of log ‖z‖² against layer with its closed form"
    assert titles["law_fit"] == "Final held-out loss against training tokens D with the fitted joint law"
    assert titles["optimum_vs_axis"] == "Optimal learning rate against width"


def test_a_title_names_the_rows_that_a_figure_selects(transfer):
    assert render("sweep_adam", transfer).get_suptitle().strip().endswith("(Adam)")


def test_a_title_can_be_chosen_or_left_out(transfer):
    for title, shown in (("Mine", ["Mine"]), ("", [])):
        spec = FigureConfig(plot="lr_sweep", fit="lr_exponent", options={"title": title})
        fig = PLOTS["lr_sweep"](transfer, spec)
        assert [text for text in [fig.get_suptitle().strip()] if text] == shown
        assert (transfer.study.title in words_of(fig)) == bool(shown)


def test_the_note_above_a_panel_is_seen(transfer):
    """A text that is clipped by its panel stands outside of it, unseen."""
    fig = render("optimum", transfer)
    notes = [text for ax in fig.axes for text in ax.texts if text.get_gid() == "note"]
    assert len(notes) == 4
    assert all(note.get_clip_path() is None for note in notes)
    fig.draw_without_rendering()
    for ax, note in zip(fig.axes, notes, strict=True):
        assert note.get_window_extent().y0 >= ax.bbox.y1


@pytest.mark.parametrize(
    "title", ["Short", "A title that is so long that it needs a second line beside the legend, and a third"]
)
def test_title_and_context_stand_above_the_panels_beside_the_legend(title, transfer):
    tree = transfer.study.model_dump(by_alias=True)
    tree["title"] = 3 * "Learning rates across width, "
    tree["figures"]["sweep"]["options"] = {"title": title}
    transfer = replace(transfer, study=StudyConfig.model_validate(tree))
    fig = render("sweep", transfer)
    fig.draw_without_rendering()
    (context,) = [text for text in fig.findobj(Text) if text.get_text().startswith("Learning rates across")]
    box = context.get_window_extent()
    titles = [ax._left_title.get_window_extent() for ax in fig.axes[:2]]
    assert all(box.y0 >= title.y1 for title in titles)
    assert box.y1 <= fig.bbox.y1 - 10
    assert box.x1 <= fig.legends[0].get_window_extent().x0
    assert fig._suptitle.get_window_extent().x1 <= fig.legends[0].get_window_extent().x0


@pytest.mark.parametrize("name", list(PLOTS))
def test_every_option_is_described(name):
    told = PLOTS[name].option_texts()
    assert [each.name for each in told] == [*sorted_last(PLOTS[name].options.model_fields)]
    for each in told:
        assert len(each.description) > 8, each.name
        assert each.values, each.name
        assert each.default, each.name


def sorted_last(fields):
    return [name for name in fields if name != "title"] + ["title"]


def test_options_are_told_in_words():
    told = {each.name: each for each in PLOTS["lr_sweep"].option_texts()}
    assert told["loss_axis"].values == "auto | linear | log"
    assert told["loss_axis"].default == "auto"
    assert (told["ceiling"].values, told["ceiling"].default) == ("number", "none")
    assert told["columns"].values == "whole number"
    check = {each.name: each for each in PLOTS["coordinate_check"].option_texts()}
    assert check["probes"].values == "list of text"
    assert check["probes"].default == "[activation_rms, activation_change_rms]"
    assert {each.name: each.values for each in PLOTS["exponent_trend"].option_texts()}["predicted"] == (
        "list of number, number"
    )
    assert set(Options.model_fields) == {"title"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("full_alignment", "full alignment"),
        ("a_{b}", "a_{b}"),
        ("_x", "_x"),
        (["sgd", "adam"], "SGD or Adam"),
        (-0.5, "−0.5"),
    ],
)
def test_a_name_gets_spaces_and_a_text_stays(value, text):
    assert word(value) == text


def test_groups_in_words():
    assert phrase({"layer": 2, "bias": False, "optimizer": "adam", "parameterization": "mup"}) == (
        "μP · Adam · layer 2 · no bias"
    )
    assert phrase({"log2_lr": -6.5, "step": [-1, 2]}) == "learning rate 2⁻⁶·⁵ · step −1 or 2"
    assert phrase({"log2_lr": [-9, -3]}) == "learning rate 2⁻⁹ or 2⁻³"
    assert phrase({"optimizer": "kfac", "damping_rule": "constant"}) == "K-FAC · constant damping"
    assert phrase({"rule": "constant"}) == "constant rate"


def test_numbers_with_raised_digits():
    assert [power_of_two(-10), power_of_two(0), power_of_two(-6.5)] == ["2⁻¹⁰", "2⁰", "2⁻⁶·⁵"]
    assert [tick_text(v) for v in (2e5, 1e-4, 1e18, 512, -0.25, -3e-7, 0)] == [
        "2×10⁵", "10⁻⁴", "10¹⁸", "512", "−0.25", "−3×10⁻⁷", "0",
    ]  # fmt: skip


def test_labels_without_units():
    assert without_unit("KS distance to N(0, 1) (dimensionless)") == "KS distance to N(0, 1)"
    assert without_unit("λ' − λ (√(pσ²))") == "λ' − λ"
    assert without_unit("batch_size") == "batch_size"
    assert [sentence(text) for text in ("final loss", "λ' − λ", "E z⁴", "α")] == ["Final loss", "λ' − λ", "E z⁴", "α"]


@pytest.mark.parametrize(
    ("plot", "text"), list(itertools.product(["lr_sweep", "forest"], [HOSTILE[0], '"plot":"x"', "{{ 7 }}"]))
)
def test_captions_hold_no_text_of_a_study(plot, text):
    """The caption is chosen by the plot alone, whatever the study's texts around it in Snakemake's parameters say."""

    settings = {"claims": [{"statement": text}], "figure": {"options": {"title": text}, "plot": plot}, "title": text}
    job = SimpleNamespace(
        wildcards=SimpleNamespace(study="a-study", figure="a_figure"),
        params=SimpleNamespace(figure=json.dumps(settings, separators=(",", ":"))),
        config={"scale": "smoke"},
    )
    caption = Environment(undefined=StrictUndefined).from_string(CAPTION.read_text()).render(snakemake=job)
    body = publish_parts(caption, writer="html", settings_overrides={"report_level": 2, "halt_level": 2})["body"]
    assert ("Loss against learning rate" in body) == (plot == "lr_sweep")
    assert ("Claims against measurements" in body) == (plot == "forest")
    assert text not in body
    assert "a-study" in body


@pytest.mark.parametrize(("estimator", "name"), [("law", "law"), ("joint_law", "joint law"), ("routed", "routed law")])
def test_a_law_is_called_law_once(estimator, name):
    assert law(estimator) == name
