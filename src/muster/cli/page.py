"""The command `page`: the ledger for a browser."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from muster.config.load import load_config, load_studies, study_paths
from muster.config.models import PUBLISHED, StudyConfig
from muster.files import write_text

if TYPE_CHECKING:
    import pandas as pd

NAME = "index.html"


def page(args: Namespace) -> None:
    """Write the page of the ledger that lies in the results, or of the published one."""
    from muster.claims.ledger import read_ledger

    results = args.results or Path(load_config(args.config, {"scale": args.scale} if args.scale else {}).results)
    shown = published_figures(results) if results.resolve() == PUBLISHED.resolve() else None
    write_page(read_ledger(results / "ledger"), results / "ledger", load_studies(args.config).known, args.config, shown)


def published_figures(folder: Path) -> dict[str, str]:
    """The ledger's name of each figure that is published → its file."""
    files = (path.relative_to(folder) for path in folder.glob("figures/*/*.png"))
    return {str(path.with_suffix(".svg")): str(path) for path in files}


def write_page(
    ledger: "pd.DataFrame",
    folder: Path,
    known: Mapping[str, StudyConfig],
    config: Path,
    shown: Mapping[str, str] | None = None,
) -> None:
    """Write the page of a ledger. known: the studies; config: the file beside which theirs lie. shown: as in
    `muster.claims.page.markdown`."""
    from muster.claims.families import expected_false, false_discovery
    from muster.claims.html import html
    from muster.claims.ledger import rows_of

    rows, paths = rows_of(ledger), study_paths(config)
    texts = {name: paths[name].read_text(encoding="utf-8") for name in known if name in paths}
    write_text(folder / NAME, html(rows, false_discovery(rows), expected_false(rows), known, texts, shown))
