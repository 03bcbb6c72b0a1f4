"""What a run ends with: each claim's verdict, and below it what its fit notes."""

from pathlib import Path

import pandas as pd
import pytest

from muster.claims.ledger import judge, write_ledger
from muster.cli import main
from muster.cli.summary import LINE, print_outcome
from muster.fitting.base import Counts, fit_rows, no_estimates
from muster.plan.plan import Plan, load_plan
from muster.statistics.linear import Estimate
from muster.tables.io import write_frame
from tests.workflow.studies import TINY, write_config

GROUP = {"parameterization": "mup", "optimizer": "adam"}
NOTE = "curvature p 0.003, slope -0.2 without 8, edge at width 8, asymmetric basin at width 16 32"


def judged(folder: Path, note: str, status: str = "ok", clusters: int | None = None) -> Plan:
    """A study whose one claim was judged by a fit with this note, beside a variant that decides nothing. clusters: on
    how many shapes its interval is said to rest."""
    text = TINY if clusters is None else TINY.replace("response:", "options: {clusters: width}, response:", 1)
    plan = load_plan(write_config(folder, tiny_train=text))
    seen = None if clusters is None else {"clusters": clusters}
    estimates = {"ols_t": Estimate(0.02, 0.01, 3), "mixed": Estimate(9, 0.01, 3)}
    rows = []
    for variant, told in (("mixed", "another note"), ("ols_t", note)):
        made = estimates if status == "ok" else no_estimates([*estimates])
        given = {variant: made[variant]}
        rows += fit_rows(GROUP, given, "ols_t", parameter="exponent", status=status, note=told, counts=Counts(3, 9),
                         diagnostics=seen)  # fmt: skip
    fits = pd.DataFrame(rows).assign(study="tiny-train", fit="lr", estimator="lr_transfer")
    write_frame(fits, Path("results/fits/tiny-train/fits.parquet"))
    write_ledger(judge([plan.studies["tiny-train"].study], {"tiny-train": fits}, "laptop"), Path("results/ledger"))
    return plan


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_a_fit_notes_stands_below_the_verdict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_outcome(judged(folder, NOTE))
    head, verdict, note, *_ = capsys.readouterr().out.strip().splitlines()
    assert head.split() == ["claim", "verdict", "agrees", "estimate", "claimed", "why"]
    assert verdict.startswith("tiny-flat  supported")
    assert note == f"  its fit: {NOTE}"


def test_a_long_note_is_told_to_its_end_in_short_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it comes to often stands last."""
    words = list(map(str, range(100, 200)))
    print_outcome(judged(folder, " ".join(words)))
    note = capsys.readouterr().out.strip().split("\n\n")[0].splitlines()[2:]
    assert " ".join(note).split() == ["its", "fit:", *words]
    assert max(map(len, note)) <= LINE


@pytest.mark.parametrize(("note", "told"), [("", ""), (NOTE, f", {NOTE}")])
def test_the_clusters_that_an_interval_rests_on_are_told(
    note: str, told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_outcome(judged(folder, note, clusters=5))
    said = " ".join(capsys.readouterr().out.split())
    assert f"its fit: its interval rests on 5 clusters (width){told}" in said
    assert main(["show", "claim", "tiny-flat"]) == 0
    assert "fit  its interval rests on 5 clusters (width)" in capsys.readouterr().out


@pytest.mark.parametrize(("note", "status"), [("", "ok"), ("1 of 3 shapes has an interior optimum", "too_few")])
def test_nothing_is_said_twice_and_of_nothing_nothing(
    note: str, status: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_outcome(judged(folder, note, status))
    out = capsys.readouterr().out
    assert "its fit" not in out
    assert out.count(note) == 1 or not note


def test_a_ledger_whose_fits_are_gone_is_told_nevertheless(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = judged(folder, NOTE)
    Path("results/fits/tiny-train/fits.parquet").unlink()
    print_outcome(plan)
    assert "tiny-flat  supported" in capsys.readouterr().out
