"""Published tables under Snakemake: missing ones stop nothing, and are imported when they can be had."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pandas as pd
import pytest

from tests.workflow.conftest import Workflow, copy_workflow
from tests.workflow.studies import IMPORTED, SAMPLED, imported_table

SAMPLED_LAPTOP = SAMPLED.replace("smoke:", "laptop:").replace("seeds: 2", "seeds: 1")


@pytest.fixture(autouse=True)
def _no_folder_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSTER_SOURCES", raising=False)


def verdicts(workflow: Workflow) -> dict[str, str]:
    ledger = pd.read_csv(workflow.folder / "results" / "ledger" / "claims.csv")
    return dict(zip(ledger["claim"], ledger["verdict"], strict=True))


def run(workflow: Workflow, target: str = "ledger") -> None:
    done = workflow.run(target)
    assert done.returncode == 0, done.stdout + done.stderr


def losses(workflow: Workflow) -> int:
    """How many runs of the imported study have a loss."""
    (table,) = workflow.folder.glob("results/tables/tiny-import/runs.parquet")
    return int(pd.read_parquet(table)["final_eval_loss"].notna().sum())


def test_a_missing_table_stops_nothing_and_is_imported_once_it_appears(tmp_path: Path) -> None:
    workflow = copy_workflow(tmp_path, "scale: laptop\n", tiny_import=IMPORTED, tiny_sample=SAMPLED_LAPTOP)
    run(workflow)
    assert verdicts(workflow)["tiny-slope"] == "not run"
    assert verdicts(workflow)["tiny-uniform"] in ("supported", "refuted", "inconclusive")
    assert workflow.jobs("ledger") == {}

    copy = tmp_path / "results" / "sources" / "a" / "runs.csv"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(imported_table())
    assert workflow.jobs("ledger") == {"import": 1, "collect": 1, "fit": 1, "judge": 1, "ledger": 1}
    run(workflow)
    assert verdicts(workflow)["tiny-slope"] == "supported"
    assert workflow.jobs("ledger") == {}
    copy.unlink()  # or --config sources=FOLDER was forgotten: what was imported outlives its copy
    assert workflow.jobs("ledger") == {}
    copy.write_bytes(b"N,loss\n1,2\n")
    assert workflow.jobs("ledger")["import"] == 1, "another copy is no missing one"


@pytest.fixture
def address() -> Iterator[str]:
    class Publisher(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(imported_table())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Publisher)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/runs.csv"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_download_is_not_a_change_to_the_next_run(tmp_path: Path, address: str) -> None:
    published = IMPORTED.replace("http://127.0.0.1:9/runs.csv", address)
    workflow = copy_workflow(tmp_path, "scale: laptop\n", tiny_import=published)
    run(workflow, "tables")
    assert losses(workflow) == 8
    assert workflow.jobs("tables") == {}
    workflow.edit("config/studies/tiny-import.yaml", "split: test", "split: unknown")
    assert workflow.jobs("tables")["import"] == 1


def test_the_folder_in_config_yaml_is_looked_at_first(tmp_path: Path) -> None:
    workflow = copy_workflow(tmp_path, "scale: laptop\nsources: mine\n", tiny_import=IMPORTED)
    copy = tmp_path / "mine" / "a" / "runs.csv"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(imported_table())
    run(workflow, "tables")
    assert losses(workflow) == 8
