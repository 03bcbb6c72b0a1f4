"""The experiment `train`: its cell, its cost, its registration. Planning imports this file, so it imports no torch."""

import math
from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from muster.data import dimensions, validate
from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome
from muster.models import SHAPES
from muster.models.shapes.base import Shape
from muster.parameterizations import PARAMETERIZATIONS, Tensor
from muster.training.costs import PROBE_COSTS, ProbeCost
from muster.training.stacks import most_members

LAUNCH_SECONDS = 6e-6  # of one GPU kernel
GPU_FLOPS, GPU_BYTES = 1e13, 1e12  # a second: half the float32 rate and two thirds of the bandwidth of an A100 40 GB


@cache
def _readers() -> dict[str, list[str]]:
    """Settings that only some families read → those families."""
    readers: dict[str, list[str]] = {}
    for family in SHAPES:
        for name in SHAPES[family].settings:
            readers.setdefault(name, []).append(family)
    return readers


class TrainCell(Cell):
    """All settings of one stack of members. Fractions are of the number of steps.

    The engine reads nothing but fields: this module is no part of a cell's fingerprint, the resolved fields are.
    """

    member_axes: ClassVar[tuple[str, ...]] = ("log2_lr",)

    parameterization: str = Field("sp", description="Table of exponents: `muster list parameterizations`")
    log2_lr: list[float] = Field(min_length=1, description="Members: log2 of the learning rate at the base shape")

    family: str = Field("mlp", description="Family of networks: `muster list families`")
    activation: str = Field("relu", description="`muster list activations`")
    bias: bool = Field(False, description="Biases in every layer")
    norm: Literal["none", "layer", "rms"] = Field(
        "none", description="Normalization before each activation, of a transformer before each branch; rms there only"
    )
    base_width: int = Field(64, ge=1, description="Width at which every parameterization equals sp")
    base_depth: int = Field(3, ge=1, description="Depth at which every parameterization equals sp")
    init_gain: float = Field(1.0, gt=0, description="Factor on every initial standard deviation")
    readout_gain: float = Field(
        1.0, ge=0, description="Readout's initial standard deviation times √fan_in; 0: zero readout"
    )

    branch_exponent: float | None = Field(
        None, ge=0, description="α of the residual branches' multiplier depth^(−α); the parameterization's if absent"
    )
    block_layers: Literal[1, 2] | None = Field(None, description="resmlp: layers of a residual block; 1 if absent")
    edge_density: float | None = Field(
        None, ge=0, le=1, description="dag_mlp: share of the pairs of hidden layers that are joined; a chain if absent"
    )
    kernel_size: int | None = Field(None, ge=1, description="convnet: positions that a unit sees; 3 if absent")
    architecture_rate: bool | None = Field(
        None, description="Learning rates carry the family's own rule: (Σ_paths L³)^−½ of dag_mlp, 1/kernel of convnet"
    )
    input_rate: float | None = Field(None, gt=0, description="mlp: factor on the learning rate of the input layer")
    heads: int | None = Field(None, ge=1, description="transformer: attention heads, whose width follows")
    head_width: int | None = Field(None, ge=1, description="transformer: width of a head, 32 if absent, as is `heads`")
    positions: Literal["learned", "rotary"] | None = Field(
        None, description="transformer: embedding of positions; learned if absent"
    )
    attention_scale: Literal["inverse", "inverse_sqrt"] | None = Field(
        None, description="transformer: factor on q·k for heads of width d, 1/d or 1/√d; inverse_sqrt if absent"
    )
    qk_norm: bool | None = Field(None, description="transformer: normalize queries and keys of each head")
    tied: bool | None = Field(None, description="transformer: the token embedding is the readout, too")
    gains: bool | None = Field(None, description="transformer: normalizations have trainable gains")
    feedforward: Literal["gelu", "relu", "relu2", "swiglu"] | None = Field(
        None, description="transformer: nonlinearity between blocks' two matrices; gelu if absent"
    )

    data: str = Field("mnist1d", description="`muster list datasets`")
    data_options: dict[str, Any] = Field(default_factory=dict, description="Options of the data set")
    features: int | None = Field(
        None, ge=1, description="Input dimension of a synthetic data set: its option `features`, as an axis"
    )
    decay: float | None = Field(
        None, ge=0, description="Exponent of the features' frequencies: option `decay`, as an axis"
    )
    context: int | None = Field(None, ge=1, description="Tokens of an example of text: option `context`, as an axis")
    examples: int | None = Field(
        None, ge=2, description="Training examples, drawn from the data set's by the seed; all of them if absent"
    )
    loss: Literal["cross_entropy", "squared_error"] = Field("cross_entropy", description="Training loss")
    z_loss: float | None = Field(
        None, ge=0, description="Coefficient of log² Z in the training loss, Z the sum of exp over the outputs"
    )
    clip: float | None = Field(None, gt=0, description="Largest norm of a member's gradient; longer ones are shortened")

    optimizer: str = Field("adam", description="`muster list optimizers`")
    rule: str = Field("full_alignment", description="Learning-rate rule: `muster list rules`")
    momentum: float = Field(0.9, ge=0, lt=1, description="Heavy-ball coefficient of `momentum`")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's first-moment decay")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam's second-moment decay")
    epsilon: float | None = Field(
        None, ge=0, description="Adam's ε at the base shape; the optimizer's default if absent"
    )
    epsilon_rule: Literal["constant", "scaled", "completep", "completep_code"] = Field(
        "constant",
        description="scaled: ε follows the gradient's size; the parameterization's own if absent: `muster show`",
    )
    weight_decay: float = Field(
        0.0, description="λ at the base shape; below 0 (adamw): rows of matrices grow to norm 1"
    )
    decay_rule: Literal["constant_product", "constant", "completep"] = Field(
        "constant_product",
        description="constant_product: η·λ keeps its value as η is scaled; completep: as it is scaled with width; the "
        "parameterization's own if absent",
    )
    adafactor_clip: float = Field(1.0, gt=0, description="Adafactor's update clipping threshold d")

    batch_size: int = Field(64, ge=1, description="Examples a step; the whole training set if larger")
    steps: int = Field(ge=1, description="Optimizer steps")
    schedule: str = Field("linear", description="`muster list schedules`")
    warmup_fraction: float = Field(0.0, ge=0, lt=1, description="Linear warm-up")
    decay_fraction: float = Field(0.2, gt=0, le=1, description="Decay phase of `wsd`")
    divergence_ratio: float = Field(3.0, gt=1, description="Diverged: loss above this multiple of the initial loss")

    evaluations: int = Field(
        8, ge=1, description="Evaluations after the initial one, evenly spaced, the last at the end"
    )
    evaluation_examples: int = Field(2048, ge=1, description="Examples of each split in an evaluation")
    probes: list[str] = Field(default_factory=list, description="`muster list probes`")
    probe_steps: list[int] = Field(
        default_factory=list, description="Steps at which probes are taken; step 0 always is"
    )
    probe_examples: int = Field(16, ge=1, description="Examples of the fixed batch that probes see")

    @model_validator(mode="before")
    @classmethod
    def _features_of_the_data(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        axes = {name: values[name] for name in ("features", "decay", "context") if values.get(name) is not None}
        return {**values, "data_options": {**values.get("data_options", {}), **axes}} if axes else values

    @model_validator(mode="before")
    @classmethod
    def _rules_of_the_parameterization(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("parameterization") not in PARAMETERIZATIONS:
            return values
        table = PARAMETERIZATIONS[values["parameterization"]]
        return {"epsilon_rule": table.epsilon_rule, "decay_rule": table.decay_rule, **values}

    @model_validator(mode="after")
    def _consistent(self) -> "TrainCell":
        if len(set(self.log2_lr)) != len(self.log2_lr):
            raise ValueError("log2_lr holds a learning rate twice")
        beyond = [step for step in self.probe_steps if not 0 <= step <= self.steps]
        if beyond:
            raise ValueError(f"probe_steps {beyond} lie outside 0 … steps = {self.steps}")
        if self.weight_decay < 0 and self.optimizer != "adamw":
            raise ValueError(f"weight_decay {self.weight_decay:g} is negative: only the optimizer adamw takes it so")
        if self.z_loss and self.loss != "cross_entropy":
            raise ValueError(f"z_loss is a part of the cross-entropy, not of {self.loss}")
        if self.family in SHAPES:
            self._check_family(SHAPES[self.family])
        return self

    def _check_family(self, shape: Shape) -> None:
        for name, readers in _readers().items():
            if getattr(self, name) is not None and self.family not in readers:
                raise ValueError(f"{name} is read by {' and '.join(readers)}, not by family {self.family!r}")
        if self.norm not in ("none", *shape.norms):
            known = " or ".join(("none", *shape.norms))
            raise ValueError(f"norm {self.norm!r} is unknown to family {self.family!r}: it takes {known}")
        if self.bias and not shape.biases:
            raise ValueError(f"family {self.family!r} has no biases")
        if shape.tokens != (dimensions(self.data, self.data_options).task == "next_token"):
            reads = "tokens" if shape.tokens else "no tokens"
            remedy = "ask for" if shape.tokens else "do not ask for"
            raise ValueError(f"family {self.family!r} reads {reads}: {remedy} data with encoding: tokens")
        shape.check(self)


def dataset(cell: TrainCell) -> tuple[str, dict[str, Any]]:
    """Name and options of the data set that the cell trains on."""
    return cell.data, cell.data_options


def tensors(cell: TrainCell) -> list[Tensor]:
    """What the cell's network trains."""
    shape = dimensions(cell.data, cell.data_options)
    return SHAPES[cell.family].tensors(cell, shape.features, shape.outputs)


def _probed(cell: TrainCell) -> ProbeCost:
    """What all readings of the probes that declare a cost take together."""
    declared = [PROBE_COSTS[name] for name in cell.probes if name in PROBE_COSTS]
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


EXPERIMENTS.register("train")(
    Experiment(
        summary="Train a stack of networks, one member a learning rate, on the engine",
        stage="train",
        cell=TrainCell,
        cost=cost,
        run=run,
        dataset=dataset,
    )
)
