"""The largest learning rate that meets a criterion, by stacked bisection: the members are the brackets.

Each round trains M rates side by side; where the criterion turns, between two neighbours, the next round puts M rates
evenly inside. The bracket shrinks (M + 1)-fold a round in log2 of the rate, for the price of M runs that share their
matrix products: halving alone would take log2(M + 1) runs one after the other. A round is an ordinary cell of the
engine with checkpoints of its own, and the next one follows from its result alone: an interrupted search goes on where
it was, to the same bracket.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch

from muster.data import load_dataset
from muster.experiments import Context, Outcome
from muster.models.graphs import graph_of, path_rate
from muster.training.cell import TrainCell
from muster.training.curvature import flatten, largest_eigenvalue, piecewise_product
from muster.training.device import DTYPES, resolve
from muster.training.engine import Data, Stack, train
from muster.training.stability_cell import StabilityCell


def stable(found: Outcome, cell: StabilityCell) -> list[bool]:
    """Whether each run of a round, in the order of its rates, did not diverge."""
    return (~found.runs["diverged"].astype(bool)).tolist()


def learned(found: Outcome, cell: StabilityCell) -> list[bool]:
    """Whether each run ended below `loss_below`; a diverged one has no loss."""
    return (found.runs["final_train_loss"] < cell.loss_below).tolist()


def accurate(found: Outcome, cell: StabilityCell) -> list[bool]:
    """Whether each run got `accuracy` of the training examples right at one of its probe steps."""
    probes = found.probes[found.probes["probe"] == "train_accuracy"]
    best = probes.groupby("log2_lr")["value"].max()
    return [bool(best.get(rate, 0.0) >= cell.accuracy) for rate in found.runs["log2_lr"]]


def below_first_failure(met: Sequence[bool]) -> int:
    """How many of the ascending rates lie below the bracket: those before the first failure. Beyond it a network may
    die and stand still, which would pass for stability."""
    return list(met).index(False) if False in met else len(met)


def up_to_last_success(met: Sequence[bool]) -> int:
    """The same for a criterion that low rates fail, too: all up to the highest success."""
    return max((i + 1 for i, each in enumerate(met) if each), default=0)


CRITERIA = {
    "stable": (stable, below_first_failure),
    "loss": (learned, up_to_last_success),
    "accuracy": (accurate, up_to_last_success),
}


def around(
    known: tuple[float, float], rates: Sequence[float], met: Sequence[bool], place: Callable[[Sequence[bool]], int]
) -> tuple[float, float]:
    """Where in `known`, ±inf on a side without a bound, ascending rates inside it put the largest that meets the
    criterion.

    Before any success there is no bound where too low rates fail as well: those that succeed may lie below the lowest,
    or between two of a coarse grid.
    """
    low, high = known
    if place is up_to_last_success and not any(met) and math.isinf(low):
        return -math.inf, math.inf
    ends = [low, *rates, high]
    return ends[place(met)], ends[place(met) + 1]


def interior(low: float, high: float, count: int) -> list[float]:
    """Rates that cut (low, high) evenly into count + 1 parts, ascending."""
    return np.linspace(low, high, count + 2)[1:-1].tolist()


def reversals(met: Sequence[bool]) -> int:
    """How often the criterion is met again above a rate that failed it: 0 for a sharp limit; 1 where slow rates fail,
    too."""
    return sum(not before and after for before, after in itertools.pairwise(met))


def bracket(cell: StabilityCell, context: Context) -> Outcome:
    """One run row: log2_lr_low and log2_lr_high around the largest rate, infinite on a side without a bound (`around`).

    Losses are the last that the run at log2_lr_low showed: it may meet `accuracy` and diverge afterwards. A cell none
    of whose rates meets the criterion is `diverged`. reversals: of the criterion over the ascending rates of all
    rounds. hidden_units: depth × width. path_rate: (Σ_paths L³)^−½ of the graph of hidden layers. sharpness: the
    Hessian's largest eigenvalue at initialization, NaN where it was not asked for. `steps` and `flops` count all
    members. Raises MusterError as `muster.training.engine.train` does.
    """
    judge, place = CRITERIA[cell.criterion]
    low, high, rates = -math.inf, math.inf, cell.log2_lr
    turned, seconds = 0, 0.0
    tried: list[Outcome] = []
    own = {name: getattr(cell, name) for name in TrainCell.model_fields}
    for number in range(cell.rounds):
        folder = context.checkpoint_dir and context.checkpoint_dir / f"round{number}"
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        found = train(TrainCell(**own | {"log2_lr": rates}), dataclasses.replace(context, checkpoint_dir=folder))
        met = judge(found, cell)
        turned, seconds = turned + reversals(met), seconds + found.notes["training_seconds"]
        tried.append(found)
        low, high = around((low, high), rates, met, place)
        context.progress(f"round {number + 1} of {cell.rounds}: log2 of the largest rate in [{low:.4f}, {high:.4f}]")
        if not math.isfinite(high - low):
            break
        rates = interior(low, high, len(rates))
    runs = pd.concat([found.runs for found in tried], ignore_index=True)
    curves = pd.concat([found.curves for found in tried], ignore_index=True).sort_values("step")
    best = curves[curves["log2_lr"] == low].tail(1)
    row = {
        "diverged": best.empty,
        "final_train_loss": best["train_loss"].mean(),
        "final_eval_loss": best["eval_loss"].mean(),
        "steps": runs["steps"].sum(),
        "parameters": runs["parameters"].iloc[0],
        "flops": runs["flops"].sum(),
        "seconds": math.nan,
        "log2_lr_low": low,
        "log2_lr_high": high,
        "reversals": turned,
        "hidden_units": cell.depth * cell.width,
        "path_rate": path_rate(graph_of(cell.depth, cell.edge_density, cell.seed)),
        "sharpness": sharpness(cell, context) if cell.sharpness_examples else math.nan,
    }
    none = pd.DataFrame({"step": np.array([], np.int64), "train_loss": np.array([]), "eval_loss": np.array([])})
    probes = pd.DataFrame(columns=["step", "probe", "layer", "value", "se"]).astype(
        {"step": "int64", "probe": "str", "layer": "int64", "value": "float64", "se": "float64"}
    )
    return Outcome(
        pd.DataFrame([row]), none, probes, {"training_seconds": round(seconds, 3), "engine": tried[-1].notes["engine"]}
    )


@torch.no_grad()
def sharpness(cell: StabilityCell, context: Context) -> float:
    """Largest Hessian eigenvalue of the mean loss over the first training examples, at initialization."""
    assert context.data_dir is not None  # the rounds before have read it
    device = resolve(context.device)
    data = Data.of(load_dataset(context.data_dir), cell, device, DTYPES[context.dtype])
    stack = Stack(cell, [0], data, context)
    weights = {name: w.double() for name, w in stack.weights.items()}
    part = slice(cell.sharpness_examples)
    product = piecewise_product(stack, weights, data.x[part].double(), data.y[part])
    size = flatten(weights).shape[1]
    start = torch.randn(size, generator=torch.Generator().manual_seed(cell.seed), dtype=torch.float64)
    return float(largest_eigenvalue(product, start.to(device).expand(1, -1))[0])
