"""A report's figures and ledger are packed, and nothing else of it changes."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

from muster.cli.report import packed
from tests.browser import Browser, needs_chromium

LETTER = '<path id="DejaVuSans-31" d="M 0 1 \nL 2 3 \nz\n" transform="scale(0.015625)"/>'


def svg(own: str) -> str:
    """A figure with a letter that all draw alike, and a marker of one name that each draws in its own way."""
    return f'<svg><defs>{LETTER}<path id="marker" d="{own}"/></defs>' + "<use href='#a'/>" * 500 + "</svg>"


def uri(text: str, kind: str = "image/svg+xml") -> str:
    return f"data:{kind};charset=utf8;filename=a;base64," + base64.b64encode(text.encode()).decode()


def report(results: dict[str, Any]) -> str:
    return (
        f'<p>before</p>\n<script id="results">\n    var results = {json.dumps(results)};\n    </script>\n<p>after</p>'
    )


def test_figures_and_ledger_are_packed_and_unpack_to_themselves() -> None:
    ledger = "claim,verdict\n" + 99 * "a,supported\n"
    table = {"caption": "}; </scr", "data_uri": uri(ledger, "text/csv")}
    picture = {"caption": "B", "data_uri": uri("not a text", "image/png")}
    figures = {"figures/a.svg": svg("M 0 0"), "figures/b.svg": svg("M 1 1")}
    job = {"rule": "plot", "params": "figure=" + 999 * "x"}
    shown = {name: {"caption": "A", "data_uri": uri(text), "job_properties": job} for name, text in figures.items()}
    before = report({**shown, "claims.csv": table, "b.png": picture})
    after = packed(before)
    assert len(after) < len(before) / 3
    results = re.search(r"var results = (.*?);\s*</script>", after, re.DOTALL)
    content = re.search(r'<script id="packed" type="application/json">(.*?)</script>', after, re.DOTALL)
    assert results and content  # noqa: PT018
    found = json.loads(results[1])
    assert found["claims.csv"] == {**table, "data_uri": ""}
    assert found["b.png"] == picture
    assert {(each["caption"], each["data_uri"]) for name, each in found.items() if name in figures} == {("A", "")}
    assert all(len(found[name]["job_properties"]["params"]) < 200 for name in figures)
    parts = json.loads(content[1])
    shapes = json.loads(unpacked(parts["shapes"]))
    assert shapes == {"DejaVuSans-31": LETTER.removeprefix('<path id="DejaVuSans-31" ').removesuffix("/>")}
    small = {name: unpacked(text) for name, text in parts["files"].items()}
    assert small.pop("claims.csv") == ledger
    assert all('<path id="DejaVuSans-31"/>' in text for text in small.values())
    whole = {name: text.replace('<path id="DejaVuSans-31"/>', LETTER) for name, text in small.items()}
    assert whole == figures
    assert after.startswith("<p>before</p>")
    assert after.endswith("<p>after</p>")
    assert packed(before) == after


def unpacked(text: str) -> str:
    return gzip.decompress(base64.b64decode(text)).decode()


def test_a_page_of_another_form_stays_as_it_is() -> None:
    assert packed("<html>another Snakemake</html>") == "<html>another Snakemake</html>"


@needs_chromium
def test_a_browser_unpacks_them(tmp_path: Path) -> None:
    kinds = {"figures/a.svg": "image/svg+xml", "figures/b.svg": "image/svg+xml", "claims.csv": "text/csv"}
    texts = {"figures/a.svg": svg("M 0 0"), "figures/b.svg": svg("M 1 1"), "claims.csv": "claim,µ\n"}
    shown = {name: {"data_uri": uri(text, kinds[name]), "mime_type": kinds[name]} for name, text in texts.items()}
    page = tmp_path / "report.html"
    page.write_text(packed(report(shown)), encoding="utf-8")
    browser = Browser(tmp_path / "profile")
    try:
        ready = 'typeof results === "object" && Object.values(results).every((each) => each.data_uri)'
        browser.open(page.as_uri(), ready)
        for name, text in texts.items():
            assert browser.run(f'fetch(results["{name}"].data_uri).then((found) => found.text())') == text
            blob = f'fetch(results["{name}"].data_uri).then((found) => found.blob()).then((blob) => blob.type)'
            assert browser.run(blob) == kinds[name]
        assert not browser.said
    finally:
        browser.close()
