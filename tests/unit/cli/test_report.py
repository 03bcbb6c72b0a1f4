"""A report's figures are packed, and nothing else of it changes."""

import base64
import gzip
import json
import re

from muster.cli.report import packed

SVG = "<svg>" + "<use href='#a'/>" * 500 + "</svg>"
URI = "data:image/svg+xml;charset=utf8;filename=a.svg;base64," + base64.b64encode(SVG.encode()).decode()


def report(results: dict[str, dict[str, str]]) -> str:
    return (
        f'<p>before</p>\n<script id="results">\n    var results = {json.dumps(results)};\n    </script>\n<p>after</p>'
    )


def test_figures_are_packed_and_unpack_to_themselves() -> None:
    table = {"caption": "}; </scr", "data_uri": "data:text/csv;charset=utf8;filename=c.csv;base64,YQ=="}
    before = report({"figures/a.svg": {"caption": "A", "data_uri": URI}, "claims.csv": table})
    after = packed(before)
    assert len(after) < len(before) / 3
    results = re.search(r"var results = (.*?);\s*</script>", after, re.DOTALL)
    figures = re.search(r'<script id="packed" type="application/json">(.*?)</script>', after, re.DOTALL)
    assert results and figures  # noqa: PT018
    assert json.loads(results[1]) == {"figures/a.svg": {"caption": "A", "data_uri": ""}, "claims.csv": table}
    found = {name: gzip.decompress(base64.b64decode(text)).decode() for name, text in json.loads(figures[1]).items()}
    assert found == {"figures/a.svg": SVG}
    assert after.startswith("<p>before</p>")
    assert after.endswith("<p>after</p>")
    assert packed(before) == after


def test_a_page_of_another_form_stays_as_it_is() -> None:
    assert packed("<html>another Snakemake</html>") == "<html>another Snakemake</html>"
