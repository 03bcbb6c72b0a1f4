"""What a study's texts hold is shown, not run: by the report, its captions and the ledger's page alike."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

from tests.workflow.conftest import copy_workflow
from tests.workflow.studies import SAMPLED

HOSTILE = "a_{b} $x_{ & <b>|</script><script>window.broken = 1</script> `c` {{ 7 * 7 }} *d* |e|_"


class Scripts(HTMLParser):
    """The page's scripts as a browser takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.found = False, [""]

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.inside = tag == "script"
        self.found += [""] if self.inside else []

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        self.found[-1] += data if self.inside else ""


def between(text: str, start: str, end: str) -> str:
    return text.partition(start)[2].partition(end)[0]


def test_hostile_texts_of_a_study_end_in_a_whole_report(tmp_path: Path) -> None:
    text = json.dumps(HOSTILE)
    study = SAMPLED.replace("title: Tiny sampling", f"title: {text}")
    study = study.replace("statement: Uniform, source: Fig. 1", f"statement: {text}, source: {text}")
    study = re.sub(r"paper: .*", lambda _: f"paper: {text}", study)
    options = f"options: {{label: {text}, title: {text}}}"
    study = study.replace("select: {probe: ks_uniform}}\n", f"select: {{probe: ks_uniform}}, {options}}}\n")
    assert study.count("window.broken") == 6
    workflow = copy_workflow(tmp_path, "scale: smoke\n", tiny_sample=study)
    done = workflow.run("all", "report")
    assert done.returncode == 0, done.stdout + done.stderr
    page = Scripts()
    page.feed((tmp_path / "results/report.html").read_text())
    assert not [script for script in page.found if script.strip().startswith("window.broken")]
    results = next(script for script in page.found if script.strip().startswith("var results = "))
    shown = json.loads(results.strip().removeprefix("var results = ").removesuffix(";"))
    assert {Path(name).name for name in shown} == {"scaling.svg", "claims.csv", "forest.svg"}
    ledger = (tmp_path / "results/ledger/index.html").read_text()
    assert [row["statement"] for row in json.loads(between(ledger, 'id="data">', "</script>"))["rows"]] == [HOSTILE]
    assert ledger.count("<script") == 2
    caption = next(each["caption"] for name, each in shown.items() if name.endswith("scaling.svg"))
    assert "Power law of a measurement" in caption
    assert "49" not in caption
