"""What bfloat16 does to verdicts: a study run in float32 and in bfloat16, claim beside claim.

    python benchmarks/precision.py [--studies abc-feature-exponent ...] [--scale laptop] [--seeds N]
    taskset -c 0 python benchmarks/precision.py --speed

Each study is run twice by Snakemake on all cores, alone, so that Holm's family is its own claims. Cells that are
finished in `results/store` are taken from there. Nothing is timed. Writes benchmarks/results/precision.json, where
studies that were not measured this time stay as they were. --speed: no studies, but both formats in turns on the cases
of engine.py and transformer.py (batch 64, 8 sequences), into benchmarks/results/precision_speed.json.
"""

import argparse
import csv
import json
import os
import tempfile
from pathlib import Path

from dag import ROOT, snakemake, write_studies

RESULTS = Path(__file__).parent / "results" / "precision.json"
SPEED = RESULTS.with_name("precision_speed.json")
DTYPES = ("float32", "bfloat16")
SHOWN = ("estimate", "ci_low", "ci_high", "verdict")


def ledger(study: str, settings: list[str]) -> dict[str, dict[str, str]]:
    """The study's claims as judged with these settings of the configuration."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_studies(folder, {study: (ROOT / f"config/studies/{study}.yaml").read_text(encoding="utf-8")})
        store = os.environ.get("MUSTER_STORE", ROOT / "results/store")
        snakemake(folder, "ledger", "--config", *settings, f"store={store}", "results=results")
        with open(folder / "results/ledger/claims.csv", newline="", encoding="utf-8") as file:
            return {row["claim"]: row for row in csv.DictReader(file)}


def speed(repeats: int = 3) -> None:
    """Seconds a member and step in both formats by turns; ratio: how many times faster the kernels in
    bfloat16 are."""
    import torch

    import engine
    import transformer

    torch.set_num_threads(1)
    cases = [(f"mlp batch=64 width={w}", engine.sweep("mlp", w, 64, "adam"), engine.data(64), max(3, 4096 // w))
             for w in (32, 64, 128, 256, 512, 1024)]  # fmt: skip
    cases += [(f"transformer batch=8 context=64 width={w}", transformer.sweep(w, 8, 64), transformer.data(8, 64), 3)
              for w in (32, 64, 128, 256)]  # fmt: skip
    for case, cell, data, steps in cases:
        contenders = {
            "ours" if dtype == "bfloat16" else dtype: engine.ours(cell, data, steps, dtype=dtype)
            for dtype in reversed(DTYPES)
        }
        contenders["bfloat16 by torch's autocast"] = engine.ours(cell, data, steps, by_torch=True, dtype="bfloat16")
        turns = engine.Turns(contenders, None, repeats, len(cell.log2_lr) * steps)
        engine.write(SPEED, turns.rows(case, "float32", "", None))


def main() -> None:
    """Run, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", nargs="+", default=["abc-feature-exponent", "ntk-lazy-exponents"])
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("--seeds", type=int, help="seeds per shape, instead of the study's own number")
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    if args.speed:
        return speed()
    settings = [f"scale={args.scale}"] + ([f"seeds={args.seeds}"] if args.seeds else [])
    rows = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    for study in args.studies:
        found = {dtype: ledger(study, [*settings, f"dtype={dtype}"]) for dtype in DTYPES}
        rows = [row for row in rows if row["study"] != study]
        for claim, row in found["float32"].items():
            rows.append({"study": study, "seeds": args.seeds, "claim": claim, "statement": row["statement"]})
            rows[-1] |= {dtype: {name: found[dtype][claim][name] for name in SHOWN} for dtype in DTYPES}
            print(*rows[-1].values(), sep="\n  ", flush=True)
        RESULTS.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
