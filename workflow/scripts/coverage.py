"""Simulate what the estimators promise: coverage of nominal 95 % intervals and size of nominal 5 % tests, by situation.

Each situation draws tables whose truth is known, gives them to a registered estimator as a study would, and reads the
final row (`estimate`, `se`, `dof`, `ci_low`, `ci_high`, `status`) of its primary variant. The rows go to a JSON, and
the page is made from them. A situation is a function (rng) → (table, truth), registered with the fit that reads it:

    python workflow/scripts/coverage.py --json docs/coverage.json --page docs/coverage.md [--draws N] [--only NAME …]

coverage: share of intervals that hold the truth, of those that were given. size: share in which the row's t test
rejects the truth at 5 %; it differs from 1 − coverage only where p and interval are of different laws. measured: share
of draws with a standard error; outside an estimator's domain it has none, and the ledger says `no measurement`.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS
from muster.fitting.estimators import lr_transfer
from muster.fitting.optimum.mixed import NONE

LOW, HIGH = 0.92, 0.07  # least coverage, largest size in a declared domain
Rng = np.random.Generator
Draw = Callable[[Rng], tuple[pd.DataFrame, float]]


@dataclass(frozen=True)
class Situation:
    """One line of the table: which estimator meets which data. cost: draws are divided by it."""

    estimator: str
    name: str
    draw: Draw
    fit: dict[str, Any]
    parameter: str = ""
    cost: int = 1


SITUATIONS: list[Situation] = []


def situation(estimator: str, name: str, *, parameter: str = "", cost: int = 1, **fit: Any) -> Callable[[Draw], Draw]:
    """Register a function (rng) → (table, truth) as a situation of an estimator; fit: its fields but the estimator."""

    def register(draw: Draw) -> Draw:
        SITUATIONS.append(Situation(estimator, name, draw, fit, parameter, cost))
        return draw

    return register


def measure(case: Situation, draws: int) -> dict[str, Any]:
    """One row of the table, from max(draws / cost, 40) draws with a fixed seed."""
    config = FitConfig.model_validate({"estimator": case.estimator, **case.fit})
    estimator = ESTIMATORS[case.estimator]
    rng = np.random.default_rng(22)
    covered, rejected, measured, n = 0, 0, 0, max(draws // case.cost, 40)
    for _ in range(n):
        table, truth = case.draw(rng)
        rows = estimator.function(table, config).fits
        rows = rows[rows["primary"] & (rows["parameter"].isin([case.parameter, ""]) if case.parameter else True)]
        row = rows.iloc[0]
        if not (np.isfinite(row["se"]) and row["status"] == "ok"):
            continue
        measured += 1
        covered += bool(row["ci_low"] <= truth <= row["ci_high"])
        gap = abs(row["estimate"] - truth)
        t = gap / row["se"] if row["se"] > 0 else np.inf * (gap > 0)
        rejected += bool(2 * stats.t.sf(t, row["dof"]) < 0.05)
    share = (lambda k: round(k / measured, 3)) if measured else (lambda k: None)
    return {
        "estimator": case.estimator,
        "variant": config.primary or estimator.variants[0],
        "situation": case.name,
        "draws": n,
        "measured": round(measured / n, 3),
        "coverage": share(covered),
        "size": share(rejected),
    }


def fails(row: dict[str, Any]) -> bool:
    """Whether a row is below 92 % coverage or above 7 % size by more than two Monte-Carlo errors."""
    if row["coverage"] is None:
        return False
    error = 2 * np.sqrt(0.05 * 0.95 / max(row["draws"] * row["measured"], 1))
    return bool(row["coverage"] < LOW - error or row["size"] > HIGH + error)


def page(rows: list[dict[str, Any]]) -> str:
    """docs/coverage.md."""
    head = [
        "# What the intervals cover",
        "",
        "Built by `workflow/scripts/coverage.py`; do not edit. Nominal coverage is .95, nominal size .05. `measured`",
        "is the share of draws in which the estimator gives a standard error at all; without one the ledger says",
        "`no measurement`. Bold: below .92 or above .07 by more than two Monte-Carlo errors.",
        "",
        "| estimator | variant | situation | draws | measured | coverage | size |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shown = ["–" if row[key] is None else f"{row[key]:.3f}" for key in ("measured", "coverage", "size")]
        shown[1:] = [f"**{each}**" if fails(row) else each for each in shown[1:]]
        cells = [row["estimator"], row["variant"], row["situation"], str(row["draws"]), *shown]
        head.append(f"| {' | '.join(cells)} |")
    return "\n".join(head) + "\n"


# Learning-rate sweeps: ln loss over log2 rates for widths 64 … with true exponent −0.1.

SLOPE = -0.1
SWEEP: dict[str, Any] = {"response": "loss", "along": "width"}


def sweeps(
    rng: Rng,
    *,
    shapes: int = 5,
    seeds: int = 3,
    rates: Callable[[Rng], np.ndarray] = lambda rng: np.arange(-10, -2.9, 0.5),
    noise: Callable[[int], float] = lambda shape: 0.01,
    scatter: float = 0.0,
    curve: Callable[[np.ndarray], np.ndarray] = lambda u: 0.05 * u**2,
    keep: float = 1.0,
    heavy: bool = False,
    size: str = "width",
) -> tuple[pd.DataFrame, float]:
    """Runs of one group: curve(log2 lr − log2 lr*) + seed offsets + noise; a run above ln loss 1.2 diverged."""
    rows = []
    phase = rng.uniform(-0.25, 0.25)
    for shape in range(shapes):
        grid = np.sort(rates(rng))
        best = -6.5 + phase + SLOPE * shape + scatter * rng.standard_normal()
        for seed in range(seeds):
            e = rng.standard_t(3, len(grid)) if heavy else rng.standard_normal(len(grid))
            y = curve(grid - best)
            lost = y > 1.2
            y = y + 0.01 * rng.standard_normal() + noise(shape) * e
            for rate, value, gone in zip(grid, y, lost, strict=True):
                if rng.uniform() < keep:
                    rows.append((64.0 * 2**shape, rate, seed, np.nan if gone else np.exp(value), bool(gone)))
    return pd.DataFrame(rows, columns=[size, "log2_lr", "seed", "loss", "diverged"]), SLOPE


SWEEPS: dict[str, dict[str, Any]] = {
    "plain": {},
    "few shapes": {"shapes": 3},
    "few seeds": {"seeds": 1},
    "unequal errors": {"noise": lambda shape: 0.004 * 1.5**shape},
    "between-shape scatter": {"scatter": 0.15},
    "leaning valley": {"curve": lambda u: 0.05 * u**2 + 0.004 * u**3},
    "valley beside a cliff": {"curve": lambda u: 0.02 * u**2 + 0.3 * np.exp(2.5 * (u - 1.5)), "scatter": 0.1},
    "steps of 3": {"rates": lambda rng: np.arange(-12, 0, 1.585) + rng.uniform(0, 1.5), "scatter": 0.1},
    "12 scattered rates": {"rates": lambda rng: rng.uniform(-11, -2.5, 12), "seeds": 1},
    "40 scattered rates": {"rates": lambda rng: rng.uniform(-11, -2.5, 40), "seeds": 1},
    "missing runs": {"keep": 0.85},
    "heavy tails": {"heavy": True, "noise": lambda shape: 0.006},
}
for _name, _how in SWEEPS.items():
    situation("lr_transfer", _name, cost=4, **SWEEP)(lambda rng, how=_how: sweeps(rng, **how))


@situation("lr_transfer_difference", "between-shape scatter", cost=8, **SWEEP,
           options={"a": {"arm": "a"}, "b": {"arm": "b"}})  # fmt: skip
def _difference(rng: Rng) -> tuple[pd.DataFrame, float]:
    arms = [sweeps(rng, scatter=0.1)[0].assign(arm=arm) for arm in "ab"]
    return pd.concat(arms, ignore_index=True), 0.0


for _name, _sizes in (("even sizes", lambda rng: np.arange(-3.0, 3.1)), ("scattered sizes", lambda rng: np.sort(rng.uniform(-3, 3, 14)))):  # fmt: skip # noqa: E501

    @situation("isoflop", _name, cost=5, response="loss", along="flops", options={"min_side": 1})
    def _isoflop(rng: Rng, sizes: Callable[[Rng], np.ndarray] = _sizes) -> tuple[pd.DataFrame, float]:
        rows = []
        for budget in np.geomspace(1e18, 1e21, 6):
            best = (0.34 * 406.4 / (0.28 * 410.7)) ** (1 / 0.62) * (budget / 6) ** (0.28 / 0.62)
            n = best * 2.0 ** sizes(rng)
            at = n * np.exp(0.1 * rng.standard_normal())
            loss = 1.69 + 406.4 / at**0.34 + 410.7 / (budget / 6 / at) ** 0.28
            loss = loss * np.exp(5e-4 * rng.standard_normal(len(n)))
            rows += [(budget, each, 0, value) for each, value in zip(n, loss, strict=True)]
        return pd.DataFrame(rows, columns=["flops", "parameters", "seed", "loss"]), 0.28 / 0.62


# Responses y over x and seeds: ln y = ln x · slope + shape's deviation + seed's deviation.


def responses(
    rng: Rng, *, shapes: int = 5, seeds: int = 3, scatter: float = 0.1, noise: float = 0.05, slope: float = -0.5,
    unequal: float = 1.0, heavy: bool = False, keep: float = 1.0, lines: int = 1,
) -> pd.DataFrame:  # fmt: skip
    """Columns across (`lines` values), width, seed, loss; unequal: ratio of the largest to the smallest scatter."""
    rows = []
    for line in range(lines):
        spread = unequal ** (line / max(lines - 1, 1))
        for shape in range(shapes):
            own = unequal ** (shape / (shapes - 1)) if lines == 1 else spread
            u = own * scatter * (rng.standard_t(3) if heavy else rng.standard_normal())
            for seed in range(seeds):
                if rng.uniform() < keep:
                    y = slope * shape * np.log(2) + u + noise * rng.standard_normal()
                    rows.append((line + 1.0, 16.0 * 2**shape, seed, np.exp(y)))
    return pd.DataFrame(rows, columns=["across", "width", "seed", "loss"])


RESPONSES: dict[str, dict[str, Any]] = {
    "between-shape scatter": {},
    "few shapes": {"shapes": 3},
    "few seeds": {"seeds": 1},
    "unequal errors": {"unequal": 5.0},
    "heavy tails": {"heavy": True},
    "missing runs": {"keep": 0.85},
}
for _name, _how in RESPONSES.items():
    situation("power_law", _name, response="loss", along="width")(lambda rng, how=_how: (responses(rng, **how), -0.5))
    situation("mean", _name, response="loss", along="width")(
        lambda rng, how=_how: (responses(rng, slope=0.0, **{**how, "scatter": 0.1}).assign(
            loss=lambda table: 2 + np.log(table["loss"])), 2.0)
    )  # fmt: skip
    situation("slope_equality", _name, response="loss", along="width", options={"a": {"arm": "a"}, "b": {"arm": "b"}})(
        lambda rng, how=_how: (pd.concat([responses(rng, **how).assign(arm=arm) for arm in "ab"]), 0.0)
    )

for _name, _how in {
    "few exponents": {"lines": 3}, "equal errors": {"lines": 5}, "unequal errors": {"lines": 5, "unequal": 20.0},
    "few sizes": {"lines": 4, "shapes": 4, "unequal": 10.0}, "missing runs": {"lines": 5, "keep": 0.85},
}.items():  # fmt: skip
    situation("exponent_trend", _name, cost=2, parameter="slope", response="loss", along="width",
              options={"across": "across"})(lambda rng, how=_how: (responses(rng, **how), 0.0))  # fmt: skip
    situation("exponent_difference", _name, cost=3, response="loss", along="width",
              options={"across": "across", "a": {"arm": "a"}, "b": {"arm": "b"}})(
        lambda rng, how=_how: (pd.concat([responses(rng, **how).assign(arm=arm) for arm in "ab"]), 0.0)
    )  # fmt: skip


# Brackets and first passages: runs of one shape share its deviation.


def brackets(rng: Rng, shapes: int, seeds: int, scatter: float, open_share: float) -> tuple[pd.DataFrame, float]:
    depth = np.repeat(2.0 ** np.arange(shapes), seeds)
    y = (
        -np.log2(depth)
        + np.repeat(scatter * rng.standard_normal(shapes), seeds)
        + 0.1 * rng.standard_normal(len(depth))
    )
    phase = rng.uniform(0, 0.2)  # or else the true line runs along ends of brackets
    low = np.floor((y - phase) / 0.2) * 0.2 + phase
    untold, above = rng.uniform(size=len(y)) < open_share, rng.uniform(size=len(y)) < 0.5
    table = pd.DataFrame({"depth": depth, "seed": np.tile(np.arange(seeds), shapes), "low": low, "high": low + 0.2})
    table.loc[untold & above, "high"] = np.inf
    table.loc[untold & ~above, "low"] = -np.inf
    return table, -1.0


for _name, _how in {
    "few shapes": (4, 4, 0.3, 0.0), "between-shape scatter": (8, 4, 0.3, 0.0), "no scatter": (8, 4, 0.0, 0.0),
    "open brackets": (8, 4, 0.3, 0.1),
}.items():  # fmt: skip
    situation("interval_exponents", _name, cost=6, parameter="exponent", response="low", along="depth",
              options={"upper": "high"})(lambda rng, how=_how: brackets(rng, *how))  # fmt: skip


def passages(rng: Rng, values: int, scatter: float, longest: float) -> tuple[pd.DataFrame, float]:
    steps, rows = np.unique(np.geomspace(1, longest, 120).round()), []
    for value in np.linspace(0, 1, values):
        shared = scatter * rng.standard_normal()
        for seed in range(4):
            t = np.exp(5 - value + shared + 0.2 * rng.standard_normal())
            rows.append(pd.DataFrame({"step": steps, "x": value + 1, "seed": seed, "value": (steps >= t) * 1.0}))
    return pd.concat(rows, ignore_index=True), -1.0


for _name, _how in {
    "few values": (4, 0.3, 2000.0), "between-shape scatter": (8, 0.3, 2000.0), "no scatter": (8, 0.0, 2000.0),
    "censored": (8, 0.2, 150.0),
}.items():  # fmt: skip
    situation("first_passage", _name, cost=10, parameter="slope", response="value", along="x", options={"level": 0.5})(
        lambda rng, how=_how: passages(rng, *how)
    )


# Tables of runs in clusters, thresholds, best-of-n.


def families(rng: Rng, clusters: int, heavy: bool = False) -> tuple[pd.DataFrame, float]:
    group = np.repeat(np.arange(clusters), rng.integers(3, 12, clusters))
    x = rng.standard_normal(clusters)[group] + 0.5 * rng.standard_normal(len(group))
    shared = rng.standard_t(3, clusters) if heavy else rng.standard_normal(clusters)
    y = -0.3 * x + 0.5 * shared[group] + 0.5 * rng.standard_normal(len(group))
    return pd.DataFrame({"size": np.exp(x), "loss": np.exp(y), "family": group}), -0.3


for _count in (5, 8, 20):
    for _primary in ("cluster_t", "wild_cluster"):
        situation("regression", f"{_count} clusters", cost=8, response="loss", along="size", primary=_primary,
                  options={"clusters": "family"})(lambda rng, count=_count: families(rng, count))  # fmt: skip
situation("regression", "8 clusters, heavy tails", cost=8, response="loss", along="size",
          primary="cluster_t", options={"clusters": "family"})(lambda rng: families(rng, 8, heavy=True))  # fmt: skip


for _runs in (60, 300):

    @situation("threshold", f"{_runs} runs", cost=4, response="solved", along="tokens")
    def _threshold(rng: Rng, runs: int = _runs) -> tuple[pd.DataFrame, float]:
        x = rng.uniform(-2, 2, runs)
        solved = rng.uniform(size=runs) < 1 / (1 + np.exp(-3 * (x - 0.3)))
        return pd.DataFrame({"tokens": np.exp(x), "solved": solved * 1.0}), float(np.exp(0.3))


for _name, _heavy in (("normal", False), ("heavy tails", True)):

    @situation("expected_max", f"40 draws, {_name}", cost=2, parameter="expected_best", response="loss", along="x",
               options={"draws": 4})  # fmt: skip
    def _best(rng: Rng, heavy: bool = _heavy) -> tuple[pd.DataFrame, float]:
        y = rng.standard_t(5, 40) if heavy else rng.standard_normal(40)
        return pd.DataFrame({"x": 1.0, "loss": y}), -1.140 if heavy else -1.02938


for _seeds, _keep in ((3, 1.0), (3, 0.97)):

    @situation("lr_sensitivity", "plain" if _keep == 1 else "missing runs", cost=6, **SWEEP,
               options={"a": {"arm": "a"}, "b": {"arm": "b"}, "initial": 50.0})  # fmt: skip
    def _sensitivity(rng: Rng, keep: float = _keep) -> tuple[pd.DataFrame, float]:
        return pd.concat([sweeps(rng, keep=keep, scatter=0.2)[0].assign(arm=arm) for arm in "ab"]), 0.0


for _shapes in (4, 8):

    @situation("collapse", f"{_shapes} curves", cost=16, response="loss", along="width",
               options={"over": "log2_lr", "permutations": 20})  # fmt: skip
    def _collapse(rng: Rng, shapes: int = _shapes) -> tuple[pd.DataFrame, float]:
        return sweeps(rng, shapes=shapes, scatter=0.1, noise=lambda shape: 0.003)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="where the rows go")
    parser.add_argument("--page", type=Path, help="where the page goes")
    parser.add_argument("--draws", type=int, default=800, help="draws of a cheap situation; dear ones take fewer")
    parser.add_argument("--only", nargs="*", help="these estimators; rows of others stay as they are in the JSON")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    # A variant that no line of the table reads takes nine tenths of the time.
    lr_transfer.slope_mixed = lambda x, y: (NONE, "")
    rows = []
    for case in SITUATIONS:
        if not args.only or case.estimator in args.only:
            start = time.perf_counter()
            rows.append(measure(case, args.draws))
            print(
                *rows[-1].values(),
                f"{time.perf_counter() - start:.1f} s",
                "FAILS" if fails(rows[-1]) else "",
                flush=True,
            )
    if args.only and args.json and args.json.exists():
        rows += [row for row in json.loads(args.json.read_text()) if row["estimator"] not in args.only]
    order = {case.estimator: place for place, case in reversed(list(enumerate(SITUATIONS)))}
    rows.sort(key=lambda row: order[row["estimator"]])
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    if args.page:
        args.page.write_text(page(rows))


if __name__ == "__main__":
    main()
