"""The ledger's page: what is drawn, what is told, and that no text of a study becomes part of it."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from muster.claims.html import FARTHEST, as_script, drawing, html, measured_on, regime_state, template_digest
from muster.claims.ledger import rows_of
from muster.claims.tests import conditions
from muster.config.load import load_studies
from muster.config.models import StudyConfig
from tests.unit.claims.pages import HOSTILE, ROOT, a_ledger, a_row


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def test_a_region_with_two_ends_is_drawn_around_its_middle() -> None:
    found = drawing(a_row(predicted=-0.5, margin=0.1, estimate=-0.45, ci_low=-0.55, ci_high=-0.35))
    assert found is not None
    assert found["open"] == found["beyond"] == [False, False]
    reach = 1.1 * 0.15
    wanted = {value: 50 + 50 * (value + 0.5) / reach for value in (-0.6, -0.4, -0.5, -0.45, -0.55, -0.35)}
    assert found["region"] == pytest.approx([wanted[-0.6], wanted[-0.4]], abs=0.05)
    assert found["interval"] == pytest.approx([wanted[-0.55], wanted[-0.35]], abs=0.05)
    assert (found["predicted"], found["estimate"]) == pytest.approx((50, wanted[-0.45]), abs=0.05)


@pytest.mark.parametrize(
    ("test", "region", "ends"), [("less", "[0, 50]", [True, False]), ("greater", "[50, 100]", [False, True])]
)
def test_a_region_with_one_end_is_open_at_the_other(test: str, region: str, ends: list[bool]) -> None:
    found = drawing(a_row(test=test, predicted=0.2, margin=0.0, estimate=0.3, ci_low=0.1, ci_high=0.5))
    assert found is not None
    assert found["region"] == json.loads(region)
    assert found["open"] == ends
    assert found["beyond"] == [False, False]


def test_what_lies_beyond_the_axis_is_an_arrow() -> None:
    far = drawing(a_row(predicted=0, margin=0.1, estimate=2, ci_low=1, ci_high=math.inf))
    assert far is not None
    assert (far["estimate"], far["off"], far["beyond"]) == (None, 1, [False, True])
    low = drawing(a_row(predicted=0, margin=0.1, estimate=-9, ci_low=-math.inf, ci_high=-8))
    assert low is not None
    assert (low["estimate"], low["off"], low["beyond"], low["interval"]) == (None, 0, [True, False], [0.0, 0.0])
    near = drawing(a_row(predicted=0, margin=0.1, estimate=FARTHEST * 0.1, ci_low=0.5, ci_high=0.65))
    assert near is not None
    assert (near["off"], near["beyond"]) == (None, [False, False])


def test_no_number_no_drawing_and_no_interval_no_line() -> None:
    assert drawing(a_row(estimate=math.nan)) is None
    point = drawing(a_row(ci_low=math.nan, ci_high=math.nan))
    assert point is not None
    assert (point["interval"], point["beyond"]) == (None, [False, False])


@pytest.mark.parametrize(
    ("regime", "state"),
    [
        ("", "none declared"),
        ("steady(axis=width) 0.03 in [-0.1, 0.1]: passed; control a: as known", "met"),
        ("steady(axis=width) 0.3 in [-0.1, 0.1]: failed; b: not checked", "failed"),
        ("its regime: not checked", "not checked"),
        ("control a: not as known (inconclusive)", "failed"),
        ("status edge: no measurement (at width 512)", "none declared"),
    ],
)
def test_how_conditions_came_out_together(regime: str, state: str) -> None:
    assert regime_state(conditions(regime)) == state


def test_the_page_holds_what_the_ledger_says() -> None:
    rows, studies, texts = a_ledger(40)
    page = html(rows, {}, 0.5, studies, texts)
    data = data_of(page)
    assert [row["claim"] for row in data["rows"]] == [row["claim"] for row in rows]
    first, study = data["rows"][0], data["studies"][rows[0]["study"]]
    checks = next(row for row in data["rows"] if row["regime"] == "met")["conditions"]
    assert checks[0] == {"what": "steady(axis=width)", "value": "0.03", "bounds": "[-0.1, 0.1]", "outcome": "passed",
                         "blocks": "", "note": ""}  # fmt: skip
    assert study["text"] == texts[rows[0]["study"]]
    assert first["redo"][0] == f"muster run {rows[0]['study']} --scale laptop"
    assert first["figure"] == "../figures/abc-feature-exponent/features.svg"
    assert first["curve"] == "../figures/abc-feature-exponent/specification.svg"
    assert page == html(rows, {}, 0.5, studies, texts)


def test_only_figures_that_are_shown_are_linked() -> None:
    rows, studies, texts = a_ledger(4)
    shown = {"figures/abc-feature-exponent/specification.svg": "figures/abc-feature-exponent/specification.png"}
    first = data_of(html(rows, {}, 0.5, studies, texts, shown))["rows"][0]
    assert first["figure"] == ""
    assert first["curve"] == "../figures/abc-feature-exponent/specification.png"


class Elements(HTMLParser):
    """Names of the elements of a page, its scripts among them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.found.append(tag)


def test_hostile_texts_add_no_element_to_the_page() -> None:
    rows, studies, texts = a_ledger(2)
    plain, bad = Elements(), Elements()
    plain.feed(html(rows, {}, 0.5, studies, texts))
    evil = [dict.fromkeys(row, HOSTILE) | {name: value for name, value in row.items() if name in _KEPT} for row in rows]
    page = html(evil, {}, 0.5, {}, {"abc-feature-exponent": HOSTILE})
    bad.feed(page)
    assert bad.found == plain.found
    assert data_of(page)["rows"][0]["statement"] == HOSTILE


_KEPT = ("study", "test", "family", "figure", "stance", "agrees", "verdict", "same_as", "scale", "n_cells", "n_runs",
         "predicted", "margin", "estimate", "se", "dof", "ci_low", "ci_high", "p_support", "p_refute", "p_adjusted",
         "regime")  # fmt: skip


def test_the_policy_lets_the_own_script_run_and_nothing_be_fetched() -> None:
    import base64
    import hashlib

    rows, studies, texts = a_ledger(1)
    page = html(rows, {}, 0.5, studies, texts)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy[1]
    assert policy[1].startswith("default-src 'none'; ")
    assert "http" not in re.sub(
        r"http://www\.w3\.org/2000/svg|http-equiv", "", page.partition('id="data">')[0] + script
    )
    assert len(template_digest()) == 64


def test_json_in_a_script_cannot_end_it() -> None:
    text = as_script({"a": "</script><!--<script>&"})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"a": "</script><!--<script>&"}


def test_the_published_page_is_that_of_the_published_ledger() -> None:
    from muster.claims.ledger import read_ledger

    published = ROOT / "results/published/ledger"
    data = data_of((published / "index.html").read_text(encoding="utf-8"))
    rows = rows_of(read_ledger(published))
    assert [(row["claim"], row["verdict"], row["agrees"]) for row in data["rows"]] == [
        (row["claim"], row["verdict"], row["agrees"]) for row in rows
    ]
    assert (published / "index.html").stat().st_size <= 2_000_000
    for row in data["rows"]:
        for name in ("figure", "curve"):
            assert not row[name] or Path(published, row[name]).exists()


def test_every_study_has_a_text_on_the_page() -> None:
    known: dict[str, StudyConfig] = dict(load_studies(ROOT / "config/config.yaml").known)
    rows = [a_row(claim=f"c-{name}", study=name) for name in known]
    texts = {name: (ROOT / f"config/studies/{name}.yaml").read_text(encoding="utf-8") for name in known}
    page = html(rows, {}, 0.5, known, texts)
    assert all(data_of(page)["studies"][name]["text"] == text for name, text in texts.items())
    assert len(page.encode()) < 2_000_000


@pytest.mark.parametrize(
    ("study", "claim", "networks"),
    [
        ("transformer-width-transfer", None, ["transformer"]),
        ("mup-width-transfer", None, ["mlp"]),
        ("jelassi-depth-lr-trained", None, ["mlp"]),  # no experiment `train`, but it trains
        ("arch-aware-lr-trained", None, ["convnet", "dag_mlp"]),  # named in the grid
        ("arch-aware-lr-trained", 0, ["dag_mlp"]),  # whose fit selects one
        ("relu-kurtosis", None, ["sampled model"]),
        ("steplaw", None, ["published runs"]),
    ],
)
def test_what_a_claim_was_measured_on(study: str, claim: int | None, networks: list[str]) -> None:
    found = load_studies(ROOT / "config/config.yaml").known[study]
    assert measured_on(found, None if claim is None else found.claims[claim]) == networks


def test_a_study_that_names_no_family_has_the_experiments_own() -> None:
    found = load_studies(ROOT / "config/config.yaml").known["mup-width-transfer"]
    unnamed = found.model_copy(update={"settings": {k: v for k, v in found.settings.items() if k != "family"}})
    assert measured_on(unnamed) == ["mlp"]
    assert measured_on(found.model_copy(update={"experiment": "somebody_else's"})) == []
