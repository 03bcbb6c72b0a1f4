"""Published tables: which copy is taken, which refused, and what happens when none can be had."""

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError

from muster.download import download
from muster.errors import MusterError, Unavailable
from muster.published import source as module
from muster.published.source import Source, obtain, source_folder, state

CONTENT = b"N,loss\n10,2.5\n20,2.0\n"
NOWHERE = "http://127.0.0.1:9/table.csv"  # the discard port: nothing listens


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def source(**fields: object) -> Source:
    return Source.model_validate(
        {"address": NOWHERE, "sha256": digest(CONTENT), "licence": "CC0", "file": "a/table.csv"} | fields
    )


def put(folder: Path, content: bytes = CONTENT, name: str = "a/table.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class Answers(BaseHTTPRequestHandler):
    """A host that publishes the table, misses it, sends another, sends too much or answers late."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        if self.path == "/missing":
            self.send_error(404)
            return
        body = {"/other": b"x", "/large": b"x" * 5000}.get(self.path, CONTENT)
        self.send_response(200)
        self.end_headers()
        if self.path == "/late":
            time.sleep(1.0)
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[str]:
    Answers.asked = 0
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_local_copy_is_taken_without_asking_the_network(tmp_path: Path, host: str) -> None:
    path = put(tmp_path)
    found = obtain(source(address=f"{host}/table.csv"), [tmp_path / "none", tmp_path], None)
    assert (found.data, found.sha256, found.place) == (CONTENT, digest(CONTENT), str(path))
    assert Answers.asked == 0


def test_a_copy_with_another_checksum_is_never_used(tmp_path: Path) -> None:
    put(tmp_path, CONTENT + b"30,1.9\n")
    with pytest.raises(Unavailable, match=r"a/table\.csv has checksum .* expected .*; its address cannot be reached"):
        obtain(source(), [tmp_path], None)


def test_an_alternative_form_is_taken_with_its_own_checksum_and_reader(tmp_path: Path) -> None:
    other = b"N;loss\n1;2\n"
    put(tmp_path, other, "b/derived.csv")
    form = {"file": "b/derived.csv", "sha256": digest(other), "reader_options": {"delimiter": ";"}}
    found = obtain(source(alternatives=[form]), [tmp_path], None)
    assert found.form.reader_options == {"delimiter": ";"}
    with pytest.raises(Unavailable):
        obtain(source(alternatives=[form | {"sha256": digest(CONTENT)}]), [tmp_path], None)


def test_a_download_is_verified_and_kept_so_that_the_next_job_needs_no_network(tmp_path: Path, host: str) -> None:
    published = source(address=f"{host}/table.csv")
    assert obtain(published, [], tmp_path / "kept").place == published.address
    again = obtain(published, [], tmp_path / "kept")
    assert (again.data, Answers.asked) == (CONTENT, 1)
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(b"damaged")
    assert obtain(published, [], tmp_path / "kept").data == CONTENT
    assert Answers.asked == 2


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/missing", "answers 404"), ("/other", "what its address sends has checksum"), ("/late", "timed out")],
)
def test_what_an_address_may_answer_instead(tmp_path: Path, host: str, path: str, reason: str) -> None:
    with pytest.raises(Unavailable, match=reason):
        obtain(source(address=host + path), [], tmp_path / "kept", timeout=0.2)
    assert not (tmp_path / "kept").exists()


def test_a_download_stops_at_its_size_limit(host: str) -> None:
    with pytest.raises(Unavailable, match="sends more than"):
        download(f"{host}/large", limit=4999)
    assert len(download(f"{host}/large", limit=5000)) == 5000


def test_an_archive_that_cannot_be_opened_leaves_the_source_unavailable(host: str) -> None:
    with pytest.raises(Unavailable, match="not readable as a tar archive"):
        obtain(source(address=f"{host}/table.csv", reader="open_lm_archive"), [], None)


def test_an_oversized_copy_is_the_users_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path)
    monkeypatch.setattr(module, "SIZE_LIMIT", 4)
    with pytest.raises(MusterError, match=r"a/table\.csv: larger than"):
        obtain(source(), [tmp_path], None)


def test_the_state_changes_when_a_copy_appears_or_changes_and_not_with_downloads(tmp_path: Path, host: str) -> None:
    published = source(address=f"{host}/table.csv")
    folders = [tmp_path / "mine", tmp_path / "sources"]
    obtain(published, folders, tmp_path / "sources" / "downloaded")
    assert state(published, folders) == "absent"
    put(tmp_path / "sources", b"wrong")
    assert state(published, folders) == f"refused {digest(b'wrong')}"
    put(tmp_path / "sources")
    assert state(published, folders) == digest(CONTENT)


def test_a_table_of_ones_own_needs_neither_address_nor_checksum(tmp_path: Path) -> None:
    own = source(address=None, sha256=None)
    with pytest.raises(Unavailable, match=r"no a/table\.csv in"):
        obtain(own, [tmp_path], None)
    put(tmp_path, b"anything")
    assert obtain(own, [tmp_path], None).sha256 == state(own, [tmp_path]) == digest(b"anything")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"file": "../table.csv"}, "without '..'"),
        ({"file": "/etc/table.csv"}, "relative to the folder"),
        ({"file": "a\\..\\table.csv"}, "relative to the folder"),
        ({"address": "file:///etc/passwd"}, "starts with https"),
        ({"sha256": "abc"}, "64 hexadecimal digits"),
        ({"sha256": None}, "has an address but no sha256"),
        ({"licence": ""}, "at least 1 character"),
        ({"reader": "cvs"}, "Did you mean 'csv'"),
        ({"reader_options": {"delimeter": ";"}}, "Options: delimiter"),
    ],
)
def test_a_source_that_cannot_be_right_is_refused_at_once(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        source(**fields)


def test_the_environment_goes_before_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_SOURCES", "/tables/of/mine")
    assert source_folder("configured") == Path("/tables/of/mine")
    monkeypatch.delenv("MUSTER_SOURCES")
    assert source_folder("configured") == Path("configured")
    assert source_folder(None) is None


def test_a_folder_that_is_named_twice_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=rf"no a/table\.csv in {tmp_path}$"):
        obtain(source(address=None), [tmp_path, tmp_path], None)
