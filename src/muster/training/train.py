"""The experiment `train`: its cost, its registration. Planning imports this file, so it imports no torch."""

import math

from muster.data import dimensions, validate
from muster.experiments import EXPERIMENTS, Context, Cost, Example, Experiment, Outcome
from muster.training.cell import TrainCell, dataset, tensors
from muster.training.probes import PROBES, ProbeCost
from muster.training.stacks import most_members

LAUNCH_SECONDS = 6e-6  # of one GPU kernel
GPU_FLOPS, GPU_BYTES = 1e13, 1e12  # a second: half the float32 rate and two thirds of the bandwidth of an A100 40 GB


def _probed(cell: TrainCell) -> ProbeCost:
    """What all readings of the probes that declare a cost take together."""
    declared = [cost_of for name in cell.probes if name in PROBES and (cost_of := PROBES[name].cost)]
    each = [cost_of(cell.examples or validate(cell.data, cell.data_options).train) for cost_of in declared]
    readings = len(set(cell.probe_steps) - {0})
    return ProbeCost(readings * sum(c.gradients for c in each), readings * sum(c.examples for c in each))


def cost(cell: TrainCell) -> Cost:
    """FLOPs (6 per weight, use of it by an example, and step: Kaplan et al. 2020, Section 2.1) and seconds on one core.

    The time model is launch overhead, matrix products, memory traffic of the optimizer, of the loss (100 bytes an
    output, which counts where there are hundreds) and of a normalized network's activations (50 bytes a product's
    output; measured at widths 32 to 128); its constants were fitted to a 2 GHz AVX-512 core, and `muster plan` rescales
    them by the matrix-product rate that it measures. The same model for a GPU has its constants from the data sheet of
    NVIDIA's A100: none was measured. Members that do not fit a stack wait for the one before, so memory is one stack's:
    weights, gradients, two moments, initial weights and their change (24 bytes a parameter), and on the CPU the draws
    in double precision (16; measured at widths 64 to 4096).
    Probes that declare their cost take it on top, in double precision (measured at widths 32 and 96).
    """
    trained, members = tensors(cell), len(cell.log2_lr)
    matrices = [tensor for tensor in trained if len(tensor.shape) > 1]
    parameters = sum(math.prod(tensor.shape) for tensor in trained)
    products = sum(tensor.uses * math.prod(tensor.shape) for tensor in matrices)
    shape = dimensions(cell.data, cell.data_options)
    outputs = shape.outputs * shape.positions
    activations = sum(tensor.uses * tensor.shape[1] for tensor in matrices) if cell.norm != "none" else 0
    batch = min(cell.batch_size, cell.examples or cell.batch_size)
    evaluated = 2 * cell.evaluation_examples * (cell.evaluations + 1) / 3
    flops = 6.0 * products * members * (batch * cell.steps + evaluated)
    per_step = 2.5e-4 + members * (
        1.0e-5 * len(matrices)
        + 6.0 * products * batch / 6e10
        + (28.0 * parameters + (100.0 * outputs + 50.0 * activations) * batch) / 8e9
    )
    seconds = cell.steps * per_step + flops * evaluated / (batch * cell.steps + evaluated) / 6e10
    largest = max(math.prod(tensor.shape) for tensor in trained)
    cpu, gpu = (min(members, most_members(parameters, largest, device)) for device in ("cpu", "cuda"))
    launches = len(matrices) * (12 * -(-members // gpu) + 2 * members)
    busy = 6.0 * products * batch / GPU_FLOPS + 28.0 * parameters / GPU_BYTES
    gpu_step = launches * LAUNCH_SECONDS + members * busy
    probed = _probed(cell)
    probing = 6.0 * products * members * probed.examples
    flops += probing
    seconds += probed.gradients * (1.4e-3 + 1e-8 * parameters * members) + probing / 3e10
    gpu_seconds = cell.steps * gpu_step + probed.gradients * launches * LAUNCH_SECONDS + probing / GPU_FLOPS
    return Cost(flops, seconds, 3e8 + 40.0 * cpu * parameters, gpu_seconds, 3e8 + 24.0 * gpu * parameters)


def run(cell: TrainCell, context: Context) -> Outcome:
    """Train every member of the cell; see `muster.training.engine`."""
    from muster.training.engine import train

    return train(cell, context)


SMOKE_SWEEP = {"width": [16, 32], "seeds": 1, "log2_lr": {"from": -10, "to": -6, "step": 1}}
LAPTOP_SWEEP = {"width": [64, 128, 256], "seeds": 3, "log2_lr": {"from": -11, "to": -4, "step": "1/2"}}

EXPERIMENTS.register("train")(
    Experiment(
        summary="Train a stack of networks, one member a learning rate, on the engine",
        stage="train",
        cell=TrainCell,
        cost=cost,
        run=run,
        dataset=dataset,
        example=Example(
            {
                "data": "mnist1d",
                "data_options": {"train": 4000, "heldout": 1000},
                "family": "mlp",
                "depth": 3,
                "activation": "relu",
                "loss": "cross_entropy",
                "optimizer": "adam",
                "batch_size": 64,
                "steps": 1000,
                "schedule": "linear",
                "base_width": 64,
                "base_depth": 3,
            },
            # Standard parametrization is one rate for all tensors; with per-layer rates it would be something else.
            [
                {"parameterization": "sp", "rule": "constant", **LAPTOP_SWEEP},
                {"parameterization": "mup", "rule": "full_alignment", **LAPTOP_SWEEP},
            ],
            {
                "estimator": "lr_transfer",
                "table": "runs",
                "response": "final_train_loss",
                "along": "width",
                "by": ["parameterization", "rule"],
            },
            smoke={"steps": 20, "data_options": {"train": 256, "heldout": 64}},
            smoke_grid=[
                {"parameterization": "sp", "rule": "constant", **SMOKE_SWEEP},
                {"parameterization": "mup", "rule": "full_alignment", **SMOKE_SWEEP},
            ],
            where={"parameterization": "mup", "rule": "full_alignment"},
            figure={"plot": "lr_sweep"},
        ),
    )
)
