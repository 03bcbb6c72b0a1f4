"""Curves that depend on a product of settings, or on one factor alone, planted and held against brute force."""

import itertools

import numpy as np
import pandas as pd
import pytest

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS

STEPS = (10, 20, 30)
SHARED = {"both": (True, True), "product": (True, False), "rival": (False, True)}  # product, rival


def curves(exponent: float, seeds: int = 5, noise: float = 0.01, steps=STEPS) -> pd.DataFrame:
    """ln loss = .2 · (log2 η + exponent · log2 λ) + noise: of the product at exponent 1, of η alone at 0."""
    rng = np.random.default_rng(3)
    rows = []
    for log2_lr, product, seed in itertools.product((-8.0, -7.0, -6.0), (-11.0, -10.0, -9.0), range(seeds)):
        mean = 0.2 * (log2_lr + exponent * (product - log2_lr))
        common = {"log2_lr": log2_lr, "weight_decay": 2.0 ** (product - log2_lr), "seed": seed}
        rows += [common | {"step": step, "eval_loss": np.exp(mean + noise * rng.standard_normal())} for step in steps]
    return pd.DataFrame(rows)


def fitted(table: pd.DataFrame, **options) -> pd.DataFrame:
    chosen = {"product": ["log2_lr", "weight_decay"], "rival": "log2_lr", **options}
    fit = FitConfig(estimator="curve_distance", table="curves", response="eval_loss", options=chosen)
    return pd.DataFrame(ESTIMATORS["curve_distance"].function(table, fit).fits).set_index("parameter")


def brute(table: pd.DataFrame, share: str) -> float:
    """Mean |Δ ln| by a loop over pairs of rows of one step."""
    table = table.assign(product=np.round(table["log2_lr"] + np.log2(table["weight_decay"]), 6))
    gaps = []
    for _, at in table.groupby("step"):
        for a, b in itertools.combinations(at.itertuples(), 2):
            same = (a.product == b.product, a.log2_lr == b.log2_lr)
            if (
                a.seed != b.seed
                and same == {"both": (True, True), "product": (True, False), "rival": (False, True)}[share]
            ):
                gaps.append(abs(np.log(a.eval_loss / b.eval_loss)))
    return float(np.mean(gaps))


def test_ratios_are_those_of_all_pairs_one_by_one() -> None:
    table = curves(0.6, seeds=4, noise=0.1)
    rows = fitted(table, first=20)
    inside = table[table["step"] >= 20]
    product, rival, both = (brute(inside, share) for share in ("product", "rival", "both"))
    expected = {"to_seeds": product / both, "to_rival": product / rival, "rival_to_seeds": rival / both}
    assert np.exp(rows["estimate"]).to_dict() == pytest.approx(expected, rel=1e-12)
    without = [fitted(table[table["seed"] != seed], first=20)["estimate"] for seed in range(4)]
    parts = np.array([each["to_seeds"] for each in without])
    assert rows.loc["to_seeds", "se"] == pytest.approx(np.sqrt(3 / 4 * np.square(parts - parts.mean()).sum()), rel=1e-9)
    assert set(rows["dof"]) == {3}


@pytest.mark.parametrize(
    ("exponent", "low", "high"), [(1.0, "to_seeds", "rival_to_seeds"), (0.0, "rival_to_seeds", "to_seeds")]
)
def test_what_fixes_the_curve_is_as_near_as_seeds_are_and_the_other_is_not(
    exponent: float, low: str, high: str
) -> None:
    rows = fitted(curves(exponent))
    assert abs(rows.loc[low, "estimate"]) < 0.15
    assert rows.loc[high, "ci_low"] > np.log(1.5)


def test_intervals_cover_where_only_noise_tells_curves_apart() -> None:
    """60 tables of six seeds: a true coverage of .95 leaves the count between 53 and 60 in 99 of 100 repetitions."""
    covered = 0
    for draw in range(60):
        rng = np.random.default_rng(draw)
        table = curves(1.0, seeds=6, noise=0.0, steps=(10, 20))
        table["eval_loss"] *= np.exp(0.02 * rng.standard_normal(len(table)))
        row = fitted(table).loc["to_seeds"]
        covered += row["ci_low"] <= 0 <= row["ci_high"]
    assert 53 <= covered <= 60


def test_a_seed_that_some_curve_lacks_is_left_out_and_said() -> None:
    table = curves(1.0)
    lost = table.drop(table[(table["seed"] == 2) & (table["log2_lr"] == -7) & (table["step"] == 30)].index)
    rows = fitted(lost)
    assert rows["note"].str.contains("1 seeds left out").all()
    assert rows["estimate"].to_dict() == pytest.approx(fitted(table[table["seed"] != 2])["estimate"].to_dict())
    assert set(fitted(table[table["seed"] < 2])["status"]) == {"too_few"}
    assert set(fitted(table, first=31)["status"]) == {"too_few"}


def test_a_rival_that_is_no_factor_is_refused() -> None:
    with pytest.raises(MusterError, match="no factor of the product"):
        fitted(curves(1.0), rival="width")
