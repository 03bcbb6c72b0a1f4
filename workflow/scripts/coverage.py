"""Simulate what the estimators promise: coverage of nominal 95 % intervals and size of nominal 5 % tests, by situation.

Each situation draws tables whose truth is known, gives them to a registered estimator as a study would, and reads the
final row (`estimate`, `se`, `dof`, `ci_low`, `ci_high`, `status`) of its primary variant. A situation is a function
(rng) → (table, truth), registered with the fit that reads it. The whole table takes some seven minutes on one core:

    python workflow/scripts/coverage.py [--only NAME …]   # benchmarks/results/coverage.json, then docs/coverage.md
    python workflow/scripts/coverage.py --page            # the page alone, from the JSON

coverage: share of intervals that hold the truth, of those that were given. size: share in which the row's t test
rejects the truth at 5 %; where a row keeps several numbers or a profile, against that bound, as a claim's test would.
It differs from 1 − coverage only where p and interval are of different laws. measured: share of draws with a standard
error; outside an estimator's domain it has none, and the ledger says `no measurement`.
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
from muster.fitting.estimators import first_passage, lr_transfer
from muster.fitting.optimum.mixed import NONE
from muster.statistics.components import Component, against

ROOT = Path(__file__).resolve().parents[2]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "coverage.json", ROOT / "docs" / "coverage.md"
LOW, HIGH = 0.92, 0.07  # least coverage, largest size in a declared domain
SEED, SECONDS = 22, 2.4
FEWEST, MOST = 40, 400  # draws of a situation
Rng = np.random.Generator
Draw = Callable[[Rng], tuple[pd.DataFrame, float]]

# Estimators without a line, and why.
WITHOUT = {
    "forms": "a difference of AICc between forms has no true value; `tests/statistical/test_forms.py` has the size of "
    "its decision",
    "pooled": "the random-effects mean, or plain t over groups where that is wider, is that of `exponent_difference`",
    "mean_difference": "Welch's, Student's and the paired t test; `ordering` stands for the last",
    "mean_of_runs": "Student's t; of several means the largest is decided as the worst shape of `regret`",
    "scatter": "the χ² interval of normal errors, which is exact for them and for no others",
    "curve_distance": "a jackknife over seeds, drawn in its own test; `power_law` over few seeds stands for such",
    "telescope": "`regret` of the rate that some runs of the same grid choose, decided as its worst shape",
    **dict.fromkeys(
        ("annealing", "data_constrained", "error_law", "law", "overtraining", "parallel", "parallel_power",
         "parallel_shape", "routed"),
        "a law: solver, resampling and intervals are those of `power_offset` and `joint_law`, which stand for it",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Situation:
    """One line of the table: which estimator meets which data. ms: what a draw costs, by which draws are chosen;
    outside: the estimator declares in `fails` that it errs here."""

    estimator: str
    name: str
    draw: Draw
    fit: dict[str, Any]
    parameter: str
    ms: float
    outside: bool

    @property
    def draws(self) -> int:
        return int(np.clip(SECONDS * 1000 / self.ms, FEWEST, MOST))


SITUATIONS: list[Situation] = []


def situation(
    estimator: str, name: str, *, parameter: str = "", ms: float = 20, outside: bool = False, **fit: Any
) -> Callable[[Draw], Draw]:
    """Register a function (rng) → (table, truth) as a situation of an estimator; fit: its fields but the estimator."""

    def register(draw: Draw) -> Draw:
        SITUATIONS.append(Situation(estimator, name, draw, fit, parameter, ms, outside))
        return draw

    return register


def rejects(row: pd.Series, truth: float) -> bool:
    """Whether the row's t test rejects the truth at 5 %, two-sided."""
    estimate, se, dof = row["estimate"], row["se"], row["dof"]
    kept = json.loads(row["diagnostics"])
    if kept.get("of") == row["variant"] and "components" in kept:
        found = against([Component(**each) for each in kept["components"]], -np.inf, truth)
        estimate, se, dof = found.estimate, found.se, found.dof
    gap = abs(estimate - truth)
    t = gap / se if se > 0 else np.inf * (gap > 0)
    return bool(2 * stats.t.sf(t, dof) < 0.05)


def measure(case: Situation, draws: int) -> dict[str, Any]:
    """One row of the table, from draws with a fixed seed."""
    config = FitConfig.model_validate({"estimator": case.estimator, **case.fit})
    estimator = ESTIMATORS[case.estimator]
    rng = np.random.default_rng(SEED)
    covered, rejected, measured = 0, 0, 0
    for _ in range(draws):
        table, truth = case.draw(rng)
        rows = estimator.function(table, config).fits
        rows = rows[rows["primary"] & (rows["parameter"].isin([case.parameter, ""]) if case.parameter else True)]
        row = rows.iloc[0]
        if row["status"] != "ok":
            continue
        measured += 1
        covered += bool(row["ci_low"] <= truth <= row["ci_high"])
        rejected += rejects(row, truth)
    share = (lambda k: round(k / measured, 3)) if measured else (lambda k: None)
    return {
        "estimator": case.estimator,
        "variant": row["variant"],
        "situation": case.name,
        "draws": draws,
        "measured": round(measured / draws, 3),
        "coverage": share(covered),
        "size": share(rejected),
        "outside": case.outside,
    }


def error(row: dict[str, Any]) -> float:
    """Monte-Carlo error of the coverage of a true .95."""
    return float(np.sqrt(0.05 * 0.95 / max(row["draws"] * row["measured"], 1)))


def mark(row: dict[str, Any]) -> str:
    """`low` below 92 % coverage or above 7 % size; `LOW` if by more than two Monte-Carlo errors."""
    if row["coverage"] is None:
        return ""
    short = max(LOW - row["coverage"], row["size"] - HIGH)
    found = "LOW" if short > 2 * error(row) else "low" if short > 0 else ""
    return f"{found}, declared" if found and row["outside"] else found


def page(rows: list[dict[str, Any]]) -> str:
    """docs/coverage.md."""
    few = sum(mark(row).startswith("low") for row in rows)
    many = sum(mark(row).startswith("LOW") for row in rows)
    lines = [
        "# What the intervals cover",
        "",
        "Built by `workflow/scripts/coverage.py` from `benchmarks/results/coverage.json`; do not edit. Nominal",
        "coverage is .95, nominal size .05. `measured` is the share of draws in which the estimator gives a standard",
        "error at all; without one the ledger says `no measurement`. ± is the Monte-Carlo error of a true .95.",
        "",
        f"Marked are lines below {LOW:.2f} or above {HIGH:.2f}: `low` where that may be chance ({few} of {len(rows)}",
        f"lines; {expected_low(rows):.0f} would be marked if all intervals covered .95, at so many draws), `LOW` where",
        f"it is by more than two errors ({many}). `declared`: the estimator's own description, in `muster list",
        "estimators`, says that it fails there. Few draws show gross faults only; tests hold larger simulations.",
        "",
        "| estimator | variant | situation | draws | measured | coverage | ± | size | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shown = ["–" if value is None else f"{value:.3f}" for value in
                 (row["measured"], row["coverage"], error(row), row["size"])]  # fmt: skip
        bold = [f"**{each}**" if mark(row) and i in (1, 3) else each for i, each in enumerate(shown)]
        cells = [row["estimator"], row["variant"], row["situation"], str(row["draws"]), *bold, mark(row)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Estimators without a line:", ""]
    lines += [f"- `{name}`: {reason}." for name, reason in sorted(WITHOUT.items())]
    return "\n".join(lines) + "\n"


def expected_low(rows: list[dict[str, Any]]) -> float:
    """How many lines would be marked if every interval covered .95: a size above HIGH is the likelier mark."""
    given = [round(row["draws"] * row["measured"]) for row in rows]
    return float(sum(stats.binom.sf(np.floor(HIGH * n + 1e-9), n, 0.05) for n in given if n))


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
    drift: Callable[[int], float] = lambda shape: SLOPE * shape,
    curve: Callable[[np.ndarray, int], np.ndarray] = lambda u, shape: 0.05 * u**2,
    keep: float = 1.0,
    heavy: bool = False,
    size: str = "width",
) -> tuple[pd.DataFrame, float]:
    """Runs of one group: curve(log2 lr − log2 lr*, shape) + seed offsets + noise; a run above ln loss 1.2 diverged.

    drift: octaves by which the optimum of shape k, of width 64 · 2^k, is off that of the first.
    """
    rows = []
    phase = rng.uniform(-0.25, 0.25)
    for shape in range(shapes):
        grid = np.sort(rates(rng))
        best = -6.5 + phase + drift(shape) + scatter * rng.standard_normal()
        for seed in range(seeds):
            e = rng.standard_t(3, len(grid)) if heavy else rng.standard_normal(len(grid))
            y = curve(grid - best, shape)
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
    "errors that differ 5-fold": {"noise": lambda shape: 0.004 * 1.5**shape},
    "errors that differ 81-fold": {"noise": lambda shape: 0.004 * 3.0**shape},
    "between-shape scatter": {"scatter": 0.15},
    "leaning valley": {"curve": lambda u, shape: 0.05 * u**2 + 0.004 * u**3},
    "drifting asymmetry": {"curve": lambda u, shape: 0.05 * u**2 + 0.003 * shape * u**3},
    "valley beside a cliff": {"curve": lambda u, shape: 0.02 * u**2 + 0.3 * np.exp(2.5 * (u - 1.5)), "scatter": 0.1},
    "steps of 3": {"rates": lambda rng: np.arange(-12, 0, 1.585) + rng.uniform(0, 1.5), "scatter": 0.1},
    "12 scattered rates": {"rates": lambda rng: rng.uniform(-11, -2.5, 12), "seeds": 1},
    "25 scattered rates": {"rates": lambda rng: rng.uniform(-11, -2.5, 25), "seeds": 1},
    "50 scattered rates": {"rates": lambda rng: rng.uniform(-11, -2.5, 50), "seeds": 1},
    "100 scattered rates": {"rates": lambda rng: rng.uniform(-11, -2.5, 100), "seeds": 1},
    "100 scattered rates beside a cliff": {
        "rates": lambda rng: rng.uniform(-11, -2.5, 100),
        "seeds": 1,
        "curve": lambda u, shape: 0.02 * u**2 + 0.3 * np.exp(2.5 * (u - 1.5)),
    },
    "missing runs": {"keep": 0.85},
    "heavy tails": {"heavy": True, "noise": lambda shape: 0.006},
}
for _name, _how in SWEEPS.items():
    situation("lr_transfer", _name, ms=30, **SWEEP)(lambda rng, how=_how: sweeps(rng, **how))


for _name in ("between-shape scatter", "few shapes", "few seeds", "errors that differ 5-fold", "missing runs"):

    @situation("lr_transfer_difference", _name, ms=60, **SWEEP, options={"a": {"arm": "a"}, "b": {"arm": "b"}})
    def _difference(rng: Rng, name: str = _name) -> tuple[pd.DataFrame, float]:
        return pd.concat([sweeps(rng, **SWEEPS[name])[0].assign(arm=arm) for arm in "ab"], ignore_index=True), 0.0


def random_searches(
    rng: Rng, runs: int = 40, scatter: float = 0.0, coupling: float = 0.3, heavy: bool = False, steep: bool = False
) -> tuple[pd.DataFrame, float]:
    """Rate, decay and warmup drawn at once. Decay moves the loss, and the best rate with it."""
    rows = []
    for shape in range(5):
        rate, decay, warmup = rng.uniform(-11, -2.5, runs), rng.uniform(-4, -1, runs), rng.uniform(1, 10, runs)
        away = rate + 6.5 - SLOPE * shape - scatter * rng.standard_normal() + coupling * (decay + 2.5)
        e = rng.standard_t(3, runs) if heavy else rng.standard_normal(runs)
        y = 0.05 * away**2 + 0.1 * (decay + 2.5) ** 2 + 0.002 * warmup + 0.01 * e
        y += 0.3 * np.exp(2.5 * (away - 1.5)) * steep
        lost = y > 1.2
        columns = {"log2_lr": rate, "decay": 10**decay, "warmup": warmup, "loss": np.where(lost, np.nan, np.exp(y))}
        rows.append(pd.DataFrame({"width": 64.0 * 2**shape, "seed": 0, **columns, "diverged": lost}))
    return pd.concat(rows, ignore_index=True), SLOPE


for _name, _how in {
    "random search": {},
    "between-shape scatter": {"scatter": 0.15},
    "few runs": {"runs": 20},
    "heavy tails": {"heavy": True},
}.items():
    situation("lr_transfer_adjusted", _name, ms=40, **SWEEP, options={"adjust": ["decay", "warmup"]})(
        lambda rng, how=_how: random_searches(rng, **how)
    )
situation(
    "lr_transfer_adjusted",
    "valley beside a cliff",
    ms=40,
    outside=True,
    **SWEEP,
    options={"adjust": ["decay", "warmup"]},
)(lambda rng: random_searches(rng, steep=True))


def regrets(rng: Rng, slope: float = SLOPE, cubic: float = 0.0, **how: Any) -> tuple[pd.DataFrame, float]:
    """Sweeps, and the largest loss at the smallest shape's optimum above that at the own one."""
    table, _ = sweeps(rng, drift=lambda shape: slope * shape, curve=lambda u, shape: 0.05 * u**2 + cubic * u**3, **how)
    off = slope * np.arange(how.get("shapes", 5))
    return table, float((0.05 * off**2 - cubic * off**3).max())


for _name, _how in {
    "plain": {}, "no regret": {"slope": 0.0}, "few shapes": {"shapes": 3}, "few seeds": {"seeds": 1},
    "few seeds, between-shape scatter": {"seeds": 1, "slope": 0.0, "scatter": 0.15},
    "unequal errors": {"noise": lambda shape: 0.004 * 1.5**shape}, "leaning valley": {"cubic": 0.004},
    "heavy tails": {"heavy": True, "noise": lambda shape: 0.006}, "missing runs": {"keep": 0.85},
}.items():  # fmt: skip
    situation("regret", _name, ms=50, **SWEEP)(lambda rng, how=_how: regrets(rng, **how))


def approaches(rng: Rng, shapes: int, scatter: float, far: float, **how: Any) -> tuple[pd.DataFrame, float]:
    """Optima at lr∞ (1 − far · (n/64)^−½), and the drift of ln lr* beyond the widest shape."""
    table, _ = sweeps(rng, shapes=shapes, scatter=scatter, drift=lambda k: np.log2(1 - far * 2 ** (-k / 2)), **how)
    return table, float(-np.log1p(-far * 2 ** (-(shapes - 1) / 2)))


for _name, _limit in {
    "few shapes": {"shapes": 4, "scatter": 0.1, "far": 0.3},
    "between-shape scatter": {"shapes": 6, "scatter": 0.15, "far": 0.3},
    "no drift": {"shapes": 6, "scatter": 0.1, "far": 0.0},
    "few seeds": {"shapes": 6, "scatter": 0.1, "far": 0.3, "seeds": 1},
    "limit far away": {"shapes": 6, "scatter": 0.05, "far": 0.8},
    "missing runs": {"shapes": 6, "scatter": 0.1, "far": 0.3, "keep": 0.85},
}.items():
    situation("limit_rate", _name, parameter="drift_left", ms=75, **SWEEP)(
        lambda rng, how=_limit: approaches(rng, **how)
    )
situation("limit_rate", "local exponent of a power law", parameter="local_exponent", ms=75, **SWEEP)(
    lambda rng: sweeps(rng, shapes=6, scatter=0.1)
)


TOKENS = np.geomspace(1e9, 64e9, 7)
for _name, _scatter, _noise in (("no scatter", 0.0, 1e-3), ("between-cell scatter", 0.2, 1e-3), ("noisy losses", 0.1, 3e-3)):  # fmt: skip # noqa: E501

    @situation("lr_batch_surface", _name, parameter="lr_tokens", ms=75, response="loss", along="tokens",
               options={"cells": ["tokens"]})  # fmt: skip
    def _surface(rng: Rng, scatter: float = _scatter, noise: float = _noise) -> tuple[pd.DataFrame, float]:
        u, v = (each.ravel() for each in np.meshgrid(np.arange(-13, -4.9, 0.5), np.arange(5, 11.1, 0.5)))
        cells = []
        for tokens in TOKENS:
            octaves = np.log2(tokens / TOKENS[3])
            du, dv = u + 9 - 0.3 * octaves - scatter * rng.standard_normal(), v - 8 - 0.2 * octaves
            y = 0.008 * du**2 - 0.006 * du * dv + 0.006 * dv**2 + noise * rng.standard_normal(len(u))
            cells.append(pd.DataFrame({"tokens": tokens, "log2_lr": u, "log2_batch": v, "seed": 0, "loss": np.exp(y)}))
        return pd.concat(cells, ignore_index=True), 0.3


for _name, _sizes in (("even sizes", lambda rng: np.arange(-3.0, 3.1)), ("scattered sizes", lambda rng: np.sort(rng.uniform(-3, 3, 14)))):  # fmt: skip # noqa: E501

    @situation("isoflop", _name, ms=40, response="loss", along="flops", options={"min_side": 1})
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
            chance = (lambda: rng.standard_t(3)) if heavy else rng.standard_normal
            u = own * scatter * chance()
            for seed in range(seeds):
                if rng.uniform() < keep:
                    y = slope * shape * np.log(2) + u + noise * chance()
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

    situation("ordering", _name, ms=30, response="loss", along="width", options={"a": {"arm": "a"}, "b": {"arm": "b"}})(
        lambda rng, how=_how: (pd.concat([responses(rng, **how).assign(arm=arm) for arm in "ab"]), 0.0)
    )
    situation("closed_form", _name, response="value", along="width", options={"formula": "one"})(
        lambda rng, how=_how: (
            responses(rng, slope=0.0, **how).drop(columns="across").rename(columns={"loss": "value"}),
            0.0,
        )
    )


@situation("closed_form", "Monte-Carlo errors that differ 20-fold", response="value", along="width",
           options={"formula": "one"})  # fmt: skip
def _monte_carlo(rng: Rng) -> tuple[pd.DataFrame, float]:
    se = np.geomspace(0.01, 0.2, 6)
    y = 0.03 * rng.standard_normal(6) + se * rng.standard_normal(6)
    return pd.DataFrame({"width": 2.0 ** np.arange(4, 10), "seed": 0, "value": np.exp(y), "se": se * np.exp(y)}), 0.0


# Each shape's deviation is shared by its seeds and is part of the truth: a step is what it is.
for _name, _how in {
    "plain": {}, "two seeds": {"seeds": 2}, "ten seeds": {"seeds": 10}, "few shapes": {"shapes": 2},
    "heavy tails": {"heavy": True}, "missing runs": {"seeds": 5, "keep": 0.85}, "one seed": {"seeds": 1, "shapes": 6},
}.items():  # fmt: skip
    situation("monotone", _name, response="loss", along="width")(
        lambda rng, how=_how: (responses(rng, scatter=0.0, slope=-0.05, **how), -0.05 * float(np.log(2)))
    )


for _name, _cases, _heavy in (("12 cases", 12, False), ("64 cases", 64, False), ("12 cases, heavy tails", 12, True)):

    @situation("worst_case", _name, ms=12, response="value", along="width",
               options={"formula": "one", "least_draws": 25})  # fmt: skip
    def _worst(rng: Rng, cases: int = _cases, heavy: bool = _heavy) -> tuple[pd.DataFrame, float]:
        each = 1 + 0.1 * (rng.standard_t(3, (cases, 25)) if heavy else rng.standard_normal((cases, 25)))
        se = each.std(axis=1, ddof=1) / 5
        table = pd.DataFrame({"seed": 0, "width": 8.0 + np.arange(cases), "value": each.mean(axis=1), "se": se})
        return table, 0.0


for _name, _how in {
    "few exponents": {"lines": 3}, "equal errors": {"lines": 5}, "unequal errors": {"lines": 5, "unequal": 20.0},
    "few sizes": {"lines": 4, "shapes": 4, "unequal": 10.0}, "missing runs": {"lines": 5, "keep": 0.85},
}.items():  # fmt: skip
    situation("exponent_trend", _name, ms=70, parameter="slope", response="loss", along="width",
              options={"across": "across"})(lambda rng, how=_how: (responses(rng, **how), 0.0))  # fmt: skip
    situation("exponent_difference", _name, ms=75, response="loss", along="width",
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
    situation("interval_exponents", _name, ms=30, parameter="exponent", response="low", along="depth",
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
    situation("first_passage", _name, ms=40, parameter="slope", response="value", along="x", options={"level": 0.5})(
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
        situation("regression", f"{_count} clusters", ms=35, response="loss", along="size", primary=_primary,
                  options={"clusters": "family"})(lambda rng, count=_count: families(rng, count))  # fmt: skip
situation("regression", "8 clusters, heavy tails", ms=35, response="loss", along="size",
          primary="cluster_t", options={"clusters": "family"})(lambda rng: families(rng, 8, heavy=True))  # fmt: skip


for _runs in (60, 300):

    @situation("threshold", f"{_runs} runs", ms=12, response="solved", along="tokens")
    def _threshold(rng: Rng, runs: int = _runs) -> tuple[pd.DataFrame, float]:
        x = rng.uniform(-2, 2, runs)
        solved = rng.uniform(size=runs) < 1 / (1 + np.exp(-3 * (x - 0.3)))
        return pd.DataFrame({"tokens": np.exp(x), "solved": solved * 1.0}), float(np.exp(0.3))


for _name, _levels, _scatter in (("few levels", 4, 0.0), ("plain", 6, 0.0), ("between-level scatter", 6, 0.2)):

    @situation("threshold_exponent", _name, ms=60, response="solved", along="width", options={"over": "tokens"})
    def _thresholds(rng: Rng, levels: int = _levels, scatter: float = _scatter) -> tuple[pd.DataFrame, float]:
        k = np.repeat(np.arange(levels), 80)
        at = 0.5 * np.log(2) * k + scatter * rng.standard_normal(levels)[k]
        x = at + rng.uniform(-2, 2, len(k))
        solved = rng.uniform(size=len(k)) < 1 / (1 + np.exp(-3 * (x - at)))
        return pd.DataFrame({"width": 2.0**k, "tokens": np.exp(x), "solved": solved * 1.0}), 0.5


for _name, _heavy in (("normal", False), ("heavy tails", True)):

    @situation("expected_max", f"40 draws, {_name}", parameter="expected_best", response="loss", along="x",
               options={"draws": 4})  # fmt: skip
    def _best(rng: Rng, heavy: bool = _heavy) -> tuple[pd.DataFrame, float]:
        y = rng.standard_t(5, 40) if heavy else rng.standard_normal(40)
        return pd.DataFrame({"x": 1.0, "loss": y}), -1.140 if heavy else -1.02938


for _seeds, _keep in ((3, 1.0), (3, 0.97)):

    @situation("lr_sensitivity", "plain" if _keep == 1 else "missing runs", ms=75, **SWEEP,
               options={"a": {"arm": "a"}, "b": {"arm": "b"}, "initial": 50.0})  # fmt: skip
    def _sensitivity(rng: Rng, keep: float = _keep) -> tuple[pd.DataFrame, float]:
        return pd.concat([sweeps(rng, keep=keep, scatter=0.2)[0].assign(arm=arm) for arm in "ab"]), 0.0


for _shapes in (4, 8):

    @situation("collapse", f"{_shapes} curves", ms=75, response="loss", along="width",
               options={"over": "log2_lr", "permutations": 20})  # fmt: skip
    def _collapse(rng: Rng, shapes: int = _shapes) -> tuple[pd.DataFrame, float]:
        return sweeps(rng, shapes=shapes, scatter=0.1, noise=lambda shape: 0.003)


# Laws with an offset: loss = e + 20 x^−½, the exponent being read.

LAW: dict[str, Any] = {"response": "loss", "along": "parameters"}
QUICK = {"replicates": 100, "thorough": False, "delta": "squares"}  # studies take 1,000 and look around the minimum


def offset_law(
    rng: Rng, offset: float = 1.5, clusters: int = 20, each: int = 1, heavy: bool = False
) -> tuple[pd.DataFrame, float]:
    size = np.repeat(np.arange(clusters), each)
    chance = (lambda n: rng.standard_t(3, n) / 2) if heavy else rng.standard_normal
    noise = 0.01 * chance(clusters)[size] + 0.004 * (each > 1) * chance(len(size))
    x = np.geomspace(10, 3000, clusters)[size] * np.exp(0.1 * (each > 1) * rng.standard_normal(len(size)))
    loss = (offset + 20 * x**-0.5) * np.exp(noise)
    return pd.DataFrame({"parameters": x, "loss": loss, "run": np.arange(len(size)), "size": size}), 0.5


for _name, _law, _options in (
    ("plain", {}, {}), ("heavy tails", {"heavy": True}, {}), ("offset at its bound", {"offset": 0.0}, {}),
    ("plain, bootstrap", {}, {"interval": "bootstrap"}),
    ("8 clusters", {"clusters": 8, "each": 4}, {"interval": "bootstrap", "clusters": "size"}),
    ("16 clusters", {"clusters": 16, "each": 4}, {"interval": "bootstrap", "clusters": "size"}),
):  # fmt: skip
    situation("power_offset", _name, parameter="alpha", ms=75, **LAW, options={**QUICK, **_options})(
        lambda rng, how=_law: offset_law(rng, **how)
    )


@situation("joint_law", "12 clusters", parameter="alpha", ms=75, **LAW,
           options={**QUICK, "clusters": "size", "interval": "bootstrap"})  # fmt: skip
def _joint(rng: Rng) -> tuple[pd.DataFrame, float]:
    size = np.repeat(np.arange(12), 8)
    n, d = np.geomspace(1e7, 1e10, 12)[size], 10 ** rng.uniform(8.5, 11.5, len(size))
    noise = 0.01 * rng.standard_normal(12)[size] + 0.005 * rng.standard_normal(len(size))
    loss = (1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28) * np.exp(noise)
    return pd.DataFrame({"parameters": n, "tokens": d, "loss": loss, "size": size, "run": np.arange(len(size))}), 0.34


def check_complete() -> None:
    """Every registered estimator has a situation, or a reason why not."""
    told = {case.estimator for case in SITUATIONS} | set(WITHOUT)
    if told != set(ESTIMATORS):
        raise SystemExit(f"estimators without a line or a reason: {sorted(told ^ set(ESTIMATORS))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--page", action="store_true", help="write the page from the JSON, simulate nothing")
    parser.add_argument("--only", nargs="*", default=[], help="these estimators; other rows of the JSON stay")
    args = parser.parse_args()
    check_complete()
    warnings.simplefilter("ignore")
    # What no line of the table reads, but takes most of the time.
    lr_transfer.slope_mixed = lambda x, y: (NONE, "")
    first_passage._aicc_gains = lambda runs, x: []
    rows = json.loads(RESULTS.read_text()) if args.page or args.only else []
    rows = [row for row in rows if row["estimator"] not in args.only]
    for case in SITUATIONS if not args.page else ():
        if not args.only or case.estimator in args.only:
            start = time.perf_counter()
            rows.append(measure(case, case.draws))
            print(*rows[-1].values(), f"{time.perf_counter() - start:.1f} s", mark(rows[-1]), flush=True)
    order = {case.estimator: place for place, case in reversed(list(enumerate(SITUATIONS)))}
    rows.sort(key=lambda row: order[row["estimator"]])
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    PAGE.write_text(page(rows))


if __name__ == "__main__":
    main()
