"""The experiment `stability`: largest learning rate that still meets a criterion. Planning imports it, so no torch."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Context, Cost, Experiment, Outcome
from muster.training import train as training

ALIVE = 0.6  # share of the steps that are taken: unstable members stop early

BROUGHT = ("log2_lr_low", "log2_lr_high", "reversals", "hidden_units", "path_rate", "sharpness")


class StabilityCell(training.TrainCell):
    """One network whose largest rate is sought; all settings of training but the rates, which it chooses."""

    member_axes: ClassVar[tuple[str, ...]] = ()

    log2_lr: list[float] = Field(
        min_length=2, description="log2 of the first round's rates, ascending; each later round puts as many, evenly "
        "spaced, inside the bracket that the one before has left"
    )  # fmt: skip
    rounds: int = Field(3, ge=1, le=12, description="Rounds: with M members the bracket shrinks (M + 1)-fold in each")
    criterion: Literal["stable", "loss", "accuracy"] = Field(
        "stable",
        description="stable: below the lowest rate at which the run diverges; loss, accuracy: up to the highest rate "
        "that reaches `loss_below` or `accuracy`, which dead networks do not",
    )
    loss_below: float | None = Field(None, gt=0, description="Training loss below which a run must end")
    accuracy: float | None = Field(
        None, gt=0, lt=1, description="Share of the training examples that are right at some of the probe_steps"
    )
    sharpness_examples: int | None = Field(
        None, ge=1, description="Training examples behind the Hessian's largest eigenvalue at initialization; none if "
        "absent"
    )  # fmt: skip

    @model_validator(mode="after")
    def _bracketed(self) -> "StabilityCell":
        if self.log2_lr != sorted(self.log2_lr):
            raise ValueError("log2_lr must ascend: its ends bracket the rate that is sought")
        for name, value in (("loss", self.loss_below), ("accuracy", self.accuracy)):
            if (self.criterion == name) != (value is not None):
                raise ValueError(
                    f"criterion {name!r} needs a threshold for the {name}, and no other criterion reads it"
                )
        if self.criterion == "accuracy" and not ("accuracy" in self.probes and self.probe_steps):
            raise ValueError("the criterion `accuracy` needs the probe `accuracy` and probe_steps at which to take it")
        return self


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
        dataset=training.dataset,
        brings=lambda cell: BROUGHT,
    )
)
