"""The experiment `stability`: largest learning rate that still meets a criterion. Planning imports it, so no torch."""

from muster.experiments import EXPERIMENTS, Context, Cost, Example, Experiment, Outcome
from muster.training import train as training
from muster.training.cell import dataset
from muster.training.stability_cell import StabilityCell

ALIVE = 0.6  # share of the steps that are taken: unstable members stop early

BROUGHT = ("log2_lr_low", "log2_lr_high", "reversals", "hidden_units", "path_rate", "sharpness")


def cost(cell: StabilityCell) -> Cost:
    """That of training the members, round by round, and 80 gradients in double precision for the sharpness."""
    one = training.cost(cell)
    sharpness = 0.0
    if cell.sharpness_examples:
        per_example = one.flops / (len(cell.log2_lr) * (cell.steps * cell.batch_size + 1))
        sharpness = 80.0 * cell.sharpness_examples * per_example
    flops = ALIVE * cell.rounds * one.flops + sharpness
    seconds = ALIVE * cell.rounds * one.seconds + sharpness / 2e10
    return one._replace(flops=flops, seconds=seconds, gpu_seconds=cell.rounds * one.gpu_seconds)


def run(cell: StabilityCell, context: Context) -> Outcome:
    """Bracket the largest rate; see `muster.training.bisection`."""
    from muster.training.bisection import bracket

    return bracket(cell, context)


EXPERIMENTS.register("stability")(
    Experiment(
        summary="Largest stable learning rate of a network, bracketed by rounds of stacked training",
        stage="train",
        cell=StabilityCell,
        cost=cost,
        run=run,
        dataset=dataset,
        brings=lambda cell: BROUGHT,
        example=Example(
            {
                "data": "mnist1d",
                "data_options": {"train": 4000, "heldout": 1000},
                "family": "mlp",
                "parameterization": "mup",
                "optimizer": "sgd",
                "rule": "full_alignment",
                "depth": 3,
                "batch_size": 64,
                "steps": 96,
                "evaluations": 1,
                "criterion": "stable",
                "rounds": 3,
                "log2_lr": [-9, -7, -5, -3, -1, 1, 3, 5],
            },
            [{"width": [64, 128, 256], "seeds": 3}],
            {
                "estimator": "interval_exponents",
                "table": "runs",
                "response": "log2_lr_low",
                "along": "width",
                "options": {"upper": "log2_lr_high"},
            },
            smoke={"steps": 8, "rounds": 1, "data_options": {"train": 256, "heldout": 64}},
            smoke_grid=[{"width": [16, 32, 64], "seeds": 1}],
            figure={"plot": "optimum_vs_axis"},
        ),
    )
)
