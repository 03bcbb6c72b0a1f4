"""A study small enough for tests, and the folders that hold it."""

import hashlib
from pathlib import Path

from muster.cli.check import checked_plan
from muster.config.load import load_config
from muster.plan.plan import Plan

STUDIES = Path(__file__).parents[2] / ".test/config/studies"
TINY = (STUDIES / "tiny-train.yaml").read_text()
SAMPLED = (STUDIES / "tiny-sample.yaml").read_text()


def imported_table() -> bytes:
    """A published table of eight runs whose loss is 10/√N, up to a per mille."""
    rows = [(4**i, 10 * 2.0**-i * (1 + 0.001 * (-1) ** i)) for i in range(1, 9)]
    return ("N,loss\n" + "".join(f"{size},{loss!r}\n" for size, loss in rows)).encode()


IMPORTED = f"""\
# yaml-language-server: $schema=../schema.json
study: tiny-import
title: Tiny import
paper: "Nobody 2002, Nothing"
slug: tiny-import
experiment: import
settings:
  sources:
    runs:
      address: http://127.0.0.1:9/runs.csv
      sha256: {hashlib.sha256(imported_table()).hexdigest()}
      licence: none stated
      file: a/runs.csv
      columns: {{parameters: N, final_eval_loss: loss}}
      documented: {{parameter_count: all, flop_formula: unknown, schedule_end: unknown, tuned_per_size: unknown,
                   checkpoint: final, split: test}}
scales:
  smoke:
    grid: [{{source: runs}}]
  laptop:
    grid: [{{source: runs}}]
fits:
  slope: {{estimator: regression, response: final_eval_loss, along: parameters, primary: ols_t}}
claims:
  - {{claim: tiny-slope, statement: Root, source: Fig. 1, provenance: abstract, fit: slope, test: equivalence,
     predicted: -0.5, margin: 0.1, headline: false, figure: null}}
"""


def write_config(folder: Path, config: str = "scale: laptop\n", **studies: str) -> Path:
    """A config/ folder with config.yaml and the given studies (tiny_train → tiny-train.yaml); returns config.yaml.

    Results of whatever scale lie in `results`, so that tests name files by one folder, unless the configuration says
    otherwise.
    """
    (folder / "config" / "studies").mkdir(parents=True, exist_ok=True)
    for name, text in studies.items():
        (folder / "config" / "studies" / f"{name.replace('_', '-')}.yaml").write_text(text)
    path = folder / "config" / "config.yaml"
    placed = "results:" in config or "scale:" not in config
    path.write_text(config if placed else f"{config.rstrip()}\nresults: results\n")
    return path


def planned(config_path: Path) -> Plan:
    """The checked plan of a configuration, as Snakemake and the commands make it."""
    return checked_plan(load_config(config_path), config_path)
