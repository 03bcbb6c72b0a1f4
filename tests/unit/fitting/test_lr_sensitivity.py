"""Learning-rate sensitivity against its definition, run by run."""

import math

import numpy as np
import pandas as pd
import pytest

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.estimators.lr_sensitivity import lr_sensitivity

RATES = [-8.0, -7.0, -6.0, -5.0]


def table(losses: dict[tuple[bool, int, int], list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"qk_norm": norm, "width": width, "seed": seed, "log2_lr": rate, "final_eval_loss": loss,
             "diverged": not math.isfinite(loss), "parameterization": "sp", "depth": 2}
            for (norm, width, seed), values in losses.items()
            for rate, loss in zip(RATES, values, strict=True)
        ]
    )  # fmt: skip


def estimate(frame: pd.DataFrame, **options) -> pd.DataFrame:
    pair = {"a": {"qk_norm": True}, "b": {"qk_norm": False}, "initial": 5.0}
    fit = FitConfig(estimator="lr_sensitivity", response="final_eval_loss", along="width", options=pair | options)
    return lr_sensitivity(frame, fit).fits.set_index("variant")


LOSSES = {
    (True, 16, 0): [3.0, 2.0, 2.5, 4.5],
    (True, 32, 0): [3.0, 1.5, 2.0, 2.0],
    (False, 16, 0): [3.0, 2.0, 9.0, math.nan],
    (False, 32, 0): [3.0, 1.5, 4.0, math.nan],
}


def test_the_estimate_is_the_definition_run_by_run():
    def one(values):
        held = [5.0 if math.isnan(v) else min(v, 5.0) for v in values]
        return sum(held) / len(held) - min(held)

    differences = [one(LOSSES[True, w, 0]) - one(LOSSES[False, w, 0]) for w in (16, 32)]
    found = estimate(table(LOSSES)).loc["cluster_t"]
    assert found.estimate == pytest.approx(np.mean(differences))
    assert found.se == pytest.approx(np.std(differences, ddof=1) / math.sqrt(2))
    assert found.estimate < 0
    assert "0.812 against 1.81" in found.note


def test_seeds_are_averaged_before_widths_are_compared():
    doubled = LOSSES | {(n, w, 1): values for (n, w, _), values in LOSSES.items()}
    one, two = (estimate(table(losses)) for losses in (LOSSES, doubled))
    assert two.loc["cluster_t"].se == pytest.approx(one.loc["cluster_t"].se)
    assert two.loc["pairwise_t"].se < one.loc["pairwise_t"].se


def test_one_width_is_too_few_and_unlike_grids_are_refused():
    frame = table(LOSSES)
    assert set(estimate(frame[frame.width == 16]).status) == {"too_few"}
    with pytest.raises(MusterError, match="2 grids of rates"):
        estimate(frame[(frame.log2_lr < -5) | frame.qk_norm])
