"""What Snakemake itself costs: dry runs of 1,000 to 100,000 cells, a rerun with nothing to do, the scheduler per job.

    python benchmarks/dag.py [--sizes 1000 10000 100000] [--jobs 1000]

Cells belong to ten studies of training runs. A plan is dry-run as a whole and, from 10,000 cells on, as the sub-DAG of
one study (`studies: [NAME]`) and as a batch of one tenth (`--batch tables=1/10`). The rerun and the scheduler's share
come from sampling cells of milliseconds that are really run on all cores; that share is all CPU time of Snakemake's own
process, planning included, divided by the jobs. ours_seconds is CPU time too: planning takes one core, and what else
the machine does then counts little. memory_mb (peak) is that of Snakemake's own process. The baseline of a dry run is
that of a Snakefile of one rule with as many jobs, right before; elsewhere it is the target. ratio = baseline_seconds /
ours_seconds. Writes benchmarks/results/dag.json, where cases that were not measured this time stay as they were.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "dag.json"
STUDIES = 10
WIDTHS = 10  # of each study
TARGETS = {"nothing to do cells=1000": 5.0, "scheduler per job cells=1000": 0.03}

TRAIN = """\
study: big-{i}
title: Big
paper: Nobody
slug: big-{i}
experiment: train
settings: {{data: mnist1d, data_options: {{train: 4000, heldout: 1000}}, steps: 1000, optimizer: adam, beta1: 0.{i}}}
scales:
  laptop:
    grid:
      - {{parameterization: mup, width: {widths}, seeds: {seeds}, log2_lr: {{from: -12, to: -4, step: 1}}}}
fits:
  lr: {{estimator: lr_transfer, table: runs, response: final_train_loss, along: width}}
claims: []
figures: {{}}
"""

SAMPLE = """\
study: small
title: Small
paper: Nobody
slug: small
experiment: matrix_product
settings: {{aspect: 1, draws: 4}}
scales:
  laptop:
    grid:
      - {{width: [4, 6, 8, 10], seeds: {seeds}}}
fits:
  uniform: {{estimator: power_law, table: probes, select: {{probe: ks_uniform}}, response: value, along: width}}
claims: []
figures: {{}}
"""


BARE = """\
rule all:
    input: [f"out/{{i}}.txt" for i in range({cells})]
rule one:
    output: "out/{{i}}.txt"
    shell: "touch {{output}}"
"""


class Usage(NamedTuple):
    """CPU time and peak memory of one call of Snakemake, without the jobs that it starts."""

    seconds: float
    memory_mb: float


def snakemake(folder: Path, *arguments: str, snakefile: Path = ROOT / "Snakefile") -> Usage:
    """Run Snakemake in a folder, with the configuration there. Raises RuntimeError with its output when it fails."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--cores", "all", *arguments]
    with tempfile.TemporaryFile("w+") as output:
        process = psutil.Popen(command, cwd=folder, stdout=output, stderr=output)
        cpu, memory = 0.0, 0
        while process.poll() is None:
            try:
                times = process.cpu_times()
                cpu, memory = times.user + times.system, max(memory, process.memory_info().rss)
            except psutil.Error:
                break
            time.sleep(0.02)
        status = process.wait()
        if status:
            output.seek(0)
            raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{output.read()[-2000:]}")
    return Usage(cpu, memory / 2**20)


def write_studies(folder: Path, studies: dict[str, str]) -> None:
    """A configuration that plans these studies."""
    (folder / "config/studies").mkdir(parents=True)
    (folder / "config/config.yaml").write_text("scale: laptop\n")
    for name, text in studies.items():
        (folder / f"config/studies/{name}.yaml").write_text(text)


def row(case: str, usage: Usage, seconds: float, baseline: tuple[str, float] | None = None) -> dict[str, object]:
    """One line of the results, with its baseline, else its target, where there is one."""
    found: dict[str, object] = {
        "case": case,
        "ours_seconds": round(seconds, 4),
        "memory_mb": round(usage.memory_mb),
    }
    if case in TARGETS:
        baseline = ("target", TARGETS[case])
    if baseline:
        name, base = baseline
        found |= {"baseline_seconds": round(base, 4), "ratio": round(base / seconds, 2), "baseline": name}
    print(", ".join(f"{name} {value}" for name, value in found.items()), flush=True)
    return found


def dry_runs(cells: int) -> list[dict[str, object]]:
    """The whole plan, one of its ten studies, one tenth of its tables."""
    with tempfile.TemporaryDirectory() as name:
        folder, seeds = Path(name), cells // (STUDIES * WIDTHS)
        widths = [16 * (i + 1) for i in range(WIDTHS)]
        write_studies(folder, {f"big-{i}": TRAIN.format(i=i, widths=widths, seeds=seeds) for i in range(STUDIES)})
        dry = ("tables", "--dry-run", "--workflow-profile", str(ROOT / "profiles/default"))
        cases = {"dry run": dry}
        if cells >= 10_000:
            cases["dry run of one study"] = (*dry, "--config", "studies=[big-3]")
            cases["dry run of a batch"] = (*dry, "--batch", f"tables=1/{STUDIES}")
        bare = folder / "bare.smk"
        bare.write_text(BARE.format(cells=cells))
        base = snakemake(folder, "--dry-run", "--scheduler", "greedy", snakefile=bare)
        usages = {case: snakemake(folder, *arguments) for case, arguments in cases.items()}
    baselines = {"dry run": ("Snakefile of one rule", base.seconds)}
    return [row(f"{case} cells={cells}", usage, usage.seconds, baselines.get(case)) for case, usage in usages.items()]


def real_run(cells: int) -> list[dict[str, object]]:
    """Run small cells; then again with nothing to do."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_studies(folder, {"small": SAMPLE.format(seeds=cells // 4)})
        run = snakemake(folder, "tables", "--quiet", "all")
        again = snakemake(folder, "tables", "--quiet", "all")
    return [
        row(f"nothing to do cells={cells}", again, again.seconds),
        row(f"scheduler per job cells={cells}", run, run.seconds / cells),
    ]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000], help="cells of the dry runs")
    parser.add_argument("--jobs", type=int, default=1000, help="cells that are really run; 0: none")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = [found for cells in args.sizes for found in dry_runs(cells)]
    if args.jobs:
        rows += real_run(args.jobs)
    RESULTS.parent.mkdir(exist_ok=True)
    known = {found["case"]: found for found in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}
    known |= {found["case"]: found for found in rows}
    RESULTS.write_text(json.dumps(list(known.values()), indent=1) + "\n")


if __name__ == "__main__":
    main()
