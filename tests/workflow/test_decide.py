"""`muster decide` on real Snakemake: only the cells of its looks are run, and what was looked at is not run again."""

import json
from pathlib import Path

from tests.workflow.conftest import copy_workflow
from tests.workflow.studies import TINY

WIDTHS = [8, 12, 16, 24, 32, 48, 64]


def test_looks_run_only_their_own_cells_and_are_taken_once(tmp_path: Path) -> None:
    study = TINY.replace("width: [8, 16, 32], seeds: 2", f"width: {WIDTHS}, seeds: 1")
    workflow = copy_workflow(tmp_path, "scale: laptop\n", tiny_train=study)
    first = workflow.run("decide", "tiny-train", "--cores", "2", program="muster")
    assert first.returncode == 0, first.stdout + first.stderr
    record = workflow.folder / "results/decisions/tiny-train.json"
    looks = json.loads(record.read_text())["looks"]
    assert [len(look["shapes"]) for look in looks] in ([5], [5, 7])
    cells = [path.name for path in (workflow.folder / "results/runs/train").iterdir()]
    assert {cell.split("-")[2] for cell in cells} == {"mup"}  # the claim is about µP alone
    assert len(cells) == len(looks[-1]["shapes"])
    assert not (workflow.folder / "results/ledger").exists()

    before = record.read_bytes()
    again = workflow.run("decide", "tiny-train", "--cores", "2", program="muster")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "rule" not in again.stderr
    assert record.read_bytes() == before

    judged = workflow.run("ledger")
    assert judged.returncode == 0, judged.stdout + judged.stderr
    provenance = json.loads((workflow.folder / "results/provenance/ledger.json").read_text())
    assert provenance["looks"]["tiny-train"] == looks
