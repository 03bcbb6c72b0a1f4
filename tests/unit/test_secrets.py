"""Credentials let nobody in: none is taken from a file, none is written, whatever the message that would hold it."""

from pathlib import Path

import pytest

from muster.cli import main
from muster.config.load import load_config, load_study
from muster.errors import DamagedError, FieldError, MusterError, redacted
from tests.workflow.studies import IMPORTED, TINY, write_config

TOKEN = "s3cr3tT0k3nPlanted"
HELD = [
    f"https://user:{TOKEN}@example.org/runs.csv",
    f"https://{TOKEN}@example.org/runs.csv",
    f"ssh://git:{TOKEN}@example.org/x",
    f"https://example.org/runs.csv?a=1&access_token={TOKEN}",
    f"https://example.org/runs.csv?X-Amz-Signature={TOKEN}&b=2",
    f"https://example.org/runs.csv?sig={TOKEN}",
    f"python train.py --from https://example.org/?api_key={TOKEN} --steps 3",
    f"hf_{TOKEN}",
    f"github_pat_{TOKEN}",
]
PUBLIC = [
    "https://example.org/a@b/runs.csv?download=1",
    "key=3",
    "monkey: 4",
    "me@example.org",
    "risk-adjusted-measures-of",
]


@pytest.mark.parametrize("text", HELD)
def test_every_message_is_without_credentials(text: str) -> None:
    assert TOKEN not in redacted(text)
    for error in (
        MusterError(text, text, text),
        FieldError((text,), text, text),
        DamagedError(text, text, Path("x")),
    ):
        assert TOKEN not in str(error)


@pytest.mark.parametrize("text", PUBLIC)
def test_other_texts_stay(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("text", HELD)
def test_no_file_may_hold_credentials(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    studies = {
        "tiny_train": TINY.replace("title: Tiny", f"title: '{text}'"),
        "tiny_import": IMPORTED.replace("http://127.0.0.1:9/runs.csv", f"'{text}'"),
    }
    path = write_config(tmp_path, f"scale: smoke\nsources: '{text}'\n", **studies)
    files = sorted((tmp_path / "config/studies").iterdir())
    for load, name in ((load_config, path), *((load_study, file) for file in files)):
        with pytest.raises(MusterError, match=r"yaml:\d+ \S+: found .*holds credentials") as error:
            load(name)
        assert TOKEN not in str(error.value)
    assert main(["validate", "--config", str(path)]) == 2
    said = capsys.readouterr()
    assert TOKEN not in said.out + said.err
    assert "holds credentials" in said.out + said.err
