"""The two drills that nothing else covers, with every run of the tests; `make drill` runs them all."""

import json
from pathlib import Path

import pytest

from tests.drills.__main__ import page
from tests.drills.faults import DRILLS, TO_THE_PRESENT
from tests.drills.flow import Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("drills"))


@pytest.mark.parametrize("title", ["a study edited while it runs", "archives with paths that leave their folder"])
def test_nothing_is_lost(bench: Bench, title: str) -> None:
    assert DRILLS[title](bench)


def test_the_documentation_names_the_remedy_that_was_drilled() -> None:
    assert TO_THE_PRESENT in (Path(__file__).parents[2] / "docs/troubleshooting.md").read_text()


def test_the_page_is_what_the_last_runs_found() -> None:
    folder = Path(__file__).parent
    record = json.loads((folder / "found.json").read_text())
    assert set(record) <= set(DRILLS)
    assert (folder.parents[1] / "docs/reliability.md").read_text() == page(record)
    assert all(row["passed"] for row in record.values())
