"""A run that was not made is not one that diverged: every estimator that averages over seeds and rates."""

import numpy as np
import pandas as pd
import pytest

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS
from muster.fitting.frames import best_members

RATES = np.arange(-12.0, -3.9)
WIDTHS = (64, 128, 256, 512)


def table(seeds=3, noise=0.002):
    """Half-decade valleys whose minimum moves by width^−0.25."""
    rng = np.random.default_rng(4)
    rows = [
        (width, rate, seed, np.exp(0.03 * (rate + 8 + 0.25 * i) ** 2 + 0.01 * seed + noise * rng.standard_normal()))
        for i, width in enumerate(WIDTHS)
        for seed in range(seeds)
        for rate in RATES
    ]
    return pd.DataFrame(rows, columns=["width", "log2_lr", "seed", "loss"]).assign(diverged=False)


def fit(rows, estimator="lr_transfer", along="width", **options):
    config = FitConfig(estimator=estimator, response="loss", along=along, options=options)
    return ESTIMATORS[estimator].function(rows, config)


NUMBERS = ["estimate", "se", "dof", "ci_low", "ci_high"]


def primary(rows, **options):
    fits = fit(rows, **options).fits
    return fits[fits["primary"]].iloc[0]


def test_seeds_run_only_at_the_best_rate_change_nothing():
    rows = table()
    extra = [rows]
    for seed in (7, 8):
        best = rows[(rows["seed"] == 0) & (rows["log2_lr"] == -8)]
        extra.append(best.assign(seed=seed, loss=best["loss"] * 0.7))
    assert primary(pd.concat(extra))[NUMBERS].tolist() == primary(rows)[NUMBERS].tolist()


def test_runs_that_share_no_seed_are_replicates():
    rows = table()
    alone = primary(rows.assign(seed=np.arange(len(rows))))
    assert alone["estimate"] == pytest.approx(primary(rows)["estimate"], abs=1e-9)


def test_a_fine_pass_with_more_seeds_refines():
    rows = table()
    fine = []
    for i, width in enumerate(WIDTHS):
        for seed in range(3):
            for rate in (-8.5, -8.25, -7.75, -7.5):
                loss = np.exp(0.03 * (rate + 8 + 0.25 * i) ** 2 + 0.01 * seed)
                fine.append((width, rate, seed, loss, False))
    both = pd.concat([rows[rows["seed"] == 0], pd.DataFrame(fine, columns=rows.columns)])
    found = fit(both)
    assert set(found.optima["status"]) == {"interior"}
    assert primary(both)["estimate"] == pytest.approx(-0.25, abs=0.05)


def test_a_run_that_is_there_and_diverged_still_rules_its_rate_out():
    rows = table()
    hit = (rows["log2_lr"] == -8) & (rows["seed"] == 1)
    lost = fit(rows.assign(loss=rows["loss"].mask(hit), diverged=hit)).optima
    gone = fit(rows[~hit]).optima
    assert (lost["grid_best"] != -8).all()
    assert (gone["grid_best"] == -8).any()


def test_the_best_member_may_have_been_run_by_some_seeds_only():
    rows = table()
    gone = rows[~((rows["log2_lr"] == -8) & (rows["seed"] == 1))]
    assert best_members(gone, "loss", "width", "log2_lr")[64].isna().tolist() == [False, True, False]
    hit = (rows["log2_lr"] == -8) & (rows["seed"] == 1)
    assert best_members(rows.assign(diverged=hit), "loss", "width", "log2_lr")[64].notna().all()


def test_sensitivity_does_not_count_a_missing_run_as_the_initial_loss():
    arms = pd.concat([table().assign(arm="a"), table().assign(arm="b")])
    sides = {"a": {"arm": "a"}, "b": {"arm": "b"}, "initial": 50.0}
    gone = arms[~((arms["arm"] == "a") & (arms["seed"] == 1) & (arms["log2_lr"] == -4))]
    assert abs(primary(gone, estimator="lr_sensitivity", **sides)["estimate"]) < 0.01
    hit = (arms["arm"] == "a") & (arms["seed"] == 1) & (arms["log2_lr"] == -4)
    lost = arms.assign(loss=arms["loss"].mask(hit), diverged=hit)
    assert primary(lost, estimator="lr_sensitivity", **sides)["estimate"] > 1


def test_a_size_that_one_seed_lost_is_left_out_of_an_isoflop_curve():
    rows = table().rename(columns={"width": "flops"}).assign(parameters=lambda t: 2.0 ** (t["log2_lr"] + 30))
    hit = (rows["log2_lr"] == -8) & (rows["seed"] == 1)
    lost = rows.assign(loss=rows["loss"].mask(hit), diverged=hit)
    by = {"estimator": "isoflop", "along": "flops"}
    assert primary(lost, **by)["estimate"] != primary(rows[~hit], **by)["estimate"]
    # Without the row's other seeds the result is that of a size nobody ran.
    at = rows["log2_lr"] == -8
    assert primary(lost, **by)["estimate"] == primary(rows[~at], **by)["estimate"]
