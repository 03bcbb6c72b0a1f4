"""What to run next: the fewest further runs by which a sweep would decide, from the scatter that it shows."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from muster.claims.power import POWER, equivalence_power
from muster.claims.tests import ALPHA
from muster.fitting.base import group_key
from muster.tables.sweeps import Sweep

RATES = 5  # values of x around the expected best that an interior optimum takes
MOST = 6  # further shapes beyond which another design is needed
CENTRED = 0.25  # share of the margin up to which an estimate counts as 0

Record = dict[str, Any]


class Advice(NamedTuple):
    """Runs that would help one group. scale, x: values to run; runs: how many in all. power: of the test with them, NaN
    where they are there to find an optimum at all."""

    group: Record
    scale: list[float]
    x: list[float]
    runs: int
    power: float
    text: str


def advise(
    sweep: Sweep, optima: Sequence[Record], exponents: Sequence[Record], verdicts: Sequence[Record]
) -> list[Advice]:
    """For every group whose exponent is open: first the shapes without an optimum, then further shapes."""
    level = ALPHA / max(1, sum(row["claim"] == "transfer" for row in verdicts))
    advice = []
    for verdict in verdicts:
        if verdict["claim"] != "transfer" or verdict["verdict"] in ("supported", "refuted"):
            continue
        key = group_key(verdict["group"])
        own = [row for row in optima if group_key(row["group"]) == key]
        primary = next(row for row in exponents if row["primary"] and group_key(row["group"]) == key)
        lacking = [row for row in own if row["status"] != "interior"]
        if lacking and (primary["status"] != "ok" or verdict["verdict"] == "no measurement"):
            advice.append(_mend(sweep, verdict["group"], lacking))
        elif primary["status"] == "ok" and math.isfinite(primary["se"]):
            advice.append(_extend(sweep, verdict, own, primary, level))
        else:
            advice.append(_more_shapes(sweep, verdict["group"], own))
    return advice


def _step(sweep: Sweep, group: Record) -> float:
    """The spacing of rates in octaves: the usual one of a grid; one octave where rates are scattered."""
    rates = _own(sweep, group)["log2_lr"].unique()
    gaps = np.diff(np.sort(rates))
    gaps = gaps[gaps > 1e-6]
    return float(np.clip(np.median(gaps), 0.5, 2.0)) if len(gaps) else 1.0


def _own(sweep: Sweep, group: Record) -> Any:
    rows = sweep.runs
    for name, value in group.items():
        rows = rows[rows[name] == value]
    return rows


def _seeds(sweep: Sweep, group: Record) -> int:
    """How many runs a rate of a shape usually has."""
    own = _own(sweep, group)
    return int(own.groupby([sweep.columns.scale, "log2_lr"]).size().median())


def _mend(sweep: Sweep, group: Record, lacking: Sequence[Record]) -> Advice:
    """Rates beyond the best of shapes whose optimum is not bracketed; repetitions where noise hides it."""
    columns, step = sweep.columns, _step(sweep, group)
    scales, values, parts = [], [], []
    for row in lacking:
        tried = _own(sweep, group)
        tried = tried[tried[columns.scale] == row["scale"]]
        finite = np.sort(np.setdiff1d(tried["log2_lr"], tried.loc[tried["diverged"], "log2_lr"]))
        if not len(finite):
            lowest = float(tried["log2_lr"].min())
            rates = lowest - step * np.arange(1, RATES + 1)
        elif row["status"] == "flat":
            rates = np.log2(row["grid_best"]) + step * (np.arange(RATES) - RATES // 2)
        else:
            rates = _beyond(finite, float(np.log2(row["grid_best"])), tried["log2_lr"].to_numpy(float), step)
        if not len(rates):
            continue
        scales.append(row["scale"])
        values += [float(f"{2.0**rate:.3g}") for rate in rates]
        shown = " ".join(f"{2.0**rate:.3g}" for rate in rates)
        again = ", each again with other seeds" if row["status"] == "flat" else ""
        parts.append(f"{columns.scale} {row['scale']:g} at {columns.x} {shown}{again}")
    runs = len(values) * _seeds(sweep, group)
    return Advice(group, scales, sorted(set(values)), runs, math.nan, f"{runs} runs: {'; '.join(parts)}")


def _beyond(finite: np.ndarray, best: float, tried: np.ndarray, step: float) -> np.ndarray:
    """Rates that give the best two finite neighbours on each side, between it and what diverged."""
    missing = []
    for sign in (-1, 1):
        have = int((sign * (finite - best) > 1e-9).sum())
        lost = tried[sign * (tried - best) > 1e-9]
        wall = np.setdiff1d(lost, finite)
        if have >= 2:
            continue
        if len(wall):
            end = float(wall.min() if sign > 0 else wall.max())
            start = float(finite.max() if sign > 0 else finite.min()) if have else best
            missing += list(np.linspace(start, end, 4 - have)[1:-1])
        else:
            start = float(finite.max() if sign > 0 else finite.min()) if have else best
            missing += [start + sign * step * k for k in range(1, 3 - have)]
    return np.sort(np.array(missing))


def _extend(sweep: Sweep, verdict: Record, own: Sequence[Record], primary: Record, level: float) -> Advice:
    """How many further shapes, spaced as those there are, let the test decide with a power of 80 %."""
    columns, group = sweep.columns, verdict["group"]
    inside = [row for row in own if row["status"] == "interior"]
    log_x = np.log([row["scale"] for row in inside])
    scatter = primary["se"] * math.sqrt(float(np.square(log_x - log_x.mean()).sum()))
    ratio = float(np.median(np.diff(np.sort(log_x))))
    further: list[float] = []
    for k in range(1, MOST + 1):
        further.append(float(log_x.max() + k * ratio))
        x = np.append(log_x, further)
        se = scatter / math.sqrt(float(np.square(x - x.mean()).sum()))
        power = _power(primary["estimate"], verdict["margin"], se, len(x) - 2, level)
        if power >= POWER:
            break
    scales = [_round(math.exp(value)) for value in further]
    optima = np.log2([row["optimum"] for row in inside])
    line = np.polynomial.Polynomial.fit(log_x, optima, 1)
    step = _step(sweep, group)
    rates = [line(further[0]) + step * (i - RATES // 2) for i in range(RATES)]
    runs = len(further) * RATES * _seeds(sweep, group)
    names = " ".join(f"{value:g}" for value in scales)
    if power < POWER:
        text = (
            f"{MOST} further values of {columns.scale}, up to {scales[-1]:g}, would decide with a probability of "
            f"{_percent(power)}: the optima scatter too much. More seeds or rates per shape first"
        )
        return Advice(group, scales, [], runs, power, text)
    shown = " ".join(f"{2.0**rate:.3g}" for rate in rates)
    text = (
        f"{runs} runs: {columns.scale} {names}, {RATES} values of {columns.x} around the expected best each "
        f"({columns.scale} {scales[0]:g}: {shown}); decides with a probability of {_percent(power)} at this scatter"
    )
    return Advice(group, scales, [float(f"{2.0**rate:.3g}") for rate in rates], runs, power, text)


def _power(estimate: float, margin: float, se: float, dof: float, level: float) -> float:
    """Probability that the test decides, if the exponent is what was estimated: near 0 that of the equivalence test,
    elsewhere that of the one-sided t test at the nearer bound (Johnson & Welch 1940, noncentral t)."""
    from scipy import stats

    if se <= 0:
        return 1.0
    if abs(estimate) <= CENTRED * margin:
        return equivalence_power(margin, se, dof, level)
    distance = abs(margin - abs(estimate))
    return float(stats.nct.sf(stats.t.ppf(1 - level, dof), dof, distance / se))


def _more_shapes(sweep: Sweep, group: Record, own: Sequence[Record]) -> Advice:
    """A slope needs three shapes with an optimum, and one more to show their scatter."""
    columns = sweep.columns
    inside = [row for row in own if row["status"] == "interior"]
    largest = max(row["scale"] for row in own)
    scales = [_round(largest * 2.0**k) for k in range(1, max(1, 4 - len(inside)) + 1)]
    runs = len(scales) * RATES * _seeds(sweep, group)
    names = " ".join(f"{value:g}" for value in scales)
    text = f"{runs} runs: {columns.scale} {names}, {RATES} values of {columns.x} around the best each"
    return Advice(group, scales, [], runs, math.nan, text)


def _percent(power: float) -> str:
    return "over 99 %" if power > 0.99 else f"{100 * power:.0f} %"


def _round(value: float) -> float:
    return float(f"{value:.3g}") if value < 1e3 else float(round(value))
