"""Stacked bisection: brackets by hand, a limit that is known, resumption, and the criteria's sense of direction."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from muster.data import write_dataset
from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Context
from muster.training import bisection, stability, train
from muster.training.bisection import below_first_failure, bracket, interior, reversals, up_to_last_success
from muster.training.engine import Data
from muster.training.stability_cell import StabilityCell

OPTIONS = {"train": 64, "heldout": 16, "features": 6, "outputs": 2, "teacher_depth": 0}
SILENT = Context(dtype="float64", progress=lambda text: None)


def cell(**changes) -> StabilityCell:
    settings = {
        "width": 8, "depth": 1, "seed": 1, "log2_lr": [-4.0, -2.0, 0.0, 2.0, 4.0], "rounds": 3, "base_width": 8,
        "base_depth": 1, "data": "teacher", "data_options": OPTIONS, "loss": "squared_error", "optimizer": "sgd",
        "rule": "constant", "activation": "identity", "batch_size": 64, "steps": 400, "schedule": "constant",
        "evaluations": 1, "evaluation_examples": 64,
    }  # fmt: skip
    return StabilityCell(**(settings | changes))


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    write_dataset("teacher", OPTIONS, folder)
    return dataclasses.replace(SILENT, data_dir=folder)


def quadratic_limit(c: StabilityCell, context: Context) -> float:
    """2/λ of gradient descent on the readout above a frozen linear layer, λ of hᵀh/N."""
    data = Data.of(bisection.load_dataset(context.data_dir), c, torch.device("cpu"), torch.float64)
    weights = bisection.Stack(c, [0], data, context).weights
    h = (data.x @ weights["w1"][0]).numpy()
    return 2 / np.linalg.eigvalsh(h.T @ h / len(h))[-1]


def test_the_bracket_holds_the_limit_of_a_quadratic(context):
    c = cell(input_rate=1e-30, rounds=5)
    row = bracket(c, context).runs.iloc[0]
    assert row["log2_lr_high"] - row["log2_lr_low"] == pytest.approx(2 / 6**4)
    # A rate 2 % above the limit multiplies its mode by 1.04 a step; the window of 400 steps adds less than 1 % of bias.
    assert (row["log2_lr_low"] + row["log2_lr_high"]) / 2 == pytest.approx(
        math.log2(quadratic_limit(c, context)), abs=0.015
    )
    assert row["reversals"] == 0
    assert not row["diverged"]
    assert row["hidden_units"] == 8
    assert row["path_rate"] == 1


def test_momentum_has_a_wider_limit(context):
    """Heavy ball on a quadratic is stable up to 2(1 + β)/λ (Polyak 1964)."""
    c = cell(input_rate=1e-30, rounds=4, optimizer="momentum", momentum=0.5, log2_lr=[-4.0, -2.0, 0.0, 2.0])
    row = bracket(c, context).runs.iloc[0]
    limit = 1.5 * quadratic_limit(c, context)
    assert (row["log2_lr_low"] + row["log2_lr_high"]) / 2 == pytest.approx(math.log2(limit), abs=0.03)


def test_an_interrupted_search_ends_in_the_same_bracket(context, tmp_path, monkeypatch):
    c = cell(steps=40)
    whole = bracket(c, context)
    resumable = dataclasses.replace(context, checkpoint_dir=tmp_path)
    train, calls = bisection.train, []

    def interrupted(round_cell, at):
        calls.append(round_cell.log2_lr)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(round_cell, at)

    monkeypatch.setattr(bisection, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bracket(c, resumable)
    monkeypatch.setattr(bisection, "train", train)
    steps = []
    monkeypatch.setattr(bisection.Stack, "advance", counted(steps))
    resumed = bracket(c, resumable)
    assert resumed.runs.equals(whole.runs)
    assert 0 < len(steps) <= 2 * c.steps  # the first round was not trained again


def counted(steps):
    advance = bisection.Stack.advance

    def count(stack, most=1):
        steps.append(stack.step)
        return advance(stack, most)

    return count


def test_rates_all_stable_or_all_unstable_leave_one_side_open(context):
    slow = bracket(cell(log2_lr=[-9.0, -8.0], steps=40), context).runs.iloc[0]
    assert (slow["log2_lr_low"], slow["log2_lr_high"]) == (-8.0, math.inf)
    fast = bracket(cell(log2_lr=[8.0, 9.0], steps=40), context).runs.iloc[0]
    assert (fast["log2_lr_low"], fast["log2_lr_high"]) == (-math.inf, 8.0)
    assert fast["diverged"]


@pytest.mark.parametrize(
    ("met", "first", "last", "turned"),
    [
        ([True, True, False], 2, 2, 0),
        ([False, True, False], 0, 2, 1),
        ([True, False, True], 1, 3, 1),
        ([True, True], 2, 2, 0),
        ([False, False], 0, 0, 0),
    ],
)
def test_where_a_criterion_turns(met, first, last, turned):
    assert below_first_failure(met) == first
    assert up_to_last_success(met) == last
    assert (bisection.CRITERIA["stable"][1](met), bisection.CRITERIA["accuracy"][1](met)) == (first, last)
    assert reversals(met) == turned


@pytest.mark.parametrize(
    ("known", "met", "first", "last"),
    [
        ((-math.inf, math.inf), [False, False], (-math.inf, -6.0), (-math.inf, math.inf)),
        ((-math.inf, math.inf), [False, True], (-math.inf, -6.0), (-5.0, math.inf)),
        ((-8.0, -4.0), [False, False], (-8.0, -6.0), (-8.0, -6.0)),
    ],
    ids=["no success bounds nothing", "slow rates fail", "below a known success"],
)
def test_failures_bound_the_rate_from_above_only_where_a_success_lies_below(known, met, first, last):
    """A bracket (−∞, lowest rate] where too low rates fail as well moved an exponent from −1.09 to −2.15."""
    assert bisection.around(known, [-6.0, -5.0], met, below_first_failure) == first
    assert bisection.around(known, [-6.0, -5.0], met, up_to_last_success) == last


def test_a_cell_without_success_is_written_without_bounds(context, monkeypatch):
    monkeypatch.setitem(bisection.CRITERIA, "stable", (lambda found, cell: [False, False], up_to_last_success))
    row = bracket(cell(log2_lr=[-9.0, -8.0], steps=40), context).runs.iloc[0]
    assert (row["log2_lr_low"], row["log2_lr_high"], row["diverged"]) == (-math.inf, math.inf, True)


def test_inner_rates_cut_evenly():
    assert interior(0.0, 1.0, 3) == pytest.approx([0.25, 0.5, 0.75])


def test_accurate_takes_the_best_probe_step_and_counts_missing_runs_as_failures():
    probes = pd.DataFrame(
        [(-2.0, 5, "train_accuracy", 0.6), (-2.0, 9, "train_accuracy", 0.4), (-1.0, 5, "train_accuracy", 0.3),
         (-1.0, 5, "heldout_accuracy", 0.9)],
        columns=["log2_lr", "step", "probe", "value"],
    )  # fmt: skip
    found = bisection.Outcome(pd.DataFrame({"log2_lr": [-2.0, -1.0, 0.0]}), pd.DataFrame(), probes)
    c = cell(criterion="accuracy", accuracy=0.5, probes=["accuracy"], probe_steps=[5, 9])
    assert bisection.accurate(found, c) == [True, False, False]


def test_a_run_that_meets_the_criterion_and_diverges_later_keeps_its_last_losses(context, monkeypatch):
    """At 2^4 every run diverges: with a criterion that it meets all the same, its first losses are its last."""
    monkeypatch.setitem(
        bisection.CRITERIA, "stable", (lambda found, cell: [True] * len(found.runs), up_to_last_success)
    )
    row = bracket(cell(), context).runs.iloc[0]
    assert row["log2_lr_low"] == 4
    assert not row["diverged"]
    assert math.isfinite(row["final_train_loss"])
    assert math.isfinite(row["final_eval_loss"])


def test_learned_counts_diverged_runs_as_failures():
    runs = pd.DataFrame({"log2_lr": [-2.0, -1.0, 0.0], "final_train_loss": [0.4, 0.6, float("nan")]})
    found = bisection.Outcome(runs, pd.DataFrame(), pd.DataFrame())
    assert bisection.learned(found, cell(criterion="loss", loss_below=0.5)) == [True, False, False]
    assert bisection.CRITERIA["loss"][1] is up_to_last_success


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_sharpness_is_the_largest_eigenvalue_of_the_dense_hessian(context, activation):
    c = cell(sharpness_examples=32, activation=activation, width=3)
    data = Data.of(bisection.load_dataset(context.data_dir), c, torch.device("cpu"), torch.float64)
    stack = bisection.Stack(c, [0], data, context)
    names = list(stack.weights)
    shapes = [stack.weights[name][0].shape for name in names]
    x, y = data.x[:32], torch.nn.functional.one_hot(data.y[:32], 2)

    def loss(flat):
        first, second = (
            part.view(shape) for part, shape in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)
        )
        return 0.5 * (getattr(torch, activation)(x @ first) @ second - y).square().sum(1).mean()

    flat = torch.cat([stack.weights[name].flatten() for name in names])
    dense = torch.autograd.functional.hessian(loss, flat)
    assert bisection.sharpness(c, context) == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"log2_lr": [0.0, -1.0]},
        {"criterion": "accuracy"},
        {"accuracy": 0.5},
        {"criterion": "loss"},
        {"criterion": "accuracy", "loss_below": 0.5},
        {"criterion": "accuracy", "accuracy": 0.5},
    ],
)
def test_what_cannot_be_bracketed_is_refused(changes):
    with pytest.raises(ValidationError):
        cell(**changes)


def test_more_rounds_cost_more_and_data_are_needed():
    experiment = EXPERIMENTS["stability"]
    assert experiment.cost(cell(rounds=6)).seconds == pytest.approx(2 * experiment.cost(cell()).seconds)
    with pytest.raises(MusterError, match="data"):
        experiment.run(cell(), SILENT)


@pytest.mark.parametrize("examples", [None, 32])
def test_a_row_has_a_sharpness_where_it_was_asked_for(context, examples):
    row = bracket(cell(sharpness_examples=examples, rounds=1, steps=4), context).runs.iloc[0]
    assert math.isfinite(row["sharpness"]) == bool(examples)


def test_rounds_cost_three_fifths_of_their_steps():
    """Unstable members stop early; the sharpness takes 80 gradients of its examples in double precision."""
    one, each = train.cost(cell()), stability.cost(cell())
    assert each.flops == pytest.approx(0.6 * 3 * one.flops)
    assert each.seconds == pytest.approx(0.6 * 3 * one.seconds)
    gradients = 80 * 32 * one.flops / (5 * (400 * 64 + 1))
    assert stability.cost(cell(sharpness_examples=32)).flops == pytest.approx(each.flops + gradients)
