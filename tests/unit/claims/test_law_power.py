"""Power of fits of laws: tables drawn at what is claimed give the answers that theory says."""

import numpy as np
import pandas as pd
import pytest

from muster.claims.law_power import Noise, compatible, law_design
from muster.claims.power import equivalence_power, power_of_draws
from muster.cli import main
from muster.config.models import ClaimConfig, FitConfig
from muster.errors import MusterError
from muster.fitting.laws.law import law_of
from muster.tables.io import write_frame
from tests.workflow.studies import write_config

SIZES = np.geomspace(1e6, 1e9, 40)


def fit_of(form="A * parameters^-alpha", **options):
    return FitConfig.model_validate(
        {
            "estimator": "law",
            "response": "final_eval_loss",
            "along": "parameters",
            "options": {"form": form, "delta": "squares", "clusters": False, **options},
        }
    )


def table(alpha=0.3, noise=0.02, shared=0.0, family=None, seed=0):
    rng = np.random.default_rng(seed)
    off = noise * rng.standard_normal(len(SIZES))
    rows = pd.DataFrame({"run": range(len(SIZES)), "parameters": SIZES, "diverged": False})
    if family is not None:
        off += shared * rng.standard_normal(family.max() + 1)[family]
        rows["family"] = family
    return rows.assign(final_eval_loss=90 * SIZES**-alpha * np.exp(off))


def claim(parameter="alpha", predicted=0.3, margin=0.01, test="equivalence", name="c"):
    given = {"claim": name, "statement": "s", "source": "f", "provenance": "derived", "fit": "law", "test": test}
    return ClaimConfig.model_validate(
        given | {"predicted": predicted, "margin": margin, "parameter": parameter, "headline": False, "figure": None}
    )


def test_a_power_law_has_the_power_of_its_regression():
    """ln y is linear in ln N: the exponent's error is σ/√Sxx, with R − 2 degrees of freedom. What the estimator says
    is a tenth more: the longer side of its interval."""
    design = law_design(fit_of(), table(), [claim()], Noise(0.02), at_hand=True)
    found = design.simulate(40)["alpha"]
    log_n = np.log(SIZES)
    se = 0.02 / np.sqrt(np.square(log_n - log_n.mean()).sum())
    assert found.slope.mean() == pytest.approx(0.3, abs=4 * se / np.sqrt(40))
    assert found.slope.std() == pytest.approx(se, rel=0.35)
    assert np.median(found.se) == pytest.approx(1.1 * se, rel=0.12)
    assert set(found.dof) == {38}
    margin = 2.6 * se
    told = power_of_draws(found, "equivalence", 0.3, margin, 0.05)["power"]
    assert told == pytest.approx(equivalence_power(margin, 1.1 * se, 38, 0.05), abs=0.17)
    assert power_of_draws(found, "equivalence", 0.3, 4.5 * se, 0.05)["power"] > 0.95
    assert power_of_draws(found, "equivalence", 0.3 + 5 * se, margin, 0.05)["power"] < 0.05


def test_tables_are_drawn_at_what_is_claimed_and_the_rest_is_fitted():
    rows = table(alpha=0.3, noise=0.001)
    claimed = law_design(fit_of(), rows, [claim(predicted=0.2)], None, at_hand=True).truth
    assert claimed["alpha"] == pytest.approx(0.2)
    middle = np.exp(np.log(SIZES).mean())
    assert claimed["a"] * middle**-0.2 == pytest.approx(90 * middle**-0.3, rel=1e-3), "the refit meets the rows"
    bound = claim(predicted=0.2, test="greater")
    assert law_design(fit_of(), rows, [bound], None, at_hand=True).truth["alpha"] == pytest.approx(0.3, abs=1e-3)
    published = fit_of(published={"theirs": {"A": "50", "alpha": "0.25"}})
    assert law_design(published, rows, [], None, at_hand=True).truth == {"a": 50.0, "alpha": 0.25}
    assert law_design(published, rows, [claim()], None, at_hand=True).truth == {"a": 50.0, "alpha": 0.3}


def test_noise_is_that_of_the_rows_and_of_their_clusters():
    found = law_design(fit_of(), table(noise=0.05), [], None, at_hand=True).noise
    assert found.own == pytest.approx(0.05, rel=0.3)
    assert found.shared == 0
    family = np.arange(40) % 10
    clustered = law_design(
        fit_of(clusters="family"), table(noise=0.01, shared=0.1, family=family), [], None, at_hand=True
    )
    assert 0.007 < clustered.noise.own < 0.02, "a slope that clusters bend leaves some of it within them"
    assert clustered.noise.shared == pytest.approx(0.1, rel=0.6)
    apart = clustered.simulate(12)["alpha"]
    alone = clustered._replace(noise=Noise(clustered.noise.own)).simulate(12)["alpha"]
    assert np.median(apart.se) > 2 * np.median(alone.se), "what runs share does not average out"
    assert set(apart.dof) == {8}


def test_draws_without_an_error_support_nothing():
    """Two clusters for two parameters: no interval can be had."""
    family = np.arange(40) % 2
    design = law_design(fit_of(clusters="family"), table(family=family), [], Noise(0.01), at_hand=True)
    found = design.simulate(3)["alpha"]
    assert not np.isfinite(found.se).any()
    assert power_of_draws(found, "equivalence", 0.3, 1e9, 0.05)["power"] == 0
    at_a_bound = law_design(fit_of(bounds={"alpha": [0.1, 0.3001]}), table(), [claim()], Noise(0.02), at_hand=True)
    assert not np.isfinite(at_a_bound.simulate(3)["alpha"].se).any(), "an interval that a bound cuts is none"


def test_claims_that_place_a_parameter_differently_are_drawn_apart():
    law = law_of(fit_of())
    a, b, c = claim(name="a"), claim(name="b", predicted=0.4), claim(name="c", parameter="a", predicted=90)
    bound = claim(name="d", predicted=0.1, test="greater")
    vector = claim(name="e", parameter="wald_theirs", predicted=0, test="vector")
    assert compatible([a, b, c, bound, vector], law) == [[a, c, bound], [b]]


def test_planned_rows_need_all_parameters():
    rows = table().drop(columns="final_eval_loss")
    with pytest.raises(MusterError, match="no run has made its table, and no value of a is published"):
        law_design(fit_of(), rows, [claim()], Noise(0.02), at_hand=False)
    design = law_design(fit_of(), rows, [claim(), claim("a", 90)], Noise(0.02), at_hand=False)
    assert design.truth == {"alpha": 0.3, "a": 90}
    assert np.isfinite(design.simulate(2)["alpha"].se).all()


STUDY = """
study: tiny-law
title: Law
paper: "Nobody 2003, Nothing"
slug: tiny-law
experiment: import
settings:
  sources:
    runs: {licence: mine, file: runs.csv, columns: {parameters: N, final_eval_loss: loss},
           documented: {parameter_count: all, flop_formula: unknown, schedule_end: unknown, tuned_per_size: unknown,
                        checkpoint: final, split: test}}
scales: {smoke: {grid: [{source: runs}]}, laptop: {grid: [{source: runs}]}}
fits:
  law: {estimator: law, response: final_eval_loss, along: parameters,
        options: {form: A * parameters^-alpha, clusters: false}}
claims:
  - {claim: tiny-law-exponent, statement: Root, source: Fig. 1, provenance: abstract, fit: law, test: equivalence,
     parameter: alpha, predicted: 0.3, margin: 0.05, figure: null}
question: width
"""


def test_the_command_answers_for_a_law(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, tiny_law=STUDY)
    assert main(["power", "tiny-law"]) == 2
    assert "fits.law.options.columns" in capsys.readouterr().err, "sizes stand in a table that was not imported"
    rows = table().assign(source="runs", study="tiny-law")
    write_frame(rows, tmp_path / "results/tables/tiny-law/runs.parquet")
    assert main(["power", "tiny-law", "--draws", "5"]) == 0
    out = capsys.readouterr().out
    assert "5 tables each" in out
    line = next(line for line in out.splitlines() if line.startswith("tiny-law-exponent"))
    assert line.split()[1:7] == ["equivalence", "0.3", "±", "0.05", "0.05", "100"]
    row = next(line for line in out.splitlines() if line.startswith("law "))
    assert row.split()[1:3] == ["40", "–"]
    assert "table" in row.split()
    assert main(["power", "tiny-law", "--draws", "5", "--noise", "3"]) == 0
    out = capsys.readouterr().out
    assert next(line for line in out.splitlines() if line.startswith("tiny-law-exponent")).split()[6] == "0"
