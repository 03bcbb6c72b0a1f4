"""What a convolutional network costs as it grows: activations against FLOPs, by what is scaled.

P. Dollár, M. Singh and R. Girshick, Fast and accurate model scaling (2021), in one dimension. A stage of d layers of w
channels at T positions with kernels of K takes 2 K d w² T FLOPs and makes d w T numbers, its activations; T stands for
an image's r². A strategy gives shares a + b + c = 1 of a factor s to depth, width and length: d ∝ s^a, w² ∝ s^b,
T ∝ s^c, so that activations are ∝ s^(a + b/2 + c) = s^(1 − b/2). Equal shares are uniform compound scaling, 5/6 in one
dimension as in two, since T takes the share of r²; b = 4/5 is the fast one, 3/5. Sizes are whole numbers; a stem reads
one channel and a readout has ten classes, which the formulas leave out.

Networks are built in torch on the device meta, which knows shapes and computes no number. Probes `depth`, `width`,
`length`, `uniform`, `fast`, a strategy each: elements of all convolutions' outputs for one example, seen by hooks in
its forward pass, at layer FLOPs, which torch counts there, its readout's with them.
"""

from typing import ClassVar, NamedTuple

from pydantic import Field

from muster.experiments import EXPERIMENTS, Context, Cost, Example, Experiment, Job, Outcome
from muster.sampling.tables import Row, outcome

KERNEL, CLASSES = 3, 10
SHARES = {"depth": (1, 0, 0), "width": (0, 1, 0), "length": (0, 0, 1), "uniform": (1 / 3,) * 3, "fast": (0.1, 0.8, 0.1)}


class ModelScalingCell(Job):
    """One base shape, whose FLOPs are doubled again and again."""

    key_axes: ClassVar[tuple[str, ...]] = ("layers", "seed")

    layers: int = Field(16, ge=1, le=256, description="d at factor 1")
    channels: int = Field(64, ge=1, le=1024, description="w at factor 1")
    length: int = Field(64, ge=1, le=1024, description="T at factor 1: positions")
    doublings: int = Field(6, ge=1, le=8, description="Factors are 1, 2, 4, …, 2^doublings")
    seed: int = Field(0, ge=0, description="Changes nothing: a count has no chance in it")


class Sizes(NamedTuple):
    """Layers d, channels w and positions T."""

    layers: int
    channels: int
    length: int


def sizes(cell: ModelScalingCell, strategy: str) -> list[Sizes]:
    """The scaled sizes, rounded, by factor."""
    base, (deep, wide, long) = (cell.layers, cell.channels, cell.length), SHARES[strategy]
    powers = ([2 ** (step * share) for share in (deep, wide / 2, long)] for step in range(cell.doublings + 1))
    return [Sizes(*(round(size * power) for size, power in zip(base, each, strict=True))) for each in powers]


def count(size: Sizes) -> tuple[int, int]:
    """Activations and FLOPs of one example."""
    import torch
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    seen: list[int] = []
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = nn.Sequential()
        for layer in range(size.layers):
            convolution = nn.Conv1d(size.channels if layer else 1, size.channels, KERNEL, padding="same")
            convolution.register_forward_hook(lambda module, given, made: seen.append(made.numel()))
            network.extend([convolution, nn.ReLU()])
        network.extend([nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(size.channels, CLASSES)])
        network(torch.empty(1, 1, size.length))
    return sum(seen), counter.get_total_flops()


def run(cell: ModelScalingCell, context: Context) -> Outcome:
    """Build the networks and count."""
    counts = [(strategy, *count(size)) for strategy in SHARES for size in sizes(cell, strategy)]
    rows: list[Row] = [(0, strategy, flops, activations, 0.0) for strategy, activations, flops in counts]
    return outcome(rows, flops=sum(flops for _, _, flops in counts))


def cost(cell: ModelScalingCell) -> Cost:
    """The FLOPs that are counted, of which none is made; a layer takes its time to build."""
    every = [size for strategy in SHARES for size in sizes(cell, strategy)]
    flops = sum(2.0 * KERNEL * t * w * (1 + (d - 1) * w) + 2.0 * w * CLASSES for d, w, t in every)
    return Cost(flops, 2.0 + 1.3e-3 * sum(size.layers for size in every), 5e8)


EXPERIMENTS.register("model_scaling")(
    Experiment(
        summary="Activations of a convolutional network against its FLOPs, as depth, width or length is scaled",
        stage="sample",
        cell=ModelScalingCell,
        cost=cost,
        run=run,
        example=Example(
            {"layers": 8, "doublings": 4},
            [{"channels": 32}],
            {"estimator": "power_law", "table": "probes", "response": "value", "along": "layer", "by": ["probe"]},
            smoke={"doublings": 2},
            where={"probe": "width"},
            predicted=0.5,
        ),
    )
)
