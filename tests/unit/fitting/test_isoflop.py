"""The IsoFLOP envelope on a joint law whose compute-optimal exponent β/(α + β) is known in closed form."""

import json

import numpy as np
import pandas as pd
import pytest

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting import ESTIMATORS
from muster.fitting.estimators.isoflop import at_budgets

E, A, B, ALPHA, BETA = 1.69, 406.4, 410.7, 0.34, 0.28
BUDGETS = np.geomspace(1e18, 1e21, 6)


def joint_loss(n, c):
    """The joint law at size n and compute c = 6 N D."""
    return E + A / n**ALPHA + B / (c / (6 * n)) ** BETA


def optimal_size(c):
    """G (C/6)^(β/(α + β)), G = (αA / βB)^(1/(α + β)): Hoffmann et al. 2022, Eq. 4."""
    return (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (c / 6) ** (BETA / (ALPHA + BETA))


OCTAVES = np.arange(-2, 2.1, 0.5)


def table(octaves=OCTAVES, drift=0.0, budgets=BUDGETS, seeds=1, noise=0.0):
    """Sizes around the optimum of each budget; drift: octaves by which they move off it per octave of compute."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "flops": c,
            "parameters": optimal_size(c) * 2 ** (octave + drift * np.log2(c / budgets[0])),
            "seed": seed,
        }
        for c in budgets
        for octave in octaves
        for seed in range(seeds)
    ]
    frame = pd.DataFrame(rows)
    loss = joint_loss(frame["parameters"], frame["flops"])
    return frame.assign(final_eval_loss=loss * np.exp(noise * rng.standard_normal(len(frame))), diverged=False)


def run(frame, **options):
    fit = FitConfig(estimator="isoflop", response="final_eval_loss", along="flops", options=options)
    return ESTIMATORS["isoflop"].function(frame, fit).fits


def primary(frame, **options):
    return run(frame, **options).query("primary").iloc[0]


def test_the_closed_form_exponent():
    row = primary(table())
    assert row["estimate"] == pytest.approx(BETA / (ALPHA + BETA), abs=2e-4)
    assert (row["status"], row["variant"], row["n_cells"], row["n_runs"], row["dof"]) == ("ok", "ols_t", 6, 54, 4)
    assert np.exp(row["intercept"] + row["estimate"] * np.log(1e20)) == pytest.approx(optimal_size(1e20), rel=0.02)


def test_the_vertices_are_kept():
    optima = json.loads(primary(table())["diagnostics"])["cells"]
    assert [each["status"] for each in optima] == ["interior"] * 6
    assert optima[0]["log2_parameters"] == pytest.approx(np.log2(optimal_size(1e18)), abs=0.03)


def test_the_tokens_mirror_the_size():
    frame = table()
    frame["tokens"] = frame["flops"] / (6 * frame["parameters"])
    assert primary(frame, size="tokens")["estimate"] == pytest.approx(ALPHA / (ALPHA + BETA), abs=2e-4)


def test_a_grid_that_drifts_off_the_optimum_tilts_the_exponent():
    """The documented failure: the valley is lopsided, and a parabola's vertex depends on where it is sampled."""
    drifting = primary(table(octaves=np.arange(-8, 8.1, 2.0), drift=0.3), window=9)["estimate"]
    assert abs(drifting - BETA / (ALPHA + BETA)) > 0.01


def test_noise_and_seeds():
    row = primary(table(seeds=3, noise=3e-4))
    assert row["ci_low"] < BETA / (ALPHA + BETA) < row["ci_high"]
    assert 0 < row["se"] < 0.05


def test_a_budget_whose_best_size_lies_at_the_end_is_left_out_and_named():
    frame = table()
    largest = frame["flops"] == BUDGETS[-1]
    frame = frame[~largest | (frame["parameters"] < 0.6 * optimal_size(BUDGETS[-1]))]
    row = primary(frame)
    assert row["n_cells"] == 5
    assert "edge at flops 1e+21" in row["note"]


def test_a_maximum_is_no_optimum():
    frame = table()
    first = frame["flops"] == BUDGETS[0]
    middle = frame["parameters"].between(*(optimal_size(BUDGETS[0]) * np.array([0.99, 1.01])))
    frame.loc[first, "final_eval_loss"] = 8 - frame.loc[first, "final_eval_loss"]
    lowest = frame.loc[first, "final_eval_loss"].min()
    frame.loc[first & middle, "final_eval_loss"] = lowest - 0.001  # a lucky run on top of a hill
    row = primary(frame, window=9)
    optima = json.loads(row["diagnostics"])["cells"]
    assert (optima[0]["status"], optima[0]["log2_parameters"]) == ("flat", None)
    assert (row["n_cells"], "flat at flops 1e+18" in row["note"]) == (5, True)


def test_two_budgets_are_too_few():
    rows = run(table(budgets=BUDGETS[:2]))
    assert set(rows["status"]) == {"too_few"}
    assert "2 of 2 budgets have an interior optimum, 3 are needed" in rows["note"].iloc[0]
    assert rows["estimate"].isna().all()


class TestInterpolation:
    def curves(self):
        """Each size trained to many lengths; no two share a budget."""
        sizes = optimal_size(1e18) * 2 ** np.arange(-3, 7.1, 0.5)
        rows = [
            {"parameters": n, "flops": 1e17 * 2 ** (step + 0.013 * i)}
            for i, n in enumerate(sizes)
            for step in range(16)
        ]
        frame = pd.DataFrame(rows)
        return frame.assign(final_eval_loss=joint_loss(frame["parameters"], frame["flops"]))

    def test_budgets_between_the_runs(self):
        row = primary(self.curves(), budgets=[float(c) for c in np.geomspace(3e17, 1e20, 6)])
        assert row["estimate"] == pytest.approx(BETA / (ALPHA + BETA), abs=0.01)

    def test_a_power_law_between_two_runs_is_met_exactly(self):
        runs = pd.DataFrame({"seed": 0, "parameters": 1e8, "flops": [1e18, 1e20], "loss": [4.0, 2.0]})
        found = at_budgets(runs, "flops", "parameters", "loss", [1e19, 1e21])
        assert found["flops"].tolist() == [1e19]
        assert found["loss"].iloc[0] == pytest.approx(np.sqrt(8))

    def test_nothing_is_extrapolated(self):
        row = primary(self.curves(), budgets=[float(c) for c in (3e17, 1e18, 1e19, 1e20, 1e23)])
        assert "1e+23" not in row["note"]
        assert row["n_cells"] == 4

    def test_the_best_run_of_the_other_columns_is_taken(self):
        frame = table()
        worse = frame.assign(final_eval_loss=2 * frame["final_eval_loss"], peak_lr=1e-3)
        both = pd.concat([worse, frame.assign(peak_lr=1e-2)])
        assert primary(both, best_over=["peak_lr"])["estimate"] == primary(frame)["estimate"]
        with pytest.raises(MusterError, match="differ in peak_lr"):
            run(both)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(final_eval_loss=-1.0), "final_eval_loss takes the value -1"),
        (lambda t: t.assign(flops=0.0), "flops takes the value 0"),
        (lambda t: t.drop(columns="parameters"), "no column 'parameters'"),
        (lambda t: pd.concat([t, t.iloc[[0]]]), "occurs 2 times"),
    ],
)
def test_clear_errors(change, message):
    with pytest.raises(MusterError, match=message):
        run(change(table()))


def test_lost_rows_are_counted():
    frame = table()
    frame.loc[0, "final_eval_loss"] = np.inf
    assert "1 rows left out" in primary(frame)["note"]
