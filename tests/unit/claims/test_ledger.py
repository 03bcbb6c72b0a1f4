"""The ledger: columns, families, conditions, reasons, files."""

import hashlib
import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from muster.claims.changed import declared
from muster.claims.conditions import check_regimes
from muster.claims.families import expected_false, false_discovery, holm
from muster.claims.ledger import COLUMNS, judge, read_ledger, rows_of, write_ledger
from muster.claims.page import QUESTIONS, markdown, selection, tally
from muster.claims.tests import VERDICTS, verdict
from muster.config.load import load_studies
from muster.config.models import Question, StudyConfig
from muster.errors import MusterError
from muster.fitting.base import NoOptions
from muster.plan.study import fitted_settings

ROOT = Path(__file__).parents[3]
DESIGN_COLUMNS = [
    "claim", "study", "slug", "paper", "statement", "source", "provenance", "asserts", "stance", "criterion", "test",
    "predicted", "margin", "estimate", "se", "dof", "ci_low", "ci_high", "n_cells", "n_runs", "p_support", "p_refute",
    "p_adjusted", "family", "regime", "verdict", "agrees", "same_as", "reason", "scale", "figure",
]  # fmt: skip
FILES = {"claims.csv", "claims.json", "metrics.json", "LEDGER.md", "SHA256SUMS"}


def claim(name, **fields):
    return {
        "claim": name, "statement": "β | is 0", "source": "Fig. 1", "provenance": "paper", "fit": "slope",
        "where": {"parameterization": "mup"}, "test": "equivalence", "predicted": 0, "margin": 0.1, **fields,
    }  # fmt: skip


def study(*claims, name="demo", paper="Author 2022", slug="paper-slug", **fields):
    return StudyConfig(
        study=name, title="t", paper=paper, slug=slug, experiment="train", **fields,
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
def test_a_failed_fit_measures_nothing_and_names_its_status(status):
    broken = fits(math.nan, math.nan, math.nan, status, "edge at width 512")
    row = judge([study(claim("a"))], {"demo": broken}, "laptop").iloc[0]
    assert row["verdict"] == "no measurement"
    assert row["reason"] == f"status {status}: edge at width 512"
    assert row["regime"] == f"status {status}: no measurement (edge at width 512)"
    assert math.isnan(row["p_support"])
    assert row["p_adjusted"] == 1


def test_unconfirmed_predictions_are_said_to_be():
    row = judge([study(claim("a", provenance="unconfirmed"))], {"demo": fits()}, "laptop").iloc[0]
    assert row["reason"].endswith("; predicted value to be confirmed in the paper")


def test_a_claim_that_is_not_as_it_was_when_its_tables_were_made_is_told_to_be():
    before = study(claim("a"), claim("b"), claim("c", regime=[{"check": "interior"}], headline=False))
    first = {"demo": json.loads(json.dumps(declared(before)))}
    now = study(
        claim("a", margin=0.4, statement="said better"),
        claim("b", figure="optimum", source="Fig. 2"),
        claim("c", headline=False),
        claim("d"),
    )
    ledger = judge([now], {"demo": fits()}, "laptop", first=first).set_index("claim")["reason"]
    assert ledger["a"].endswith("; changed since its tables were first made: margin 0.1, now 0.4")
    assert "since" not in ledger["b"]
    assert ledger["c"].endswith("; changed since its tables were first made: regime")
    assert ledger["d"].endswith("; written after its tables were first made")
    other = now.model_copy(update={"fits": {"slope": now.fits["slope"].model_copy(update={"along": "depth"})}})
    assert judge([other], {"demo": fits()}, "laptop", first=first)["reason"][1].endswith("first made: fit")
    assert not judge([now], {"demo": fits()}, "laptop")["reason"].str.contains("tables were first").any()


def by_p(p_values, slug="paper-slug", **fields):
    """Studies of one claim each whose own one-sided p-values are as given."""
    from scipy import stats

    studies, tables = [], {}
    for index, p in enumerate(p_values):
        name = f"{slug}-{index}"
        studies.append(study(claim(f"{name}-claim", test="less", margin=0.0, **fields), name=name, slug=slug))
        tables[name] = fits(-stats.t.isf(p, 3), 1.0)
    return studies, tables


def test_holm_by_hand_over_the_studies_of_a_paper():
    studies, tables = by_p([0.01, 0.04, 0.03])
    ledger = judge(studies, tables, "laptop")
    np.testing.assert_allclose(ledger["p_support"], [0.01, 0.04, 0.03], rtol=1e-5)
    np.testing.assert_allclose(ledger["p_adjusted"], [0.03, 0.06, 0.06], rtol=1e-5)
    assert list(ledger["verdict"]) == ["supported", "inconclusive", "inconclusive"]
    assert set(ledger["family"]) == {"paper-slug: headline"}


def test_support_and_refutation_enter_one_family_alike():
    studies, tables = by_p([0.01, 0.97, 0.99])
    ledger = judge(studies, tables, "laptop")
    np.testing.assert_allclose(ledger["p_adjusted"], [0.03, 0.03, 0.03], rtol=1e-5)
    assert list(ledger["verdict"]) == ["supported", "refuted", "refuted"]
    assert list(ledger["agrees"]) == ["yes", "no", "no"]


def test_holm_is_that_of_statsmodels():
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(5)
    for size in range(1, 18):
        p = rng.beta(0.4, 2, size).round(2)
        np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12)
    assert holm([]) == []


def test_a_further_study_changes_no_row_of_another_paper(tmp_path):
    mine, tables = by_p([0.01, 0.02, 0.03], slug="mine")
    write_ledger(judge(mine, tables, "laptop"), tmp_path / "before")
    others, more = by_p([0.001, 0.2, 0.9, 0.04], slug="other")
    write_ledger(judge([*others, *mine], tables | more, "laptop"), tmp_path / "after")
    before, after = ((tmp_path / name / "claims.csv").read_bytes().splitlines() for name in ("before", "after"))
    assert [line for line in after if b",mine," in line] == [line for line in before if b",mine," in line]
    assert len(before) == 1 + 3


def test_a_study_of_ones_own_is_judged_by_its_own_family_whatever_lies_beside_it():
    own, tables = by_p([0.04], slug="own-study")
    beside = [study(claim(f"c-{i}"), name=f"s-{i}", slug=f"p-{i}") for i in range(40)]
    alone = judge(own, tables, "laptop")
    among = judge([*beside, *own], tables, "laptop")
    assert list(alone["verdict"]) == ["supported"]
    pd.testing.assert_frame_equal(among[among["slug"] == "own-study"].reset_index(drop=True), alone)


def test_only_headline_claims_enter_holm_and_all_of_them_do():
    broken = fits(math.nan, math.nan, math.nan, "edge")
    side = study(claim("side", headline=False), name="side")
    lost = study(claim("lost"), name="lost")
    ledger = judge([study(claim("main")), side, lost], {"demo": fits(), "side": fits(), "lost": broken}, "laptop")
    ledger = ledger.set_index("claim")
    assert list(ledger["family"]) == [f"paper-slug: {part}" for part in ("headline", "secondary", "headline")]
    # Two headline claims: the one without a p-value still counts.
    assert ledger.loc["main", "p_adjusted"] == pytest.approx(2 * ledger.loc["main", "p_support"], rel=1e-5)
    assert ledger.loc["lost", "p_adjusted"] == 1
    # The gate: never less than the smallest of the headlines.
    assert ledger.loc["side", "p_adjusted"] == ledger.loc["main", "p_adjusted"]


@pytest.mark.parametrize(("p", "opened"), [(0.04, True), (0.06, False)])
def test_secondary_claims_wait_behind_the_gate_of_a_decided_headline(p, opened):
    heads, tables = by_p([p])
    seconds, more = by_p([0.001, 0.002], headline=False)
    seconds = [study(c, name=f"side-{i}") for i, s in enumerate(seconds) for c in
               [claim(f"side-{i}", test="less", margin=0.0, headline=False)]]  # fmt: skip
    more = {f"side-{i}": table for i, table in enumerate(more.values())}
    ledger = judge([*heads, *seconds], tables | more, "laptop").set_index("claim")
    word = "supported" if opened else "inconclusive"
    assert list(ledger["verdict"]) == [word] * 3
    assert list(ledger.loc[["side-0", "side-1"], "p_adjusted"]) == pytest.approx([max(p, 0.002)] * 2, rel=1e-4)


def test_a_family_without_headline_claims_has_no_gate():
    seconds, tables = by_p([0.01, 0.03], headline=False)
    assert list(judge(seconds, tables, "laptop")["verdict"]) == ["supported", "supported"]


def test_a_family_of_which_part_was_run_says_so():
    studies, tables = by_p([0.001, 0.002, 0.003])
    del tables["paper-slug-1"]
    ledger = judge(studies, tables, "laptop")
    assert [reason.endswith("; of its family 2 of 3 headline claims were run") for reason in ledger["reason"]] == [
        True, False, True,
    ]  # fmt: skip
    assert ledger["p_adjusted"].iloc[0] == pytest.approx(3 * 0.001, rel=1e-4)  # the family that was declared


def test_a_fact_that_two_claims_state_counts_once():
    first, tables = by_p([0.02, 0.04])
    twice = study(claim("twice", test="less", margin=0.0, same_as="paper-slug-0-claim"), name="twice")
    ledger = judge([*first, twice], tables | {"twice": tables["paper-slug-0"]}, "laptop")
    np.testing.assert_allclose(ledger["p_adjusted"], [0.04, 0.04, 0.04], rtol=1e-5)
    assert tally(rows_of(ledger)) == (2, 0, {})


def regime(claim, *rows):
    base = {"study": "demo", "claim": claim, "check": "calm", "value": 0.3, "low": -0.1, "high": 0.1, "passed": False,
            "blocks": "both", "towards": False, "note": ""}  # fmt: skip
    return pd.DataFrame([base | row for row in rows])


@pytest.fixture
def checks(monkeypatch):
    """Registered checks for tests alone."""
    from muster.claims.regime.base import REGIME_CHECKS, Checked, RegimeCheck

    list(REGIME_CHECKS)
    monkeypatch.setattr(REGIME_CHECKS, "_entries", dict(REGIME_CHECKS._entries))
    monkeypatch.setattr(REGIME_CHECKS, "_modules", dict(REGIME_CHECKS._modules))

    class Most(NoOptions):
        most: float = 0.1

    def calm(measured, options):
        return Checked(measured.row["estimate"], -options.most, options.most, note="seen")

    def hopeless(measured, options):
        raise MusterError("column", "there is none", "Name one")

    REGIME_CHECKS.register("calm")(RegimeCheck("The estimate is small", calm, Most))
    REGIME_CHECKS.register("hopeless")(RegimeCheck("Cannot be computed", hopeless))
    return REGIME_CHECKS


def test_conditions_are_checked_with_the_fit_and_shown_with_value_and_bound(checks):
    it = study(claim("a", regime=[{"check": "calm", "most": 0.05}, {"check": "calm"}]))
    table = check_regimes(it, {}, pd.DataFrame(), fits(0.06))
    assert list(table["check"]) == ["calm(most=0.05)", "calm"]
    assert list(table["passed"]) == [False, True]
    row = judge([it], {"demo": fits(0.06)}, "laptop", regimes={"demo": table}).iloc[0]
    assert row["regime"] == ("calm(most=0.05) 0.06 in [-0.05, 0.05]: failed (seen); calm 0.06 in [-0.1, 0.1]: passed")
    assert (row["verdict"], row["agrees"], row["p_adjusted"]) == ("out of regime", "–", 1)
    assert row["reason"] == "calm(most=0.05) 0.06 in [-0.05, 0.05] failed (seen)"


def test_a_check_that_cannot_be_made_sense_of_is_placed(checks):
    it = study(claim("a"), claim("b", regime=[{"check": "calm"}, {"check": "hopeless"}]))
    said = r"config/studies/demo\.yaml: claims\[1\]\.regime\[1\] of b: column: there is none\. Name one"
    with pytest.raises(MusterError, match=said):
        check_regimes(it, {}, pd.DataFrame(), fits())


@pytest.mark.parametrize(
    ("found", "estimate", "word", "entry"),
    [
        ({"passed": True, "value": 0.0}, 0.5, "refuted", "calm 0 in [-0.1, 0.1]: passed"),
        ({"towards": True}, 0.5, "pre-asymptotic", "calm 0.3 in [-0.1, 0.1]: failed towards the prediction"),
        ({"blocks": "refuted"}, 0.5, "inconclusive", "calm 0.3 in [-0.1, 0.1]: failed, blocks refuted only"),
        ({"blocks": "refuted"}, 0.0, "supported", "calm 0.3 in [-0.1, 0.1]: failed, blocks refuted only"),
        ({"value": math.nan}, 0.5, "out of regime", "calm nan in [-0.1, 0.1]: failed"),
        ({"check": "another"}, 0.5, "inconclusive", "calm: not checked"),
    ],
)
def test_what_a_check_found_decides_the_word(found, estimate, word, entry):
    it = study(claim("a", regime=[{"check": "calm"}]))
    row = judge([it], {"demo": fits(estimate)}, "laptop", regimes={"demo": regime("a", found)}).iloc[0]
    assert (row["verdict"], row["regime"]) == (word, entry)


def test_a_failed_control_stops_every_verdict_below_it():
    names = ["top", "below", "lowest", "free"]
    claims = [
        claim("top", stance="control", headline=False, predicted=0.5),
        claim("below", controls=["top"]),
        claim("lowest", controls=["below"], headline=False),
        claim("free"),
    ]
    ledger = judge([study(*claims)], {"demo": fits()}, "laptop").set_index("claim")
    assert list(ledger.loc[names, "verdict"]) == ["refuted", "out of regime", "out of regime", "supported"]
    assert ledger.loc["below", "regime"] == "control top: not as known (refuted)"
    assert ledger.loc["lowest", "reason"] == "control below did not come out as known (out of regime)"
    assert ledger.loc["top", "family"] == "paper-slug: control"
    # The one that is left is still one of two headline claims.
    assert ledger.loc["free", "p_adjusted"] == pytest.approx(2 * ledger.loc["free", "p_support"], rel=1e-5)
    good = judge([study(claim("top", stance="control", headline=False), *claims[1:])], {"demo": fits()}, "laptop")
    assert set(good["verdict"]) == {"supported"}


def test_controls_and_identities_are_in_no_family_and_no_tally():
    claims = [claim("main"), claim("sure", stance="identity", headline=False),
              claim("known", stance="control", headline=False),
              claim("ours", stance="own", headline=False)]  # fmt: skip
    ledger = judge([study(*claims)], {"demo": fits()}, "laptop")
    assert ledger["p_adjusted"].iloc[0] == ledger["p_support"].iloc[0]
    assert list(ledger["agrees"]) == ["yes", "–", "–", "–"]
    assert tally(rows_of(ledger)) == (1, 0, {})
    text = markdown(rows_of(ledger), {}, 0.05)
    assert text.index("## Checks of the instrument") < text.index("| known |")
    assert text.index("## Checks of the code") < text.index("| sure |")
    assert "our own extension" in text


def test_a_claim_without_parameter_is_judged_by_the_first_number_of_its_fit():
    second = fits(0.9).assign(parameter="offset")
    row = judge([study(claim("a"))], {"demo": pd.concat([fits(0.01), second], ignore_index=True)}, "laptop").iloc[0]
    assert row["estimate"] == 0.01


def test_the_false_discovery_rate_is_shown_beside():
    from statsmodels.stats.multitest import multipletests

    studies, tables = by_p([0.01, 0.2, 0.97])
    others, more = by_p([0.03], slug="other")
    rows = rows_of(judge([*studies, *others], tables | more, "laptop"))
    expected = multipletests([0.01, 0.2, 0.03, 0.03], method="fdr_by")[1]
    assert list(false_discovery(rows).values()) == pytest.approx(list(expected), rel=1e-4)
    assert expected_false(rows) == pytest.approx(0.1)


def test_claim_names_are_unique_across_studies():
    with pytest.raises(MusterError, match=r"config/studies/second\.yaml: claims\.a: the name is taken by study 'demo'"):
        judge([study(claim("a")), study(claim("a"), name="second")], {}, "laptop")


def test_a_claim_that_moved_to_another_study_stays_where_it_was_until_that_one_is_run():
    kept = judge([study(claim("flat"), claim("steep"), name="old")], {"old": fits()}, "laptop")
    now = [study(claim("steep"), name="old"), study(claim("flat"), name="new")]
    standing = judge(now, {}, "laptop", kept=kept).set_index("claim")["study"]
    assert standing.to_dict() == {"flat": "old", "steep": "old"}
    moved = judge(now, {"new": fits(0.03)}, "laptop", kept=kept).set_index("claim")
    assert moved["study"].to_dict() == {"steep": "old", "flat": "new"}
    assert moved.loc["flat", "estimate"] == 0.03


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
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert {path.name for path in (tmp_path / "one").iterdir()} == FILES
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert sum(metrics["verdicts"].values()) == len(ledger)
    estimates = {claim: value for study in metrics["estimates"].values() for claim, value in study.items()}
    finite = ledger[ledger["estimate"].map(math.isfinite)]
    assert estimates == pytest.approx(dict(zip(finite["claim"], finite["estimate"], strict=True)), rel=1e-5)
    pd.testing.assert_frame_equal(read_ledger(tmp_path / "one"), ledger)
    records = json.loads((tmp_path / "one" / "claims.json").read_text())
    assert [list(record) for record in records] == [DESIGN_COLUMNS] * 5
    assert records[2]["estimate"] is None
    assert (tmp_path / "one" / "claims.csv").read_text().splitlines()[4].split(",")[11] == "0.333333"
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "one", check=True)


SPOILED = {
    "a flipped digit": (lambda folder: flip(folder / "claims.csv"), "claims.csv: it is not what was written"),
    "a flipped digit of the JSON": (lambda folder: flip(folder / "claims.json"), "claims.json: it is not what"),
    "a truncated file": (lambda folder: cut(folder / "claims.csv"), "claims.csv: it is not what was written"),
    "no file": (lambda folder: (folder / "claims.csv").unlink(), "claims.csv: it is missing"),
    "no checksums": (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS: it is missing"),
    "empty checksums": (lambda folder: (folder / "SHA256SUMS").write_text(""), "it does not name claims.csv"),
}


def flip(path):
    text = path.read_text()
    path.write_text(text.replace("0.005", "0.006", 1))
    assert path.read_text() != text


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize("what", SPOILED)
def test_a_ledger_that_is_not_what_was_written_is_not_read(tmp_path, monkeypatch, what):
    spoil, said = SPOILED[what]
    monkeypatch.chdir(tmp_path)
    for folder, remedy in ((Path("results/laptop/ledger"), "Delete results/laptop/ledger and run again"),
                           (Path("results/published/ledger"), "git checkout")):  # fmt: skip
        write_ledger(full_ledger(), folder)
        spoil(folder)
        with pytest.raises(MusterError) as raised:
            read_ledger(folder)
        assert said in str(raised.value)
        assert remedy in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_ledger_of_other_columns_is_named(tmp_path):
    write_ledger(full_ledger(), tmp_path)
    text = (tmp_path / "claims.csv").read_text().replace("p_adjusted", "p_holm", 1)
    (tmp_path / "claims.csv").write_text(text)
    (tmp_path / "SHA256SUMS").write_text(f"{hashlib.sha256(text.encode()).hexdigest()}  claims.csv\n")
    with pytest.raises(MusterError, match="it has other columns than those of this version"):
        read_ledger(tmp_path)


def test_every_verdict_is_recomputed_from_the_written_row(tmp_path):
    write_ledger(full_ledger(), tmp_path)
    raw = pd.read_csv(tmp_path / "claims.csv", dtype=str, keep_default_na=False).to_dict("records")
    assert [verdict(row) for row in raw] == [row["verdict"] for row in raw]
    assert {row["verdict"] for row in raw} == {"supported", "refuted", "not run"}


def test_studies_that_were_not_run_do_not_bury_those_that_were(tmp_path):
    two = [study(claim("a", headline=True), claim("c")), study(claim("b"), name="second", paper="Second 2023")]
    asked = {"demo": "depth", "second": "width"}
    write_ledger(judge(two, {"demo": fits(), "second": fits()}, "laptop"), tmp_path / "both", questions=asked)
    text = (tmp_path / "both/LEDGER.md").read_text()
    places = [text.index(part) for part in (f"## {QUESTIONS['width']}", "### Second 2023", f"## {QUESTIONS['depth']}")]
    assert places == sorted(places)
    assert "## Not run" not in text
    write_ledger(judge(two, {"second": fits()}, "laptop"), tmp_path / "one", questions=asked)
    text = (tmp_path / "one/LEDGER.md").read_text()
    assert f"## {QUESTIONS['depth']}" not in text
    assert text.index("| **b** |") < text.index("## Not run") < text.index("| demo | Author 2022 | a, c |")
    assert len(read_ledger(tmp_path / "one")) == 3


def test_markdown_opens_with_the_facts_and_goes_by_question_and_paper(tmp_path):
    write_ledger(full_ledger(), tmp_path, questions={"demo": "depth", "b": "width"})
    text = (tmp_path / "LEDGER.md").read_text()
    assert (
        "5 facts of 1 paper (5 claims) at scale laptop: **1 agree** with their paper, **2 contradict** it, "
        "**2 are open**: 2 not run."
    ) in text
    assert f"| {QUESTIONS['width']} | 1 | 0 | 0 | 1 not run |" in text
    assert text.index(f"## {QUESTIONS['depth']}") < text.index("### Author 2022") < text.index("## Not run")
    line = next(line for line in text.splitlines() if line.startswith("| **flat**"))
    cells = line.replace("\\|", "¦").split("|")
    assert [cell.strip() for cell in cells[1:9]] == [
        "**flat**", "β ¦ is 0", "Fig. 1 (paper)", "0 ± 0.1", "0.01 [-0.005, 0.025]", "12 / 180", "supported", "yes",
    ]  # fmt: skip
    assert "[figure](../figures/demo/optimum.svg)" in line
    assert "| steep |" in text
    assert "≤ -0.5 + 0.1" in text
    assert "≥ 0.3333 − 0.2" in text


def test_a_prediction_with_an_error_is_shown_with_it(tmp_path):
    it = judge([study(claim("a", prediction_se=0.05))], {"demo": fits()}, "laptop")
    assert it["test"].iloc[0] == "equivalence, prediction se 0.05"
    assert "| 0 (se 0.05) ± 0.1 |" in markdown(rows_of(it), {}, 0.05)
    assert it["p_support"].iloc[0] > judge([study(claim("a"))], {"demo": fits()}, "laptop")["p_support"].iloc[0]


def test_every_question_of_the_config_has_its_words():
    assert set(QUESTIONS) == set(Question.__args__)


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
    ledger = ledger.assign(reason=text, regime=text)
    parsed = (
        MarkdownIt("commonmark", {"html": True})
        .enable(["table", "strikethrough"])
        .parse(markdown(rows_of(ledger), {}, 0.05))
    )
    inline = [token.children for token in parsed if token.type == "inline"]
    markup = {child.type for children in inline for child in children} - {"text", "softbreak", "text_special"}
    links = [child for children in inline for child in children if child.type == "html_inline"]
    assert markup <= {"strong_open", "strong_close", "html_inline", "code_inline"}
    assert {child.content for child in links} <= {"<span>", "</span>"}
    words = {child.content for children in inline for child in children if child.type == "code_inline"}
    assert words <= {*VERDICTS, "agrees"}
    told = ["".join(child.content for child in children if child.type != "html_inline") for children in inline]
    wanted = " ".join(text.split())
    assert told.count(wanted) == 4  # the paper's heading, the statement, the reason, the conditions
    assert f"{wanted} (paper)" in told
    dollars = markdown(rows_of(ledger), {}, 0.05).count("$")
    assert dollars == markdown(rows_of(ledger), {}, 0.05).count("<span>$</span>")


def test_at_most_25_rows_are_chosen_without_a_look_at_verdicts():
    questions = {f"s-{i}": ("width", "depth", None)[i % 3] for i in range(40)}
    rows = [
        {"claim": f"c-{i}-{j}", "study": f"s-{i}", "slug": f"p-{i}", "stance": "holds", "same_as": "",
         "family": f"p-{i}: {'headline' if j else 'secondary'}", "verdict": "supported", "agrees": "yes"}
        for i in range(40) for j in range(3)
    ]  # fmt: skip
    chosen = selection(rows, questions)
    assert len(chosen) == 25
    assert [row["claim"] for row in chosen[:9]] == [f"c-{3 * i}-1" for i in range(9)]  # width first
    assert len({row["slug"] for row in chosen}) == 25
    assert [row["claim"] for row in selection([row | {"verdict": "refuted"} for row in rows], questions)] == [
        row["claim"] for row in chosen
    ]


def test_what_checks_look_at_is_part_of_a_fit_and_what_a_reader_sees_is_not():
    plain, checked = claim("a"), claim("a", regime=[{"check": "calm"}])
    assert fitted_settings(study(plain)) == fitted_settings(study(claim("a", statement="other", margin=0.2)))
    made = fitted_settings(study(checked))
    assert made == fitted_settings(study(checked | {"statement": "other", "source": "other", "stance": "fails"}))
    for change in ({"margin": 0.2}, {"predicted": 1}, {"published": {"width": 3}}, {"regime": [{"check": "other"}]}):
        assert made != fitted_settings(study(checked | change))


def test_the_published_ledger_says_what_the_studies_say():
    """A claim that was changed since is published anew: a row of other words or margins than its study has is stale."""
    rows = {row["claim"]: row for row in rows_of(read_ledger(ROOT / "results/published/ledger"))}
    words, numbers = ("statement", "source", "provenance", "asserts", "stance", "criterion"), ("predicted", "margin")
    stale = []
    for study in load_studies(ROOT / "config/config.yaml").known.values():
        for claim in study.claims:
            row = rows[claim.claim]
            now = [getattr(claim, name) for name in words] + [claim.same_as or ""]
            held = [float(f"{getattr(claim, name):.6g}") for name in numbers]
            if now != [row[name] for name in (*words, "same_as")] or held != [row[name] for name in numbers]:
                stale.append(claim.claim)
    assert stale == []
