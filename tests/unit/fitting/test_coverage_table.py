"""The table of docs/coverage.md: complete, made by its script alone, and with every line below nominal marked."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("coverage_table", ROOT / "workflow" / "scripts" / "coverage.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["coverage_table"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["coverage_table"]


def test_every_estimator_has_a_line_or_a_reason(script):
    script.check_complete()


def test_the_page_and_its_results_hold_every_line(script):
    rows = json.loads(script.RESULTS.read_text())
    assert script.PAGE.read_text() == script.page(rows)
    lines = [(row["estimator"], row["situation"], row["draws"]) for row in rows]
    assert sorted(lines) == sorted((case.estimator, case.name, case.draws) for case in script.SITUATIONS)


@pytest.mark.parametrize(
    ("coverage", "size", "outside", "marked"),
    [
        (0.93, 0.07, False, ""),
        (0.915, 0.07, False, "low"),
        (0.93, 0.08, False, "low"),
        (0.85, 0.15, False, "LOW"),
        (0.85, 0.15, True, "LOW, declared"),
        (None, None, False, ""),
    ],
)
def test_lines_below_nominal_are_marked(script, coverage, size, outside, marked):
    row = {"coverage": coverage, "size": size, "draws": 100, "measured": 1.0, "outside": outside}
    assert script.mark(row) == marked


def test_a_line_counts_what_is_covered(script):
    case = next(case for case in script.SITUATIONS if (case.estimator, case.name) == ("mean", "few seeds"))
    row = script.measure(case, 60)
    assert row["measured"] == 1
    assert row["coverage"] >= 0.85
    assert row["size"] == pytest.approx(1 - row["coverage"])
    off = script.Situation(
        "mean", "off", lambda rng: (case.draw(rng)[0], 3.0), case.fit, case.parameter, case.ms, case.outside
    )
    assert script.measure(off, 10)["coverage"] == 0
    assert np.isclose(script.measure(off, 10)["size"], 1)
