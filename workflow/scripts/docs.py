"""Pages of the documentation that are built from studies, registries and the published ledger, as Markdown.

    python workflow/scripts/docs.py FOLDER

`docs/conf.py` calls it before every build of the site; the pages are no part of the repository.
"""

import contextlib
import io
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from muster.claims.ledger import read_ledger, rows_of
from muster.claims.page import QUESTIONS, UNASKED, as_text, prediction_text
from muster.claims.tests import conditions
from muster.cli import main as command
from muster.cli.parser import parser
from muster.config.load import load_studies
from muster.config.models import StudyConfig
from muster.files import write_text
from muster.registry import find_registry

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "results/published"
Row = Mapping[str, Any]


def pages() -> dict[str, str]:
    """Name of each page, relative to the folder of generated pages → its text."""
    studies = load_studies(ROOT / "config/config.yaml").known
    rows: dict[str, list[Row]] = {name: [] for name in studies}
    for row in rows_of(read_ledger(PUBLISHED / "ledger")):
        rows.setdefault(row["study"], []).append(row)
    return {
        "studies.md": _studies(studies, rows),
        **{f"studies/{name}.md": study_page(study, rows[name]) for name, study in studies.items()},
        "estimators.md": _listed(
            "Estimators",
            "What each one assumes and how it fails. What their intervals cover is measured: {doc}`/coverage`.",
            "estimator",
        ),
        "checks.md": _listed("Regime checks", "Conditions under which a claim is fairly tested.", "check"),
        "plots.md": _listed("Plots", "What a figure of a study may be.", "plot"),
        "parameterizations.md": _parameterizations(),
        "command-line.md": _command_line(),
    }


def _studies(studies: Mapping[str, StudyConfig], rows: Mapping[str, Sequence[Row]]) -> str:
    lines = ["# Studies", "", "By what they ask. Verdicts are those of the published ledger."]
    for question, title in (*QUESTIONS.items(), (None, UNASKED)):
        chosen = [study for study in studies.values() if study.question == question]
        if chosen:
            lines += ["", f"## {title}", "", "| study | paper | verdicts |", "|---|---|---|"]
        for study in chosen:
            found = [row["verdict"] for row in rows[study.study]]
            told = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in dict.fromkeys(found))
            lines.append(f"| [{as_text(study.title)}](studies/{study.study}.md) | {as_text(study.paper)} | {told} |")
    toc = ["```{toctree}", ":hidden:", "", *(f"studies/{name}" for name in studies), "```"]
    return "\n".join([*lines, "", *toc, ""])


def study_page(study: StudyConfig, rows: Sequence[Row]) -> str:
    """A study: question, design, pilots, regime, result, figures, file. rows: its part of the published ledger."""
    text = f"config/studies/{study.study}.yaml"
    asked = [f"*{QUESTIONS[study.question]}* "] if study.question else []
    told = re.split(r"(?<=[.:])\s+(?=[A-Z])", study.description)
    pilots = [part for part in told if re.search("pilot", part, re.IGNORECASE)]
    design = [part for part in told if part not in pilots]
    lines = [f"# {as_text(study.title)}", "", "".join([*asked, f"{as_text(study.paper)}."]), "", "## Design", ""]
    lines += [as_text(" ".join(design)) or "No description.", ""]
    scales, name = ", ".join(study.scales), study.study
    lines += [f"Experiment `{study.experiment}` at the scales {scales}; `muster plan {name}` says what it costs, "
              f"`muster run {name}` runs it.", "", "## Pilots", ""]  # fmt: skip
    lines += [as_text(" ".join(pilots)) or "None is described."]
    lines += ["", "## Regime", "", *_regime(study, rows), "", "## Result", "", *_result(rows), "", "## Figures", ""]
    shown = sorted(PUBLISHED.glob(f"figures/{study.study}/*.png"))
    for path in shown:
        plot = study.figures[path.stem].plot if path.stem in study.figures else path.stem
        lines += [f"![{path.stem}: {plot}](../../../{path.relative_to(ROOT)})", "", f"`{path.stem}`: {plot}.", ""]
    if not shown:
        names = ", ".join(f"`{name}`" for name in study.figures) or "none"
        lines += [f"None is published. A run draws: {names}."]
    shown_file = [f"```{{literalinclude}} ../../../{text}", ":language: yaml", f":caption: {text}", "```"]
    return "\n".join([*lines, "", "## The study's file", "", *shown_file, ""])


def _regime(study: StudyConfig, rows: Sequence[Row]) -> list[str]:
    """Conditions of each claim, and how they came out where the published ledger has them."""
    found = {row["claim"]: row["regime"] for row in rows}
    lines = []
    for claim in study.claims:
        declared = [
            f"{check.check}({', '.join(f'{k}={v}' for k, v in check.options.items())})" for check in claim.regime
        ]
        if not declared and not claim.controls:
            continue
        outcomes = conditions(found.get(claim.claim, ""))
        told = "; ".join(f"{each.what}: {each.outcome}" for each in outcomes) or "not measured yet"
        asked = ", ".join([*declared, *(f"control {name}" for name in claim.controls)])
        lines.append(f"- `{claim.claim}` asks for `{asked}`. Published: {as_text(told)}.")
    return lines or ["No claim declares a condition."]


def _result(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return ["Not published yet."]
    lines = ["| claim | predicted | estimate, 95 % interval | verdict | agrees | reason |", "|---|---|---|---|---|---|"]
    for row in rows:
        interval = f"{row['estimate']:.3g} [{row['ci_low']:.3g}, {row['ci_high']:.3g}]"
        cells = [
            as_text(row["statement"]),
            prediction_text(row),
            interval.replace("nan [nan, nan]", "–"),
            row["verdict"],
        ]
        lines.append(f"| {' | '.join([*cells, row['agrees'], as_text(row['reason'])])} |")
    return lines


def _printed(*words: str) -> str:
    """What a command prints, in a fence that its text cannot close."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if command([*words, "--config", str(ROOT / "config/config.yaml")]):
            raise SystemExit(f"muster {' '.join(words)} failed")
    return _fence(out.getvalue())


def _fence(text: str) -> str:
    return f"````text\n{text.rstrip()}\n````"


def _listed(title: str, about: str, kind: str) -> str:
    """Every entry of a registry, as `muster show` prints it."""
    parts = [f"# {title}\n\n{about}"]
    for name in find_registry(f"{kind}s").summary():
        parts.append(f"## {name}\n\n{_printed('show', kind, name)}")
    return "\n\n".join(parts) + "\n"


def _parameterizations() -> str:
    about = (
        "Each as applied to the tensors of one network, by `muster show parameterization NAME`, which takes width, "
        "depth, family, optimizer and the base shape as options. Sources: `src/muster/parameterizations/tables.py`."
    )
    parts = [f"# Parameterizations\n\n{about}"]
    for name in find_registry("parameterizations").summary():
        parts.append(f"## {name}\n\n{_printed('show', 'parameterization', name, '--width', '1024')}")
    return "\n\n".join(parts) + "\n"


def _command_line() -> str:
    """The help of every command."""
    grammar = parser()
    commands = next(action.choices for action in grammar._actions if isinstance(action.choices, dict))
    parts = [f"# Command line\n\n{_fence(grammar.format_help())}"]
    parts += [f"## muster {name}\n\n{_fence(own.format_help())}" for name, own in commands.items()]
    return "\n\n".join(parts) + "\n"


def write(folder: Path) -> None:
    """Write all pages; remove those of studies that are no more. A page that is as it was keeps its time."""
    made = {folder / name: text for name, text in pages().items()}
    for path in set(folder.rglob("*.md")) - {*made}:
        path.unlink()
    for path, text in made.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
