"""Fill the marked blocks of README.md from files that the workflow and the benchmarks built: no number there is typed.

    python workflow/scripts/readme.py [--check]

--check writes nothing and fails if a block is out of date.
"""

import csv
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNMEASURED = "Not measured yet."
VERDICTS = ("supported", "refuted", "inconclusive", "not run", "not judged")


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [header, ["---"] * len(list(header)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ledger() -> str:
    """Verdicts counted by study, then one row a headline claim (a member of Holm's family) with its measurement."""
    with open(ROOT / "results/published/ledger/claims.csv", newline="", encoding="utf-8") as file:
        claims = list(csv.DictReader(file))
    headline = [row for row in claims if row["p_holm"]]
    details = f"<details>\n<summary>The {len(headline)} headline claims</summary>\n\n{rows_of(headline)}\n\n</details>"
    return f"{counts_of(claims)}\n\n{details}"


def counts_of(claims: list[dict[str, str]]) -> str:
    """How many claims of each study came out how."""
    names = list(dict.fromkeys(row["study"] for row in claims))
    kinds = [kind for kind in VERDICTS if any(row["verdict"] == kind for row in claims)]
    rows = []
    for name in [*names, "all"]:
        of_study = [row["verdict"] for row in claims if name in (row["study"], "all")]
        rows.append([name, str(len(of_study)), *(str(of_study.count(kind) or "–") for kind in kinds)])
    return table(["study", "claims", *kinds], rows)


def number(text: str) -> str:
    return f"{float(text):.3f}".replace("-", "−") if text else "–"


def estimated(row: dict[str, str]) -> str:
    return f"{number(row['estimate'])} [{number(row['ci_low'])}, {number(row['ci_high'])}]"


def rows_of(claims: list[dict[str, str]]) -> str:
    rows = []
    for row in claims:
        margin = f" ± {float(row['margin']):g}" if float(row["margin"] or 0) else ""
        predicted = f"{float(row['predicted']):g}".replace("-", "−") + margin
        rows.append([row["study"], row["statement"], predicted, estimated(row), f"**{row['verdict']}**"])
    return table(["study", "claim", "predicted", "measured, 95 % interval", "verdict"], rows)


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


def main() -> int:
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    filled = text
    for build in (ledger, dag, engine, transformer, precision, fits):
        name = build.__name__
        pattern = re.compile(rf"(<!-- {name}: [^\n]* -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        before, after = pattern.search(filled).span()  # type: ignore[union-attr]
        opening, closing = filled[before:after].split("\n", 1)[0], f"<!-- /{name} -->"
        filled = f"{filled[:before]}{opening}\n\n{build()}\n\n{closing}{filled[after:]}"
    if "--check" in sys.argv:
        if filled != text:
            print("README.md is out of date: run `make readme`", file=sys.stderr)
        return int(filled != text)
    path.write_text(filled, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
