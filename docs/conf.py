"""Configuration of the documentation's site: `sphinx-build -W docs docs/_build`. Warnings are errors."""

import importlib.util
import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]

project = "muster"
html_title = "muster"
html_theme = "furo"
html_copy_source = html_show_sourcelink = html_show_copyright = False
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
# Fences that Pygments does not read as what they are: prose in YAML's place, ⋯ in commands.
suppress_warnings = ["misc.highlighting_failure"]


def build_pages(app: Sphinx) -> None:
    """Write the pages that follow from studies, registries and the published ledger."""
    place = importlib.util.spec_from_file_location("docs_pages", ROOT / "workflow/scripts/docs.py")
    assert place is not None
    assert place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    module.write(Path(app.srcdir, "generated"))


def outside(app: Sphinx, docname: str, content: list[str]) -> None:
    """Links to files of the repository: to the copy of the published ledger where it is one, else the name alone."""

    def told(link: re.Match[str]) -> str:
        text, path = link.groups()
        own = path.removeprefix("results/published/")
        if own != path:
            return f'<a href="{"../" * docname.count("/")}{own}">{text}</a>'
        return f"`{path}`" if text.strip("`") in (path, Path(path).name) else f"{text} (`{path}`)"

    content[0] = re.sub(r"(?<!!)\[([^\[\]]+)\]\((?:\.\./)+((?!\.\./)[^)\n]+)\)", told, content[0])


def as_rst(app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text with `code` between backticks: indented paragraphs are shown as they stand."""
    told: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        if paragraph.startswith((" ", "\t")):
            told += ["::", "", *(f"    {line}" for line in paragraph.split("\n")), ""]
        else:
            parts = re.split(r"(`[^`]+`)", paragraph)
            plain = [f"``{part.strip('`')}``" if part.startswith("`") else re.sub(r"([\\*|_])", r"\\\1", part)
                     for part in parts]  # fmt: skip
            told += ["".join(plain).replace("\n    ", "\n").replace("\n  ", "\n"), ""]
    lines[:] = "\n".join(told).split("\n")


def bring_ledger(app: Sphinx, error: Exception | None) -> None:
    """The page of the published ledger, with its figures, beside the site's pages."""
    if error is None:
        for part in ("ledger", "figures"):
            shutil.copytree(ROOT / "results/published" / part, Path(app.outdir, part), dirs_exist_ok=True)


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", build_pages)
    app.connect("source-read", outside)
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("build-finished", bring_ledger)
