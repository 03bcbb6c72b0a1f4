"""The ledger's page in a real browser: filters, sorting, details, keys, themes; nothing said, nothing fetched."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from muster.claims.html import html
from tests.browser import Browser, needs_chromium
from tests.unit.claims.pages import HOSTILE, a_ledger

pytestmark = needs_chromium
SIZE = 400
READY = "document.documentElement?.dataset.ready"
SHOWN = "[...document.querySelectorAll('#claims > tbody > tr:not(.details)')]"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of 400 rows, one of which is hostile, with the figure of one row beside it."""
    import matplotlib.image

    folder = tmp_path_factory.mktemp("page")
    rows, studies, texts = a_ledger(SIZE)
    rows[7] |= {"statement": HOSTILE, "paper": HOSTILE, "source": HOSTILE, "reason": HOSTILE}
    texts = {name: f"{text}\n# {HOSTILE}" for name, text in texts.items()}
    named = ("features", "specification")
    shown = {f"figures/abc-feature-exponent/{n}.svg": f"figures/abc-feature-exponent/{n}.png" for n in named}
    for file in shown.values():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        matplotlib.image.imsave(folder / file, np.eye(8))
    (folder / "ledger").mkdir()
    (folder / "ledger/index.html").write_text(html(rows, {}, 0.5, studies, texts, shown), encoding="utf-8")
    return (folder / "ledger/index.html").as_uri()


@pytest.fixture(scope="module")
def browser(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("profile"))
    try:
        found.open(address, READY)
        yield found
    finally:
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Browser]:
    """The page as it opens; a test leaves it without a word on the console and without a request to elsewhere."""
    browser.run(
        "rows.forEach((row) => open(row, false)); document.querySelector('form').reset(); sorting.by = null; show()"
    )
    yield browser
    assert browser.said == []
    assert all(address.startswith("file:") for address in browser.asked)
    assert browser.run("typeof window.broken") == "undefined"


def choose(page: Browser, name: str, value: str) -> int:
    """Choose in a filter as a hand does; how many rows are left."""
    place = f"document.getElementById({json.dumps(name)})"
    page.run(f"{place}.value = {json.dumps(value)}; {place}.dispatchEvent(new Event('change'))")
    page.run(f"{place}.dispatchEvent(new Event('input'))")
    return int(page.run(f"{SHOWN}.length"))


def test_it_opens_at_once(page: Browser) -> None:
    assert page.run(f"{SHOWN}.length") == SIZE
    assert page.seconds() < 3, "CPU time of the page's thread, tests included; 400 rows take about half a second"
    assert page.run("document.getElementById('count').textContent") == f"{SIZE} of {SIZE} claims"


def test_filters_and_search(page: Browser) -> None:
    every_third = len(range(0, SIZE, 3))
    assert choose(page, "verdict", "supported") == every_third
    assert choose(page, "agrees", "no") == 0
    assert choose(page, "agrees", "yes") == every_third
    assert choose(page, "verdict", "*") == every_third
    assert choose(page, "agrees", "*") == SIZE
    assert choose(page, "paper", "Nobody 2003, Nothing") == SIZE // 2 - 1, "one of its rows is of the hostile paper"
    assert choose(page, "paper", "*") == SIZE
    assert choose(page, "regime", "failed") == sum(i // 2 % 3 == 1 for i in range(SIZE))
    assert choose(page, "regime", "*") == SIZE
    assert choose(page, "question", "features") == SIZE
    assert choose(page, "measured", "mlp") == SIZE
    page.run("rows[5].measured = ['convnet', 'mlp'], rows[6].measured = ['published runs']")
    assert choose(page, "measured", "mlp") == SIZE - 1, "a row of several families is one of each"
    assert choose(page, "measured", "*") == SIZE
    assert choose(page, "search", "statement 39") == sum("39" in str(i) for i in range(SIZE))
    page.run("rows[3].text = plain('Under \u00b5P'), rows[4].text = plain('Under \u03bcP')")
    assert choose(page, "search", "\u03bcp") == choose(page, "search", "\u00b5P") == 2
    page.run("document.querySelector('button[type=reset]').click()")
    page.wait(f"{SHOWN}.length === {SIZE}")


def test_sorting_up_down_and_back(page: Browser) -> None:
    first = f"{SHOWN}[0].id"
    click = "document.querySelector('th[data-sort=estimate] button').click()"
    order = "document.querySelector('th[data-sort=estimate]').getAttribute('aria-sort')"
    page.run(click)
    assert (page.run(first), page.run(order)) == ("ntk-features-freeze", "ascending")
    page.run(click)
    assert (page.run(first), page.run(order)) == (f"ntk-features-freeze-{SIZE - 1}", "descending")
    page.run(click)
    assert (page.run(first), page.run(order)) == ("ntk-features-freeze", None)


def test_a_row_opens_by_key_with_all_that_is_behind_it(page: Browser) -> None:
    page.run(f"{SHOWN}[0].querySelector('button').focus()")
    page.press("Enter")
    assert page.run(f"{SHOWN}[0].querySelector('button').getAttribute('aria-expanded')") == "true"
    text = page.run("document.querySelector('.details').innerText")
    for part in ("Theorem 3.3", "steady(axis=width)", "0.03", "[-0.1, 0.1]", "muster run abc-feature-exponent"):
        assert part in text
    page.wait("[...document.images].length === 2 && [...document.images].every((i) => i.complete && i.naturalWidth)")
    page.run("document.querySelector('.details details').open = true")
    page.wait("document.querySelector('pre.file')?.textContent.startsWith('# yaml-language-server')")
    assert HOSTILE in page.run("document.querySelector('pre.file').textContent")
    page.press("ArrowDown")
    assert page.run(f"document.activeElement === {SHOWN}[1].querySelector('button')")
    page.press("ArrowUp")
    page.press("Escape")
    assert page.run("document.querySelectorAll('.details').length") == 0
    page.press("/")
    assert page.run("document.activeElement.id") == "search"


def test_hostile_texts_are_shown_as_they_are(page: Browser) -> None:
    assert page.run(f"{SHOWN}[7].querySelector('strong').textContent") == HOSTILE
    page.run(f"{SHOWN}[7].querySelector('button').click()")
    assert page.run("document.querySelector('.details dd').textContent") == HOSTILE


def test_a_link_opens_its_row(page: Browser) -> None:
    assert choose(page, "verdict", "refuted") < SIZE
    page.run("location.hash = '#ntk-features-freeze-3'")
    page.wait("document.getElementById('details-ntk-features-freeze-3') !== null")
    page.run("location.hash = ''")


def test_open_ends_are_arrows(page: Browser) -> None:
    drawn = f"{SHOWN}.map((row) => row.querySelectorAll('svg .open').length)"
    assert page.run(drawn) == [0 if i // 3 % 3 == 0 else 1 for i in range(SIZE)]
    label = f"{SHOWN}[0].querySelector('svg').getAttribute('aria-label')"
    assert page.run(label) == "estimate −0.51 [−0.54, −0.48], claimed −0.5 ± 0.05"


def test_light_dark_and_paper(page: Browser, tmp_path: Path) -> None:
    import matplotlib.image

    means = {}
    for theme in ("light", "dark"):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        picture = matplotlib.image.imread(page.picture(tmp_path / f"{theme}.png"))[..., :3]
        assert picture.std() > 0.05, "an empty picture"
        means[theme] = picture.mean()
    page.call("Emulation.setEmulatedMedia", features=[])
    assert means["light"] > 0.8 > 0.3 > means["dark"]
    assert page.printed().startswith(b"%PDF")


def test_every_control_has_a_name(page: Browser) -> None:
    names = ("[...document.querySelectorAll('button, input, select')].filter((each) => !(each.innerText || "
             "each.getAttribute('aria-label') || each.labels?.length)).length")  # fmt: skip
    assert page.run(names) == 0
    assert page.run(
        "((ids) => ids.length === new Set(ids).size)([...document.querySelectorAll('[id]')].map((each) => each.id))"
    )
