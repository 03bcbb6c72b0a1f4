"""Fill the marked blocks of README.md and docs/*.md from built files: no number there is typed.

    python workflow/scripts/readme.py [--check]

--check writes nothing and fails if a block is out of date.
"""

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
UNMEASURED = "Not measured yet."


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [header, ["---"] * len(list(header)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def facts() -> str:
    """The facts counted, over all and by question."""
    from muster.claims.page import by_question, tally

    claims, questions = published()
    counted = tally(claims)
    told = (
        f"{counted.total} facts of papers: **{counted.agree} agree** with their paper, "
        f"**{counted.contradict} contradict** it, **{sum(counted.open.values())} are open** ({counted.reasons})."
    )
    return f"{told}\n\n" + "\n".join(by_question(claims, questions))


def ledger() -> str:
    """At most 25 claims, chosen without a look at what came out."""
    from muster.claims.page import selection

    return f"The first headline claim of each paper, questions in turn:\n\n{rows_of_claims(selection(*published()))}"


def published() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of the published ledger, and the question of each study."""
    from muster.claims.ledger import read_ledger, rows_of
    from muster.config.load import load_studies

    known = load_studies(ROOT / "config/config.yaml").known
    return rows_of(read_ledger(ROOT / "results/published/ledger")), {name: it.question for name, it in known.items()}


def number(value: float | str) -> str:
    given = float(value or "nan")
    return "–" if math.isnan(given) else f"{given:.3f}".replace("-", "−")


def estimated(row: Mapping[str, Any]) -> str:
    return f"{number(row['estimate'])} [{number(row['ci_low'])}, {number(row['ci_high'])}]"


def rows_of_claims(claims: list[Mapping[str, Any]]) -> str:
    from muster.claims.page import as_text

    rows = []
    for row in claims:
        margin = f" ± {row['margin']:g}" if row["margin"] else ""
        predicted = f"{row['predicted']:g}".replace("-", "−") + margin
        told = [as_text(row["statement"]), predicted, estimated(row), f"**{row['verdict']}**", row["agrees"]]
        rows.append([row["study"], *told])
    return table(["study", "claim", "predicted", "measured, 95 % interval", "verdict", "agrees"], rows)


def speed(file: str, kind: str, usual: str) -> str:
    """Ratio of each baseline's time to ours, by what the cases of that kind name (batch, context, width); `usual`: the
    baseline of those that name none."""
    path = ROOT / f"benchmarks/results/{file}.json"
    cases: dict[tuple[int, ...], dict[str, float]] = {}
    named: tuple[str, ...] = ()
    for row in json.loads(path.read_text()) if path.exists() else []:
        if not row["case"].startswith(kind):
            continue
        case, _, baseline = row["case"].partition(" vs ")
        named, sizes = zip(*re.findall(r"(\w+)=(\d+)", case), strict=True)
        cases.setdefault(tuple(map(int, sizes)), {})[baseline or usual] = row["ratio"]
    names = list(next(iter(cases.values()))) if cases else []
    rows = [
        [*map(str, sizes), *(f"{ratios[n]:.1f} ×" if n in ratios else "–" for n in names)]
        for sizes, ratios in sorted(cases.items())
    ]
    against = [f"against `{n}`" if n.startswith(("jax", "muster")) else f"against a loop with `{n}`" for n in names]
    return table([*named, *against], rows) if rows else UNMEASURED


def engine() -> str:
    return speed("engine", "adam", "torch.optim.Adam")


def transformer() -> str:
    return speed("transformer", "transformer", "torch.optim.AdamW")


def precision() -> str:
    """Claims of a study measured in two number formats."""
    path = ROOT / "benchmarks/results/precision.json"
    rows = []
    for row in json.loads(path.read_text(encoding="utf-8")) if path.exists() else []:
        measured = [f"{estimated(row[dtype])} **{row[dtype]['verdict']}**" for dtype in ("float32", "bfloat16")]
        fewer = f", seeds: {row['seeds']}" if row.get("seeds") else ""
        rows.append([row["study"] + fewer, row["statement"], *measured])
    return table(["study", "claim", "float32", "bfloat16"], rows) if rows else UNMEASURED


def fits() -> str:
    """Seconds of our bootstrap of the joint law, and how many times longer each baseline takes."""
    rows = []
    for row in json.loads((ROOT / "benchmarks/results/fits.json").read_text()):
        baseline, _, about = row["baseline"].partition(" (")
        if "threads" not in row["case"]:
            rows.append([about.rstrip(")"), baseline, f"{row['ours_seconds']:.1f} s", f"{row['ratio']:.0f} ×"])
    return table(["4,000 bootstrap refits of the joint law", "against", "ours", "faster by"], rows)


def dag() -> str:
    """Time and memory that Snakemake itself takes, beside the baseline or the target where the file names one."""
    path = ROOT / "benchmarks/results/dag.json"
    rows = []
    for row in json.loads(path.read_text()) if path.exists() else []:
        case, _, cells = row["case"].partition(" cells=")
        beside = f"{row['baseline']}: {duration(row['baseline_seconds'])}" if "baseline" in row else "–"
        rows.append([case, f"{int(cells):,}", duration(row["ours_seconds"]), f"{row['memory_mb']:,.0f} MB", beside])
    return table(["", "cells", "time", "memory", "beside"], rows) if rows else UNMEASURED


def duration(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def filled(text: str, built: Mapping[str, str]) -> str:
    """A page with the blocks that it marks, `<!-- NAME: … -->` to `<!-- /NAME -->`, as they are built."""
    for name, table_of in built.items():
        pattern = re.compile(rf"(<!-- {name}: [^\n]* -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = pattern.sub(lambda found, table_of=table_of: f"{found[1]}\n{table_of}\n\n{found[2]}", text)
    return text


def main() -> int:
    pages = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}
    builders = (facts, ledger, dag, engine, transformer, precision, fits)
    unmarked = [
        build.__name__ for build in builders if not any(f"<!-- /{build.__name__} -->" in t for t in pages.values())
    ]
    if unmarked:
        print(f"no page marks the block {', '.join(unmarked)}", file=sys.stderr)
        return 1
    built = {build.__name__: build() for build in builders}
    outdated = {path: new for path, text in pages.items() if (new := filled(text, built)) != text}
    if "--check" in sys.argv:
        for path in outdated:
            print(f"{path.relative_to(ROOT)} is out of date: run `make readme`", file=sys.stderr)
        return int(bool(outdated))
    for path, text in outdated.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
