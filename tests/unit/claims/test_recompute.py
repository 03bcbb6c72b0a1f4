"""Every row of a written ledger follows from the file: an independent script finds no difference, and finds each one
that is made."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.claims.ledger import COLUMNS, judge, write_ledger
from muster.claims.tests import VERDICTS
from muster.config.models import Criterion, Stance, StudyConfig, Test

SCRIPT = Path(__file__).parents[2] / "recompute_ledger.py"
ROOT = Path(__file__).parents[3]


def recompute(path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(SCRIPT), str(path)], capture_output=True, text=True, check=False)


def any_ledger(seed: int, papers: int = 24, smoke: bool = False) -> pd.DataFrame:
    """A ledger of papers of one or two studies, with claims, conditions and numbers drawn at random."""
    rng = np.random.default_rng(seed)
    studies, fits, regimes, names = [], {}, {}, []
    for paper in range(papers):
        for part in range(rng.integers(1, 3)):
            name = f"study-{paper}-{part}"
            claims, rows, checks = [], [], []
            for index in range(rng.integers(1, 8)):
                claim = f"claim-{paper}-{part}-{index}"
                stance = str(rng.choice(["holds"] * 5 + list(Stance.__args__)))
                own = stance in ("own", "identity", "control")
                claims.append({
                    "claim": claim, "statement": "s", "source": "s", "provenance": "paper", "fit": "f",
                    "where": {"index": index}, "test": str(rng.choice(Test.__args__)), "stance": stance,
                    "predicted": float(rng.choice([0, 0.5])),
                    "margin": float(rng.choice([0, 0.1, 0.3], p=[0.1, 0.5, 0.4])),
                    "criterion": str(rng.choice(Criterion.__args__, p=[0.9, 0.1])),
                    "prediction_se": float(rng.choice([0, 0.02], p=[0.8, 0.2])),
                    "headline": bool(not own and rng.random() < 0.6),
                    "regime": [{"check": "calm"}] * int(rng.random() < 0.4),
                    "controls": [str(rng.choice(names))] if names and rng.random() < 0.1 else [],
                    "same_as": str(rng.choice(names[-9:])) if names and rng.random() < 0.1 else None,
                })  # fmt: skip
                se, dof = float(10 ** rng.uniform(-3, -0.8)), int(rng.integers(1, 9))
                estimate = float(claims[-1]["predicted"] + rng.choice([0, 0.1, 1]) * rng.normal(0, 0.5))
                half = float(stats.t.isf(0.025, dof)) * se
                status = str(rng.choice(["ok", "edge"], p=[0.95, 0.05]))
                rows.append({
                    "fit": "f", "primary": True, "parameter": "p", "group": f'{{"index": {index}}}',
                    "estimate": estimate,
                    "se": se, "dof": dof, "ci_low": estimate - half, "ci_high": estimate + half, "n_cells": 5,
                    "n_runs": 9, "status": status, "note": "at 512; beyond" if status == "edge" else "",
                })  # fmt: skip
                value = float(rng.choice([0.05, 0.3]))
                checks.append({
                    "claim": claim, "check": "calm", "value": value, "low": -0.1, "high": 0.1, "passed": value < 0.1,
                    "blocks": str(rng.choice(["both", "refuted"])), "towards": bool(rng.random() < 0.5),
                    "note": "0.1; 0.2",
                })  # fmt: skip
                names.append(claim)
            if rng.random() < 0.9:
                fits[name], regimes[name] = pd.DataFrame(rows), pd.DataFrame(checks[: rng.integers(0, len(checks) + 1)],
                                                                             columns=list(checks[0]))  # fmt: skip
            studies.append(StudyConfig(
                study=name, title="t", paper=f"Paper {paper}", slug=f"paper-{paper}", experiment="train",
                scales={"laptop": {"grid": [{"width": 1}]}},
                fits={"f": {"estimator": "lr_transfer", "response": "loss"}}, claims=claims,
            ))  # fmt: skip
    scale = {study.study: "smoke" if smoke and i % 9 == 0 else "laptop" for i, study in enumerate(studies)}
    return judge(studies, fits, scale, regimes=regimes)


@pytest.mark.parametrize("seed", range(3))
def test_every_row_is_recomputed_from_the_file_alone(tmp_path, seed):
    ledger = any_ledger(seed, smoke=True)
    write_ledger(ledger, tmp_path)
    found = recompute(tmp_path / "claims.csv")
    assert found.stdout == "no difference\n", found.stderr
    if seed == 0:
        assert set(ledger["verdict"]) == set(VERDICTS)
        assert set(ledger["agrees"]) == {"yes", "no", "–"}


@pytest.mark.parametrize("column", ["p_support", "p_refute", "p_adjusted", "estimate", "margin", "verdict", "agrees"])
def test_a_changed_value_is_found(tmp_path, column):
    ledger = any_ledger(1)
    row = ledger.index[ledger["verdict"] == "supported"][0]
    other = {"verdict": "refuted", "agrees": "no"}.get(column) or ledger.loc[row, column] + 0.011
    ledger.loc[row, column] = other
    ledger[list(COLUMNS)].to_csv(tmp_path / "claims.csv", index=False)
    assert ledger.loc[row, "claim"] in recompute(tmp_path / "claims.csv").stderr.split()


def test_the_published_ledger_is_recomputed():
    found = recompute(ROOT / "results/published/ledger/claims.csv")
    assert found.stdout == "no difference\n"


def test_the_script_knows_nothing_of_muster_and_is_short():
    text = SCRIPT.read_text()
    assert "muster" not in text.partition('"""\n')[2]
    assert len([line for line in text.splitlines() if line.strip()]) <= 60
