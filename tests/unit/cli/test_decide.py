"""`muster decide`: the looks that a study gets, and what becomes of synthetic sweeps through the real fits."""

import json
import math
from itertools import count

import numpy as np
import pandas as pd
import pytest

from muster.cli import main
from muster.cli.decide import Budget, Record, decidable, take_looks
from muster.config.load import load_study
from muster.errors import MusterError
from muster.plan.grid import plan_study
from tests.workflow.studies import TINY, write_config

WIDTHS = [16, 20, 24, 32, 40, 52, 64, 80, 104, 128, 160, 208, 256]


@pytest.fixture
def study(tmp_path):
    text = TINY.replace("width: [8, 16, 32], seeds: 2", f"width: {WIDTHS}, seeds: 1").replace("headline: false,", "")
    write_config(tmp_path, tiny_train=text)
    path = tmp_path / "config/studies/tiny-train.yaml"
    return plan_study(load_study(path), "laptop", path=path)


def sweeps(study, slope, seed, tau=0.03, noise=0.0005):
    """A function from cells to the table of their runs: quadratic basins whose optima follow a line with scatter."""
    rng = np.random.default_rng(seed)
    scatter = {x: tau * rng.standard_normal() for x in WIDTHS}

    def run(cells):
        rows = []
        for planned in cells:
            cell = planned.cell
            best = -7 + (slope * math.log(cell.width / 64) + scatter[cell.width]) / math.log(2)
            for rate in cell.log2_lr:
                loss = 0.02 * (rate - best) ** 2 + noise * rng.standard_normal()
                keys = {"width": cell.width, "parameterization": cell.parameterization, "optimizer": cell.optimizer}
                row = {**keys, "depth": 2, "seed": cell.seed, "log2_lr": rate, "final_train_loss": math.exp(loss)}
                rows.append({**row, "study": study.study.study, "diverged": False})
        return {"runs": pd.DataFrame(rows), "curves": pd.DataFrame(), "probes": pd.DataFrame()}

    return run


def chosen(study):
    return decidable(study, [study.study], [])[0]


def test_looks_are_of_the_axis_of_cells_and_name_the_cells_of_the_claim(study):
    (one,) = chosen(study)
    assert [len(look) for look in one.looks] == [5, 9, 13]
    assert one.level == 0.05
    assert {cell.cell.parameterization for cells in one.cells.values() for cell in cells} == {"mup"}


def test_the_level_is_shared_by_the_headline_claims_of_a_paper(study):
    (one,) = decidable(study, [study.study] * 4, [])[0]
    assert one.level == 0.0125


def test_a_flat_rate_is_supported_early_and_the_record_says_how(study, tmp_path):
    record = Record(tmp_path / "looks.json", study, chosen(study))
    assert take_looks(study, chosen(study), record, sweeps(study, 0.0, 1))
    assert record.decision("tiny-flat") == "supported"
    assert len(record.looks) < 3
    again = Record(tmp_path / "looks.json", study, chosen(study))
    assert again.looks == record.looks

    def never(cells):
        raise AssertionError("nothing is run once all is decided")

    assert take_looks(study, chosen(study), again, never)


def test_an_interrupted_run_goes_on_with_the_next_look(study, tmp_path):
    path, run, calls = tmp_path / "looks.json", sweeps(study, 0.07, 2), count()

    def stops(cells):
        if next(calls) == 1:
            raise MusterError("snakemake", "ended with exit status 1", "again")
        return run(cells)

    with pytest.raises(MusterError):
        take_looks(study, chosen(study), Record(path, study, chosen(study)), stops)
    assert [look["look"] for look in json.loads(path.read_text())["looks"]] == [1]
    record = Record(path, study, chosen(study))
    assert take_looks(study, chosen(study), record, run)
    assert [look["look"] for look in record.looks] == [1, 2, 3]


def test_another_plan_is_refused(study, tmp_path):
    path = tmp_path / "looks.json"
    take_looks(study, chosen(study), Record(path, study, chosen(study)), sweeps(study, 0.0, 1))
    (one,) = chosen(study)
    wider = one._replace(claim=one.claim.model_copy(update={"margin": 0.2}))
    with pytest.raises(MusterError, match="taken by another plan"):
        Record(path, study, [wider])
    path.write_text(path.read_text()[:40])
    with pytest.raises(MusterError, match="damaged"):
        Record(path, study, [one])


def test_the_budget_ends_before_a_look_that_would_exceed_it(study, tmp_path, capsys):
    record = Record(tmp_path / "looks.json", study, chosen(study))
    assert not take_looks(study, chosen(study), record, sweeps(study, 0.0, 1), Budget(0.0, 2))
    assert not record.looks
    assert "the budget ends before look 1" in capsys.readouterr().out


def test_false_verdicts_through_the_real_fits(study, tmp_path):
    """A true slope at the margin: over all looks at most 5 % false support. 40 studies: 5 % ± 3.4 %, bound at 3 se."""
    slope, wrong, decisions = 0.1, "supported", []
    for seed in range(40):
        record = Record(tmp_path / f"{seed}.json", study, chosen(study))
        take_looks(study, chosen(study), record, sweeps(study, slope, seed, tau=0.08, noise=0.001))
        decisions.append(record.decision("tiny-flat"))
    assert decisions.count(wrong) / 40 <= 0.15


def test_claims_that_looks_cannot_decide_are_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, tiny_train=TINY)
    assert main(["decide", "tiny-train", "--show"]) == 2
    assert "3 values of width: a first look takes 5" in capsys.readouterr().err


def test_the_looks_are_shown_before_anything_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, tiny_train=TINY.replace("width: [8, 16, 32], seeds: 2", f"width: {WIDTHS}, seeds: 1"))
    assert main(["decide", "tiny-train", "--show"]) == 0
    said = capsys.readouterr().out
    assert "5 of width 16 … 256" in said
    assert "13 of width 16 … 256" in said
