"""The ledger: columns, Holm's family, reasons, files."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from muster.claims.ledger import COLUMNS, judge, markdown, read_ledger, write_ledger
from muster.claims.tests import verdict
from muster.config.models import StudyConfig
from muster.errors import MusterError

DESIGN_COLUMNS = [
    "claim", "study", "slug", "paper", "statement", "source", "provenance", "test", "predicted", "margin", "estimate",
    "se", "dof", "ci_low", "ci_high", "n_cells", "n_runs", "p_value", "p_holm", "verdict", "reason", "scale", "figure",
]  # fmt: skip


def claim(name, **fields):
    return {
        "claim": name, "statement": "β | is 0", "source": "Fig. 1", "provenance": "paper", "fit": "slope",
        "where": {"parameterization": "mup"}, "test": "equivalence", "predicted": 0, "margin": 0.1, **fields,
    }  # fmt: skip


def study(*claims, name="demo", paper="Author 2022"):
    return StudyConfig(
        study=name, title="t", paper=paper, slug="paper-slug", experiment="train",
        scales={"laptop": {"grid": [{"width": [1]}]}},
        fits={"slope": {"estimator": "lr_transfer", "response": "final_train_loss"}}, claims=list(claims),
    )  # fmt: skip


def fits(estimate=0.01, se=0.005, dof=3.0, status="ok", note="", group='{"parameterization": "mup"}'):
    base = {
        "study": "demo", "fit": "slope", "estimator": "lr_transfer", "group": group, "dof": dof, "n_cells": 12,
        "n_runs": 180, "status": status, "note": note, "parameter": "exponent",
    }  # fmt: skip
    chosen = {"variant": "ols_t", "primary": True, "estimate": estimate, "se": se}
    other = {"variant": "hc3", "primary": False, "estimate": 99.0, "se": 1.0}
    return pd.DataFrame(
        [base | row | {"ci_low": row["estimate"] - 3 * row["se"], "ci_high": row["estimate"] + 3 * row["se"]}
         for row in (other, chosen)]
    )  # fmt: skip


def test_columns_are_those_of_the_design():
    ledger = judge([study(claim("a", figure="optimum"))], {"demo": fits()}, "laptop")
    assert list(ledger.columns) == DESIGN_COLUMNS == list(COLUMNS)
    row = ledger.iloc[0]
    assert (row["estimate"], row["n_cells"], row["n_runs"], row["scale"]) == (0.01, 12, 180, "laptop")
    assert (row["verdict"], row["figure"]) == ("supported", "figures/demo/optimum.svg")


def test_smoke_scale_is_not_judged():
    row = judge([study(claim("a"))], {"demo": fits()}, "smoke").iloc[0]
    assert (row["verdict"], row["reason"]) == ("not judged", "not judged at smoke scale")


def test_missing_study_and_missing_group_are_not_run():
    missing = judge([study(claim("a"))], {}, "laptop").iloc[0]
    assert (missing["verdict"], missing["reason"], missing["n_cells"]) == ("not run", "the study was not run", 0)
    other = judge([study(claim("a", where={"parameterization": "ntp"}))], {"demo": fits()}, "laptop").iloc[0]
    assert other["verdict"] == "not run"
    assert 'no group {"parameterization": "ntp"} (it has: {"parameterization": "mup"})' in other["reason"]


@pytest.mark.parametrize("status", ["edge", "too_few", "diverged", "no_se"])
def test_a_failed_fit_is_inconclusive_and_names_its_status(status):
    broken = fits(math.nan, math.nan, math.nan, status, "edge at width 512")
    row = judge([study(claim("a"))], {"demo": broken}, "laptop").iloc[0]
    assert row["verdict"] == "inconclusive"
    assert row["reason"] == f"status {status}: edge at width 512"


def test_unconfirmed_predictions_are_said_to_be():
    row = judge([study(claim("a", provenance="unconfirmed"))], {"demo": fits()}, "laptop").iloc[0]
    assert row["reason"].endswith("; predicted value to be confirmed in the paper")


def by_width(p_values):
    """Studies of one claim each whose raw one-sided p-values are as given."""
    from scipy import stats

    studies, tables = [], {}
    for index, p in enumerate(p_values):
        name = f"study-{index}"
        studies.append(study(claim(f"claim-{index}", test="less", margin=0.0), name=name))
        tables[name] = fits(-stats.t.isf(p, 3), 1.0)
    return studies, tables


def test_holm_by_hand_over_all_studies():
    studies, tables = by_width([0.01, 0.04, 0.03])
    ledger = judge(studies, tables, "laptop")
    np.testing.assert_allclose(ledger["p_value"], [0.01, 0.04, 0.03], rtol=1e-5)
    np.testing.assert_allclose(ledger["p_holm"], [0.03, 0.06, 0.06], rtol=1e-5)
    assert list(ledger["verdict"]) == ["supported", "inconclusive", "inconclusive"]


def test_only_headline_claims_enter_the_family_and_all_of_them_do():
    broken = fits(math.nan, math.nan, math.nan, "edge")
    side = study(claim("side", headline=False), name="side")
    lost = study(claim("lost"), name="lost")
    ledger = judge([study(claim("main")), side, lost], {"demo": fits(), "side": fits(), "lost": broken}, "laptop")
    ledger = ledger.set_index("claim")
    assert list(ledger["p_holm"].isna()) == [False, True, False]
    # Two headline claims: the one without a p-value still counts.
    assert ledger.loc["main", "p_holm"] == pytest.approx(2 * ledger.loc["main", "p_value"], rel=1e-5)
    assert ledger.loc["lost", "p_holm"] == 1


def test_claim_names_are_unique_across_studies():
    with pytest.raises(MusterError, match=r"config/studies/second\.yaml: claims\.a: the name is taken by study 'demo'"):
        judge([study(claim("a")), study(claim("a"), name="second")], {}, "laptop")


def test_no_claims():
    assert judge([study()], {}, "laptop").empty


def full_ledger():
    claims = [
        claim("flat", figure="optimum"),
        claim("steep", test="less", predicted=-0.5, headline=False, provenance="unconfirmed"),
        claim("gone", where={"parameterization": "ntp"}),
        claim("odd", test="greater", predicted=1 / 3, margin=0.2),
    ]
    return judge([study(*claims), study(claim("other"), name="b", paper="Second 2023")], {"demo": fits()}, "laptop")


def test_files_round_trip_and_repeat_byte_for_byte(tmp_path):
    ledger = full_ledger()
    write_ledger(ledger, tmp_path / "one")
    write_ledger(ledger, tmp_path / "two")
    files = {"claims.csv", "claims.json", "metrics.json", "LEDGER.md"}
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert {path.name for path in (tmp_path / "one").iterdir()} == files
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert sum(metrics["verdicts"].values()) == len(ledger)
    estimates = {claim: value for study in metrics["estimates"].values() for claim, value in study.items()}
    finite = ledger[ledger["estimate"].map(math.isfinite)]
    assert estimates == pytest.approx(dict(zip(finite["claim"], finite["estimate"], strict=True)), rel=1e-5)
    pd.testing.assert_frame_equal(read_ledger(tmp_path / "one"), ledger)
    records = json.loads((tmp_path / "one" / "claims.json").read_text())
    assert [list(record) for record in records] == [DESIGN_COLUMNS] * 5
    assert records[2]["estimate"] is None
    assert (tmp_path / "one" / "claims.csv").read_text().splitlines()[4].split(",")[8] == "0.333333"


def test_every_verdict_is_recomputed_from_the_written_row(tmp_path):
    write_ledger(full_ledger(), tmp_path)
    raw = pd.read_csv(tmp_path / "claims.csv", dtype=str, keep_default_na=False).to_dict("records")
    assert [verdict(row) for row in raw] == [row["verdict"] for row in raw]
    assert {row["verdict"] for row in raw} == {"supported", "refuted", "inconclusive", "not run"} - {"inconclusive"}


def test_markdown_shows_everything_a_reader_needs(tmp_path):
    write_ledger(full_ledger(), tmp_path)
    text = (tmp_path / "LEDGER.md").read_text()
    assert "5 claims at scale laptop: " in text
    assert text.index("## Author 2022") < text.index("## Second 2023")
    line = next(line for line in text.splitlines() if line.startswith("| **flat**"))
    cells = line.replace("\\|", "¦").split("|")
    assert [cell.strip() for cell in cells[1:8]] == [
        "**flat**", "β ¦ is 0", "Fig. 1 (paper)", "0 ± 0.1", "0.01 [-0.005, 0.025]", "12 / 180", "supported",
    ]  # fmt: skip
    assert "[figure](../figures/demo/optimum.svg)" in line
    assert "| steep |" in text
    assert "≤ -0.5 + 0.1" in text
    assert "≥ 0.3333 − 0.2" in text


@pytest.mark.parametrize(
    "text",
    [
        "$x_{ and $y",
        "a | b \\| c",
        "R&D &amp; &lt;",
        "<b>bold</b>",
        "</script><script>alert(1)</script>",
        "`code` ``",
        "*a* **b** _c_ __d__ snake_case_name",
        "~~gone~~ ~0.5~",
        "[text](http://a.b) ![x](y)",
        "[0, 1] [a][b]",
        "\\$ \\\\",
        "two\nlines",
        "1. a",
        "<http://a.b>",
        "# head #",
    ],
)
def test_markdown_shows_a_text_as_it_is(text):
    from markdown_it import MarkdownIt

    ledger = judge([study(claim("flat", statement=text, source=text), paper=text)], {"demo": fits()}, "laptop")
    ledger = ledger.assign(reason=text)
    parsed = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown(ledger))
    inline = [token.children for token in parsed if token.type == "inline"]
    markup = {child.type for children in inline for child in children} - {"text", "softbreak", "text_special"}
    links = [child for children in inline for child in children if child.type == "html_inline"]
    assert markup <= {"strong_open", "strong_close", "html_inline"}
    assert {child.content for child in links} <= {"<span>", "</span>"}
    told = ["".join(child.content for child in children if child.type != "html_inline") for children in inline]
    wanted = " ".join(text.split())
    assert told.count(wanted) == 3  # the paper's heading, the statement, the reason
    assert f"{wanted} (paper)" in told
    dollars = markdown(ledger).count("$")
    assert dollars == markdown(ledger).count("<span>$</span>")
