"""What autocast to bfloat16 does to verdicts: a study run in float32 and in bfloat16, claim beside claim.

    python benchmarks/precision.py [--studies abc-feature-exponent ...] [--scale laptop]

Each study is run twice by Snakemake on all cores, alone, so that Holm's family is its own claims. Cells that are
finished in `results/store` are taken from there. Nothing is timed. Writes benchmarks/results/precision.json.
"""

import argparse
import csv
import json
import os
import tempfile
from pathlib import Path

from dag import ROOT, snakemake, write_studies

RESULTS = Path(__file__).parent / "results" / "precision.json"
DTYPES = ("float32", "bfloat16")
SHOWN = ("estimate", "ci_low", "ci_high", "verdict")


def ledger(study: str, scale: str, dtype: str) -> dict[str, dict[str, str]]:
    """The study's claims as judged in this number format."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_studies(folder, {study: (ROOT / f"config/studies/{study}.yaml").read_text(encoding="utf-8")})
        store = os.environ.get("MUSTER_STORE", ROOT / "results/store")
        snakemake(folder, "ledger", "--config", f"scale={scale}", f"dtype={dtype}", f"store={store}")
        with open(folder / "results/ledger/claims.csv", newline="", encoding="utf-8") as file:
            return {row["claim"]: row for row in csv.DictReader(file)}


def main() -> None:
    """Run, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", nargs="+", default=["abc-feature-exponent", "ntk-lazy-exponents"])
    parser.add_argument("--scale", default="laptop")
    args = parser.parse_args()
    rows = []
    for study in args.studies:
        found = {dtype: ledger(study, args.scale, dtype) for dtype in DTYPES}
        for claim, row in found["float32"].items():
            rows.append({"study": study, "claim": claim, "statement": row["statement"]})
            rows[-1] |= {dtype: {name: found[dtype][claim][name] for name in SHOWN} for dtype in DTYPES}
            print(*rows[-1].values(), sep="\n  ", flush=True)
    RESULTS.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
