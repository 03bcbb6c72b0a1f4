"""Bootstrap of the joint law against the usual recipe: 4,000 refits of L(N, D) = E + A/N^α + B/D^β, one thread.

    python benchmarks/fits.py [--replicates 4000] [--sample 12]

The usual recipe refits one replicate after another with SciPy's BFGS from Hoffmann et al.'s parameters; its objective
sums Huber's loss (δ = 0.001) of the log residuals in a loop over rows. A second baseline has that objective vectorized,
with its analytic gradient. Baselines and ours get the same resamples and take turns; the baselines are timed on a
sample of the replicates and extrapolated to all. ratio = baseline_seconds / ours_seconds. The table is the one read off
Hoffmann et al.'s figure 4 when the folder MUSTER_SHARED_DATA (default ../shared/data) holds it, else a synthetic one of
240 rows. Writes benchmarks/results/fits.json.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from muster.fitting.laws.interval import refit, resample_weights
from muster.fitting.laws.joint import JOINT
from muster.fitting.laws.solve import LawFit, fit_law

DELTA = 1e-3
HOFFMANN = np.array([6.0073404, 6.0179186, 0.5267228, 0.33917084, 0.2849083])  # ln A, ln B, ln E, α, β
RESULTS = Path(__file__).parent / "results" / "fits.json"
SHARED = Path(os.environ.get("MUSTER_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


def read_table() -> tuple[str, np.ndarray, np.ndarray]:
    """Name of the table, (N, D) [2, R] and losses [R]."""
    file = SHARED / "epoch-analyzing-chinchilla" / "svg_extracted_data.csv"
    if file.exists():
        columns = pd.read_csv(file)
        size, loss = columns["Model Size"].to_numpy(), columns["loss"].to_numpy()
        kept = loss < np.sort(loss)[-5]
        return "Chinchilla", np.stack([size, columns["Training FLOP"] / (6 * size)])[:, kept], loss[kept]
    rng = np.random.default_rng(0)
    x = 10 ** rng.uniform([[7.6], [8.5]], [[10.0], [11.5]], (2, 240))
    loss = 1.8 + 480 * x[0] ** -0.35 + 2100 * x[1] ** -0.37
    return "synthetic", x, loss * np.exp(0.005 * rng.standard_t(4, 240))


def row_loop(log_n: np.ndarray, log_d: np.ndarray, log_y: np.ndarray) -> np.ndarray:
    """The usual recipe: a Python loop over rows, gradients by differences."""
    rows = list(zip(log_n.tolist(), log_d.tolist(), log_y.tolist(), strict=True))

    def objective(theta: np.ndarray) -> float:
        a, b, e, alpha, beta = theta.tolist()
        total = 0.0
        for n, d, y in rows:
            error = abs(y - math.log(math.exp(a - alpha * n) + math.exp(b - beta * d) + math.exp(e)))
            total += 0.5 * error**2 if error <= DELTA else DELTA * (error - 0.5 * DELTA)
        return total

    return minimize(objective, HOFFMANN, method="BFGS").x


def vectorized(log_n: np.ndarray, log_d: np.ndarray, log_y: np.ndarray) -> np.ndarray:
    """The same optimizer with a NumPy objective and its analytic gradient."""

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        a, b, e, alpha, beta = theta
        size, data, rest = np.exp(a - alpha * log_n), np.exp(b - beta * log_d), np.exp(e)
        total = size + data + rest
        error = log_y - np.log(total)
        clipped = np.clip(error, -DELTA, DELTA)
        slope = -clipped / total
        by_size, by_data = slope * size, slope * data
        gradient = (by_size.sum(), by_data.sum(), (slope * rest).sum(), -by_size @ log_n, -by_data @ log_d)
        return float((clipped * (error - clipped / 2)).sum()), np.array(gradient)

    return minimize(objective, HOFFMANN, jac=True, method="BFGS").x


def per_replicate(
    recipe: Callable[..., np.ndarray], x: np.ndarray, y: np.ndarray, weights: np.ndarray
) -> tuple[float, np.ndarray]:
    """Mean seconds per replicate, and the minimizers in the order of JOINT's coordinates."""
    found = []
    begun = time.perf_counter()
    for counts in weights.astype(int):
        rows = np.repeat(np.arange(len(y)), counts)
        found.append(recipe(*np.log(x[:, rows]), np.log(y[rows])))
    seconds = (time.perf_counter() - begun) / len(weights)
    return seconds, np.array(found)[:, [3, 4, 2, 0, 1]]


def two_threads(fit: LawFit, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    with ThreadPoolExecutor(2) as pool:
        return np.concatenate(list(pool.map(lambda part: refit(fit, x, y, part), np.array_split(weights, 2))))


def timed(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    begun = time.perf_counter()
    found = run()
    return time.perf_counter() - begun, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=4000)
    parser.add_argument("--sample", type=int, default=12, help="replicates per turn that the baselines are timed on")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    name, x, y = read_table()
    fit = fit_law(JOINT, x, y, delta=DELTA)
    weights = resample_weights(len(y), None, arguments.replicates, seed=0)
    one, two, times = [], [], {"row_loop": [], "vectorized": []}
    for turn in range(arguments.repeats):
        seconds, theta = timed(lambda: refit(fit, x, y, weights))
        one.append(seconds)
        two.append(timed(lambda: two_threads(fit, x, y, weights))[0])
        part = slice(turn * arguments.sample, (turn + 1) * arguments.sample)
        for recipe in (row_loop, vectorized):
            seconds, usual = per_replicate(recipe, x, y, weights[part])
            times[recipe.__name__].append(seconds)
            apart = np.nanmax(np.abs(usual[:, :2] - theta[part, :2]))
            print(f"turn {turn}: {recipe.__name__:<10} {seconds:8.4f} s a refit, exponents differ by up to {apart:.1g}")
    rows = []
    case = f"bootstrap {arguments.replicates}"
    sampled = (
        f"{arguments.repeats * arguments.sample} refits timed, extrapolated to {arguments.replicates}; {name} table"
    )
    for suffix, ours, key, baseline in (
        ("", one, "row_loop", f"SciPy BFGS from Hoffmann's parameters, per-row Python objective ({sampled})"),
        (" threads=2", two, "row_loop", f"the same on one thread ({sampled})"),
        (" vs NumPy", one, "vectorized", f"SciPy BFGS from Hoffmann's parameters, NumPy gradient ({sampled})"),
    ):
        usual_seconds = float(np.median(times[key])) * arguments.replicates
        rows.append(
            {
                "case": case + suffix,
                "ours_seconds": float(np.median(ours)),
                "baseline_seconds": usual_seconds,
                "ratio": usual_seconds / float(np.median(ours)),
                "baseline": baseline,
            }
        )
        print(f"{case + suffix:<26} {rows[-1]['ours_seconds']:7.2f} s {rows[-1]['ratio']:8.1f} x   vs {baseline}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
