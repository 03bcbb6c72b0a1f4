"""Sweeps as they come: spacing × seeds × words × rows × health. Each ends in the right optima or in a true reason.

A sample runs here. All 720 cells, and 1,000 malformed tables: `python -m tests.unit.api.test_matrix --seconds 1200`.
"""

import itertools
import math
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.api import SweepFit, fit_table
from muster.errors import Gathering, MusterError
from muster.tables.sweeps import Columns, read_sweep
from muster.tables.sweeps.points import PointColumns, find_points, read_points

Row = dict[str, Any]
SPACINGS = ("grid", "random", "bayesian", "coarse then fine")
SEEDS = ("balanced", "extra seeds", "own seeds", "holes")
WORDS = ("wandb", "optuna", "mlflow", "ray", "plain")
ROWS = ("one row", "history", "sparse history")
HEALTH = ("clean", "diverging", "pruned")
CELLS = list(itertools.product(SPACINGS, SEEDS, WORDS, ROWS, HEALTH))
WIDTHS = (64, 128, 256, 512)
NOISE, OFFSET, CURVATURE, SLOPE = 0.003, 0.01, 0.04, -0.3  # of a run, of a seed; per octave²; of the optimum
SAMPLE = 18

NAMES = {
    "wandb": {"width": "config.width", "lr": "config.lr", "seed": "config.seed", "loss": "summary.loss",
              "state": "state", "step": "_step", "run": "Name"},
    "optuna": {"width": "params_width", "lr": "params_lr", "seed": "params_seed", "loss": "value", "state": "state",
               "step": "step", "run": "number"},
    "mlflow": {"width": "params.width", "lr": "params.lr", "seed": "params.seed", "loss": "metrics.loss",
               "state": "status", "step": "step", "run": "run_id"},
    "ray": {"width": "config/width", "lr": "config/lr", "seed": "config/seed", "loss": "loss", "state": "status",
            "step": "training_iteration", "run": "trial_id"},
    "plain": {"width": "hidden_size", "lr": "learning_rate", "seed": "seed", "loss": "val_loss", "state": "state",
              "step": "epoch", "run": "run"},
}  # fmt: skip
STATES = {"wandb": ("finished", "crashed"), "optuna": ("COMPLETE", "PRUNED"), "mlflow": ("FINISHED", "KILLED"),
          "ray": ("TERMINATED", "ERROR"), "plain": ("done", "failed")}  # fmt: skip


class Made(NamedTuple):
    """A table, the log2 of each width's true optimum, and how many of its runs should count."""

    table: pd.DataFrame
    truth: dict[int, float]
    counted: int


def spaced(spacing: str, best: float, rng: np.random.Generator) -> list[float]:
    """log2 of the rates of one width."""
    if spacing == "grid":
        return [float(k) for k in range(-12, -2)]
    if spacing == "random":
        return sorted(rng.uniform(-12, -3, 16).tolist())
    if spacing == "bayesian":
        return sorted([*rng.uniform(-12, -3, 6).tolist(), *(best + 0.8 * rng.standard_normal(12)).tolist()])
    coarse = [float(k) for k in range(-12, -2, 2)]
    near = min(coarse, key=lambda k: abs(k - best))
    return sorted({*coarse, *(near + step for step in (-1.5, -1.0, -0.5, 0.5, 1.0, 1.5))})


def make(spacing: str, seeds: str, words: str, rows: str, health: str) -> Made:
    """One table of the matrix; the same for the same cell."""
    index = CELLS.index((spacing, seeds, words, rows, health))
    rng = np.random.default_rng(index)
    good, bad = STATES[words]
    truth = {width: -7 + SLOPE * math.log2(width / 64) + 0.1 * rng.standard_normal() for width in WIDTHS}
    table: list[Row] = []
    counted = number = 0
    for width in WIDTHS:
        for rate in spaced(spacing, truth[width], rng):
            near = abs(rate - truth[width]) < 1.5
            chosen = {"balanced": [0, 1], "extra seeds": [0, 1, 2] if near else [0], "holes": [0, 1, 2],
                      "own seeds": [1000 + number, 2000 + number]}[seeds]  # fmt: skip
            for seed in chosen:
                if seeds == "holes" and not near and rng.random() < 0.3:
                    continue
                away = rate - truth[width]
                offset = OFFSET * np.random.default_rng((index, width, seed)).standard_normal()
                loss = (2 + 8 * width**-0.5) * math.exp(CURVATURE * away**2 + NOISE * rng.standard_normal() + offset)
                lost = health == "diverging" and away > 2.6
                pruned = health == "pruned" and abs(away) > 2.6 and rng.random() < 0.5
                counted += not pruned
                head = {"run": f"r{number}" if words != "optuna" else number, "width": width, "lr": 2.0**rate,
                        "seed": seed, "state": bad if pruned else good}  # fmt: skip
                number += 1
                table += list(logged(head, loss, lost, pruned, rows))
    frame = pd.DataFrame(table).rename(columns=NAMES[words])
    return Made(frame, truth, counted)


def logged(head: Row, loss: float, lost: bool, pruned: bool, rows: str) -> list[Row]:
    """The rows that a tracker keeps of one run."""
    end = 4 if pruned else 10
    final = math.nan if lost else loss * (1.5 if pruned else 1.0)
    if rows == "one row":
        return [{**head, "step": end, "loss": "NaN" if lost else final}]
    every = 5 if rows == "sparse history" else 1
    steps = range(0, end + 1)
    points = []
    for step in steps:
        value: Any = loss * (1 + (10 - step) / 10)
        if lost and step > 5:
            value = "NaN"
        points.append({**head, "step": step, "loss": value if step % every == 0 or step == end else None})
    return points


def checked(made: Made, found: SweepFit) -> tuple[int, int]:
    """How many located optima there are, and how many intervals miss the truth. Every reason is held against the
    table."""
    assert len(found.runs) == made.counted
    hits = misses = 0
    for row in found.optima.to_dict("records"):
        own = found.runs[found.runs[found.columns.scale] == row["scale"]]
        lost = own.loc[own["diverged"], "log2_lr"].unique()
        finite = np.setdiff1d(own["log2_lr"].unique(), lost)
        above, below = (finite > math.log2(row["grid_best"])).sum(), (finite < math.log2(row["grid_best"])).sum()
        if row["status"] == "interior":
            truth = made.truth[int(row["scale"])]
            hits += 1
            misses += not row["ci_low"] <= 2.0**truth <= row["ci_high"]
        elif "sweep larger ones" in row["reason"]:
            assert above == 0
            assert own["log2_lr"].max() <= math.log2(row["grid_best"]) + 1e-9
        elif "sweep smaller ones" in row["reason"]:
            assert below == 0
            assert own["log2_lr"].min() >= math.log2(row["grid_best"]) - 1e-9
        elif "one finite value" in row["reason"]:
            assert min(above, below) == 1
        elif "diverged: sweep between" in row["reason"]:
            assert min(above, below) == 0
            assert len(lost)
        elif "as good within the noise" in row["reason"]:
            assert nearest_rise(own, finite, math.log2(row["grid_best"])) < 4 * math.hypot(NOISE, OFFSET)
        elif "one run a" in row["reason"]:
            assert len(own) == own["log2_lr"].nunique()
        else:
            raise AssertionError(f"{row['status']} at {row['scale']:g}: {row['reason']}")
    return hits, misses


def nearest_rise(own: pd.DataFrame, finite: np.ndarray, best: float) -> float:
    """How much the mean ln loss rises from the best rate to the lower of its neighbours."""
    loss = own.columns[-1]
    means = np.array([np.log(own.loc[own["log2_lr"] == rate, loss]).mean() for rate in np.sort(finite)])
    at = int(np.abs(np.sort(finite) - best).argmin())
    return float(min(means[at - 1], means[at + 1]) - means[at])


def allowed(located: int) -> float:
    """Misses of 95 % intervals that chance alone makes in all but one of a thousand tests, at a true 93 %."""
    return float(stats.binom.ppf(0.999, located, 0.07))


def fitted(cell: tuple[str, ...], folder: Path) -> tuple[int, int]:
    made = make(*cell)
    path = folder / "sweep.csv"
    made.table.to_csv(path, index=False)
    return checked(made, fit_table(path, seed=NAMES[cell[2]]["seed"]))


def test_a_sample_of_the_matrix_ends_in_the_truth_or_a_true_reason(tmp_path: Path) -> None:
    chosen = np.random.default_rng(5).choice(len(CELLS), SAMPLE, replace=False)
    results = [fitted(CELLS[i], tmp_path) for i in chosen]
    located, missed = (sum(result[i] for result in results) for i in (0, 1))
    assert located > 0.6 * SAMPLE * len(WIDTHS)
    assert missed <= allowed(located)


def malformed(index: int) -> bytes:
    """A table with bytes, cells, lines or columns changed at random."""
    rng = np.random.default_rng(index)
    text = make(*CELLS[index % len(CELLS)]).table.head(60).to_csv(index=False)
    for _ in range(rng.integers(1, 6)):
        kind = rng.integers(6)
        lines = text.splitlines()
        if kind == 0:
            at = rng.integers(len(text) + 1)
            text = text[:at] + "".join(map(chr, rng.integers(1, 300, 3))) + text[at:]
        elif kind == 1:
            start = rng.integers(len(text) + 1)
            text = text[:start] + text[start + rng.integers(1, 40) :]
        elif kind == 2 and lines:
            lines.insert(int(rng.integers(len(lines))), lines[rng.integers(len(lines))])
            text = "\n".join(lines)
        elif kind == 3:
            text = text.replace(",", rng.choice([";", "\t", ",,", " , ", "|"]))
        elif kind == 4 and lines:
            row = int(rng.integers(len(lines)))
            cells = lines[row].split(",")
            cells[rng.integers(len(cells))] = str(
                rng.choice(["", "nan", "-1", "1e999", "{", "1,5", '"', "inf", "x", "0"])
            )
            lines[row] = ",".join(cells)
            text = "\n".join(lines)
        elif kind == 5:
            text = text.replace(".", ",")
    return text.encode("utf-8", "replace")


def read_sweep_of(path: Path) -> None:
    read_sweep(path, Columns())


def read_points_of(path: Path) -> None:
    """As a law of the width alone, whose column has another name for every tracker."""
    wrong = Gathering()
    read_points(find_points(path, PointColumns(("E", "A", "width", "alpha")), wrong), wrong)


@pytest.mark.parametrize("start", [0, 20])
def test_malformed_tables_are_read_or_refused(start: int, tmp_path: Path) -> None:
    for index in range(start, start + 20):
        path = tmp_path / "s.csv"
        path.write_bytes(malformed(index))
        for read in (read_sweep_of, read_points_of):
            try:
                read(path)
            except MusterError:
                continue


def everything(folder: Path, seconds: float, seed: int) -> int:
    """All cells and 1,000 malformed tables, in an order of their own, as far as time goes; prints what is wrong."""
    from time import monotonic

    end = monotonic() + seconds
    order = np.random.default_rng(seed)
    located = missed = wrong = cells = 0
    for index in order.permutation(len(CELLS)):
        if monotonic() > end - 0.4 * seconds:
            break
        cells += 1
        try:
            hits, misses = fitted(CELLS[index], folder)
        except Exception as error:
            wrong += 1
            print(CELLS[index], type(error).__name__, str(error)[:300])
            continue
        located, missed = located + hits, missed + misses
    print(
        f"{cells} cells, {wrong} wrong; {located} optima, {missed} intervals miss: {1 - missed / max(located, 1):.3f}"
    )
    crashed = tables = 0
    for index in order.permutation(1000):
        if monotonic() > end:
            break
        tables += 1
        path = folder / "s.csv"
        path.write_bytes(malformed(int(index)))
        for read in (fit_table, read_points_of):
            try:
                read(path)
            except MusterError:
                continue
            except Exception:
                crashed += 1
                print(index, traceback.format_exc()[-600:])
    print(f"{tables} malformed tables, {crashed} crashes")
    return wrong + crashed + (missed > allowed(located))


if __name__ == "__main__":
    import argparse
    import tempfile

    parser = argparse.ArgumentParser(description="Fit all cells of the matrix, and malformed tables.")
    parser.add_argument("--seconds", type=float, default=1200.0, help="budget; all takes about 6 minutes on one core")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which they come")
    asked = parser.parse_args()
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as place:
        sys.exit(everything(Path(place), asked.seconds, asked.seed) > 0)
