"""Rows of ANCHORS.csv of sweeps, leaderboards and evaluations that other people published: each by one fit."""

import numpy as np
import pandas as pd
import pytest

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS
from muster.statistics.linear import mean_reml_kh, slopes

TASKS = ["lambada_acc", "piqa", "winogrande", "arc_easy", "arc_challenge", "sciq"]
SQUARE = "activation == 'relu' and schedule == 'cosine' and batch == 64 and dataset == "
OPTIMUM = {"estimator": "lr_transfer", "across": ["dataset"]}


def fitted(shared_data, file, query, estimator, response, along="width", /, **options):
    """Estimate and 95 % interval of the variant that decides."""
    table = pd.read_csv(shared_data / file)
    if "lr" in table:
        table["log2_lr"] = np.log2(table["lr"])
    if file.startswith("pythia"):
        table["accuracy"] = table[TASKS].mean(axis=1)
    rows = table.query(query) if query else table
    fit = FitConfig(estimator=estimator, response=response, along=along, options=options)
    fits = ESTIMATORS[estimator].function(rows, fit).fits
    row = fits[fits["primary"]].iloc[0]
    return row["estimate"], row["ci_low"], row["ci_high"]


def anchored(rows):
    """The anchors' recipe: least squares of the interior optima, whose valleys' leaning it does not ask for."""
    fit = FitConfig(estimator="lr_transfer", response="error", along="width", options={})
    _, optima = ESTIMATORS["lr_transfer"].function(rows.assign(log2_lr=np.log2(rows["lr"])), fit)
    kept = optima[optima["status"] == "interior"]
    return slopes(np.log(kept["x"]), kept["log2_lr_opt"] * np.log(2), kept["se"] * np.log(2))["ols_t"]


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("parkinsons", (-0.252, -0.309, -0.195)),
        ("naval", (-0.402, -0.501, -0.304)),
        ("slice", (-0.149, -0.208, -0.090)),
    ],
)
def test_the_best_rate_of_standard_networks_falls_with_width(shared_data, dataset, expected):
    """fc_w_*: fcnet, relu, cosine, batch 64; the rate grid asks for min_side 1."""
    found = fitted(shared_data, "fcnet/square.csv", f"{SQUARE}'{dataset}'", "lr_transfer", "valid_mse", min_side=1)
    assert found == pytest.approx(expected, abs=6e-4)


def test_the_rate_of_one_published_group(shared_data):
    """hb_w_kc1_d3_b64. Its valleys lean more with width, which the anchor's interval does not know: ours holds it."""
    query = "dataset == 'kc1' and depth == 3 and batch == 64"
    found = fitted(shared_data, "hpobench-mlp/runs.csv", query, "lr_transfer", "error")
    plain = anchored(pd.read_csv(shared_data / "hpobench-mlp/runs.csv").query(query))
    assert (plain.estimate, *plain.interval()) == pytest.approx((-0.682, -0.760, -0.603), abs=6e-4)
    assert found == pytest.approx((-0.682, -1.047, -0.316), abs=6e-4)


def test_pooled_over_data_sets_the_rate_falls_faster_in_deeper_networks(shared_data):
    """hb_w_d3 at batch 64 (the anchor averages three batches, −0.610); the difference to depth 1 lies below 0."""
    file, deep = "hpobench-mlp/runs.csv", "depth == 3 and batch == 64"
    value, low, high = fitted(shared_data, file, deep, "pooled", "error", **OPTIMUM)
    rows = pd.read_csv(shared_data / file).query(deep)
    plain = [anchored(group) for _, group in rows.groupby("dataset")]
    pooled = mean_reml_kh([each.estimate for each in plain], [each.se for each in plain])
    assert pooled.estimate == pytest.approx(-0.6075, abs=1e-3)
    assert value == pytest.approx(-0.596, abs=1e-3)  # weights follow errors, of which some take in leaning valleys
    assert high < 0
    assert low > -1
    pair = {"estimator": "lr_transfer_difference", "options": {"a": {"depth": 3}, "b": {"depth": 1}}}
    _, _, high = fitted(shared_data, file, "batch == 64", "pooled", "error", **{**OPTIMUM, **pair})
    assert high < 0


def test_the_rate_rises_as_the_root_of_the_batch(shared_data):
    """hb_batch at width 161 and depth 3 (the anchor averages nine groups, .445 ± .044)."""
    file, query = "hpobench-mlp/batch.csv", "width == 161 and depth == 3"
    value, low, high = fitted(shared_data, file, query, "pooled", "error", "batch", **OPTIMUM)
    assert value == pytest.approx(0.445, abs=0.044)
    assert 0 < low < high < 1


def test_the_scatter_of_a_leaderboard(shared_data):
    """ob_sigma: .00112 [.00105, .00119]; the interval is that of its farther end."""
    value, _, high = fitted(shared_data, "nanogpt-optbench/runs.csv", "", "scatter", "val_loss", within=["record"])
    assert value == pytest.approx(0.00112, abs=5e-6)
    assert high == pytest.approx(0.00119, abs=5e-6)


def test_means_of_a_leaderboard(shared_data):
    """ob_means: the published mean of 40 results to its fourth digit, 43 within 1.6e-4."""
    table = pd.read_csv(shared_data / "nanogpt-optbench/runs.csv")
    records = table.groupby("record").agg(found=("val_loss", "mean"), published=("published_mean", "first"))
    off = (records["found"] - records["published"]).abs()
    assert (off < 1.6e-4).sum() >= 43
    assert (off <= 0.5e-4 + 1e-9).sum() >= 39


def test_deduplication_moves_no_score(shared_data):
    """py_dedup: +.0032, 90 % [−.0027, .0091]."""
    pair = {"a": {"deduped": 1}, "b": {"deduped": 0}, "paired": ["size"]}
    file, last = "pythia-evals/zero_shot.csv", "step == 143000"
    value, low, high = fitted(shared_data, file, last, "mean_difference", "accuracy", **pair)
    assert value == pytest.approx(0.0032, abs=5e-5)
    assert (low, high) == pytest.approx((-0.0042, 0.0106), abs=6e-5)


def test_published_exponents_of_spectral_ranks(shared_data):
    """sr_all58: exponents, standard errors and interval ends to 7e-10."""
    points = pd.read_csv(shared_data / "spectral-rank/points.csv").assign(seed=0)
    published = pd.read_csv(shared_data / "spectral-rank/published_beta.csv")
    fit = FitConfig(estimator="power_law", response="value", by=["scale", "optimizer", "bucket", "metric"])
    # AdamW and Dion stand in two of the publisher's files with the same numbers.
    points = points.drop_duplicates([*fit.by, "width"])
    fits = ESTIMATORS["power_law"].function(points, fit).fits
    rows = fits[fits["primary"]].copy()
    keys = pd.DataFrame(rows["group"].map(pd.io.json.ujson_loads).tolist(), index=rows.index)
    merged = published.merge(pd.concat([rows, keys], axis=1), on=fit.by)
    assert len(merged) == 58
    for ours, theirs in (("estimate", "beta"), ("ci_low", "lo"), ("ci_high", "hi")):
        assert merged[ours].to_numpy() == pytest.approx(merged[theirs].to_numpy(), abs=1e-8)


def test_published_isoflop_exponents(shared_data):
    """xl_N_*: least squares of the validation loss on log N over each whole curve, against each budget's mean FLOPs;
    the estimator's own weights move the four-budget exponent from .5749 to within its interval."""
    runs = pd.read_csv(shared_data / "xlstm/isoflop_runs.csv").query("used == 1 and arch == 'llama'").assign(seed=0)
    for table, expected in (("isoflop_llama_ctx2048", 0.553549), ("isoflop_llama_ctx16384", 0.569337)):
        best, flops = [], []
        for _, curve in runs[runs["table"] == table].groupby("budget"):
            quadratic = np.polyfit(np.log10(curve["parameters"]), curve["val_loss"], 2)
            best.append(-quadratic[1] / (2 * quadratic[0]) * np.log(10))
            flops.append(np.log(curve["flops"].mean()))
        assert np.polyfit(flops, best, 1)[0] == pytest.approx(expected, abs=1e-6)
    whole = {"window": 60, "best_over": ["name"], "response_scale": "linear"}
    query = "used == 1 and table == 'isoflop_llama_ctx8192'"
    value, low, high = fitted(shared_data, "xlstm/isoflop_runs.csv", query, "isoflop", "val_loss", "budget", **whole)
    assert value == pytest.approx(0.5749, abs=0.003)
    assert low < 0.574909 < high
