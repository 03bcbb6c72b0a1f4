"""What `make replay` says of the ledger that it made beside the published one."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "workflow/scripts/replayed.py"
ROW = {"claim": "a", "study": "s", "family": "f", "ci_low": "0.000766135", "p_adjusted": "0.26", "reason": "p = 0.26"}
KEPT = ROW | {"claim": "k", "study": "kept"}


def compare(folder: Path, published: list[dict[str, str]], replayed: list[dict[str, str]]):
    (folder / "results/published/records").mkdir(parents=True)
    (folder / "results/published/records/s.json").touch()
    for ledger, table in (("results/published/ledger", published), ("again", replayed)):
        (folder / ledger).mkdir()
        with (folder / ledger / "claims.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ROW)
            writer.writeheader()
            writer.writerows(table)
    command = [sys.executable, str(SCRIPT), "again"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("published", "changed", "code", "said"),
    [
        ([ROW], {}, 0, "1 of 1 rows are the published ones in every field\n"),
        ([ROW], {"ci_low": "0.000766136"}, 0, "in every field, 1 of them but for a last digit"),
        ([ROW], {"ci_low": "0.000766150"}, 1, "differs: a: ci_low"),
        ([ROW], {"ci_low": ""}, 1, "differs: a: ci_low"),
        ([ROW], {"reason": "p = 0.36"}, 1, "differs: a: reason"),
        ([ROW, KEPT], {"p_adjusted": "0.36", "reason": "p = 0.36"}, 0, "left aside: kept"),
        ([ROW, KEPT], {"ci_low": "-1"}, 1, "differs: a: ci_low"),
    ],
)
def test_rows_differ_by_more_than_a_processor_rounds(tmp_path: Path, published, changed, code, said) -> None:
    done = compare(tmp_path, published, [ROW | changed])
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr


def test_a_row_that_was_not_replayed_differs(tmp_path: Path) -> None:
    done = compare(tmp_path, [ROW], [])
    assert done.returncode == 1
    assert "0 of 1 rows" in done.stdout
